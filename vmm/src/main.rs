//! The `casemate` command.

fn main() -> std::process::ExitCode {
    casemate::timing::start();
    casemate::cli::main()
}
