//! The program without the bundled plugins: every mixer and loss must come from a library (`--plugin`).

fn main() -> std::process::ExitCode {
    admix::bare_main()
}
