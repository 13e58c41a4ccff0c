//! The user's volumes: the files `NAME.volume` in one folder, beside the platform key unless `--dir` says otherwise.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use casemate_volume::Header;
use casemate_volume::store::Store;
use serde::Serialize;

use super::one_line_panics;
use crate::cli::error::{Code, Failure};
use crate::cli::output::{print_json, print_line};
use crate::cli::registry::{Guest, Registry, state_dir};
use crate::volume::attachment::{Attachment, is_in_use};

/// Name of the folder, within that of the platform key.
const FOLDER: &str = "volumes";
/// How the names of the files end.
const EXTENSION: &str = "volume";

/// Where the volumes are.
#[derive(Debug, clap::Args)]
pub struct ShelfArgs {
    /// The folder of the volumes [default: volumes, beside the platform key]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

/// Flags of `volume create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `volume list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `volume delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A volume that is there.
pub(super) struct Volume {
    /// As the user calls it.
    pub(super) name: String,
    /// Its file, an absolute path without symbolic links.
    pub(super) file: PathBuf,
}

impl ShelfArgs {
    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| state_dir().join(FOLDER))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good =
            !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) && !name.starts_with('.');
        if !good {
            let message = format!(
                "`{name}` cannot be a volume's name: use 1 to 64 letters, digits, `-`, `_` and `.`, and none of these first: `.`"
            );
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        Ok(self.dir().join(format!("{name}.{EXTENSION}")))
    }

    /// The volume of that name; with a `/` in it, the one in that file.
    pub(super) fn find(&self, name: &str) -> Result<Volume, Failure> {
        let path = if name.contains('/') { PathBuf::from(name) } else { self.path(name)? };
        match path.canonicalize() {
            Ok(file) => Ok(Volume { name: name.to_owned(), file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
                Code::InvalidArgument,
                format!("there is no volume `{name}`: `casemate volume create` makes one"),
            )),
            Err(error) => Err(Failure::file("find", &path, error)),
        }
    }

    fn all(&self) -> Result<Vec<Volume>, Failure> {
        let dir = self.dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("list", &dir, error)),
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| Failure::file("list", &dir, error))?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|name| self.path(name).is_ok());
            if let Some(name) = name.filter(|_| path.extension().is_some_and(|end| end == EXTENSION)) {
                volumes.push(self.find(name)?);
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }
}

/// The guests that run and have a volume, or had one until its service died.
pub(super) fn attachments() -> Result<Vec<(Guest, Attachment)>, Failure> {
    let guests = Registry::open()?.guests()?.into_iter();
    Ok(guests.filter_map(|guest| Attachment::of(&guest.dir).map(|attachment| (guest, attachment))).collect())
}

impl Volume {
    /// The guest that has it, of these.
    pub(super) fn holder<'a>(&self, all: &'a [(Guest, Attachment)]) -> Option<&'a (Guest, Attachment)> {
        all.iter().find(|(_, attachment)| attachment.file == self.file)
    }

    /// Whether a process has it open.
    pub(super) fn is_in_use(&self) -> Result<bool, Failure> {
        is_in_use(&self.file).map_err(|error| Failure::file("open", &self.file, error))
    }

    fn open(&self) -> Result<Store, Failure> {
        one_line_panics(&self.file);
        Store::open_existing(&self.file)
            .map_err(|error| Failure::plain(format!("{}: {error}", self.file.display())))
    }

    /// What its header says; `None` for an empty volume.
    pub(super) fn header(&self) -> Result<Option<Header>, Failure> {
        header(&self.open()?, &self.file)
    }
}

fn header(store: &Store, file: &Path) -> Result<Option<Header>, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::plain(format!("{}: its header: {error}", file.display()));
    let head = store.head().map_err(|error| failed(&error))?;
    head.header.map(|header| Header::parse(&header).map_err(|error| failed(&error))).transpose()
}

/// Makes an empty volume.
pub(super) fn create(args: &CreateArgs) -> Result<(), Failure> {
    let path = args.shelf.path(&args.name)?;
    let dir = args.shelf.dir();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| Failure::file("make", &dir, error))?;
    if path.exists() {
        let message = format!("there is a volume `{}` already, in {}", args.name, path.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    Store::open(&path).map_err(|error| Failure::plain(format!("{}: {error}", path.display())))?;
    let volume = args.shelf.find(&args.name)?;
    if args.json {
        return print_json(&Listed::of(&volume, &[])?);
    }
    print_line(&format!("volume {} is the file {}; it is empty", volume.name, volume.file.display()))
}

/// How it stands with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum State {
    /// Nothing has been written to it.
    Empty,
    /// It has records, and no guest has it.
    Detached,
    /// A guest has it.
    Attached,
    /// A guest has it, and its service died.
    Lost,
    /// Some process has it open.
    InUse,
}

/// One element of `volume list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    name: String,
    file: PathBuf,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_id: Option<String>,
    /// PCR0 of the guest that can open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_for: Option<String>,
    /// The running guest that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    attached_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    /// Of the file.
    bytes: u64,
}

impl Listed {
    fn of(volume: &Volume, all: &[(Guest, Attachment)]) -> Result<Self, Failure> {
        let metadata =
            fs::metadata(&volume.file).map_err(|error| Failure::file("read", &volume.file, error))?;
        let mut listed = Self {
            name: volume.name.clone(),
            file: volume.file.clone(),
            state: State::InUse,
            volume_id: None,
            sealed_for: None,
            attached_to: None,
            records: None,
            bytes: metadata.len(),
        };
        let in_use = volume.is_in_use()?;
        if let Some((guest, attachment)) = volume.holder(all) {
            listed.state = if in_use { State::Attached } else { State::Lost };
            listed.attached_to = Some(guest.record.name.clone());
            listed.volume_id = Some(attachment.volume.clone());
            listed.sealed_for = Some(attachment.sealed_for.clone());
            listed.records = Some(attachment.records);
        } else if !in_use {
            let store = volume.open()?;
            let header = header(&store, &volume.file)?;
            listed.state = if header.is_some() { State::Detached } else { State::Empty };
            listed.records = store.count().ok();
            listed.sealed_for =
                header.as_ref().map(|header| hex::encode(header.sealed.measurement.as_slice()));
            listed.volume_id = header.map(|header| header.volume.to_string());
        }
        Ok(listed)
    }

    fn words(&self) -> String {
        let state = match (self.state, &self.attached_to) {
            (State::Attached, Some(guest)) => format!("attached to {guest}"),
            (State::Lost, Some(guest)) => format!("lost by {guest}: attach it there again"),
            (State::Empty, _) => "empty".to_owned(),
            (State::InUse, _) => "in use".to_owned(),
            _ => "detached".to_owned(),
        };
        let records = self.records.map_or("?".to_owned(), |records| records.to_string());
        let sealed = self.sealed_for.as_deref().map_or("nobody yet", |pcr0| pcr0.get(..16).unwrap_or(pcr0));
        format!(
            "{:<16} {state:<24} {records:>8} records {:>10} bytes  sealed for {sealed:<16}  {}",
            self.name,
            self.bytes,
            self.file.display()
        )
    }
}

/// Lists the volumes.
pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let all = attachments()?;
    let listed: Result<Vec<Listed>, Failure> =
        args.shelf.all()?.iter().map(|volume| Listed::of(volume, &all)).collect();
    let listed = listed?;
    if args.json {
        return print_json(&listed);
    }
    listed.iter().try_for_each(|volume| print_line(&volume.words()))
}

/// Deletes a volume. Its anchor stays: an old copy that turns up again is still told from it.
pub(super) fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let path = args.shelf.path(&args.name)?;
    let volume = args.shelf.find(&args.name)?;
    let refuse = |message: String| Err(Failure::new(Code::InvalidArgument, message));
    if let Some((guest, _)) = volume.holder(&attachments()?) {
        let (name, guest) = (&volume.name, &guest.record.name);
        return refuse(format!(
            "volume {name} is attached to {guest}: `casemate volume detach {name}`, or terminate {guest}"
        ));
    }
    if volume.is_in_use()? {
        return refuse(format!("volume {} is in use by another process", volume.name));
    }
    if !args.yes && !agrees(&volume)? {
        return refuse(format!("volume {} was not deleted: say --yes, or answer y", volume.name));
    }
    fs::remove_file(&path).map_err(|error| Failure::file("delete", &path, error))?;
    print_line(&format!("volume {} is deleted", volume.name))
}

/// Asks. No answer is a no.
fn agrees(volume: &Volume) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::plain(format!("cannot ask: {error}"));
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let question = format!("Everything on volume {} will be gone. Delete it? [y/N] ", volume.name);
    let mut out = io::stderr().lock();
    out.write_all(question.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
