//! Who gets a secret that an operation returns: the caller, or an attested guest in its place.
//!
//! Operations do not answer with secrets of their own accord: they ask [`Recipient::of`] whose it is, and hand the secret
//! to [`Recipient::deliver`].

use zeroize::Zeroizing;

use crate::access::Call;
use crate::errors::KmsError;
use crate::types::{Blob, RecipientInfo, SecretBlob};

/// Who gets the secret.
pub(crate) struct Recipient(());

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
    /// The recipient that a request names, or else the caller.
    pub(crate) fn of(_call: &Call<'_>, member: &Option<RecipientInfo>) -> Result<Self, KmsError> {
        // A caller that names a recipient must not get the plaintext in the clear.
        match member {
            Some(_) => {
                Err(KmsError::unsupported("This signer does not support the Recipient parameter yet."))
            }
            None => Ok(Self(())),
        }
    }

    /// The secret in the form that the recipient alone can read.
    pub(crate) fn deliver(&self, secret: Zeroizing<Vec<u8>>) -> Result<Delivered, KmsError> {
        Ok(Delivered { plaintext: Some(SecretBlob(secret)), ciphertext_for_recipient: None })
    }
}
