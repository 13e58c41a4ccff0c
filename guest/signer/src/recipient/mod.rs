//! Who gets a secret that an operation returns, and what guests prove about themselves to get it.
//!
//! | module | subject |
//! | --- | --- |
//! | [`document`] | attestation documents: verification under this platform's root, and the condition keys they establish |
//! | [`evidence`] | documents that come in a header, for any operation |
//! | [`envelope`] | secrets encrypted to a document's public key: CMS EnvelopedData |
//!
//! Operations do not answer with secrets of their own accord: they ask [`Recipient::of`] whose it is, and hand the secret
//! to [`Recipient::deliver`]. So whoever names a guest as recipient, or proves with its document that it may have the
//! secret, never gets it in the clear.

mod document;
mod envelope;
mod evidence;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use zeroize::Zeroizing;

use crate::access::{Call, Facts};
use crate::errors::KmsError;
use crate::types::{Blob, RecipientInfo, SecretBlob};
use crate::validate::Check;

pub(crate) use document::{Attested, Own, establish, establish_then};
pub(crate) use evidence::Evidence;

named! {
    /// How the key of an envelope is encrypted.
    enum KeyEncryptionMechanism {
        OaepSha256 = "RSAES_OAEP_SHA_256",
    }
}

/// Who gets the secret.
pub(crate) enum Recipient {
    /// The caller, in the clear.
    Caller,
    /// The guest of a `Recipient` member, whose document adds condition keys to this operation.
    Named(Box<Attested>),
    /// The guest whose document came in a header; its condition keys are among the call's already.
    Bearer(Rc<Attested>),
}

/// A secret on its way out: at most one of the two is there.
pub(crate) struct Delivered {
    /// For the caller, in the clear.
    pub(crate) plaintext: Option<SecretBlob>,
    /// For the attested guest, encrypted.
    pub(crate) ciphertext_for_recipient: Option<Blob>,
}

impl Delivered {
    /// No secret at all.
    pub(crate) const NOTHING: Self = Self { plaintext: None, ciphertext_for_recipient: None };
}

impl Recipient {
    /// The guest that the request names, or else the guest whose document came with it, or else the caller.
    pub(crate) fn of(call: &Call<'_>, member: &Option<RecipientInfo>) -> Result<Self, KmsError> {
        let recipient = match (member, &call.evidence.attested) {
            (None, None) => return Ok(Self::Caller),
            (None, Some(attested)) => Self::Bearer(Rc::clone(attested)),
            (Some(_), Some(_)) => {
                return Err(KmsError::validation(
                    "The request has both a Recipient and a document in X-Casemate-Attestation; for this operation \
                     they mean the same. Send one of them.",
                ));
            }
            (Some(member), None) => Self::Named(Box::new(named(call, member)?)),
        };
        // Refused now, not after the secret was made.
        recipient.key()?;
        Ok(recipient)
    }

    /// The condition keys that the recipient adds to the operation's own.
    pub(crate) fn facts(&self) -> Facts {
        match self {
            Self::Named(attested) => attested.facts(),
            Self::Caller | Self::Bearer(_) => Facts::default(),
        }
    }

    /// The secret in the form that the recipient alone can read.
    pub(crate) fn deliver(&self, secret: Zeroizing<Vec<u8>>) -> Result<Delivered, KmsError> {
        match self.key()? {
            None => Ok(Delivered { plaintext: Some(SecretBlob(secret)), ciphertext_for_recipient: None }),
            Some(spki) => {
                let envelope = envelope::seal(spki, &secret)?;
                Ok(Delivered { plaintext: None, ciphertext_for_recipient: Some(Blob(envelope)) })
            }
        }
    }

    /// The public key that secrets are encrypted to; `None` for the caller.
    fn key(&self) -> Result<Option<&[u8]>, KmsError> {
        match self {
            Self::Caller => Ok(None),
            Self::Named(attested) => attested.key().map(Some),
            Self::Bearer(attested) => attested.key().map(Some),
        }
    }
}

/// The guest of a `Recipient` member.
fn named(call: &Call<'_>, member: &RecipientInfo) -> Result<Attested, KmsError> {
    let mut check = Check::default();
    let (mechanism, document) = ("recipient.keyEncryptionAlgorithm", "recipient.attestationDocument");
    check.required(mechanism, &member.key_encryption_algorithm);
    check.one_of::<KeyEncryptionMechanism>(mechanism, member.key_encryption_algorithm.as_deref());
    check.required(document, &member.attestation_document);
    check.blob(document, &member.attestation_document, 1, 262_144);
    check.done()?;
    let document = member.attestation_document.as_ref().map(Blob::as_ref).unwrap_or_default();
    Attested::verify(call, document, call.evidence.posture.as_deref())
}
