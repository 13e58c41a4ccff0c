//! What the signer asks of the place it runs in.

use zeroize::Zeroizing;

/// The place the signer runs in: a sealed guest, or an ordinary process that can prove nothing.
pub trait Platform {
    /// An attestation document over these fields, COSE_Sign1, untagged.
    ///
    /// The lengths have been checked against the limits of Nitro documents: user data and nonce 512 bytes,
    /// public key 1024 bytes.
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError>;

    /// The command line of the image, which is measured: what the owner has settled before the launch.
    fn command_line(&self) -> &str {
        ""
    }

    /// The secret that the same signer finds again when it is launched again in the same place: once, for the first who
    /// asks. `None` where there is no such secret; then nothing can be kept.
    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        None
    }

    /// The measurement of the signer (PCR0), as documents show it: all zero in debug mode. Only for messages.
    fn measurement(&self) -> [u8; 48] {
        [0; 48]
    }

    /// Whether the host says that it will attach a volume, so that the signer should wait for it.
    fn awaits_volume(&self) -> bool {
        false
    }
}

/// Why there is no attestation document.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The signer does not run in a sealed guest.
    #[error(
        "this signer is not sealed: it runs as an ordinary process and cannot attest itself; launch it with `casemate run`"
    )]
    NotSealed,
    /// The security module answered with an error.
    #[error("the security module refused to attest: {0}")]
    Refused(String),
}

/// A place that proves nothing and keeps nothing, for tests that ask nothing of it.
#[cfg(test)]
pub(crate) struct Nowhere;

#[cfg(test)]
impl Platform for Nowhere {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }
}
