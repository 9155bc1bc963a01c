//! The `admix` program: reads a command, lets the engine do it, and tells people what came of it.
//!
//! | file | what it holds |
//! |---|---|
//! | `main.rs` | the program with the bundled plugins |
//! | `backbones.rs, datasets.rs` | short forms of `admix plugins` |
//! | `bench.rs, bench_report.rs, bench_watch.rs` | `admix bench step`: timing, its report, waiting |
//! | `bench_data.rs` | `admix bench data` |
//! | `build.rs` | puts the recipes into the program |
//! | `check.rs` | `admix check` |
//! | `checkpoints.rs` | finding a checkpoint and its session |
//! | `data.rs` | `admix data` |
//! | `device.rs` | device, threads, precision |
//! | `eval.rs` | `admix eval` |
//! | `experiments.rs` | finding an experiment and its runs |
//! | `export.rs` | `admix export` |
//! | `failure.rs` | one message and one exit code |
//! | `features.rs` | features of pictures as a file |
//! | `libraries.rs` | plugin libraries and the registry with them |
//! | `log.rs` | diagnostics on stderr |
//! | `mix.rs, samples.rs, picture.rs` | `admix mix`: mixed samples as a picture |
//! | `output.rs` | what the program prints |
//! | `plot.rs` | `admix plot` |
//! | `plugin.rs, plugin_new.rs` | `admix plugin`: new plugins, and their contract |
//! | `plugins.rs, settings.rs` | `admix plugins`: entries, and their settings in words |
//! | `predict.rs` | `admix predict` |
//! | `processes.rs` | several processes that train one run |
//! | `profile.rs, profile_table.rs` | `admix run --profile`: spans, and the table |
//! | `progress.rs` | what a run shows while it goes on |
//! | `recipes.rs` | `admix recipes`, and finding a recipe |
//! | `report.rs` | `admix report` |
//! | `run.rs` | `admix run` |
//! | `runs.rs` | `admix runs`, `admix diff`: run folders side by side |
//! | `shell.rs` | commands for a shell |
//! | `show.rs` | `admix show` |
//! | `signals.rs` | signals that ask to stop |
//! | `slurm.rs` | a sweep as an array of jobs |
//! | `sweep.rs, sweep_estimate.rs, sweep_view.rs` | `admix sweep`, what it would cost, what it shows |
//! | `synthetic.rs` | random images for timing |
//! | `tables.rs` | `admix table` |
//! | `trained.rs` | a network taken out of its run |
//! | `trust.rs` | which code may run |
//! | `templates/` | the files of `admix plugin new` |

mod backbones;
mod bench;
mod bench_data;
mod bench_report;
mod bench_watch;
mod check;
pub mod checkpoints;
mod data;
mod datasets;
pub mod device;
mod eval;
mod experiments;
mod export;
pub mod failure;
mod features;
pub mod libraries;
pub mod log;
mod mix;
pub mod output;
mod picture;
mod plot;
mod plugin;
mod plugin_new;
mod plugins;
mod predict;
mod processes;
mod profile;
mod profile_table;
mod progress;
pub mod recipes;
mod report;
mod run;
mod runs;
mod samples;
mod settings;
mod shell;
mod show;
mod signals;
mod slurm;
mod sweep;
mod sweep_estimate;
mod sweep_view;
pub mod synthetic;
mod tables;
mod trained;
mod trust;

// The linker drops a crate that nothing names, and its plugins with it.
#[cfg(test)]
use admix_plugins as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};

/// Trains image models with mixup policies that are plugins, under methods that are scripts.
#[derive(Parser)]
#[command(name = "admix", version, arg_required_else_help = true)]
struct Cli {
    /// What to say on stderr: error, warn, info, debug, trace, or a filter such as admix_engine=debug.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    log: String,
    /// How to say it.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: output::Format,
    #[command(flatten)]
    libraries: libraries::LibraryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a recipe.
    Run(run::RunArgs),
    /// Train what is missing of an experiment: a grid of runs, each a process of its own.
    Sweep(sweep::SweepArgs),
    /// Print what an experiment, or some runs, came to.
    Table(tables::TableArgs),
    /// Draw the figure of an experiment.
    Plot(plot::PlotArgs),
    /// Write one page about runs or experiments.
    Report(report::ReportArgs),
    /// List the runs below a folder.
    Runs(runs::RunsArgs),
    /// Print what differs between two runs.
    Diff(runs::DiffArgs),
    /// Print a recipe with every value and where it comes from.
    Show(show::ShowArgs),
    /// Check a recipe (and its method, by three dry steps) or a script, and train nothing.
    Check(check::CheckArgs),
    /// List the entries of every kind that a recipe can name, or print one's settings.
    Plugins(plugins::PluginsArgs),
    /// Write a new plugin, or hold one to its contract.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// List the recipes that come with the program, or print one.
    Recipes(recipes::RecipesArgs),
    /// List the backbones, or print one's settings.
    Backbones(backbones::BackbonesArgs),
    /// List the datasets, or print one's facts.
    Datasets(datasets::DatasetsArgs),
    /// Import, inspect and verify datasets.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Draw mixed samples into a PNG.
    Mix(mix::MixArgs),
    /// Measure a trained run.
    Eval(eval::EvalArgs),
    /// Write a trained network as a file for torchvision, timm, Detectron2 or another run.
    Export(export::ExportArgs),
    /// Tell the classes of pictures by a trained network.
    Predict(predict::PredictArgs),
    /// Time the program.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
}

admix_api::register! { progress::Terminal }

/// The program without the bundled plugins: every mixer and loss comes from a library.
pub fn bare_main() -> ExitCode {
    libraries::leave_out_bundled();
    main()
}

/// The program: reads the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    guarded(start)
}

/// Runs a program of this workspace: a defect is told in one line, and a file that reaches `ulimit -f` is an error of the
/// write.
pub fn guarded(start: fn() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(failure::tell_panic));
    // Without it the program works as well.
    let _ = admix_torch::tell_crashes();
    admix_torch::end_without_teardown();
    // A file that reaches `ulimit -f` shall be an error of the write, not the end of the program.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::<AtomicBool>::default());
    // The hook has told what happened; the exit code must not be Rust's 101.
    std::panic::catch_unwind(start).unwrap_or(ExitCode::FAILURE)
}

fn start() -> ExitCode {
    let cli = Cli::parse();
    libraries::remember(&cli.libraries);
    // Up to here the reader of arguments may end the program; from here on only this function's return does.
    let _forbidden = admix_torch::ForbidExit::new();
    let profiler = match &cli.command {
        Command::Run(args) => args.profiler(),
        _ => None,
    };
    let outcome = log::start(&cli.log, cli.log_format, profiler.as_ref()).and_then(|()| match cli.command {
        Command::Run(args) => run::run(&args, profiler.as_ref()),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Table(args) => tables::table(&args),
        Command::Plot(args) => plot::plot(&args),
        Command::Report(args) => report::report(&args),
        Command::Runs(args) => runs::runs(&args),
        Command::Diff(args) => runs::diff(&args),
        Command::Show(args) => show::show(&args),
        Command::Check(args) => check::check(&args),
        Command::Plugins(args) => plugins::plugins(&args),
        Command::Plugin(command) => plugin::plugin(&command),
        Command::Recipes(args) => recipes::recipes(&args),
        Command::Backbones(args) => backbones::backbones(args),
        Command::Datasets(args) => datasets::datasets(&args),
        Command::Data(command) => data::data(&command),
        Command::Mix(args) => mix::mix(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Export(args) => export::export(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Bench(command) => bench::bench(&command),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::tell(&error),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_commands_and_their_flags_fit_together() {
        super::Cli::command().debug_assert();
    }
}
