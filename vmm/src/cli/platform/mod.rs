//! `platform`: the platform key, in a file or in a TPM ([`manage`]); and the proof of where it is, made on the platform and
//! checked by others ([`prove`]).

mod manage;
mod prove;

pub(super) use prove::{EvidenceArgs, agree};

use super::error::Failure;

/// Commands about the platform key.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the platform key: in a file, or with --tpm in a TPM 2.0
    Init(manage::InitArgs),
    /// Show where the platform key is, and what it takes to use it
    Describe(manage::DescribeArgs),
    /// Let another VMM, or this host with other firmware, have what is sealed under the platform key
    Update(manage::UpdateArgs),
    /// Close the platform key until the host is restarted: what runs goes on, and nothing more is launched
    Lock,
    /// Have the TPM prove where the platform key is
    Evidence(prove::GatherArgs),
    /// For a verifier: make a challenge that only the TPM of this evidence can answer
    Challenge(prove::ChallengeArgs),
    /// Have the TPM answer a verifier's challenge
    Answer(prove::AnswerArgs),
    /// For a verifier: check the answer, and write down which attestation key is in which TPM
    Enrol(prove::EnrolArgs),
    /// For a verifier: check a platform's evidence, and write its root certificate
    Verify(prove::VerifyArgs),
    /// The TPM service of one launch or volume
    #[command(hide = true)]
    Serve(manage::ServeArgs),
}

/// Runs a command about the platform key.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => manage::init(args),
        Command::Describe(args) => manage::describe(args),
        Command::Update(args) => manage::update(args),
        Command::Lock => manage::lock(),
        Command::Evidence(args) => prove::gather(args),
        Command::Challenge(args) => prove::challenge(args),
        Command::Answer(args) => prove::answer(args),
        Command::Enrol(args) => prove::enrol(args),
        Command::Verify(args) => prove::verify(args),
        Command::Serve(args) => manage::serve(args),
    }
}

impl From<casemate_tpm::chip::Error> for Failure {
    fn from(error: casemate_tpm::chip::Error) -> Self {
        Self::plain(error)
    }
}
