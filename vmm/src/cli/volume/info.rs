//! `volume info`: what the host can see of a volume's file.

use std::path::PathBuf;

use casemate_volume::anchor::AnchorFile;
use casemate_volume::layout::{RootPrefix, digest};
use casemate_volume::store::Store;
use casemate_volume::{Anchor, Header};
use serde::Serialize;

use super::{anchors, one_line_panics};
use crate::cli::error::Failure;
use crate::cli::output::{print_json, print_line};

/// Flags of `volume info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where volumes' progress is kept
    #[arg(long, value_name = "DIRECTORY")]
    anchors: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the host can see of a volume.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    volume_id: String,
    format: u8,
    /// PCR0 of the guest that can open it.
    sealed_for: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_to: Option<String>,
    commits: u64,
    records: u64,
    bytes: u64,
    anchor: AnchorInfo,
}

/// How the volume compares with its anchor.
#[derive(Debug, PartialEq, Eq, Serialize)]
enum AnchorInfo {
    /// There is none.
    None,
    /// It knows the volume as it is.
    Current,
    /// It is behind: a crash cut it off.
    Behind(u64),
    /// The volume is an old copy: the anchor knows this many commits.
    Ahead(u64),
    /// As many commits, and others.
    Different,
}

impl AnchorInfo {
    fn of(anchor: Option<Anchor>, counter: u64, root: &[u8]) -> Self {
        match anchor {
            None => Self::None,
            Some(anchor) if anchor.counter < counter => Self::Behind(anchor.counter),
            Some(anchor) if anchor.counter > counter => Self::Ahead(anchor.counter),
            Some(anchor) if anchor.root == digest(root) => Self::Current,
            Some(_) => Self::Different,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::None => "none: nobody can tell whether this is an old copy".to_owned(),
            Self::Current => "knows this state".to_owned(),
            Self::Behind(counter) => format!("knows commit {counter}: a crash cut it off"),
            Self::Ahead(counter) => format!("knows commit {counter}: THIS IS AN OLD COPY"),
            Self::Different => "knows other content: THIS IS ANOTHER COPY".to_owned(),
        }
    }
}

/// Runs `volume info`.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    one_line_panics(&args.file);
    let failed = |error: &dyn std::fmt::Display| Failure::plain(format!("{}: {error}", args.file.display()));
    let store = Store::open_existing(&args.file).map_err(|error| failed(&error))?;
    let head = store.head().map_err(|error| failed(&error))?;
    let (Some(header), Some(root)) = (head.header, head.root) else {
        return print_line("an empty volume: the first guest that it is attached to makes it its own");
    };
    let header = Header::parse(&header).map_err(|error| failed(&format!("its header: {error}")))?;
    let counter =
        RootPrefix::split(&root).map_err(|error| failed(&format!("its root: {error}")))?.prefix.counter;
    let statistics = store.statistics().map_err(|error| failed(&error))?;
    let directory = anchors(args.anchors.as_deref());
    let anchor = match directory.join(header.volume.to_string()).exists() {
        true => AnchorFile::open(&directory, header.volume).map_err(Failure::plain)?.last(),
        false => None,
    };
    let info = Info {
        volume_id: header.volume.to_string(),
        format: header.format,
        sealed_for: hex::encode(header.sealed.measurement.as_slice()),
        granted_to: header.grant.map(|grant| hex::encode(grant.measurement.as_slice())),
        commits: counter,
        records: statistics.records,
        bytes: statistics.bytes,
        anchor: AnchorInfo::of(anchor, counter, &root),
    };
    if args.json {
        return print_json(&info);
    }
    let granted =
        info.granted_to.as_ref().map(|pcr0| format!("granted to  PCR0 {pcr0}\n")).unwrap_or_default();
    print_line(&format!(
        "volume      {}\nsealed for  PCR0 {}\n{granted}commits     {}\nrecords     {} ({} bytes, encrypted)\nanchor      {}",
        info.volume_id,
        info.sealed_for,
        info.commits,
        info.records,
        info.bytes,
        info.anchor.words()
    ))
}
