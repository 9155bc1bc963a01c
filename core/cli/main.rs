//! The `admix` program with the bundled plugins.

// The linker drops a crate that nothing names, and its plugins with it.
use admix_plugins as _;

// For libtorch too, whose blocks the system's allocator scatters: a step needs a third less memory with this one.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: admix_torch::Remembering<tikv_jemallocator::Jemalloc> =
    admix_torch::Remembering(tikv_jemallocator::Jemalloc);

fn main() -> std::process::ExitCode {
    admix::main()
}
