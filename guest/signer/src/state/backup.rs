//! Backups of a part of what the signer holds: a key of their own, sealed as a volume's is.
//!
//! A backup has a [`Header`] as a volume has, with a random id in the place of the volume's: so it opens in a guest of the same
//! measurement on the same platform, and in one that it was granted to. What is encrypted is encrypted under a key that is
//! derived from the backup's for nothing else, so that no header serves as a volume's or the other way round.

use casemate_volume::layout::Parts;
use casemate_volume::{FORMAT, Header, VolumeId};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::crypto;
use crate::errors::KmsError;
use crate::signer::Signer;

use super::grant;
use super::keys::{self, Secret};
use super::refusal::Refusal;

const LABEL: &[u8] = b"casemate hsm backup 1";

/// A backup's id and key.
pub(crate) struct BackupKey {
    id: VolumeId,
    key: Secret,
    parts: Secret,
}

impl BackupKey {
    fn new(id: VolumeId, key: Secret) -> Self {
        Self { id, parts: keys::prf(&key[..], LABEL), key }
    }

    /// 32 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Encrypts a part, bound to what is known about it.
    pub(crate) fn seal(&self, associated: &[u8], content: &[u8]) -> Result<Vec<u8>, KmsError> {
        let sealed = keys::seal(&keys::aead(&self.parts)?, associated, content)?;
        Ok(sealed.get(associated.len()..).unwrap_or_default().to_vec())
    }

    /// Decrypts a part, if it is that one.
    pub(crate) fn open(&self, associated: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk()?;
        keys::open(&keys::aead(&self.parts).ok()?, &Parts { prefix: (), associated, nonce: *nonce, sealed })
    }
}

impl Signer {
    /// A key for a new backup, and the header that holds it.
    pub(crate) fn new_backup(&self) -> Result<(BackupKey, Vec<u8>), KmsError> {
        let sealing = self.sealing_keys().ok_or_else(|| refused(&Refusal::NoSealingKey))?;
        let (mut id, mut key) = ([0; 16], Zeroizing::new([0; keys::KEY_LEN]));
        crypto::random(&mut id)?;
        crypto::random(key.as_mut())?;
        let id = VolumeId::new(id);
        let sealed = sealing.wrap(id, &key)?;
        let header = Header { format: FORMAT, volume: id, sealed, grant: None };
        Ok((BackupKey::new(id, key), header.to_bytes()))
    }

    /// The key in a backup's header. A grant is believed if a guest vouches for it that is of the image that made the backup
    /// and on this platform, or on the one with that root.
    pub(crate) fn open_backup(&self, header: &[u8], root: Option<&[u8]>) -> Result<BackupKey, KmsError> {
        let open = || {
            let sealing = self.sealing_keys().ok_or(Refusal::NoSealingKey)?;
            let header = Header::parse(header).map_err(|_| Refusal::Header)?;
            let key = match sealing.unwrap(header.volume, &header.sealed) {
                Err(other @ Refusal::OtherGuest { .. }) => {
                    let granted = header.grant.as_ref().ok_or(other)?;
                    let key = grant::accept(&sealing, header.volume, granted)?;
                    grant::check_proof(self, &header, granted, root)?;
                    key
                }
                key => key?,
            };
            Ok(BackupKey::new(header.volume, key))
        };
        open().map_err(|refusal| refused(&refusal))
    }

    /// The header of a backup of this guest's, with a grant to the guest with this measurement and this public key.
    pub(crate) fn grant_backup(
        &self,
        header: &[u8],
        measurement: [u8; 48],
        to: [u8; grant::PUBLIC_LEN],
    ) -> Result<Vec<u8>, KmsError> {
        let backup = self.open_backup(header, None)?;
        let parsed = Header::parse(header).map_err(|_| refused(&Refusal::Header))?;
        let mut granted = grant::make(backup.id, &backup.key, measurement, to)?;
        let statement = grant::vouched(backup.id, &granted);
        granted.proof = ByteBuf::from(self.platform.attest(Some(statement.as_bytes()), None, None)?);
        Ok(Header { grant: Some(granted), ..parsed }.to_bytes())
    }
}

/// What is said of volumes is true of backups.
fn refused(refusal: &Refusal) -> KmsError {
    KmsError::validation(format!("The backup cannot be opened: {refusal}."))
}
