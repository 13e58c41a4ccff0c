//! Signature algorithms: RFC 4055 (RSA), RFC 5758 (ECDSA), RFC 9881 (ML-DSA), RFC 8410 (Ed25519, in chains only).

use x509_cert::der::{Any, Sequence};
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};

use crate::crypto::{Hash, KeySpec, Scheme};

/// A signature algorithm as a certificate names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa(Hash),
    Pss(Hash),
    Ecdsa(Hash),
    MlDsa44,
    MlDsa65,
    MlDsa87,
    Ed25519,
}

use Algorithm::{Ecdsa, Ed25519, MlDsa44, MlDsa65, MlDsa87, Pss, Rsa};
use Hash::{Sha256, Sha384, Sha512};

/// id-RSASSA-PSS: its parameters tell the hash.
const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// id-mgf1.
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");

/// RSASSA-PSS-params (RFC 4055, 3.1).
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt: u8,
}

/// The parameters of PSS with that hash in both places.
fn pss(hash: Hash) -> Option<Any> {
    let (oid, salt) = match hash {
        Sha256 => ("2.16.840.1.101.3.4.2.1", 32),
        Sha384 => ("2.16.840.1.101.3.4.2.2", 48),
        Sha512 => ("2.16.840.1.101.3.4.2.3", 64),
    };
    let oid = ObjectIdentifier::new_unwrap(oid);
    let hash = AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) };
    let mask = AlgorithmIdentifierOwned { oid: MGF1, parameters: Some(Any::encode_from(&hash).ok()?) };
    Any::encode_from(&PssParameters { hash, mask, salt }).ok()
}

const ALL: [(Algorithm, ObjectIdentifier); 13] = [
    (Rsa(Sha256), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11")),
    (Rsa(Sha384), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12")),
    (Rsa(Sha512), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13")),
    (Pss(Sha256), PSS),
    (Pss(Sha384), PSS),
    (Pss(Sha512), PSS),
    (Ecdsa(Sha256), ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2")),
    (Ecdsa(Sha384), ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3")),
    (Ecdsa(Sha512), ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4")),
    (MlDsa44, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17")),
    (MlDsa65, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18")),
    (MlDsa87, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19")),
    (Ed25519, ObjectIdentifier::new_unwrap("1.3.101.112")),
];

impl Algorithm {
    /// The algorithm that an identifier names; `None` if it is another, or has parameters that it must not have.
    pub(super) fn of(identifier: &AlgorithmIdentifierOwned) -> Option<Self> {
        let named = ALL.iter().filter(|(_, oid)| *oid == identifier.oid);
        let fits = |algorithm: Self| match (algorithm, &identifier.parameters) {
            (Rsa(_), None) => true,
            (_, parameters) => *parameters == algorithm.parameters(),
        };
        named.map(|(algorithm, _)| *algorithm).find(|algorithm| fits(*algorithm))
    }

    /// How a structure names it.
    pub(super) fn identifier(self) -> AlgorithmIdentifierOwned {
        let oid = ALL.iter().find(|(known, _)| *known == self).map(|(_, oid)| *oid);
        // Every algorithm is in the table.
        let oid = oid.unwrap_or(ObjectIdentifier::new_unwrap("0.0"));
        AlgorithmIdentifierOwned { oid, parameters: self.parameters() }
    }

    fn parameters(self) -> Option<Any> {
        match self {
            Rsa(_) => Some(Any::null()),
            Pss(hash) => pss(hash),
            Ecdsa(_) | MlDsa44 | MlDsa65 | MlDsa87 | Ed25519 => None,
        }
    }

    /// How it makes a message into what is signed.
    pub(super) fn scheme(self) -> Scheme {
        match self {
            Rsa(hash) | Ecdsa(hash) => Scheme::Hashed(hash),
            Pss(hash) => Scheme::Pss(hash),
            MlDsa44 | MlDsa65 | MlDsa87 | Ed25519 => Scheme::Own,
        }
    }

    /// Whether keys of that spec sign with it.
    pub(crate) fn is_for(self, spec: KeySpec) -> bool {
        match self {
            Rsa(_) | Pss(_) => spec.is_rsa(),
            Ecdsa(_) => matches!(spec, KeySpec::P256 | KeySpec::P384 | KeySpec::P521),
            MlDsa44 => spec == KeySpec::MlDsa44,
            MlDsa65 => spec == KeySpec::MlDsa65,
            MlDsa87 => spec == KeySpec::MlDsa87,
            Ed25519 => spec == KeySpec::Ed25519,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_name_their_algorithms() {
        for (algorithm, _) in ALL {
            assert_eq!(Algorithm::of(&algorithm.identifier()), Some(algorithm));
        }
        let mut odd = MlDsa44.identifier();
        odd.parameters = Some(Any::null());
        assert_eq!(Algorithm::of(&odd), None);
        odd.oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
        assert_eq!(Algorithm::of(&odd), None, "SHA-1");
    }
}
