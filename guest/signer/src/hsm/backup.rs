//! Backups: everything on the token, users and quorums too, encrypted and authenticated.
//!
//! ```text
//! part 0    length of the header (2 bytes) ‖ header ‖ what the backup is about, JSON
//! part n    nonce ‖ ciphertext and tag of records, under the backup's key; bound to the backup, its number, and whether it is the last
//! record    length of the name (2 bytes) ‖ length of the content (4) ‖ name ‖ content
//! ```
//!
//! It opens in a guest of the same image on the same platform, or in one that it was shared with, whose attestation
//! document the guest that made it has verified; and only into a token that is not initialised, by its signer's owner. Who owns
//! that signer has the token's users to ask for everything else: passwords come along.

use std::time::{Instant, UNIX_EPOCH};

use casemate_hsm::message::Backup;
use casemate_hsm::{Bytes, Operation, Request, Response};
use zeroize::Zeroizing;

use crate::access::{Call, Facts};
use crate::ops::upgrade;
use crate::state::BackupKey;

use super::fault::{Fault, Rv, broken, refuse};
use super::{Asked, Token, admin};

const CREATE: &str = "casemate:CreateBackup";
const SHARE: &str = "casemate:ShareBackup";
const RESTORE: &str = "casemate:RestoreBackup";
/// A part is closed when it has as many bytes as this; with the longest record it is still within
/// [`DATA_MAX`](casemate_hsm::limits::DATA_MAX).
const PART: usize = 96 << 10;
/// How long the rest of a backup waits to be read, or written.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// A backup that is being read.
pub(super) struct Snapshot {
    id: String,
    parts: Vec<Vec<u8>>,
    made: Instant,
}

/// A backup that is being restored.
pub(super) struct Restoring {
    key: BackupKey,
    about: Vec<u8>,
    parts: u64,
    next: u64,
    token: Box<Token>,
    begun: Instant,
}

/// What a part is bound to.
fn associated(about: &[u8], number: u64, last: bool) -> Vec<u8> {
    [about, &number.to_be_bytes(), &[u8::from(last)]].concat()
}

/// Whoever asks is a crypto officer, or the signer's owner where there is no session.
fn admit(asked: &Asked<'_>, action: &str) -> Result<(), Fault> {
    match asked.session {
        0 => Ok(asked.call.allow(action, "*", &Facts::NONE)?),
        _ => asked.crypto_officer().map(drop),
    }
}

/// GetBackupNonce.
pub(super) fn nonce(asked: &Asked<'_>) -> Result<Response, Fault> {
    admit(asked, SHARE)?;
    let nonce = asked.call.state.challenge(asked.call.now())?;
    Ok(Response { data: Some(Bytes::copy(&nonce)), ..Response::default() })
}

/// CreateBackup. The owner needs no quorum: what is made opens here alone until it is shared.
pub(super) fn create(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    admit(asked, CREATE)?;
    let Some(settings) = token.settings.clone() else { return super::not_initialized() };
    let (key, header) = asked.call.new_backup()?;
    if asked.session != 0 {
        token.approve(asked, Operation::CreateBackup, request)?;
    }
    let created = asked.call.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // How many parts there are is known at the end, and the last one says that it is.
    let mut backup =
        Backup { id: key.id(), parts: 0, label: settings.label, serial: settings.serial, created };
    let about = json(&backup)?;
    let mut parts = vec![Vec::new()];
    let mut open = Zeroizing::new(Vec::with_capacity(3 * PART));
    for name in token.record_names() {
        let content = token.encode(&name).ok_or_else(|| broken("encoding a record"))?;
        if open.len() > PART {
            let number = u64::try_from(parts.len()).unwrap_or(u64::MAX);
            parts.push(key.seal(&associated(&about, number, false), &open)?);
            open.clear();
        }
        let (Ok(name_len), Ok(content_len)) = (u16::try_from(name.len()), u32::try_from(content.len()))
        else {
            return Err(broken("encoding a record"));
        };
        open.extend_from_slice(&name_len.to_be_bytes());
        open.extend_from_slice(&content_len.to_be_bytes());
        open.extend_from_slice(name.as_bytes());
        open.extend_from_slice(&content);
    }
    let number = u64::try_from(parts.len()).unwrap_or(u64::MAX);
    parts.push(key.seal(&associated(&about, number, true), &open)?);
    backup.parts = number.saturating_add(1);
    let first = first(&header, &backup)?;
    let answer = Response { backup: Some(backup), data: Some(first.into()), ..Response::default() };
    token.snapshot = Some(Snapshot { id: key.id(), parts, made: Instant::now() });
    Ok(answer)
}

fn json(backup: &Backup) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(backup).map_err(|_| broken("encoding a record"))
}

fn first(header: &[u8], backup: &Backup) -> Result<Vec<u8>, Fault> {
    let length = u16::try_from(header.len()).map_err(|_| broken("encoding a record"))?;
    Ok([&length.to_be_bytes()[..], header, &json(backup)?].concat())
}

/// Header and description in part 0.
fn split(first: Option<&Bytes>) -> Result<(&[u8], Backup), Fault> {
    let parts = first.and_then(|first| Backup::in_first_part(first));
    parts.map_or_else(|| refuse(Rv::CKR_ARGUMENTS_BAD, "Data is not the first part of a backup."), Ok)
}

/// ReadBackup.
pub(super) fn read(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    admit(asked, CREATE)?;
    token.snapshot.take_if(|snapshot| snapshot.made.elapsed() > PATIENCE);
    let part = token.snapshot.as_ref().filter(|snapshot| request.backup.as_deref() == Some(&snapshot.id));
    let number = request.marker.filter(|number| *number > 0).and_then(|number| usize::try_from(number).ok());
    let part = part.and_then(|snapshot| snapshot.parts.get(number?));
    match part {
        Some(part) => Ok(Response { data: Some(Bytes::copy(part)), ..Response::default() }),
        None => refuse(
            Rv::CKR_ARGUMENTS_BAD,
            "There is no such part, or the backup has waited for too long: make another.",
        ),
    }
}

/// ShareBackup.
pub(super) fn share(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    admit(asked, SHARE)?;
    let (header, backup) = split(request.data.as_ref())?;
    let image = request.image_sha384.as_deref();
    let document = request.document.as_ref().map_or(&[][..], |document| document.as_slice());
    let root = request.platform_root.as_ref().map(|root| root.as_slice());
    let grantee = upgrade::grantee(asked.call, document, image, root)?;
    let header = asked.call.grant_backup(header, *grantee.image.as_bytes(), grantee.key)?;
    token.approve(asked, Operation::ShareBackup, request)?;
    let data = Some(first(&header, &backup)?.into());
    Ok(Response { backup: Some(backup), data, ..Response::default() })
}

/// RestoreBackup, the owner's: one part after the other.
pub(super) fn restore(token: &mut Token, call: &Call<'_>, request: &Request) -> Result<Response, Fault> {
    call.allow(RESTORE, "*", &Facts::NONE)?;
    if token.settings.is_some() {
        return refuse(
            Rv::CKR_ACTION_PROHIBITED,
            "A backup is restored into a token that is not initialised.",
        );
    }
    let (Some(part), Some(number)) = (&request.data, request.marker) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Data or Marker.");
    };
    if number == 0 {
        let (header, backup) = split(Some(part))?;
        let root = request.platform_root.as_ref().map(|root| root.as_slice());
        let key = call.open_backup(header, root)?;
        if key.id() != backup.id {
            return refuse(Rv::CKR_ARGUMENTS_BAD, "The first part belongs to two backups.");
        }
        let (parts, token_of) = (backup.parts, Box::default());
        let about = json(&Backup { parts: 0, ..backup })?;
        token.restoring =
            Some(Restoring { key, about, parts, next: 1, token: token_of, begun: Instant::now() });
        return Ok(Response { next_marker: Some(1), ..Response::default() });
    }
    token.restoring.take_if(|restoring| restoring.begun.elapsed() > PATIENCE);
    let Some(restoring) = token.restoring.as_mut().filter(|restoring| restoring.next == number) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "That is not the next part: begin with part 0.");
    };
    let last = number.saturating_add(1) >= restoring.parts;
    let opened = restoring.key.open(&associated(&restoring.about, number, last), part);
    let taken = opened.and_then(|records| restoring.token.take_records(&records));
    if taken.is_none() {
        token.restoring = None;
        return refuse(
            Rv::CKR_ARGUMENTS_BAD,
            "The part is damaged, of another backup, or not the last one where it should be.",
        );
    }
    restoring.next = number.saturating_add(1);
    if !last {
        return Ok(Response { next_marker: Some(restoring.next), ..Response::default() });
    }
    let Some(restored) = token.restoring.take().map(|restoring| restoring.token) else {
        return Err(broken("restoring a backup"));
    };
    if restored.settings.is_none() {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The backup holds no token.");
    }
    *token = *restored;
    token.record_names().into_iter().for_each(|name| call.state.touch(name));
    Ok(admin::describe(token, call))
}

impl Token {
    /// Takes the records in a part.
    fn take_records(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let (name_len, rest) = records.split_first_chunk()?;
            let (content_len, rest) = rest.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name_len)))?;
            let length = usize::try_from(u32::from_be_bytes(*content_len)).ok()?;
            let (content, rest) = rest.split_at_checked(length)?;
            self.restore(std::str::from_utf8(name).ok()?, content).ok()?;
            records = rest;
        }
        Some(())
    }
}
