//! `penpal`

fn main() -> std::process::ExitCode {
    penpal::cli::main()
}
