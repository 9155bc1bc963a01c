//! Developer commands of Admix: `cargo xtask help` lists them. Links no libtorch.
//!
//! | file | what it holds |
//! |---|---|
//! | `bench.rs, bench/` | `bench`: timings against each other and against limits |
//! | `check.rs` | `check`: formatting, circles, lints, documentation |
//! | `circles.rs` | circles between the files of a crate |
//! | `clock.rs` | the time that programs may take |
//! | `compare.rs, compare_ssl.rs` | `compare`: methods at one equal budget |
//! | `cuda_object.rs` | compiles what names CUDA symbols |
//! | `demo.rs` | `demo`: a training run on the embedded dataset |
//! | `fashion_mnist.rs` | `fixtures fashion-mnist`: makes the embedded dataset |
//! | `fuzz.rs` | `fuzz` |
//! | `golden.rs` | `golden`: copies the reference vectors |
//! | `interop.rs, interop.py` | `interop`: networks against those of torchvision and timm, event files in TensorBoard |
//! | `libtorch.rs, wheels.rs` | what a usable libtorch is, and making one from wheels |
//! | `measure.rs` | what every measurement shares |
//! | `metrics.rs` | what run folders say |
//! | `parallel.rs` | several programs at once |
//! | `process.rs` | running other programs |
//! | `pytorch.rs` | PyTorch training, which ours is timed against |
//! | `repo.rs` | where the repository is, and cargo in it |
//! | `same.rs, same/` | `same`: two programs make equal checkpoints |
//! | `scratch.rs` | a temporary folder |
//! | `setup.rs, tools.rs` | `setup`: finds or fetches libtorch, with the programs it needs |
//! | `test.rs` | `test`: set-up first, then every test |
//! | `training.rs` | training runs that can be stopped and started again |
//! | `usage.rs` | mistakes in the command line |
//! | `wheel.rs` | `wheel`: the Python package |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its user")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test may panic"))]

mod bench;
mod check;
mod circles;
mod clock;
mod compare;
mod compare_ssl;
mod cuda_object;
mod demo;
mod fake_cuda;
mod fashion_mnist;
mod fuzz;
mod golden;
mod interop;
mod libtorch;
mod measure;
mod metrics;
mod parallel;
mod process;
mod pytorch;
mod recipes;
mod repo;
mod same;
mod scratch;
mod setup;
mod test;
mod tools;
mod torture;
#[path = "../../tests/toy_size.rs"]
mod toy_size;
mod training;
mod usage;
mod wheel;
mod wheels;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use process::Interrupted;
use repo::Repo;
use usage::Usage;

/// Developer commands of Admix.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", flatten_help = true, arg_required_else_help = true)]
#[command(after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What `help` says after the commands.
const AFTER: &str = "\
Variables: LIBTORCH (a libtorch to use), ADMIX_WHEELS (a folder with the wheels, for set-up without a network),
XDG_CACHE_HOME (its admix/ holds what was fetched), CUDA_HOME (a CUDA 13 toolkit, for its headers),
ADMIX_SHARED (vectors, peer and data; default ../shared), ADMIX_PEER_PYTHON (the Python that has PyTorch; default python3).
Exit codes: 0 done, 1 a step failed, 2 a mistake in the command line, 130 and 143 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or fetch libtorch 2.11.0 and link it as .libtorch; 544 MB unless it is here.
    Setup(setup::SetupArgs),
    /// Set up, build, train AMix on the embedded dataset: a few minutes.
    Demo,
    /// Set up, then run every test.
    Test(test::TestArgs),
    /// Formatting, circles between files, lints and documentation; warnings are errors.
    Check,
    /// Train the methods on CIFAR-10 at one budget; resumes.
    Compare(compare::CompareArgs),
    /// Measure.
    #[command(subcommand, flatten_help = true)]
    Bench(bench::BenchCommand),
    /// Throw damaged input at the readers of plugin libraries.
    Fuzz(fuzz::FuzzArgs),
    /// Make files of the repository again.
    #[command(subcommand, flatten_help = true)]
    Fixtures(Fixture),
    /// Copy the reference vectors into tests/golden.
    Golden(golden::GoldenArgs),
    /// Compare the logits of every backbone with torchvision's and timm's at the same random weights. Installs both, with
    /// PyTorch, below target/interop: gigabytes.
    Interop(interop::InteropArgs),
    /// Build another revision below target/same, train every bundled recipe for 3 steps at toy size with it and with the
    /// working tree, and fail unless the tensors of all checkpoints are equal bit for bit. xtask/same_renames.txt has the
    /// names that changed.
    Same(same::SameArgs),
    /// Run the program on a CUDA device without a GPU (tests/fake_cuda): captured steps, host syncs, races.
    FakeCuda(fake_cuda::FakeCudaArgs),
    /// Build the Python package's wheel, and install it into a fresh environment with PyTorch: gigabytes, unless
    /// --torch-of names an interpreter that has it. --test runs python/tests there.
    Wheel(wheel::WheelArgs),
    /// Attack the program: kills, damaged files, missing memory and disk, changed data, settings at their limits.
    Torture(torture::TortureArgs),
}

#[derive(Debug, Subcommand)]
enum Fixture {
    /// The embedded dataset.
    FashionMnist(fashion_mnist::FashionMnistArgs),
}

fn main() -> ExitCode {
    let error = match run(&Cli::parse().command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    eprintln!("error: {error:#}");
    if let Some(Interrupted(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

fn run(command: &Command) -> Result<()> {
    let repo = Repo::find()?;
    match command {
        Command::Setup(args) => setup::run(&repo, args),
        Command::Demo => demo::run(&repo),
        Command::Test(args) => test::run(&repo, args),
        Command::Check => check::run(&repo),
        Command::Compare(args) if args.ssl => compare_ssl::run(&repo, args),
        Command::Compare(args) => compare::run(&repo, args),
        Command::Bench(command) => bench::run(&repo, command),
        Command::Fuzz(args) => fuzz::run(&repo, args),
        Command::Fixtures(Fixture::FashionMnist(args)) => fashion_mnist::run(&repo, args),
        Command::Golden(args) => golden::run(&repo, args),
        Command::Interop(args) => interop::run(&repo, args),
        Command::Same(args) => same::run(&repo, args),
        Command::FakeCuda(args) => fake_cuda::run(&repo, args),
        Command::Torture(args) => torture::run(&repo, args),
        Command::Wheel(args) => wheel::run(&repo, args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["xtask"], words].concat())
    }

    #[test]
    fn the_commands_and_their_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn mistakes_are_found_before_anything_is_done() {
        for words in [
            &["tset"][..],
            &["setup", "--cude"],
            &["setup", "now"],
            &["test", "golden"],
            &["demo", "--fast"],
            &["check", "-v"],
            &["fixtures"],
            &["fixtures", "mnist"],
            &["golden", "--from"],
            &["bench"],
            &["bench", "speed"],
            &["bench", "overhead", "--rounds", "0"],
            &["bench", "overhead", "--cases", "large"],
            &["bench", "peer", "--fast"],
            &["bench", "policies", "--fast"],
            &["bench", "floor", "--methods", "amx"],
            &["bench", "gpu", "--only", "losses,flor"],
            &["bench", "gpu", "--seconds", "soon"],
            &["bench", "puzzlemix"],
            &["bench", "puzzlemix", "--quality", "--fast"],
            &["bench", "puzzlemix", "--quality", "--speed"],
            &["bench", "comixup"],
            &["bench", "comixup", "--quality", "--problems", "60"],
            &["compare", "--epochs", "many"],
            &["compare", "--epoch", "3"],
            &["compare", "--batch", "32"],
            &["fuzz", "--seconds", "0"],
            &["fuzz", "manifest"],
            &["same"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        let Cli { command } = parse(&["bench", "policies", "--methods", "amix"]).unwrap();
        let error = run(&command).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("puzzlemix, mixup"), "{error:#}");
    }

    #[test]
    fn the_help_lists_every_command_and_its_flags() {
        let help = parse(&["help"]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        let help = help.to_string();
        for part in [
            "cargo xtask setup",
            "cargo xtask demo",
            "cargo xtask test",
            "cargo xtask check",
            "cargo xtask compare",
            "cargo xtask bench gpu",
            "cargo xtask fuzz",
            "cargo xtask fixtures fashion-mnist",
            "cargo xtask golden",
            "cargo xtask same",
            "--per-class",
            "--rehearse",
            "--bundle",
            "ADMIX_WHEELS",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }

    #[test]
    fn what_follows_two_dashes_is_passed_on() {
        let parsed =
            parse(&["bench", "floor", "--rounds=3", "--methods", "amix,moco", "--", "--device", "cuda"]);
        let text = format!("{:?}", parsed.unwrap());
        assert!(text.contains("[\"--device\", \"cuda\"]") && text.contains("rounds: 3"), "{text}");
        assert!(text.contains("[\"amix\", \"moco\"]"), "{text}");
    }
}
