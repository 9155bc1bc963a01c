//! `interop`: networks of ours against those of torchvision and timm, by their weights and logits; our event files in TensorBoard.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::process::Cmd;
use crate::repo::{Profile, Repo};

/// What is installed, beside what it requires.
const PACKAGES: [&str; 5] =
    ["torch==2.11.0", "torchvision==0.26.0", "timm==1.0.31", "safetensors==0.8.0", "tensorboard==2.21.0"];
/// What Python does of it.
const SCRIPT: &str = include_str!("interop.py");

/// Flags of `interop`.
#[derive(Debug, Args)]
pub struct InteropArgs {
    /// Only networks whose names have one of these words, such as `timm_vit`; all unless given.
    networks: Vec<String>,
}

/// Installs the libraries below target/interop unless they are there, and holds networks against each other in both
/// directions and both kinds of file; then a ResNet-18 that is trained here for two epochs, picture for picture, and the
/// event files of its run, which was resumed once.
///
/// # Errors
/// There is no Python, a package cannot be installed, a network gives other logits, or TensorBoard shows something else.
pub fn run(repo: &Repo, args: &InteropArgs) -> Result<()> {
    let folder = repo.target()?.join("interop");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let venv = folder.join("venv");
    install(&venv)?;
    let (script, files) = (folder.join("interop.py"), folder.join("files"));
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let python = |verb: &str| Cmd::new(venv.join("bin/python")).arg(&script).arg(verb);
    // Of the whole workspace: another selection of packages would compile everything again.
    repo.build(&["--workspace", "--example", "interop", "--bin", "admix"], Profile::Dev)?;
    python("write").arg(&files).args(&args.networks).run()?;
    repo.program(repo.target()?.join("debug/examples/interop")).arg(&files).run()?;
    python("read").arg(&files).run()?;

    let pictures = folder.join("pictures");
    python("pictures").arg(&pictures).run()?;
    let Trained { run, weights, said } = trained(repo, &folder, &pictures)?;
    python("score").arg(&pictures).arg(&weights).arg(&said).run()?;
    python("events").arg(&run).run()
}

/// What a network was trained to, and what it said of pictures.
struct Trained {
    run: PathBuf,
    weights: PathBuf,
    said: PathBuf,
}

/// Trains a ResNet-18 on pictures, exports it, and lets it name their classes. Its run stops at step 12 and goes on from
/// step 9, so that it does three steps again.
fn trained(repo: &Repo, folder: &Path, pictures: &Path) -> Result<Trained> {
    let text = |path: Option<&std::ffi::OsStr>| {
        path.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let (root, name) = (text(pictures.parent().map(Path::as_os_str)), text(pictures.file_name()));
    let recipe = format!(
        r#"(epochs: 2, batch: 20, method: "mixup", mixers: {{"mix": MixUp()}}, optimizer: Sgd(lr: 0.02), log_every: 1,
            loggers: [TensorBoard()],
            data: (root: {root:?}, name: {name:?}, augment: ResizedCrop(size: 64), test_resize: Some(64)), model: ResNet(depth: 18, stem: Large))"#
    );
    let [file, run, weights, said] =
        ["trained.ron", "run", "trained.pth", "said.jsonl"].map(|name| folder.join(name));
    fs::write(&file, recipe).with_context(|| format!("cannot write {}", file.display()))?;
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("cannot remove {}", run.display()))?;
    }
    let program = repo.target()?.join("debug/admix");
    let admix = |verb: &str| repo.program(&program).arg(verb);
    let train = || admix("run").arg(&file).arg("--out").arg(&run);
    train().args(["--max-steps", "12"]).run()?;
    train().arg("--resume").arg(run.join("checkpoints/step-00000009.safetensors")).run()?;
    admix("export").arg(&run).args(["--format", "torchvision", "--force", "-o"]).arg(&weights).run()?;
    let predict = admix("predict").arg(&run).arg(pictures.join("val"));
    let lines = predict.args(["--format", "json", "--top", "1"]).output()?;
    fs::write(&said, lines).with_context(|| format!("cannot write {}", said.display()))?;
    Ok(Trained { run, weights, said })
}

/// Makes the environment, once for each list of packages.
fn install(venv: &Path) -> Result<()> {
    let (stamp, wanted) = (venv.join("packages.txt"), PACKAGES.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("installing {} into {}", PACKAGES.join(", "), venv.display());
    Cmd::new("python3").args(["-m", "venv"]).arg(venv).run()?;
    Cmd::new(venv.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .run()?;
    // Last, so that its presence means that all is there.
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
}
