//! Commands about the proof: what the platform makes (`evidence`, `answer`), and what a verifier does (`challenge`, `enrol`,
//! `verify`, and the same flags on `casemate verify`).

use std::path::{Path, PathBuf};

use casemate_attestation::platform;
use casemate_attestation::posture::{Fact, fact};
use casemate_attestation::verify::Established as Document;
use casemate_tpm::chip;
use casemate_tpm::credential::{Answer, Challenge, Kept};
use casemate_tpm::evidence::{Established, Evidence, Expectations, NONCE_MAX};
use casemate_tpm::pcr::Value;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::manage::{chip, now, register};
use crate::cli::error::{Code, Failure};
use crate::cli::output::{print_json, print_line};
use crate::cli::text;
use crate::cli::verify::read_root;

/// Flags of `platform evidence`.
#[derive(Debug, clap::Args)]
pub struct GatherArgs {
    /// Where to write the evidence
    #[arg(long, value_name = "FILE", default_value = "platform.evidence")]
    out: PathBuf,
    /// A verifier's nonce: text, hex:…, base64:… or @FILE
    #[arg(long, value_name = "VALUE")]
    nonce: Option<String>,
}

/// Flags of `platform challenge`.
#[derive(Debug, clap::Args)]
pub struct ChallengeArgs {
    /// The platform's evidence
    evidence: PathBuf,
    /// A certificate of the TPM maker's that you trust (PEM or DER); may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    tpm_root: Vec<PathBuf>,
    /// Where to write the challenge, for the platform
    #[arg(long, value_name = "FILE", default_value = "challenge.json")]
    out: PathBuf,
    /// Where to write what `platform enrol` needs; keep it to yourself
    #[arg(long, value_name = "FILE", default_value = "challenge.kept.json")]
    keep: PathBuf,
}

/// Flags of `platform answer`.
#[derive(Debug, clap::Args)]
pub struct AnswerArgs {
    /// The verifier's challenge
    challenge: PathBuf,
    /// Where to write the answer
    #[arg(long, value_name = "FILE", default_value = "answer.json")]
    out: PathBuf,
}

/// Flags of `platform enrol`.
#[derive(Debug, clap::Args)]
pub struct EnrolArgs {
    /// The platform's answer
    answer: PathBuf,
    /// What `platform challenge` kept
    #[arg(long, value_name = "FILE", default_value = "challenge.kept.json")]
    keep: PathBuf,
    /// Where to write the enrolment
    #[arg(long, value_name = "FILE", default_value = "enrolment.json")]
    out: PathBuf,
}

/// What a verifier demands of a platform's TPM.
#[derive(Debug, clap::Args)]
pub struct PlatformDemands {
    /// A certificate of the TPM maker's that you trust (PEM or DER); may be given several times
    #[arg(long, value_name = "FILE", help_heading = "Platform")]
    tpm_root: Vec<PathBuf>,
    /// The TPM that answered your challenge, as `platform enrol` wrote it
    #[arg(long, value_name = "FILE", help_heading = "Platform")]
    enrolment: Option<PathBuf>,
    /// What a register of the TPM must hold; may be given several times
    #[arg(long, value_name = "PCR=SHA256", value_parser = register, help_heading = "Platform")]
    tpm_pcr: Vec<(u8, Value)>,
    /// SHA-384 of the VMM's program that it must be
    #[arg(long, value_name = "SHA384", value_parser = digest, help_heading = "Platform")]
    vmm_sha384: Option<[u8; chip::DIGEST_LEN]>,
    /// The nonce that the evidence was asked for with
    #[arg(long, value_name = "VALUE", help_heading = "Platform")]
    platform_nonce: Option<String>,
}

/// Flags of `platform verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The platform's evidence
    evidence: PathBuf,
    #[command(flatten)]
    demands: PlatformDemands,
    /// Where to write the root certificate, for --root, if everything holds
    #[arg(long, value_name = "FILE")]
    root_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The same for whoever verifies a document: the evidence takes the place of a root certificate.
#[derive(Debug, clap::Args)]
pub struct EvidenceArgs {
    /// The evidence of a platform with a TPM, in place of --root: where the platform key is, is checked first
    #[arg(long, value_name = "FILE", help_heading = "Platform", group = "anchor")]
    platform_evidence: Option<PathBuf>,
    #[command(flatten)]
    demands: PlatformDemands,
}

fn digest(text: &str) -> Result<[u8; chip::DIGEST_LEN], String> {
    let mut digest = [0; chip::DIGEST_LEN];
    hex::decode_to_slice(text, &mut digest).map_err(|_| "96 hexadecimal digits are wanted".to_owned())?;
    Ok(digest)
}

fn read_evidence(path: &Path) -> Result<Evidence, Failure> {
    Evidence::parse(&text::read(path)?)
        .map_err(|error| Failure::new(Code::SerdeError, format!("{}: {error}", path.display())))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_slice(&text::read(path)?)
        .map_err(|error| Failure::new(Code::SerdeError, format!("{}: {error}", path.display())))
}

fn roots(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    paths.iter().map(|path| read_root(path)).collect()
}

/// Makes evidence.
pub(super) fn gather(args: &GatherArgs) -> Result<(), Failure> {
    let nonce = args.nonce.as_deref().map(text::value).transpose()?.unwrap_or_default();
    if nonce.len() > NONCE_MAX {
        let message = format!("the nonce has {} bytes; {NONCE_MAX} are allowed", nonce.len());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let evidence = Evidence::gather(&chip()?, &nonce)?;
    text::write(&args.out, &evidence.encode())
}

/// Makes a challenge.
pub(super) fn challenge(args: &ChallengeArgs) -> Result<(), Failure> {
    let evidence = read_evidence(&args.evidence)?;
    let made = Challenge::new(&evidence, &roots(&args.tpm_root)?, now());
    let (challenge, kept) =
        made.map_err(|error| Failure::plain(format!("{}: {error}", args.evidence.display())))?;
    text::write_private(&args.keep, json!(kept).to_string().as_bytes())?;
    text::write(&args.out, json!(challenge).to_string().as_bytes())
}

/// Answers a challenge.
pub(super) fn answer(args: &AnswerArgs) -> Result<(), Failure> {
    let challenge: Challenge = read_json(&args.challenge)?;
    let answer = challenge.answer(&chip()?)?;
    text::write(&args.out, json!(answer).to_string().as_bytes())
}

/// Checks an answer.
pub(super) fn enrol(args: &EnrolArgs) -> Result<(), Failure> {
    let (kept, answer): (Kept, Answer) = (read_json(&args.keep)?, read_json(&args.answer)?);
    let enrolment = kept.check(&answer).ok_or_else(|| {
        Failure::plain(format!(
            "{} is not the answer to this challenge: no TPM was enrolled",
            args.answer.display()
        ))
    })?;
    text::write(&args.out, json!(enrolment).to_string().as_bytes())?;
    print_line(&format!("attestation key {} is in that TPM", hex::encode(enrolment.ak_name)))
}

impl PlatformDemands {
    fn check(&self, path: &Path) -> Result<Established, Failure> {
        let expected = Expectations {
            ek_roots: roots(&self.tpm_root)?,
            enrolment: self.enrolment.as_deref().map(read_json).transpose()?,
            nonce: self.platform_nonce.as_deref().map(text::value).transpose()?,
            registers: self.tpm_pcr.iter().copied().collect(),
            vmm_sha384: self.vmm_sha384,
            now: now(),
        };
        read_evidence(path)?
            .verify(&expected)
            .map_err(|error| Failure::plain(format!("{} does not verify: {error}", path.display())))
    }
}

/// Checks evidence.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let established = args.demands.check(&args.evidence)?;
    if let Some(path) = &args.root_out {
        let pem = platform::encode_root(&established.root).map_err(Failure::plain)?;
        text::write(path, pem.as_bytes())?;
    }
    match args.json {
        true => print_json(&json!({"verified": true, "established": established})),
        false => print_line(&established.to_string()),
    }
}

impl EvidenceArgs {
    /// What the evidence establishes, if there is one.
    pub(in crate::cli) fn establish(&self) -> Result<Option<Established>, Failure> {
        self.platform_evidence.as_deref().map(|path| self.demands.check(path)).transpose()
    }

    /// Whether it is there.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.platform_evidence.is_some()
    }
}

/// Whether a document under the platform's root is of the platform that the evidence is about: the VMM says the same of itself
/// as the TPM does of the VMM.
pub(in crate::cli) fn agree(platform: &Established, document: &Document) -> Result<(), Failure> {
    let Some(posture) = &document.posture else { return Ok(()) };
    for (name, wanted) in [(fact::ROOT_OF_TRUST, "tpm"), (fact::VMM_SHA384, &platform.vmm_sha384)] {
        match posture.get(name) {
            Some(Fact::Text(found)) if found != wanted => {
                return Err(Failure::plain(format!(
                    "the document does not belong to this evidence: its posture says {name} = {found}, and the TPM {wanted}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}
