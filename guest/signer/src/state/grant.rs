//! Upgrade grants: a volume's key, encrypted by the guest that has it to another guest that its owner names.
//!
//! Every signer has a key pair for that, X25519, derived from its sealing key: so whoever runs the same image on the same
//! platform can derive it again, and a grant in the header waits until that image comes for it. What makes a public key
//! the new guest's is an attestation document that carries it, with a nonce of this signer's.
//!
//! ```text
//! shared    X25519(ephemeral, the new guest's key)
//! key       HMAC-SHA-256 under HMAC-SHA-256("casemate volume grant 1", shared)
//!           over volume ‖ measurement ‖ the new guest's key ‖ ephemeral public key ‖ 1     (HKDF, RFC 5869)
//! granted   AES-256-GCM(key, the volume's key)
//! ```

use aws_lc_rs::agreement::{
    EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, X25519, agree, agree_ephemeral,
};
use aws_lc_rs::rand::SystemRandom;
use casemate_volume::VolumeId;
use casemate_volume::layout::Grant;
use serde_bytes::{ByteArray, ByteBuf};

use crate::crypto::CryptoError;

use super::keys::{self, SealingKeys, Secret};
use super::refusal::Refusal;

/// What a guest says in a document to which volumes are granted.
pub(crate) const STATEMENT: &[u8] = b"casemate:volume:1";
/// Bytes of a public key.
pub(crate) const PUBLIC_LEN: usize = 32;

const FAILED: CryptoError = CryptoError::Library("key agreement");

fn private(sealing: &SealingKeys) -> Result<PrivateKey, CryptoError> {
    PrivateKey::from_private_key(&X25519, &sealing.grant[..]).map_err(|_| FAILED)
}

/// The public key that volumes can be granted to.
pub(super) fn public(sealing: &SealingKeys) -> Result<[u8; PUBLIC_LEN], CryptoError> {
    private(sealing)?.compute_public_key().map_err(|_| FAILED)?.as_ref().try_into().map_err(|_| FAILED)
}

/// Grants the key of `volume` to the guest with this measurement and this public key.
pub(super) fn make(
    volume: VolumeId,
    key: &Secret,
    measurement: [u8; 48],
    to: [u8; PUBLIC_LEN],
) -> Result<Grant, CryptoError> {
    let ephemeral = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| FAILED)?;
    let from = ephemeral.compute_public_key().map_err(|_| FAILED)?;
    let from: [u8; PUBLIC_LEN] = from.as_ref().try_into().map_err(|_| FAILED)?;
    let binding = binding(volume, &measurement, &to, &from);
    let peer = UnparsedPublicKey::new(&X25519, to);
    let wrapping = agree_ephemeral(ephemeral, peer, FAILED, |shared| Ok(derive(shared, &binding)))?;
    Ok(Grant {
        measurement: ByteArray::new(measurement),
        to: ByteArray::new(to),
        from: ByteArray::new(from),
        key: ByteBuf::from(keys::wrap(&wrapping, &binding, key)?),
    })
}

/// The key of `volume`, which was granted to this guest, or to another.
pub(super) fn accept(sealing: &SealingKeys, volume: VolumeId, grant: &Grant) -> Result<Secret, Refusal> {
    if *grant.to != public(sealing)? {
        return Err(Refusal::OtherGrant { granted_to: *grant.measurement, this: sealing.measurement() });
    }
    let binding = binding(volume, &grant.measurement, &grant.to, &grant.from);
    let peer = UnparsedPublicKey::new(&X25519, grant.from.as_slice());
    let wrapping = agree(&private(sealing)?, peer, Refusal::Header, |shared| Ok(derive(shared, &binding)))?;
    keys::unwrap(&wrapping, &binding, &grant.key).ok_or(Refusal::Header)
}

fn binding(volume: VolumeId, measurement: &[u8; 48], to: &[u8; 32], from: &[u8; 32]) -> Vec<u8> {
    [volume.0.as_slice(), measurement, to, from].concat()
}

/// HKDF-SHA-256 with a label as salt, for 32 bytes.
fn derive(shared: &[u8], binding: &[u8]) -> Secret {
    let extracted = keys::prf(b"casemate volume grant 1", shared);
    keys::prf(&extracted[..], &[binding, &[1]].concat())
}
