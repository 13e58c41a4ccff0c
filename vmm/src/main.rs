//! The `casemate` command.

fn main() -> std::process::ExitCode {
    casemate::cli::main()
}
