//! `admix-bench`: what the parts of Admix cost, and how good its solvers are.
//!
//! | file | what it measures or holds |
//! |---|---|
//! | `exchange` | what it costs processes to make one of their gradients |
//! | `floor` | the passes over a network that training steps are made of |
//! | `mixers` | what mixers do to a batch |
//! | `scripts` | a mixer as a script against the same operations from Rust |
//! | `library` | the way into a plugin library and back |
//! | `puzzlemix` | PuzzleMix's solvers: `quality`, `speed`, on `problems` |
//! | `comixup` | Co-Mixup's solvers |
//! | `salient` | images with the saliency that a trained network gives them |
//! | `in_turn` | timing several calls alternately |

mod comixup;
mod exchange;
mod floor;
mod in_turn;
mod library;
mod mixers;
mod puzzlemix;
mod salient;
mod scripts;

use std::process::ExitCode;

use admix::libraries::LibraryArgs;
use admix::output::Format;
use admix::{failure, libraries, log};
use clap::{Parser, Subcommand};

// The linker drops a crate that nothing names, and its plugins with it.
use admix_plugins as _;

// As the program itself has: what is timed allocates.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the parts of Admix. `admix bench` times whole steps and the images alone.
#[derive(Parser)]
#[command(name = "admix-bench", version, arg_required_else_help = true)]
struct Cli {
    /// What to say on stderr: error, warn, info, debug, trace, or a filter such as admix_engine=debug.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    log: String,
    /// How to say it.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: Format,
    #[command(flatten)]
    libraries: LibraryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Time what processes exchange in a step, by its size.
    Exchange(exchange::ExchangeArgs),
    /// Time the passes of a recipe's network, of which its steps are made.
    Floor(floor::FloorArgs),
    /// Time the scripted CutMix against the same tensor operations called from Rust, on tiny images.
    Scripts(scripts::ScriptsArgs),
    /// Time the way into a plugin library and back.
    Library(library::LibraryBenchArgs),
    /// Time what mixers do to a batch, without any network.
    Mixers(mixers::MixersArgs),
    /// Compare the masks of PuzzleMix's solvers with the optimum, or time the solvers, on problems of real images.
    Puzzlemix(puzzlemix::PuzzleArgs),
    /// Compare Co-Mixup's solvers with swap moves, on parts of real images.
    Comixup(comixup::ComixupArgs),
}

fn main() -> ExitCode {
    admix::guarded(start)
}

fn start() -> ExitCode {
    let cli = Cli::parse();
    libraries::remember(&cli.libraries);
    let outcome = log::start(&cli.log, cli.log_format, None).and_then(|()| match &cli.command {
        Command::Exchange(args) => exchange::exchange(args),
        Command::Floor(args) => floor::floor(args),
        Command::Scripts(args) => scripts::scripts(args),
        Command::Library(args) => library::library(args),
        Command::Mixers(args) => mixers::mixers(args),
        Command::Puzzlemix(args) => puzzlemix::puzzlemix(args),
        Command::Comixup(args) => comixup::comixup(args),
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
