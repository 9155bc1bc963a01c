//! The repository: where it is, and how to run cargo and the built programs in it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Cmd;

/// The workspace this program belongs to.
#[derive(Debug)]
pub struct Repo {
    root: PathBuf,
}

/// Which of cargo's profiles a program is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The one that the demo and the tests share.
    Dev,
    /// For timings that are published.
    Release,
}

impl Repo {
    /// Finds it: cargo says where this package is; without cargo, look upwards from here.
    pub fn find() -> Result<Self> {
        if let Some(package) = env::var_os("CARGO_MANIFEST_DIR")
            && let Some(root) = Path::new(&package).parent()
            && root.join("xtask/Cargo.toml").is_file()
        {
            return Ok(Self { root: root.to_path_buf() });
        }
        let here = env::current_dir().context("cannot read the current folder")?;
        let root = here.ancestors().find(|dir| dir.join("xtask/Cargo.toml").is_file());
        let root = root.context("this is not a clone of Admix: no folder above has xtask/Cargo.toml")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Its root folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `setup` puts libtorch; `.cargo/config.toml` points there.
    pub fn libtorch(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// `LIBTORCH` as the user set it: cargo puts our own value into our environment.
    pub fn users_libtorch(&self) -> Option<PathBuf> {
        let value = PathBuf::from(env::var_os("LIBTORCH").filter(|v| !v.is_empty())?);
        (value != self.libtorch().join("torch")).then_some(value)
    }

    /// A program in the repository's root, as if started from a shell rather than by `cargo run`.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Cmd {
        let mut cmd = Cmd::new(program).dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
            {
                cmd = cmd.env_remove(name);
            }
        }
        if self.users_libtorch().is_none() {
            cmd = cmd.env_remove("LIBTORCH");
        }
        // Last, so that a libtorch the user prefers comes first. Programs inside target/ have it in their
        // run path; this is for a target folder elsewhere.
        let mut path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        if !path.is_empty() {
            path.push(":");
        }
        path.push(self.libtorch().join("torch/lib"));
        cmd.env("LD_LIBRARY_PATH", path)
    }

    /// The cargo that started us, in the repository's root.
    pub fn cargo(&self) -> Cmd {
        self.program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Cargo's target folder, wherever it is configured to be.
    pub fn target(&self) -> Result<PathBuf> {
        let text =
            self.cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]).output()?;
        let data: serde_json::Value =
            serde_json::from_slice(&text).context("cannot read `cargo metadata`")?;
        let folder = data["target_directory"].as_str().context("`cargo metadata` names no target folder")?;
        Ok(PathBuf::from(folder))
    }

    /// Builds the program and returns its path.
    ///
    /// # Errors
    /// The build fails.
    pub fn build_admix(&self, profile: Profile) -> Result<PathBuf> {
        self.build_binary("admix", "admix", profile)
    }

    /// The program that is given, or else the one that is built.
    ///
    /// # Errors
    /// The build fails.
    pub fn given_or_built(&self, given: Option<&Path>, profile: Profile) -> Result<PathBuf> {
        match given {
            Some(given) => std::path::absolute(given).context("--admix"),
            None => self.build_admix(profile),
        }
    }

    /// Builds the benchmarks and returns the path of their program.
    ///
    /// # Errors
    /// The build fails.
    pub fn build_bench(&self, profile: Profile) -> Result<PathBuf> {
        self.build_binary("admix-bench", "admix-bench", profile)
    }

    fn build_binary(&self, package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
        self.build(&["--package", package, "--bin", name], profile)?;
        Ok(self.target()?.join(profile.folder()).join(name))
    }

    /// Runs `cargo build` for the given targets.
    pub fn build(&self, targets: &[&str], profile: Profile) -> Result<()> {
        let mut cargo = self.cargo().args(["build", "--locked"]).args(targets);
        if profile == Profile::Release {
            cargo = cargo.arg("--release");
        }
        cargo.run()
    }

    /// The material shared beside the repository: `ADMIX_SHARED`, else `../shared`.
    pub fn shared(&self) -> PathBuf {
        match env::var_os("ADMIX_SHARED") {
            Some(path) => PathBuf::from(path),
            None => self.root.join("../shared"),
        }
    }
}

impl Profile {
    /// Its folder below the target folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}
