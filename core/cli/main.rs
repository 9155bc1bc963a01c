//! The `admix` program with the bundled plugins.

// The linker drops a crate that nothing names, and its plugins with it.
use admix_plugins as _;

fn main() -> std::process::ExitCode {
    admix::main()
}
