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
//! proof     a document of the granting guest over SHA-256(volume ‖ measurement ‖ both public keys ‖ granted)
//! ```
//!
//! So the two guests attest each other: the one that grants sees a document of the new one, and the new one takes a volume
//! only from a guest of this platform whose measurement is the one that the volume was sealed for.

use std::time::{Duration, SystemTime};

use aws_lc_rs::agreement::{
    EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, X25519, agree, agree_ephemeral,
};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use casemate_volume::layout::Grant;
use casemate_volume::{Header, VolumeId};
use serde_bytes::{ByteArray, ByteBuf};

use crate::crypto::{self, CryptoError};
use crate::errors::KmsError;
use crate::platform::AttestError;
use crate::recipient;
use crate::signer::Signer;

use super::State;
use super::keys::{self, SealingKeys, Secret};
use super::ledger::Ledger;
use super::refusal::Refusal;

/// How the statement begins that the guest makes which grants a volume.
const VOUCHED: &str = "casemate:grant:1:";
/// Bytes of a public key.
pub(crate) const PUBLIC_LEN: usize = 32;

/// How long a nonce for a grant is good.
const CHALLENGE: Duration = Duration::from_secs(300);

/// Bytes that a document must contain.
pub(super) type Nonce = [u8; 32];

const FAILED: CryptoError = CryptoError::Library("key agreement");

impl State {
    /// A nonce for the next grant, in the place of the one before.
    pub(crate) fn challenge(&self, now: SystemTime) -> Result<Nonce, KmsError> {
        let mut nonce = [0; 32];
        crypto::random(&mut nonce)?;
        self.challenge.set(Some((nonce, now)));
        Ok(nonce)
    }

    /// Takes the nonce, which is good once and for a while; whether this is it.
    pub(crate) fn answers_challenge(&self, nonce: Option<&[u8]>, now: SystemTime) -> bool {
        let Some((expected, made)) = self.challenge.take() else { return false };
        let age = now.duration_since(made).unwrap_or_default();
        nonce == Some(&expected) && age <= CHALLENGE
    }

    /// Has the next commit grant the volume to the guest with this measurement and this public key, with the document that
    /// `vouch` makes of the [statement](vouched) about it; the volume.
    pub(crate) fn grant(
        &self,
        measurement: [u8; 48],
        to: [u8; PUBLIC_LEN],
        vouch: impl FnOnce(&str) -> Result<Vec<u8>, AttestError>,
    ) -> Result<VolumeId, KmsError> {
        let keys = self.keys.borrow().clone();
        let keys =
            keys.ok_or_else(|| KmsError::unsupported("The signer has no volume that it could grant."))?;
        let mut grant = make(keys.volume, &keys.key, measurement, to)?;
        grant.proof = ByteBuf::from(vouch(&vouched(keys.volume, &grant))?);
        self.grant.replace(Some(grant));
        self.touched.set(self.touched.get().saturating_add(1));
        self.wake.notify_one();
        Ok(keys.volume)
    }

    /// Another guest is about to take over: clients are to connect anew after each answer. If none does in
    /// [this time](CHALLENGE), all is as it was.
    pub(crate) fn hand_over_soon(&self, now: SystemTime) {
        self.handing_over.set(now.checked_add(CHALLENGE));
    }

    /// Whether each answer ends its connection.
    pub(crate) fn hands_over(&self, now: SystemTime) -> bool {
        self.handing_over.get().is_some_and(|until| now < until)
    }

    /// Puts a grant that waits into the header of the next commit.
    pub(super) fn place_grant(&self, ledger: &mut Ledger) {
        let Some(grant) = self.grant.take() else { return };
        if let Ok(header) = Header::parse(&ledger.header) {
            ledger.header = Header { grant: Some(grant), ..header }.to_bytes();
        }
    }
}

impl Signer {
    /// The public key that volumes can be granted to.
    pub(crate) fn grant_key(&self) -> Result<[u8; PUBLIC_LEN], KmsError> {
        let keys = self.sealing_keys();
        let keys = keys.ok_or_else(|| {
            KmsError::unsupported("This signer has no sealing key, so it cannot open volumes.")
        })?;
        Ok(public(&keys)?)
    }
}

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
        proof: ByteBuf::new(),
    })
}

/// What the granting guest states.
pub(super) fn vouched(volume: VolumeId, grant: &Grant) -> String {
    let bound = binding(volume, &grant.measurement, &grant.to, &grant.from);
    let hash = digest(&SHA256, &[&bound[..], &grant.key].concat());
    format!("{VOUCHED}{}", base16ct::lower::encode_string(hash.as_ref()))
}

/// Checks that a guest of this platform, or of the one with that root, with the measurement that the volume was sealed for
/// has made the grant.
pub(super) fn check_proof(
    signer: &Signer,
    header: &Header,
    grant: &Grant,
    root: Option<&[u8]>,
) -> Result<(), Refusal> {
    let guest = recipient::establish_then(signer, &grant.proof, root)
        .map_err(|error| Refusal::Proof(error.message))?;
    let off = |what: &str| Err(Refusal::Proof(format!("its attestation document {what}")));
    if guest.debug || guest.pcrs.get(&0).is_none_or(|pcr0| *pcr0.as_bytes() != *header.sealed.measurement) {
        return off("is not of the image that the volume was sealed for");
    }
    if guest.user_data.as_deref() != Some(vouched(header.volume, grant).as_bytes()) {
        return off("is about something else");
    }
    Ok(())
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
