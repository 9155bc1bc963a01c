//! `test`: set-up first, then every test.

use anyhow::Result;
use clap::Args;

use crate::repo::Repo;
use crate::setup;

/// Flags of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// What `cargo test` gets besides.
    #[arg(last = true, value_name = "ARGS")]
    passed_on: Vec<String>,
}

/// Runs every unit, integration and documentation test.
///
/// # Errors
/// A test fails.
pub fn run(repo: &Repo, args: &TestArgs) -> Result<()> {
    setup::ensure_done(repo)?;
    let cargo = repo.cargo().args(["test", "--workspace", "--locked"]).args(&args.passed_on);
    // Tests run side by side on small tensors: threads inside each would only wait for one another.
    let threads = std::env::var_os("OMP_NUM_THREADS").unwrap_or_else(|| "1".into());
    cargo.env("OMP_NUM_THREADS", threads).run()
}
