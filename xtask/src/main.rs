//! Developer commands of Admix: `cargo xtask help` lists them. Links no libtorch.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its user")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a failing test may panic"))]

mod args;
mod bench;
mod compare;
mod compare_ssl;
mod cuda_object;
mod fashion_mnist;
mod floor;
mod fuzz;
mod golden;
mod gpu;
mod libtorch;
mod memory;
mod policies;
mod precision;
mod process;
mod puzzlemix;
mod repo;
mod same;
mod scratch;
mod setup;
mod tasks;
mod tools;
#[path = "../../tests/toy_size.rs"]
mod toy_size;
mod wheels;

use std::process::ExitCode;

use anyhow::Result;

use args::{Args, Usage};
use process::Interrupted;
use repo::Repo;

/// What `help` prints.
const HELP: &str = "\
cargo xtask COMMAND

  setup [--cuda] [--force]     find or fetch libtorch 2.11.0 and link it as .libtorch; 544 MB unless it is here
                               (--cuda: with the GPU libraries, 2.5 GB, and the object for CUDA graphs, compiled here;
                               --force: look again, fetch again)
  demo                         set up, build, train AMix on the embedded dataset: a few minutes
  test [-- ARGS]               set up, then every test; ARGS go to `cargo test`
  check                        formatting, lints and documentation, warnings are errors
  compare [--data PATH] [--out DIR] [--methods A,B] [--width X] [--epochs N] [--per-class N] [--release] [-- ARGS]
                               train the methods on CIFAR-10 at one budget; resumes; ARGS go to `admix run`
  compare --ssl [--data PATH] [--out DIR] [--methods A,B] [--protocols A,B] [--width X] [--epochs N] [--per-class N]
          [--batch N] [--lr X] [--bn-groups N] [--release] [-- ARGS]
                               the same for self-supervised methods: without labels, then k-NN and a linear classifier
                               on their features; ARGS go to `admix run` and `admix eval`
  bench overhead [--cases A,B] [--rounds N] [--steps N] [--warmup N] [--threads N] [--strict]
                               time ours against training by hand, in turn
  bench peer [--methods A,B] [--width X] [--batch N] [--rounds N] [--steps N] [--warmup N] [--threads N] [--strict]
                               time ours against PyTorch, in turn: a ResNet-18 and one of width 1/8, where dispatch counts
  bench floor [--methods A,B] [--batch N] [--rounds N] [--steps N] [--warmup N] [--threads N] [-- ARGS]
                               hold steps against the passes over the network that they are made of; ARGS go to `admix`
  bench memory [--methods A,B] [--batch N]
                               the most memory that steps need, in that of a step that mixes nothing
  bench gpu [--admix PATH] [--rehearse] [--only PART,PART] [--data PATH] [--rounds N] [--steps N] [--warmup N]
                               all that is promised of a GPU, against PyTorch eager and compiled; fails on a miss
                               (--admix: a built program, so that no cargo is needed; --rehearse: on the CPU, tiny;
                               the parts are small, losses, large, floor and precision, which trains on the CIFAR-10 of --data)
  bench methods [--methods A,B] [--batch N] [--alone] [--rounds N] [--steps N] [--warmup N] [--threads N] [--strict]
                               time AMix and PuzzleMix against a step that mixes nothing and against PyTorch, all in turn
  bench policies [--methods A,B] [--batch N] [--alone] [--rounds N] [--steps N] [--warmup N] [--threads N] [--strict]
                               time steps of the policies against one that mixes nothing and against PyTorch, all in turn
                               (--alone: without PyTorch)
  bench ssl [--batch N] [--alone] [--rounds N] [--steps N] [--warmup N] [--threads N] [--strict]
                               time a step of AMix-I against one of MoCo v2, and both against PyTorch, all in turn
  bench puzzlemix --quality|--speed [--problems N] [--data PATH] [-- ARGS]
                               train a small network on CIFAR-10, pose problems with its saliency, and hold the masks of
                               PuzzleMix's solvers against the optimum, or time them; ARGS go to `admix bench puzzlemix`
  bench comixup --quality [--parts N] [--data PATH] [-- ARGS]
                               the same network: Co-Mixup's solvers against swap moves; ARGS go to `admix bench comixup`
  fuzz [--seconds N]           throw damaged input at the readers of plugin libraries, 20 seconds for each
  fixtures fashion-mnist [--deb FILE]
                               make the embedded dataset again
  golden [--from DIR]          copy the reference vectors into tests/golden
  same REV                     build revision REV below target/same, train every bundled recipe for 3 steps at toy size with it
                               and with the working tree, and fail unless the tensors of all checkpoints are equal bit for bit
                               (xtask/same_renames.txt: names that changed)
  help                         this text

Variables: LIBTORCH (a libtorch to use), ADMIX_WHEELS (a folder with the wheels, for set-up without a network),
XDG_CACHE_HOME (its admix/ holds what was fetched), CUDA_HOME (a CUDA 13 toolkit, for its headers), ADMIX_SHARED (vectors, peer and data; default ../shared),
ADMIX_PEER_PYTHON (the Python that has PyTorch; default python3).
Exit codes: 0 done, 1 a step failed, 2 a mistake in the command line, 130 and 143 interrupted.";

fn main() -> ExitCode {
    let error = match dispatch(std::env::args().skip(1).collect()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    eprintln!("error: {error:#}");
    if let Some(Interrupted(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// Runs the command that the arguments name.
fn dispatch(mut words: Vec<String>) -> Result<()> {
    let own = words.iter().take_while(|w| *w != "--");
    if words.is_empty() || own.clone().any(|w| w == "--help" || w == "-h") {
        words = vec!["help".into()];
    }
    let command = words.remove(0);
    let run: fn(&Repo, Args) -> Result<()> = match command.as_str() {
        "help" => {
            println!("{HELP}");
            return Ok(());
        }
        "setup" => setup::run,
        "demo" => tasks::demo,
        "test" => tasks::test,
        "check" => tasks::check,
        "compare" => compare::run,
        "bench" => bench::run,
        "fuzz" => fuzz::run,
        "fixtures" => fixtures,
        "golden" => golden::run,
        "same" => |repo, mut args| {
            let revision = args.positional();
            args.finish()?;
            same::run(repo, &revision.ok_or_else(|| Usage("same: name a revision".into()))?)
        },
        _ => return Err(Usage(format!("there is no command `{command}`")).into()),
    };
    run(&Repo::find()?, Args::new(command, words))
}

/// Runs `fixtures NAME`.
fn fixtures(repo: &Repo, mut args: Args) -> Result<()> {
    match args.positional().as_deref() {
        Some("fashion-mnist") => fashion_mnist::run(repo, args),
        other => {
            let name = other.unwrap_or("nothing");
            Err(Usage(format!("fixtures: the one fixture is `fashion-mnist`, not `{name}`")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(words: &[&str]) -> anyhow::Error {
        dispatch(words.iter().map(ToString::to_string).collect()).unwrap_err()
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
            &["bench", "peer", "--fast"],
            &["bench", "policies", "--fast"],
            &["bench", "policies", "--methods", "amix"],
            &["bench", "puzzlemix"],
            &["bench", "puzzlemix", "--quality", "--fast"],
            &["bench", "comixup"],
            &["bench", "comixup", "--quality", "--problems", "60"],
            &["bench", "puzzlemix", "--quality", "--speed"],
            &["compare", "--epochs", "many"],
            &["compare", "--epoch", "3"],
            &["fuzz", "--seconds", "0"],
            &["fuzz", "manifest"],
        ] {
            let error = error(words);
            assert!(error.is::<Usage>(), "{words:?}: {error:#}");
            assert!(!error.to_string().contains('\n'), "{words:?}: {error:#}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for command in [
            "setup", "demo", "test", "check", "compare", "bench", "fuzz", "fixtures", "golden", "same",
            "help",
        ] {
            assert!(HELP.contains(&format!("\n  {command}")), "{command}");
        }
        dispatch(vec!["setup".into(), "--help".into()]).unwrap();
    }
}
