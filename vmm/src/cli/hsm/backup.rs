//! `hsm backup`: everything that is on the token in a file, encrypted by the guest, and back again.
//!
//! The file is a line that says what it is, and the parts as the guest gave them, each after its length (4 bytes,
//! big-endian). Which guest opens it is in `docs/token.md`; here nothing is decrypted.

use std::path::{Path, PathBuf};

use casemate_hsm::message::{Backup, UserType};
use casemate_hsm::{Bytes, Operation, Request, Response};

use super::super::access::{GuestArgs, SignerArgs};
use super::super::error::{Code, Failure};
use super::super::output::{print_json, print_line};
use super::super::state::{self, Image};
use super::super::text;
use super::super::verify::read_root;
use super::password::LoginPassword;
use super::quorum::AskArgs;
use super::{Door, Session, lacks, shelf};

/// What a file begins with.
const MAGIC: &[u8] = b"casemate token backup 1\n";

/// What to do with backups.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write everything that is on the token into a file, encrypted: it opens in a guest of the same image on this platform
    Create {
        /// The file; it must not be there yet
        #[arg(long, value_name = "FILE", required_unless_present = "ask_quorum")]
        out: Option<PathBuf>,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: By,
    },
    /// Let another image, or another platform, open a backup, after a guest of it has proved itself to the one that runs
    Share {
        /// The backup
        file: PathBuf,
        /// The other image: its file, or its PCR0 if a guest of it runs
        #[arg(long, value_name = "EIF|PCR0")]
        to: String,
        #[command(flatten)]
        elsewhere: Elsewhere,
        /// The backup that it can open; it must not be there yet
        #[arg(long, value_name = "FILE", required_unless_present = "ask_quorum")]
        out: Option<PathBuf>,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: By,
    },
    /// Bring a backup back, into a signer whose token is not initialised, as the signer's owner
    Restore {
        /// The backup
        file: PathBuf,
        /// The root of the platform that it was made on (PEM or DER), if that is another one: you answer for it
        #[arg(long, value_name = "FILE")]
        platform_root: Option<PathBuf>,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Print a nonce, good once and for five minutes, for a guest elsewhere that is to get a backup
    Nonce {
        #[command(flatten)]
        by: By,
    },
    /// Have this host's guest prove what it is, to get a backup from elsewhere
    Request {
        /// What `backup nonce` printed there
        #[arg(long)]
        nonce: String,
        /// Where to write the proof, for `backup share --document` there
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        guest: GuestArgs,
    },
    /// Show what anybody can see of a backup
    Info {
        /// The backup
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Shelf(shelf::Command),
}

/// A guest on another host.
#[derive(Debug, clap::Args)]
pub struct Elsewhere {
    /// What `backup request` wrote there, in place of a guest of this host
    #[arg(long, value_name = "FILE", requires = "platform_root")]
    document: Option<PathBuf>,
    /// The root of the platform there (PEM or DER): you answer for it
    #[arg(long, value_name = "FILE", requires = "document")]
    platform_root: Option<PathBuf>,
}

/// Who does it.
#[derive(Debug, clap::Args)]
pub struct By {
    /// The crypto officer who does it [default: the signer's owner]
    #[arg(long, value_name = "NAME")]
    officer: Option<String>,
    #[command(flatten)]
    login: LoginPassword,
    #[command(flatten)]
    signer: SignerArgs,
}

/// Somebody who may.
enum Caller {
    Owner(Door),
    Officer(Session),
}

impl By {
    fn caller(&self) -> Result<Caller, Failure> {
        let door = Door(self.signer.signer()?);
        let Some(officer) = &self.officer else { return Ok(Caller::Owner(door)) };
        let password = self.login.read(officer)?;
        Ok(Caller::Officer(door.log_in(officer, UserType::CryptoOfficer, password)?))
    }
}

impl Caller {
    fn call(&mut self, operation: Operation, request: Request) -> Result<Response, Failure> {
        match self {
            Self::Owner(door) => door.call(operation, &request),
            Self::Officer(session) => session.call(operation, request),
        }
    }

    /// Does what an officer's quorum may have to approve, or asks for approvals of it.
    fn call_or_ask(
        &mut self,
        ask: &AskArgs,
        operation: Operation,
        request: Request,
    ) -> Result<Option<Response>, Failure> {
        match self {
            Self::Officer(session) => ask.call(session, operation, request),
            Self::Owner(_) if ask.is_asked() => Err(Failure::new(
                Code::InvalidArgument,
                "an officer asks for approvals: name one with --officer",
            )),
            Self::Owner(door) => door.call(operation, &request).map(Some),
        }
    }

    fn data(&mut self, operation: Operation, request: Request) -> Result<Bytes, Failure> {
        self.call(operation, request)?.data.ok_or_else(|| lacks(operation, "Data"))
    }
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { out, ask, by } => create(out.as_deref(), ask, by),
        Command::Share { file, to, elsewhere, out, ask, by } => {
            share(file, to, elsewhere, out.as_deref(), ask, by)
        }
        Command::Restore { file, platform_root, signer } => restore(file, platform_root.as_deref(), signer),
        Command::Nonce { by } => print_line(&text::encode(&nonce(&mut by.caller()?)?)),
        Command::Request { nonce, out, guest } => {
            let document = state::ask(&guest.find()?, nonce)?;
            text::write(out, &text::decode("document", &document)?)
        }
        Command::Info { file, json } => {
            let backup = describe(file, &read(file)?)?;
            if *json { print_json(&backup) } else { print_line(&words(&backup)) }
        }
        Command::Shelf(command) => shelf::run(command),
    }
}

fn create(out: Option<&Path>, ask: &AskArgs, by: &By) -> Result<(), Failure> {
    let mut caller = by.caller()?;
    let answer = caller.call_or_ask(ask, Operation::CreateBackup, Request::default())?;
    let (Some(answer), Some(out)) = (answer, out) else { return Ok(()) };
    let backup = answer.backup.ok_or_else(|| lacks(Operation::CreateBackup, "Backup"))?;
    let first = answer.data.ok_or_else(|| lacks(Operation::CreateBackup, "Data"))?;
    let mut parts = vec![first];
    for number in 1..backup.parts {
        let request = Request { backup: Some(backup.id.clone()), marker: Some(number), ..Request::default() };
        parts.push(caller.data(Operation::ReadBackup, request)?);
    }
    write(out, &parts)?;
    print_line(&format!("{}: {}", out.display(), words(&backup)))
}

fn nonce(caller: &mut Caller) -> Result<Bytes, Failure> {
    caller.data(Operation::GetBackupNonce, Request::default())
}

fn share(
    file: &Path,
    to: &str,
    elsewhere: &Elsewhere,
    out: Option<&Path>,
    ask: &AskArgs,
    by: &By,
) -> Result<(), Failure> {
    let mut parts = read(file)?;
    let image = Image::parse(to)?;
    let mut caller = by.caller()?;
    if ask.is_asked() {
        let request = Request { image_sha384: Some(image.pcr0.to_string()), ..Request::default() };
        return caller.call_or_ask(ask, Operation::ShareBackup, request).map(|_| ());
    }
    let document = match &elsewhere.document {
        Some(path) => text::read(path)?,
        None => {
            let nonce = text::encode(&nonce(&mut caller)?);
            text::decode("document", &state::statement(&image, &nonce)?)?
        }
    };
    let request = Request {
        data: parts.first().cloned(),
        document: Some(document.into()),
        image_sha384: Some(image.pcr0.to_string()),
        platform_root: root(elsewhere.platform_root.as_deref())?,
        ..Request::default()
    };
    let first = caller.data(Operation::ShareBackup, request)?;
    parts.splice(..1, [first]);
    let Some(out) = out else { return Ok(()) };
    write(out, &parts)?;
    print_line(&format!("{}: it opens in the image with PCR0 {}", out.display(), image.pcr0))
}

fn root(file: Option<&Path>) -> Result<Option<Bytes>, Failure> {
    Ok(file.map(read_root).transpose()?.map(Bytes::from))
}

fn restore(file: &Path, platform_root: Option<&Path>, signer: &SignerArgs) -> Result<(), Failure> {
    let parts = read(file)?;
    let platform_root = root(platform_root)?;
    let mut door = Door(signer.signer()?);
    let mut last = Response::default();
    for (number, part) in (0..).zip(parts) {
        let (data, platform_root) = (Some(part), platform_root.clone());
        let request = Request { data, marker: Some(number), platform_root, ..Request::default() };
        last = door.call(Operation::RestoreBackup, &request)?;
    }
    let token = last.token.ok_or_else(|| cut(file))?;
    print_line(&format!("token `{}`, serial {}, is as it was backed up", token.label, token.serial))
}

fn cut(file: &Path) -> Failure {
    Failure::new(
        Code::InvalidArgument,
        format!("{} ends too early: it is not all of a backup", file.display()),
    )
}

/// The parts in a file.
fn read(file: &Path) -> Result<Vec<Bytes>, Failure> {
    let bytes = text::read(file)?;
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("{} is no backup of a token", file.display()))
    })?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(|| cut(file))?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (part, after) = after.split_at_checked(length).ok_or_else(|| cut(file))?;
        parts.push(Bytes::copy(part));
        rest = after;
    }
    Ok(parts)
}

fn write(out: &Path, parts: &[Bytes]) -> Result<(), Failure> {
    let mut bytes = MAGIC.to_vec();
    for part in parts {
        let length =
            u32::try_from(part.len()).map_err(|_| Failure::plain("a part of the backup is too long"))?;
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    text::write_new_private(out, &bytes)
}

/// What lies open in the first part.
fn describe(file: &Path, parts: &[Bytes]) -> Result<Backup, Failure> {
    let described = parts.first().and_then(|first| Backup::in_first_part(first));
    described.map(|(_, backup)| backup).ok_or_else(|| {
        Failure::new(Code::InvalidArgument, format!("{}: its first part is damaged", file.display()))
    })
}

fn words(backup: &Backup) -> String {
    let Backup { id, parts, label, serial, created } = backup;
    format!("backup {id} of token `{label}`, serial {serial}, {parts} parts, made {created} s after 1970")
}
