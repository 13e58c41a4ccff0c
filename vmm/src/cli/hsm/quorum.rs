//! `hsm quorum`: M of N. A command that takes approvals is given once with `--ask-quorum FILE`, which writes the text to be
//! approved and does nothing else, and once more when the others have approved. Approvers sign where their keys are, with
//! openssl or `hsm quorum sign`, which need no signer.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use casemate_hsm::message::{Approval, Service};
use casemate_hsm::{Bytes, Operation, Request, Response};
use p384::pkcs8::{Document, LineEnding, SecretDocument};
use serde_json::json;
use zeroize::Zeroizing;

use super::super::error::{Code, Failure};
use super::super::output::{print_json, print_line};
use super::super::text;
use super::users::OfficerArgs;
use super::who::WhoArgs;
use super::{Session, lacks};

/// What to do about quorums.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key to approve with (P-256); needs no signer
    Keygen {
        /// Where to write the private key, PEM; the public key goes to FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Register the public key that one will approve with
    Register {
        /// The public key, PEM or DER: RSA of 2048 bits and more, or on P-256, P-384 or P-521
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        #[command(flatten)]
        who: WhoArgs,
    },
    /// Set how many others must approve what belongs to a service, as a crypto officer; 0 for none
    Set {
        /// What is to take approvals: users and quorums, wrapped keys, or backups
        service: ServiceName,
        /// How many, beside whoever asks
        count: u64,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: OfficerArgs,
    },
    /// List the quorums, and what waits for approvals as far as one asked for it or can approve it
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        who: WhoArgs,
    },
    /// Show a text that --ask-quorum wrote, and sign it; needs no signer
    Sign {
        /// The text
        text: PathBuf,
        /// The private key, PEM (PKCS #8): RSA or P-256. openssl signs with others: openssl dgst -sha256 -sign KEY -out FILE TEXT
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The signature
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Bring signatures to the token; any user may
    Approve {
        /// The text that was signed
        text: PathBuf,
        /// Who signed it, and the signature
        #[arg(long = "signature", value_name = "USER=FILE", required = true)]
        signatures: Vec<String>,
        #[command(flatten)]
        who: WhoArgs,
    },
}

/// A service's name on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum ServiceName {
    /// Users and quorums; officers approve
    User,
    /// Keys that leave wrapped; officers and users approve
    Export,
    /// Backups; officers approve
    Backup,
}

impl From<ServiceName> for Service {
    fn from(name: ServiceName) -> Self {
        match name {
            ServiceName::User => Self::Users,
            ServiceName::Export => Self::Export,
            ServiceName::Backup => Self::Backup,
        }
    }
}

/// A command that may take a quorum.
#[derive(Debug, clap::Args)]
pub struct AskArgs {
    /// Do nothing but write the text that others must sign so that exactly this can be done, once, within ten minutes
    #[arg(long, value_name = "FILE")]
    ask_quorum: Option<PathBuf>,
}

impl AskArgs {
    /// Whether approvals are asked for, and nothing is done.
    pub(super) const fn is_asked(&self) -> bool {
        self.ask_quorum.is_some()
    }

    /// Does what is requested, or asks for approvals of it: then there is no response.
    pub(super) fn call(
        &self,
        session: &mut Session,
        operation: Operation,
        request: Request,
    ) -> Result<Option<Response>, Failure> {
        let Some(out) = &self.ask_quorum else { return session.call(operation, request).map(Some) };
        let about = Request { operation: Some(operation.name().to_owned()), pin: None, ..request };
        let asked = session.call(Operation::GetQuorumToken, about)?;
        let data = asked.data.ok_or_else(|| lacks(Operation::GetQuorumToken, "Data"))?;
        text::write(out, &data)?;
        print_line(&format!(
            "{}: others sign it (casemate hsm quorum sign, or openssl), casemate hsm quorum approve brings the signatures, then give the same command without --ask-quorum; within ten minutes",
            out.display()
        ))?;
        Ok(None)
    }
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Keygen { out } => keygen(out),
        Command::Register { public_key, who } => {
            let request = Request { public_key: Some(read_public(public_key)?), ..Request::default() };
            who.log_in()?.call(Operation::RegisterQuorumKey, request).map(|_| ())
        }
        Command::Set { service, count, ask, by } => {
            let request =
                Request { service: Some((*service).into()), count: Some(*count), ..Request::default() };
            ask.call(&mut by.log_in()?, Operation::SetQuorum, request).map(|_| ())
        }
        Command::List { json, who } => list(*json, who),
        Command::Sign { text, key, out } => sign(text, key, out),
        Command::Approve { text, signatures, who } => approve(text, signatures, who),
    }
}

fn keygen(out: &Path) -> Result<(), Failure> {
    let failed = |_| Failure::plain("a key could not be made");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(failed)?;
    let pem = |error| Failure::plain(format!("a key could not be written as PEM: {error}"));
    let private = SecretDocument::try_from(key.to_pkcs8v1().map_err(failed)?.as_ref())
        .and_then(|document| document.to_pem("PRIVATE KEY", LineEnding::LF))
        .map_err(pem)?;
    let public = Document::try_from(public.as_ref())
        .and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF))
        .map_err(pem)?;
    text::write_new_private(out, private.as_bytes())?;
    let mut name = out.as_os_str().to_owned();
    name.push(".pub");
    text::write(Path::new(&name), public.as_bytes())
}

/// A public key in a file, PEM or DER: SubjectPublicKeyInfo.
pub(super) fn read_public(path: &Path) -> Result<Bytes, Failure> {
    let bytes = text::read(path)?;
    let pem = std::str::from_utf8(&bytes).ok().filter(|text| text.contains("-----BEGIN"));
    let Some(pem) = pem else { return Ok(bytes.into()) };
    match Document::from_pem(pem) {
        Ok(("PUBLIC KEY", document)) => Ok(Bytes::copy(document.as_bytes())),
        _ => Err(Failure::new(
            Code::InvalidArgument,
            format!("{} is no public key in PEM (`BEGIN PUBLIC KEY`)", path.display()),
        )),
    }
}

fn sign(text: &Path, key: &Path, out: &Path) -> Result<(), Failure> {
    let message = text::read(text)?;
    // What is approved is read first; it comes from somebody else, and goes to a terminal.
    for line in String::from_utf8_lossy(&message).lines() {
        print_line(&line.escape_debug().to_string())?;
    }
    let bad = || {
        let message = format!(
            "{} is no RSA or P-256 key in PEM (PKCS #8); for others: openssl dgst -sha256 -sign {0} -out {} {}",
            key.display(),
            out.display(),
            text.display()
        );
        Failure::new(Code::InvalidArgument, message)
    };
    let pem = Zeroizing::new(text::read(key)?);
    let pem = std::str::from_utf8(&pem).map_err(|_| bad())?;
    let (_, document) = SecretDocument::from_pem(pem).map_err(|_| bad())?;
    let failed = |_| Failure::plain("the text could not be signed");
    let random = SystemRandom::new();
    let der = document.as_bytes();
    let signature = if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
        key.sign(&random, &message).map_err(failed)?.as_ref().to_vec()
    } else {
        let key = RsaKeyPair::from_pkcs8(der).map_err(|_| bad())?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).map_err(failed)?;
        signature
    };
    text::write(out, &signature)
}

fn approve(path: &Path, signatures: &[String], who: &WhoArgs) -> Result<(), Failure> {
    let text = text::read(path)?;
    let id = std::str::from_utf8(&text).ok().and_then(|text| {
        let mut lines = text.lines();
        lines.next().filter(|first| first.starts_with("casemate:hsm:quorum:"))?;
        lines.find_map(|line| line.strip_prefix("nonce "))
    });
    let Some(id) = id else {
        let message = format!("{} is no text that --ask-quorum wrote", path.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    };
    let approvals = signatures.iter().map(|signature| {
        let (user, file) = signature.split_once('=').ok_or_else(|| {
            Failure::new(Code::InvalidArgument, format!("--signature {signature}: it is USER=FILE"))
        })?;
        Ok(Approval { user: user.to_owned(), signature: text::read(Path::new(file))?.into() })
    });
    let request = Request {
        quorum_token: Some(id.to_owned()),
        approvals: Some(approvals.collect::<Result<_, Failure>>()?),
        ..Request::default()
    };
    who.log_in()?.call(Operation::ApproveQuorumToken, request).map(|_| ())
}

fn list(json: bool, who: &WhoArgs) -> Result<(), Failure> {
    let told = who.log_in()?.call(Operation::GetQuorum, Request::default())?;
    let quorums = told.quorums.unwrap_or_default();
    let tokens = told.quorum_tokens.unwrap_or_default();
    let text = |data: &Bytes| String::from_utf8_lossy(data).into_owned();
    if json {
        let tokens: Vec<_> = tokens
            .iter()
            .map(|token| json!({"Id": token.quorum_token, "Text": text(&token.data), "Approved": token.approved}))
            .collect();
        return print_json(&json!({"Quorums": quorums, "Tokens": tokens}));
    }
    for quorum in quorums {
        let service = match quorum.service {
            Service::Users => "user",
            Service::Export => "export",
            Service::Backup => "backup",
        };
        print_line(&format!("{service:<8} {}", quorum.count))?;
    }
    for token in &tokens {
        print_line("")?;
        for line in text(&token.data).lines() {
            print_line(line)?;
        }
        print_line(&format!("approved by: {}", token.approved.join(" ")))?;
    }
    Ok(())
}
