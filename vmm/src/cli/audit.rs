//! `audit`: the signer's audit log, fetched and checked.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use casemate_audit::{Head, LINE_MAX, STATEMENT, Verifier};
use casemate_client::field;
use serde_json::{Value, json};

use super::access::SignerArgs;
use super::attest::posture_path;
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::text;
use super::verify::TrustArgs;

/// The two sides of the log.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Append the lines that the file does not have yet, and fetch the guest's statement of where the log ends
    Fetch(FetchArgs),
    /// Check that every line follows the one before, and that the last is where the guest says
    Verify(VerifyArgs),
}

/// Flags of `audit fetch`.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// The log: lines of JSON
    #[arg(long, value_name = "FILE", default_value = "audit.jsonl")]
    log: PathBuf,
    /// Where to write the attestation document with the head of the log
    #[arg(long, value_name = "FILE", default_value = "audit.cbor")]
    document: PathBuf,
    /// A nonce for the document: text, hex:…, base64:… or @FILE (at most 512 bytes)
    #[arg(long, value_name = "VALUE")]
    nonce: Option<String>,
    #[command(flatten)]
    guest: SignerArgs,
}

/// Flags of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "casemate audit verify [LOG] --document FILE --root FILE [--policy FILE] [--nonce VALUE]"
)]
pub struct VerifyArgs {
    /// The log
    #[arg(value_name = "LOG", default_value = "audit.jsonl")]
    log: PathBuf,
    /// The attestation document with the head of the log
    #[arg(long, value_name = "FILE", default_value = "audit.cbor", requires = "anchor")]
    document: PathBuf,
    #[command(flatten)]
    trust: TrustArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fetches or verifies.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Fetch(args) => fetch(args),
        Command::Verify(args) => verify(args),
    }
}

fn fetch(args: &FetchArgs) -> Result<(), Failure> {
    let mut verifier = if args.log.exists() { checked(&args.log)? } else { Verifier::default() };
    let guest = args.guest.find()?;
    let mut client = args.guest.signer()?;
    let nonce = args.nonce.as_deref().map(text::value).transpose()?.map(|nonce| text::encode(&nonce));
    let file = OpenOptions::new().create(true).append(true).open(&args.log);
    let mut file = file.map_err(|error| Failure::file("open", &args.log, error))?;
    let mut fetched = 0u64;
    loop {
        let after = verifier.head().sequence;
        let request = json!({"After": after, "Nonce": nonce});
        let answer = client.operation("Casemate", "ReadAudit", &request)?;
        let lines = answer.get("Lines").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let first = answer.get("FirstSequence").and_then(Value::as_u64).unwrap_or_default();
        if first > after.saturating_add(1) {
            return Err(Failure::plain(format!(
                "the guest keeps its newest lines only: {} to {} are gone; continue in a new file",
                after.saturating_add(1),
                first.saturating_sub(1)
            )));
        }
        for line in lines.iter().filter_map(Value::as_str) {
            verifier.line(line).map_err(|error| Failure::plain(format!("the guest's log: {error}")))?;
            writeln!(file, "{line}").map_err(|error| Failure::file("write", &args.log, error))?;
            fetched = fetched.saturating_add(1);
        }
        let head = Head::parse(field(&answer, "ReadAudit", "Head")?)
            .ok_or_else(|| Failure::new(Code::SerdeError, "the guest's head of the log is not one"))?;
        if verifier.head().sequence < head.sequence && !lines.is_empty() {
            continue;
        }
        file.sync_all().map_err(|error| Failure::file("write", &args.log, error))?;
        match answer.get("Document").and_then(Value::as_str) {
            Some(document) => {
                text::write(&args.document, &text::decode("document", document)?)?;
                text::write(&posture_path(&args.document), &text::read(&guest.posture_path())?)?;
            }
            None => eprintln!("casemate: this signer is not sealed and cannot vouch for the log"),
        }
        return print_line(&format!("{}: {fetched} new lines, {} in all", args.log.display(), head.sequence));
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let verifier = checked(&args.log)?;
    let established = args
        .trust
        .establish(&args.document)?
        .map_err(|error| Failure::plain(format!("{} does not verify: {error}", args.document.display())))?;
    let stated = established
        .user_data
        .as_deref()
        .and_then(|data| Head::parse(std::str::from_utf8(data).ok()?.strip_prefix(STATEMENT)?));
    let stated = stated.ok_or_else(|| {
        Failure::plain(format!("{} does not state the head of an audit log", args.document.display()))
    })?;
    verifier.ends_with(&stated).map_err(|error| broken(&args.log, &error))?;
    if args.json {
        return print_json(&json!({
            "verified": true, "lines": stated.sequence, "head": stated.to_string(), "established": established
        }));
    }
    args.trust.warn();
    print_line(&format!(
        "{}: complete, {} lines; the guest vouches for it:\n{established}",
        args.log.display(),
        stated.sequence
    ))
}

/// Reads a log and checks that it hangs together.
fn checked(path: &Path) -> Result<Verifier, Failure> {
    let file = std::fs::File::open(path).map_err(|error| Failure::file("open", path, error))?;
    let mut reader = BufReader::new(file);
    let mut verifier = Verifier::default();
    let mut line = String::new();
    loop {
        line.clear();
        let limit = u64::try_from(LINE_MAX).unwrap_or(u64::MAX).saturating_add(2);
        let read = std::io::Read::take(&mut reader, limit).read_line(&mut line);
        if read.map_err(|error| Failure::file("read", path, error))? == 0 {
            return Ok(verifier);
        }
        verifier.line(line.strip_suffix('\n').unwrap_or(&line)).map_err(|error| broken(path, &error))?;
    }
}

fn broken(path: &Path, error: &casemate_audit::Error) -> Failure {
    Failure::plain(format!("{}: {error}", path.display()))
}
