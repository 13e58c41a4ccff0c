//! Key encapsulation: ML-KEM (FIPS 203), keys kept as the seed they are made from.

use aws_lc_rs::kem::{
    Algorithm, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_512, ML_KEM_768, ML_KEM_1024,
};
use k256::pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::{CryptoError, KeySpec, lc};

/// d ‖ z (FIPS 203, algorithm 16).
const SEED_LEN: usize = 64;
/// Length of every ML-KEM shared secret.
const SECRET_LEN: usize = 32;

/// What encapsulation gives: the ciphertext, and the secret that it holds.
pub type Encapsulated = (Vec<u8>, Zeroizing<Vec<u8>>);

/// A key pair that can encapsulate and decapsulate and nothing else; aws-lc erases its part when it is dropped.
pub struct KemKey {
    parameters: Parameters,
    seed: Zeroizing<[u8; SEED_LEN]>,
    private: DecapsulationKey,
    public: EncapsulationKey,
    spki: Vec<u8>,
}

impl KemKey {
    /// Makes a key.
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        super::random(seed.as_mut())?;
        Self::from_seed(spec, seed)
    }

    /// The key in a PKCS #8 structure: its seed, or its seed and the expanded key, which must belong together.
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let wrong = CryptoError::Key(spec.name());
        let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| wrong)?;
        let parameters = Parameters::of(spec)?;
        if info.algorithm.oid != parameters.oid() || info.algorithm.parameters.is_some() {
            return Err(wrong);
        }
        let (seed, expanded) = parameters.seed_in(info.private_key.as_bytes()).ok_or(wrong)?;
        let key = Self::from_seed(spec, Zeroizing::new(*seed))?;
        if let Some(expanded) = expanded {
            let own = key.private.key_bytes().map_err(|_| wrong)?;
            aws_lc_rs::constant_time::verify_slices_are_equal(own.as_ref(), expanded).map_err(|_| wrong)?;
        }
        Ok(key)
    }

    /// The key of a seed (FIPS 203, algorithm 16).
    pub(crate) fn from_seed(spec: KeySpec, seed: Zeroizing<[u8; SEED_LEN]>) -> Result<Self, CryptoError> {
        let failed = CryptoError::Library("ML-KEM key expansion");
        let parameters = Parameters::of(spec)?;
        let expanded = lc::ml_kem_expand(&parameters.pkcs8(&seed)).ok_or(failed)?;
        let public = parameters.public_in(&expanded).ok_or(failed)?;
        let spki = [&parameters.spki_head()[..], public].concat();
        let private = DecapsulationKey::new(parameters.algorithm, &expanded).map_err(|_| failed)?;
        let public = EncapsulationKey::new(parameters.algorithm, public).map_err(|_| failed)?;
        Ok(Self { parameters, seed, private, public, spki })
    }

    pub(super) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.parameters.pkcs8(&self.seed)
    }

    /// The SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// A new shared secret, and its ciphertext (FIPS 203, algorithm 20).
    pub fn encapsulate(&self) -> Result<Encapsulated, CryptoError> {
        let encapsulated = self.public.encapsulate();
        let (ciphertext, secret) = encapsulated.map_err(|_| CryptoError::Library("encapsulation"))?;
        Ok((ciphertext.as_ref().to_vec(), Zeroizing::new(secret.as_ref().to_vec())))
    }

    /// The shared secret in a ciphertext (FIPS 203, algorithm 21). A ciphertext of the right length always has one;
    /// if it was made for another key or changed, the secret is another, random one: implicit rejection.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if ciphertext.len() != self.parameters.ciphertext_len {
            return Err(CryptoError::Length(self.parameters.name, ciphertext.len()));
        }
        let secret = self.private.decapsulate(Ciphertext::from(ciphertext));
        let secret = secret.map_err(|_| CryptoError::Library("decapsulation"))?;
        debug_assert_eq!(secret.as_ref().len(), SECRET_LEN);
        Ok(Zeroizing::new(secret.as_ref().to_vec()))
    }
}

/// One of the three parameter sets (FIPS 203, section 8) and its encodings (RFC 9935).
#[derive(Clone, Copy)]
struct Parameters {
    name: &'static str,
    algorithm: &'static Algorithm,
    /// The last arc of the object identifier 2.16.840.1.101.3.4.4.
    arc: u8,
    /// Length of an encapsulation key, 384k + 32.
    public_len: usize,
    /// Length of an expanded decapsulation key, 768k + 96.
    expanded_len: usize,
    /// Length of a ciphertext, 32(d_u k + d_v).
    ciphertext_len: usize,
}

impl Parameters {
    fn of(spec: KeySpec) -> Result<Self, CryptoError> {
        let (algorithm, arc, public_len, expanded_len, ciphertext_len) = match spec {
            KeySpec::MlKem512 => (&ML_KEM_512, 1, 800, 1632, 768),
            KeySpec::MlKem768 => (&ML_KEM_768, 2, 1184, 2400, 1088),
            KeySpec::MlKem1024 => (&ML_KEM_1024, 3, 1568, 3168, 1568),
            _ => return Err(CryptoError::Mismatch("ML_KEM", spec.name())),
        };
        Ok(Self { name: spec.name(), algorithm, arc, public_len, expanded_len, ciphertext_len })
    }

    /// The DER of the AlgorithmIdentifier: a sequence of the object identifier alone.
    const fn identifier(self) -> [u8; 13] {
        [0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, self.arc]
    }

    fn oid(self) -> ObjectIdentifier {
        match self.arc {
            1 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1"),
            2 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2"),
            _ => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3"),
        }
    }

    /// OneAsymmetricKey of version 1 whose private key is `seed [0] OCTET STRING (SIZE (64))` (RFC 9935, section 6).
    fn pkcs8(self, seed: &[u8; SEED_LEN]) -> Zeroizing<Vec<u8>> {
        let mut der = Vec::with_capacity(2 + 0x54);
        der.extend_from_slice(&[0x30, 0x54, 0x02, 0x01, 0x00]);
        der.extend_from_slice(&self.identifier());
        der.extend_from_slice(&[0x04, 0x42, 0x80, 0x40]);
        der.extend_from_slice(seed);
        Zeroizing::new(der)
    }

    /// The SubjectPublicKeyInfo before the bytes of the key: two sequences and the head of a bit string.
    fn spki_head(self) -> [u8; 22] {
        // A byte for the unused bits; 13 bytes of identifier and 4 of the bit string's own head.
        let [.., high, low] = self.public_len.saturating_add(1).to_be_bytes();
        let [.., outer_high, outer_low] = self.public_len.saturating_add(18).to_be_bytes();
        let mut head = [0; 22];
        head[..4].copy_from_slice(&[0x30, 0x82, outer_high, outer_low]);
        head[4..17].copy_from_slice(&self.identifier());
        head[17..].copy_from_slice(&[0x03, 0x82, high, low, 0x00]);
        head
    }

    /// Seed, and expanded key if it is there too, in the CHOICE of RFC 9935, section 6. The expanded key alone will not
    /// do: no seed follows from it.
    fn seed_in(self, private: &[u8]) -> Option<(&[u8; SEED_LEN], Option<&[u8]>)> {
        if let Some(seed) = private.strip_prefix(&[0x80, 0x40]) {
            return Some((seed.try_into().ok()?, None));
        }
        // Two octet strings with heads of 2 and 4 bytes.
        let [.., high, low] = self.expanded_len.to_be_bytes();
        let [.., outer_high, outer_low] = self.expanded_len.saturating_add(SEED_LEN + 6).to_be_bytes();
        let rest = private.strip_prefix(&[0x30, 0x82, outer_high, outer_low, 0x04, 0x40])?;
        let (seed, rest) = rest.split_first_chunk::<SEED_LEN>()?;
        let rest = rest.strip_prefix(&[0x04, 0x82, high, low])?;
        (rest.len() == self.expanded_len).then_some((seed, Some(rest)))
    }

    /// The encapsulation key in an expanded decapsulation key: dk = dk_PKE ‖ ek ‖ H(ek) ‖ z (FIPS 203, algorithm 16).
    fn public_in(self, expanded: &[u8]) -> Option<&[u8]> {
        let (rest, _) = expanded.split_at_checked(self.expanded_len.checked_sub(2 * 32)?)?;
        rest.get(rest.len().checked_sub(self.public_len)?..)
    }
}
