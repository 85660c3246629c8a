//! The gate daemon; all it does stands in the library.

fn main() -> std::process::ExitCode {
    postern::cli::posternd::main()
}
