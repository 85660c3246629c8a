//! `postern`: makes knocks and sends them.

fn main() -> std::process::ExitCode {
    postern::cli::postern::main()
}
