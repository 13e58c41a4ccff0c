//! Why a volume is not used: each case in words that say what to do.

use casemate_volume::VolumeId;

use crate::crypto::CryptoError;

/// Why the signer will not use a volume.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// There is nothing to decrypt it with.
    #[error(
        "this signer has no sealing key, so it can keep nothing: it runs as an ordinary process, or under a VMM that gives it none"
    )]
    NoSealingKey,
    /// Somebody else attached a volume before.
    #[error("the signer has a volume already")]
    Occupied,
    /// The signer has an owner, who did not let a volume in.
    #[error(
        "the signer has an owner, who has not let a volume in: `casemate volume attach` asks for it with the owner's credentials"
    )]
    NotPermitted,
    /// The owner let another volume in.
    #[error("the owner let volume {0} in, and this is another")]
    AnotherIsPermitted(VolumeId),
    /// The owner let an empty volume in.
    #[error("the owner let an empty volume in, and this one is not")]
    EmptyIsPermitted,
    /// The signer holds something that is not in the volume.
    #[error(
        "the signer already holds keys or identities that are not in this volume: attach it to a fresh signer (`casemate run --state FILE`)"
    )]
    NotPristine,
    /// The signer used another volume before, or the same in another state.
    #[error("this is not the volume that the signer used before its connection broke, or not in that state")]
    NotTheSame,
    /// Sealed by another guest.
    #[error("{}", other_guest(sealed_for, this))]
    OtherGuest {
        /// The measurement in the header.
        sealed_for: [u8; 48],
        /// The guest's own.
        this: [u8; 48],
    },
    /// Granted to another guest than this.
    #[error(
        "the volume was granted to another image or platform (PCR0 {}), and this one is PCR0 {}: let the owner grant it \
         anew, to a guest of this image on this platform",
        base16ct::lower::encode_string(granted_to),
        base16ct::lower::encode_string(this)
    )]
    OtherGrant {
        /// The measurement in the grant.
        granted_to: [u8; 48],
        /// The guest's own.
        this: [u8; 48],
    },
    /// Granted by nobody who may.
    #[error("nobody vouches for the grant of the volume to this image: {0}")]
    Proof(String),
    /// The header, which holds the volume's key, was changed.
    #[error(
        "the volume's header is damaged, or not the one that belongs to its root: restore the file from a copy"
    )]
    Header,
    /// Made by another version.
    #[error("the volume was made by another version of the signer: {0}")]
    Format(casemate_volume::layout::LayoutError),
    /// The root was changed.
    #[error("the volume's root is damaged or of another volume: restore the file from a copy")]
    Root,
    /// Older than the anchor.
    #[error(
        "the volume was rolled back: it is at commit {found}, and its anchor says that it had got to commit {known}. This is an old copy of the file: use the newest one"
    )]
    RolledBack {
        /// The volume's.
        found: u64,
        /// The anchor's.
        known: u64,
    },
    /// As old as the anchor, and different.
    #[error(
        "the volume is not the one that its anchor knows: both are at commit {0}, with different content. A copy of the file was used elsewhere"
    )]
    Forked(u64),
    /// A record of another volume.
    #[error("a record in the volume comes from another volume")]
    Foreign,
    /// A record under the wrong name.
    #[error("a record in the volume was put in the place of another one")]
    Moved,
    /// A record was changed.
    #[error("a record in the volume is damaged: restore the file from a copy")]
    Record,
    /// A record that the signer cannot read though it wrote it.
    #[error("the signer cannot read the record `{name}`: {fault}")]
    Content {
        /// Its name.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Records are missing.
    #[error("the volume was truncated: it has {found} records, and its root says {expected}")]
    Truncated {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// Records were added.
    #[error("records were added to the volume: it has {found}, and its root says {expected}")]
    Added {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// A record is an older, or another, version of itself.
    #[error("a record in the volume was replaced by an older version of itself")]
    Replayed,
    /// The host breaks the protocol.
    #[error("the host broke the volume protocol: {0}")]
    Host(&'static str),
    /// The host could not.
    #[error("the host says: {0}")]
    Failed(String),
    /// The connection ended.
    #[error("the connection to the volume broke: {0}")]
    Connection(#[from] std::io::Error),
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl From<casemate_volume::frame::FrameError> for Refusal {
    fn from(_: casemate_volume::frame::FrameError) -> Self {
        Self::Host("a message makes no sense or is too long")
    }
}

impl From<casemate_volume::message::Excess> for Refusal {
    fn from(_: casemate_volume::message::Excess) -> Self {
        Self::Host("a message breaks a limit")
    }
}

fn other_guest(sealed_for: &[u8; 48], this: &[u8; 48]) -> String {
    const HIDDEN: [u8; 48] = [0; 48];
    match (*sealed_for, *this) {
        (HIDDEN, HIDDEN) => {
            "the volume was sealed by another guest in debug mode or on the process backend, \
             or under another platform key"
                .to_owned()
        }
        (_, HIDDEN) => format!(
            "the volume was sealed by a guest in production (PCR0 {}), and this one runs in debug mode or on the \
             process backend, where others can look in: launch it in production",
            base16ct::lower::encode_string(sealed_for)
        ),
        (HIDDEN, _) => {
            "the volume was sealed by a guest in debug mode or on the process backend, which others could \
             look into: a guest in production does not open it"
                .to_owned()
        }
        (sealed_for, this) if sealed_for == this => {
            "the volume was sealed by this image under another platform key, \
             or signed by somebody else: attach it where platform.key is the one that it was made with"
                .to_owned()
        }
        _ => format!(
            "the volume was sealed by another image (PCR0 {}), and this one is PCR0 {}. If it is an upgrade, let the \
             owner grant it the volume: run the old image with it, then `casemate state grant`",
            base16ct::lower::encode_string(sealed_for),
            base16ct::lower::encode_string(this)
        ),
    }
}
