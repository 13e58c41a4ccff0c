//! Signature algorithms: RFC 4055 (RSA), RFC 5758 (ECDSA), RFC 9881 (ML-DSA), RFC 8410 (Ed25519, in chains only).

use x509_cert::der::Any;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};

use crate::crypto::{Hash, KeySpec};

/// A signature algorithm as a certificate names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa(Hash),
    Ecdsa(Hash),
    MlDsa44,
    MlDsa65,
    MlDsa87,
    Ed25519,
}

use Algorithm::{Ecdsa, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa};
use Hash::{Sha256, Sha384, Sha512};

const ALL: [(Algorithm, ObjectIdentifier); 10] = [
    (Rsa(Sha256), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11")),
    (Rsa(Sha384), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12")),
    (Rsa(Sha512), ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13")),
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
        let (algorithm, _) = ALL.iter().find(|(_, oid)| *oid == identifier.oid)?;
        let fits = match (algorithm, &identifier.parameters) {
            (_, None) => true,
            (Rsa(_), Some(parameters)) => parameters.is_null(),
            _ => false,
        };
        fits.then_some(*algorithm)
    }

    /// How a structure names it.
    pub(super) fn identifier(self) -> AlgorithmIdentifierOwned {
        let oid = ALL.iter().find(|(known, _)| *known == self).map(|(_, oid)| *oid);
        AlgorithmIdentifierOwned {
            // Every algorithm is in the table.
            oid: oid.unwrap_or(ObjectIdentifier::new_unwrap("0.0")),
            parameters: matches!(self, Rsa(_)).then(Any::null),
        }
    }

    /// The hash that it signs; `None` if it hashes the message itself.
    pub(super) fn hash(self) -> Option<Hash> {
        match self {
            Rsa(hash) | Ecdsa(hash) => Some(hash),
            MlDsa44 | MlDsa65 | MlDsa87 | Ed25519 => None,
        }
    }

    /// Whether keys of that spec sign with it.
    pub(crate) fn is_for(self, spec: KeySpec) -> bool {
        match self {
            Rsa(_) => spec.is_rsa(),
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
