//! Requests of the guest and responses of the host.
//!
//! | request | response | |
//! | --- | --- | --- |
//! | [`Hello`](Request::Hello) | [`Volume`](Response::Volume) | what the host has |
//! | [`Page`](Request::Page) | [`Records`](Response::Records) | records in the order of their names |
//! | [`Stage`](Request::Stage) | [`Staged`](Response::Staged) | changes that the next commit includes |
//! | [`Commit`](Request::Commit) | [`Committed`](Response::Committed), [`Conflict`](Response::Conflict) | all staged and enclosed changes, durable, or none |
//! | [`Attached`](Request::Attached) | [`Noted`](Response::Noted) | the guest uses the volume from now on |
//! | [`Detached`](Request::Detached) | [`Noted`](Response::Noted) | the guest has let go of the volume, and closes |
//! | [`Refused`](Request::Refused) | [`Noted`](Response::Noted) | the guest will not use the volume, and closes |
//!
//! [`Failed`](Response::Failed) can answer any request: the host could not do it, and nothing was changed.

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::layout::Name;
use crate::{BATCH_BYTES, BATCH_RECORDS, HEADER_MAX, ROOT_MAX, VALUE_MAX};

/// A record as the host has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its name: the host does not know what it means.
    pub name: Name,
    /// Its bytes.
    pub value: ByteBuf,
}

/// How far a volume had got when this was written: what tells an old copy of the file from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Number of commits.
    pub counter: u64,
    /// SHA-256 of the root after the last of them.
    pub root: ByteArray<32>,
}

/// What the guest asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Request {
    /// What is there?
    Hello {
        /// [`FORMAT`](crate::FORMAT).
        format: u8,
    },
    /// The records behind this name; from the first on if none is given.
    Page {
        /// The last name that the guest has.
        after: Option<Name>,
    },
    /// Changes that the next commit on this connection includes.
    Stage(Changes),
    /// Make the changes, if the volume is as the guest believes.
    Commit {
        /// The root that the guest expects; none: the volume is empty.
        expected: Option<ByteBuf>,
        /// The root after the commit.
        root: ByteBuf,
        /// The header after the commit, if it changes.
        header: Option<ByteBuf>,
        /// The changes.
        changes: Changes,
    },
    /// The volume is in use.
    Attached {
        /// How many records it has.
        records: u64,
        /// How many commits led there.
        counter: u64,
    },
    /// The volume is not used any more: everything is committed, and the guest has forgotten it.
    Detached,
    /// The volume is not used.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// Records to write and to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Records to write, in the place of those of the same name.
    pub puts: Vec<Record>,
    /// Names of records to remove. One that is not there is no error.
    pub deletes: Vec<Name>,
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Response {
    /// What is there.
    Volume {
        /// The header; none: the volume is empty.
        header: Option<ByteBuf>,
        /// The root; none: the volume is empty.
        root: Option<ByteBuf>,
        /// How far the volume had got, if the host knows.
        anchor: Option<Anchor>,
    },
    /// Records in the order of their names.
    Records {
        /// The records.
        records: Vec<Record>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// The changes wait for the commit.
    Staged,
    /// The commit is durable.
    Committed,
    /// The root is another: nothing was changed.
    Conflict,
    /// It could not be done: nothing was changed.
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// Understood.
    Noted,
}

/// A message breaks a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {length}, and may have {limit}")]
pub struct Excess {
    what: &'static str,
    length: usize,
    limit: usize,
}

fn limit(what: &'static str, length: usize, limit: usize) -> Result<(), Excess> {
    if length > limit { Err(Excess { what, length, limit }) } else { Ok(()) }
}

impl Record {
    /// Bytes that count towards a message's size.
    pub fn weight(&self) -> usize {
        self.value.len().saturating_add(size_of::<Name>())
    }
}

fn check_records(records: &[Record], others: usize) -> Result<(), Excess> {
    limit("a list of records", records.len().saturating_add(others), BATCH_RECORDS)?;
    for record in records {
        limit("a record", record.value.len(), VALUE_MAX)?;
    }
    // The last one may be of any length.
    let before = records.split_last().map_or(0, |(_, before)| before.iter().map(Record::weight).sum());
    limit("a list of records", before, BATCH_BYTES)
}

impl Request {
    /// Whether the limits are kept.
    pub fn check(&self) -> Result<(), Excess> {
        match self {
            Self::Hello { .. } | Self::Page { .. } | Self::Attached { .. } | Self::Detached => Ok(()),
            Self::Refused { reason } => limit("a reason", reason.len(), 1024),
            Self::Stage(changes) => check_records(&changes.puts, changes.deletes.len()),
            Self::Commit { expected, root, header, changes } => {
                limit("a root", root.len(), ROOT_MAX)?;
                limit("a root", expected.as_ref().map_or(0, |root| root.len()), ROOT_MAX)?;
                limit("a header", header.as_ref().map_or(0, |header| header.len()), HEADER_MAX)?;
                check_records(&changes.puts, changes.deletes.len())
            }
        }
    }
}

impl Response {
    /// Whether the limits are kept.
    pub fn check(&self) -> Result<(), Excess> {
        match self {
            Self::Staged | Self::Committed | Self::Conflict | Self::Noted => Ok(()),
            Self::Failed { reason } => limit("a reason", reason.len(), 1024),
            Self::Records { records, .. } => check_records(records, 0),
            Self::Volume { header, root, .. } => {
                limit("a root", root.as_ref().map_or(0, |root| root.len()), ROOT_MAX)?;
                limit("a header", header.as_ref().map_or(0, |header| header.len()), HEADER_MAX)
            }
        }
    }
}
