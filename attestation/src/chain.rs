//! Path validation (RFC 5280, 6) for the one kind of chain that documents have: P-384, root first, leaf apart.
//!
//! It is stricter than the RFC: no certificate may carry a critical extension that is not named here, every
//! certificate is re-encoded and must come out byte for byte the same, and self-issued certificates count against
//! a pathLen like any other.

use der::asn1::{Ia5StringRef, ObjectIdentifier};
use der::oid::AssociatedOid;
use der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use der::oid::db::rfc5912::{ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, SECP_384_R_1};
use der::{Decode, Encode, Sequence};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::{Certificate, certificate::Version};

use crate::document::CERTIFICATE_MAX;
use crate::es384::{self, PUBLIC_LEN};
use crate::pcr::Pcr;

/// What a leaf's subjectAltName begins with if its key is in the security module; the module's PCR0 follows, hexadecimal.
pub(crate) const MODULE_URI: &str = "casemate:module:";

/// subjectAltName (RFC 5280, 4.2.1.6) of one URI.
#[derive(Sequence)]
pub(crate) struct ModuleName<'a> {
    #[asn1(context_specific = "6", tag_mode = "IMPLICIT", type = "IA5String")]
    uri: Ia5StringRef<'a>,
}

impl AssociatedOid for ModuleName<'_> {
    const OID: ObjectIdentifier = ID_CE_SUBJECT_ALT_NAME;
}

impl<'a> ModuleName<'a> {
    /// This URI as the only name.
    #[cfg(feature = "host")]
    pub(crate) fn new(uri: &'a str) -> der::Result<Self> {
        Ok(Self { uri: Ia5StringRef::new(uri)? })
    }

    /// The module's PCR0, if this is a module's name.
    fn pcr0(&self) -> Option<Pcr> {
        self.uri.as_str().strip_prefix(MODULE_URI)?.parse().ok()
    }
}

/// Which certificate of a chain, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Entry of `cabundle`; 0 is the root.
    Bundle(usize),
    /// The certificate that signed the document.
    Leaf,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bundle(0) => f.write_str("the root certificate"),
            Self::Bundle(index) => write!(f, "intermediate certificate {index}"),
            Self::Leaf => f.write_str("the leaf certificate"),
        }
    }
}

/// What is wrong with a certificate or with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// Not a certificate.
    #[error("is not a DER certificate of version 3: {0}")]
    Malformed(String),
    /// Another algorithm than ECDSA P-384 with SHA-384.
    #[error("does not use ECDSA P-384 with SHA-384")]
    Algorithm,
    /// Not among the roots that the verifier trusts.
    #[error("({0}) is not one that you trust")]
    Untrusted(String),
    /// Its issuer is not the certificate above it.
    #[error("names `{issuer}` as issuer but stands under `{above}`")]
    Issuer {
        /// What it names.
        issuer: String,
        /// What is there.
        above: String,
    },
    /// Its signature is wrong.
    #[error("was not signed by the certificate above it")]
    Signature,
    /// It is not valid yet.
    #[error("is not valid before {not_before} (seconds since 1970); the time is {now}")]
    NotYetValid {
        /// When it becomes valid.
        not_before: u64,
        /// The verifier's time.
        now: u64,
    },
    /// It is no longer valid.
    #[error("expired at {not_after} (seconds since 1970); the time is {now}")]
    Expired {
        /// When it ended.
        not_after: u64,
        /// The verifier's time.
        now: u64,
    },
    /// A CA's place, but not a CA.
    #[error("is not a certification authority (basicConstraints, keyUsage keyCertSign)")]
    NotAnAuthority,
    /// More intermediates than a CA allows.
    #[error("allows {allowed} intermediate certificates below it and has {found}")]
    PathLength {
        /// The pathLen.
        allowed: u8,
        /// How many there are.
        found: usize,
    },
    /// A leaf that is more than a leaf.
    #[error("is not a plain signing certificate (keyUsage digitalSignature only, no CA, no pathLen)")]
    NotALeaf,
    /// A critical extension that this verifier does not know, or an extension that appears twice.
    #[error("has extension {0}, which is critical and unknown here, or is there twice")]
    Extension(String),
}

/// A chain that leads from a trusted root to the leaf.
pub(crate) struct Chain {
    pub(crate) leaf_public: Vec<u8>,
    pub(crate) leaf_name: String,
    /// PCR0 of the security module that has the leaf's key, if one has it.
    pub(crate) leaf_module: Option<Pcr>,
    pub(crate) leaf_not_after: u64,
}

/// Checks the chain at `now` (seconds since 1970). `roots` are DER.
pub(crate) fn validate(
    cabundle: &[Vec<u8>],
    leaf: &[u8],
    roots: &[Vec<u8>],
    now: u64,
) -> Result<Chain, (Position, ChainFault)> {
    let mut above: Option<Link> = None;
    for (index, der) in cabundle.iter().enumerate() {
        let at = |fault| (Position::Bundle(index), fault);
        let link = Link::read(der).map_err(at)?;
        if index == 0 && !roots.contains(der) {
            return Err(at(ChainFault::Untrusted(link.subject())));
        }
        link.check_dates(now).map_err(at)?;
        // The leaf comes after the bundle and is no intermediate.
        link.check_authority(cabundle.len().saturating_sub(index + 1)).map_err(at)?;
        if let Some(above) = &above {
            link.check_signed_by(above).map_err(at)?;
        }
        above = Some(link);
    }
    let at = |fault| (Position::Leaf, fault);
    let leaf = Link::read(leaf).map_err(at)?;
    leaf.check_dates(now).map_err(at)?;
    leaf.check_leaf().map_err(at)?;
    let above = above.ok_or_else(|| at(ChainFault::Untrusted("no certificate above it".into())))?;
    leaf.check_signed_by(&above).map_err(at)?;
    Ok(Chain {
        leaf_name: leaf.common_name(),
        leaf_module: leaf.module(),
        leaf_not_after: leaf.not_after(),
        leaf_public: leaf.public,
    })
}

/// One certificate with the extensions that matter.
pub(crate) struct Link {
    certificate: Certificate,
    to_be_signed: Vec<u8>,
    pub(crate) public: Vec<u8>,
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
}

impl Link {
    pub(crate) fn read(der: &[u8]) -> Result<Self, ChainFault> {
        let malformed = |error: der::Error| ChainFault::Malformed(error.to_string());
        if der.len() > CERTIFICATE_MAX {
            return Err(ChainFault::Malformed(format!("{} bytes; {CERTIFICATE_MAX} are allowed", der.len())));
        }
        let certificate = Certificate::from_der(der).map_err(malformed)?;
        let again = certificate.to_der().map_err(malformed)?;
        let tbs = certificate.tbs_certificate();
        if again != der || tbs.version() != Version::V3 {
            return Err(ChainFault::Malformed("another version, or not in canonical DER".into()));
        }
        let to_be_signed = tbs.to_der().map_err(malformed)?;
        let public = p384_point(&certificate).ok_or(ChainFault::Algorithm)?;
        let constraints = extension::<BasicConstraints>(&certificate)?;
        let usage = extension::<KeyUsage>(&certificate)?;
        check_extensions(&certificate)?;
        Ok(Self { to_be_signed, public, constraints, usage, certificate })
    }

    pub(crate) fn subject(&self) -> String {
        title(self.subject_name())
    }

    pub(crate) fn subject_name(&self) -> &x509_cert::name::Name {
        self.certificate.tbs_certificate().subject()
    }

    pub(crate) fn not_before(&self) -> u64 {
        self.certificate.tbs_certificate().validity().not_before.to_unix_duration().as_secs()
    }

    pub(crate) fn not_after(&self) -> u64 {
        self.certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs()
    }

    fn common_name(&self) -> String {
        common_name(self.subject_name()).unwrap_or_default()
    }

    /// PCR0 of the security module that has the key. Other alternative names, and those of others, say nothing about that.
    fn module(&self) -> Option<Pcr> {
        let name = find(&self.certificate, ModuleName::OID)?;
        ModuleName::from_der(name.extn_value.as_bytes()).ok()?.pcr0()
    }

    fn allows(&self, usage: KeyUsages) -> bool {
        self.usage.as_ref().is_some_and(|allowed| allowed.0.contains(usage))
    }

    fn check_dates(&self, now: u64) -> Result<(), ChainFault> {
        let (not_before, not_after) = (self.not_before(), self.not_after());
        if now < not_before {
            return Err(ChainFault::NotYetValid { not_before, now });
        }
        if now > not_after {
            return Err(ChainFault::Expired { not_after, now });
        }
        Ok(())
    }

    pub(crate) fn check_authority(&self, intermediates_below: usize) -> Result<(), ChainFault> {
        let constraints = self.constraints.as_ref().filter(|constraints| constraints.ca);
        let constraints = constraints.ok_or(ChainFault::NotAnAuthority)?;
        if !self.allows(KeyUsages::KeyCertSign) {
            return Err(ChainFault::NotAnAuthority);
        }
        match constraints.path_len_constraint {
            Some(allowed) if usize::from(allowed) < intermediates_below => {
                Err(ChainFault::PathLength { allowed, found: intermediates_below })
            }
            _ => Ok(()),
        }
    }

    fn check_leaf(&self) -> Result<(), ChainFault> {
        let plain = self
            .constraints
            .as_ref()
            .is_none_or(|constraints| !constraints.ca && constraints.path_len_constraint.is_none());
        if plain && self.allows(KeyUsages::DigitalSignature) && !self.allows(KeyUsages::KeyCertSign) {
            return Ok(());
        }
        Err(ChainFault::NotALeaf)
    }

    pub(crate) fn check_signed_by(&self, above: &Self) -> Result<(), ChainFault> {
        let issuer = self.certificate.tbs_certificate().issuer();
        if issuer != above.subject_name() {
            return Err(ChainFault::Issuer { issuer: title(issuer), above: above.subject() });
        }
        let signature = self.certificate.signature().as_bytes().ok_or(ChainFault::Signature)?;
        if es384::verify_der(&above.public, &self.to_be_signed, signature) {
            return Ok(());
        }
        Err(ChainFault::Signature)
    }
}

fn common_name(name: &x509_cert::name::Name) -> Option<String> {
    Some(name.common_name().ok().flatten()?.value().into_owned())
}

/// What messages call the owner of a name. All of it would bring in the names of all object identifiers that there are, a
/// hundred kilobytes of a guest's image.
fn title(name: &x509_cert::name::Name) -> String {
    common_name(name).unwrap_or_else(|| "no common name".to_owned())
}

/// The public key, if the certificate is a P-384 key signed with ECDSA and SHA-384.
fn p384_point(certificate: &Certificate) -> Option<Vec<u8>> {
    let tbs = certificate.tbs_certificate();
    for algorithm in [tbs.signature(), certificate.signature_algorithm()] {
        if algorithm.oid != ECDSA_WITH_SHA_384 || algorithm.parameters.is_some() {
            return None;
        }
    }
    let key = tbs.subject_public_key_info();
    let curve: ObjectIdentifier = key.algorithm.parameters.as_ref()?.decode_as().ok()?;
    if key.algorithm.oid != ID_EC_PUBLIC_KEY || curve != SECP_384_R_1 {
        return None;
    }
    key.subject_public_key.as_bytes().filter(|point| point.len() == PUBLIC_LEN).map(<[u8]>::to_vec)
}

fn find(certificate: &Certificate, oid: ObjectIdentifier) -> Option<&Extension> {
    certificate.tbs_certificate().extensions()?.iter().find(|extension| extension.extn_id == oid)
}

fn extension<E: for<'a> Decode<'a> + AssociatedOid>(
    certificate: &Certificate,
) -> Result<Option<E>, ChainFault> {
    let Some(found) = find(certificate, E::OID) else {
        return Ok(None);
    };
    let value = E::from_der(found.extn_value.as_bytes());
    value.map(Some).map_err(|_| ChainFault::Malformed(format!("extension {} cannot be read", E::OID)))
}

fn check_extensions(certificate: &Certificate) -> Result<(), ChainFault> {
    const KNOWN: [ObjectIdentifier; 4] =
        [BasicConstraints::OID, KeyUsage::OID, SubjectKeyIdentifier::OID, AuthorityKeyIdentifier::OID];
    let extensions = certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
    for (index, extension) in extensions.iter().enumerate() {
        let again = extensions.iter().skip(index + 1).any(|other| other.extn_id == extension.extn_id);
        if again || extension.critical && !KNOWN.contains(&extension.extn_id) {
            return Err(ChainFault::Extension(extension.extn_id.to_string()));
        }
    }
    Ok(())
}
