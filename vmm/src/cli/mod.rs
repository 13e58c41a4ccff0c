//! The `casemate` command: one file for each command, nitro-cli's names, flags and JSON shapes where it has them.
//!
//! Promises: what a program may want to read goes to stdout, everything else to stderr; an error is one line that
//! says what to do; the exit code is 0 exactly if what was asked was done.

mod access;
mod attest;
mod attested;
mod audit;
mod build;
mod claim;
mod companion;
mod console;
mod crypto;
mod describe;
mod describe_eif;
mod doctor;
mod doctor_fix;
pub mod error;
mod explain;
mod hsm;
mod key;
mod kms;
mod launch;
mod module;
mod new;
mod output;
mod owner;
mod pcr;
mod platform;
mod profile;
pub mod registry;
mod reproduce;
pub mod run;
mod serve;
mod sign_eif;
mod state;
mod terminate;
mod text;
mod update;
mod verify;
mod volume;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Failure;

/// Launches sealed guests that nobody on the host can look into, and proves what they are.
#[derive(Debug, Parser)]
#[command(name = "casemate", version, propagate_version = false, arg_required_else_help = true)]
#[command(after_help = "\
Begin with `casemate run`: it builds the signer if need be, launches it and says how to talk to it.
Names and flags of nitro-cli work: run-enclave, describe-enclaves, terminate-enclave, build-enclave, …")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = run::ABOUT)]
    Run(run::RunArgs),
    /// Launch a guest in the background and print nitro-cli's JSON
    RunEnclave(run::RunEnclaveArgs),
    /// Launch the signer, or find it, and serve it to AWS clients over TLS
    Serve(serve::Args),
    /// Make a signer that belongs to nobody yours, once, after it has proved what it is
    Claim(claim::Args),
    /// List the running guests
    #[command(visible_alias = "describe-enclaves")]
    Describe(describe::Args),
    /// End a guest, or all
    #[command(visible_alias = "terminate-enclave")]
    Terminate(terminate::Args),
    /// Show the log of a guest in debug mode
    Console(console::Args),

    /// Fetch an attestation document from a guest
    Attest(attest::Args),
    /// Check an attestation document, or (with --key) a signature
    Verify(verify::Args),

    /// Make, list, describe and delete keys of the signer
    #[command(subcommand)]
    Key(key::Command),
    /// Sign a message
    Sign(crypto::SignArgs),
    /// Encrypt a message of up to 4096 bytes
    Encrypt(crypto::EncryptArgs),
    /// Decrypt a ciphertext
    Decrypt(crypto::DecryptArgs),
    /// Fetch a public key
    PublicKey(crypto::PublicKeyArgs),
    /// Call any operation of the KMS protocol with a JSON body
    Kms(kms::Args),

    /// The signer's PKCS#11 token: make it, manage its users, configure the module for programs
    #[command(subcommand)]
    Hsm(hsm::Command),

    /// Fetch the signer's audit log, or prove that it is complete
    #[command(subcommand)]
    Audit(audit::Command),

    /// Make volumes, attach them to running guests and detach them, or show what the host sees of one
    #[command(subcommand)]
    Volume(volume::Command),

    /// Put another image in the place of a signer that is served, with its state and its endpoint
    Update(update::Args),
    /// Hand the signer's state to another image, or say which images may have it
    #[command(subcommand)]
    State(state::Command),

    /// Make the crate of a new guest
    New(new::Args),
    /// Build a guest crate into an image
    #[command(visible_alias = "build-enclave")]
    Build(build::Args),
    /// Show what an image is, and its PCRs
    DescribeEif(describe_eif::Args),
    /// Compute the PCR of a signing certificate (PCR8) or of any file
    Pcr(pcr::Args),
    /// Sign an image, in place
    SignEif(sign_eif::Args),

    /// The platform key: make it in a file or in a TPM, and prove to others where it is
    #[command(subcommand)]
    Platform(platform::Command),

    /// Show what this host offers to sealed guests, and what to change
    Doctor(doctor::Args),
    /// Measure launch, operations and memory on this machine, beside ordinary processes
    Bench(companion::Args),
    /// Attack a signer on this machine as root, in every known way, and say what came of it
    Selftest(companion::Args),
    /// Explain an error code
    Explain(explain::Args),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    // A launch is timed from the start of its process, and the command line of all commands takes long to make.
    let command = match std::env::args_os().nth(1) {
        Some(name) if name == "run" => Command::Run(run::RunArgs::parse_alone()),
        _ => Cli::parse().command,
    };
    match dispatch(command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("casemate: {failure}");
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode, Failure> {
    let done = |result: Result<(), Failure>| result.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Run(args) => run::run(args),
        Command::RunEnclave(args) => done(run::run_enclave(&args)),
        Command::Serve(args) => serve::run(args),
        Command::Claim(args) => done(claim::run(&args)),
        Command::Describe(args) => done(describe::run(&args)),
        Command::Terminate(args) => terminate::run(&args),
        Command::Console(args) => done(console::run(&args)),
        Command::Attest(args) => done(attest::run(&args)),
        Command::Verify(args) => verify::run(&args),
        Command::Key(command) => done(key::run(&command)),
        Command::Sign(args) => done(crypto::sign(&args)),
        Command::Encrypt(args) => done(crypto::encrypt(&args)),
        Command::Decrypt(args) => done(crypto::decrypt(&args)),
        Command::PublicKey(args) => done(crypto::public_key(&args)),
        Command::Kms(args) => done(kms::run(&args)),
        Command::Hsm(command) => done(hsm::run(&command)),
        Command::Audit(command) => done(audit::run(&command)),
        Command::Volume(command) => done(volume::run(&command)),
        Command::Update(args) => update::run(&args),
        Command::State(command) => done(state::run(&command)),
        Command::New(args) => done(new::run(&args)),
        Command::Build(args) => done(build::run(&args)),
        Command::DescribeEif(args) => done(describe_eif::run(&args)),
        Command::Pcr(args) => done(pcr::run(&args)),
        Command::SignEif(args) => done(sign_eif::run(&args)),
        Command::Platform(command) => done(platform::run(&command)),
        Command::Doctor(args) => done(doctor::run(&args)),
        Command::Bench(args) => done(companion::bench(&args)),
        Command::Selftest(args) => done(companion::selftest(&args)),
        Command::Explain(args) => done(explain::run(&args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn run_alone_is_the_same_as_among_the_others() {
        let mut all = super::Cli::command();
        all.build();
        let mut among = all.find_subcommand("run").expect("run").clone();
        let mut alone = super::run::RunArgs::command_alone();
        alone.build();
        assert_eq!(alone.render_long_help().to_string(), among.render_long_help().to_string());
        assert_eq!(alone.render_help().to_string(), among.render_help().to_string());
    }
}
