//! The gate daemon. The code is in the library.

fn main() -> std::process::ExitCode {
    postern::cli::posternd::main()
}
