//! ES384, the one signature algorithm of attestation: ECDSA on P-384 with SHA-384 (RFC 9053, 2.1). Verification, with
//! aws-lc; for signing see [`signing`](crate::signing).

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

/// Bytes in a public key: an uncompressed point (SEC 1, 2.3.3).
pub const PUBLIC_LEN: usize = 97;
/// Bytes in a signature: r ‖ s.
pub const SIGNATURE_LEN: usize = 96;

/// ECDSA-Sig-Value (RFC 5480, A).
#[cfg(feature = "host")]
#[derive(der::Sequence)]
struct Value<'a> {
    r: der::asn1::UintRef<'a>,
    s: der::asn1::UintRef<'a>,
}

/// A signature (r ‖ s) as X.509 wants it: a DER sequence of r and s.
#[cfg(feature = "host")]
pub(crate) fn to_der(signature: &[u8; SIGNATURE_LEN]) -> der::Result<Vec<u8>> {
    let (r, s) = signature.split_at(SIGNATURE_LEN / 2);
    der::Encode::to_der(&Value { r: der::asn1::UintRef::new(r)?, s: der::asn1::UintRef::new(s)? })
}

/// Whether `signature` (r ‖ s) over `message` was made by the holder of `public` (SEC 1 point).
pub fn verify_fixed(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public).verify(message, signature).is_ok()
}

/// Whether `signature` (DER) over `message` was made by the holder of `public` (SEC 1 point).
pub fn verify_der(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public).verify(message, signature).is_ok()
}
