//! `hsm config`: the PKCS#11 module's configuration, for a token whose guest has just proved what the policy demands.

use std::path::{Path, PathBuf};

use casemate_client::attested::Place;
use serde::Deserialize;

use super::super::access::SignerArgs;
use super::super::attested::{self, Refusal};
use super::super::error::{Code, Failure};
use super::super::output::print_line;
use super::super::text;
use super::super::verify::DemandArgs;
use super::Door;

/// Flags of `hsm config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What programs see as the slot's name [default: the token's label]
    #[arg(long)]
    label: Option<String>,
    /// The file; a token is added to one that is there [default: ~/.config/casemate/pkcs11.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    demands: DemandArgs,
    #[command(flatten)]
    signer: SignerArgs,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    label: String,
}

/// Verifies and writes.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Some(policy) = args.demands.policy_file().filter(|_| !args.demands.root.is_empty()) else {
        let message = "a configuration needs --root and --policy: the module sends pins only to a guest that has proved what it is";
        return Err(Failure::new(Code::InvalidArgument, message));
    };
    let place = args.signer.place()?;
    let attested = attested::connect(&place, &args.demands).map_err(|refusal| match refusal {
        Refusal::Failed(failure) => failure,
        Refusal::Unproved(reason) => {
            Failure::plain(format!("{place} does not verify, so nothing was written: {reason}"))
        }
    })?;
    let token = Door(attested.client).describe()?;
    let label = args.label.clone().unwrap_or(token.label);
    if label.is_empty() {
        let message = "the token has no label yet: begin with `casemate hsm init`, or give --label";
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let path = args.file()?;
    let before = match std::fs::read_to_string(&path) {
        Ok(before) => before,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::file("read", &path, error)),
    };
    let known: File = toml::from_str(&before)
        .map_err(|error| Failure::new(Code::SerdeError, format!("{}: {error}", path.display())))?;
    if known.token.iter().any(|token| token.label == label) {
        let message =
            format!("{} has a token `{label}` already: remove it, or give another --label", path.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let entry = entry(&label, &place, &args.demands.root, policy)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("make", folder, error))?;
    }
    let gap = if before.is_empty() { "" } else { "\n" };
    text::write(&path, format!("{before}{gap}{entry}").as_bytes())?;
    print_line(&format!("{}: token `{label}`. {place} has proved what the policy demands.", path.display()))
}

impl Args {
    fn file(&self) -> Result<PathBuf, Failure> {
        match (&self.out, std::env::var_os("HOME").filter(|home| !home.is_empty())) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(home)) => Ok(Path::new(&home).join(".config/casemate/pkcs11.toml")),
            (None, None) => {
                Err(Failure::new(Code::InvalidArgument, "where to write? Set HOME, or give --out"))
            }
        }
    }
}

/// The token's part of the file. Paths are absolute: the module runs in programs that are anywhere.
fn entry(label: &str, place: &Place, roots: &[PathBuf], policy: &Path) -> Result<String, Failure> {
    let quoted = |path: &Path| {
        let absolute = std::path::absolute(path).map_err(|error| Failure::file("find", path, error))?;
        let text = absolute.to_str().map(quote);
        text.ok_or_else(|| Failure::file("name", path, "its path is not UTF-8"))
    };
    let place = match place {
        Place::Endpoint(_) => format!("endpoint = {}", quote(&place.to_string())),
        Place::Guest { socket, .. } => format!("socket = {}", quoted(socket)?),
    };
    let roots = roots.iter().map(|root| quoted(root)).collect::<Result<Vec<_>, _>>()?.join(", ");
    let policy = quoted(policy)?;
    Ok(format!("[[token]]\nlabel = {}\n{place}\nroot = [{roots}]\npolicy = {policy}\n", quote(label)))
}

/// A basic string of TOML. JSON's escapes are among TOML's.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
