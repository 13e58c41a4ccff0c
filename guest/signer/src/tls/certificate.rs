//! The signer's own TLS certificate (RFC 5280): self-signed, for a server, and its own CA file.
//!
//! | field | value | why |
//! | --- | --- | --- |
//! | key, signature | P-256, ecdsa-with-SHA256 | every TLS 1.2 and 1.3 client takes it, and it is the fastest |
//! | subject, issuer | CN=Casemate signer and 16 digits of the key's identifier | one signer's is not taken for another's |
//! | basicConstraints (critical) | not a CA | whoever trusts the file trusts this one key; webpki refuses a CA as a server |
//! | keyUsage (critical), extKeyUsage | digitalSignature, serverAuth | |
//! | subjectAltName | localhost, 127.0.0.1, ::1, and what the owner added | clients compare nothing else |
//! | valid | [`DAYS`] | trust comes from the attestation, not from the date |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use signature::{Keypair, Signer};
use x509_cert::TbsCertificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder, Error};
use x509_cert::certificate::Certificate;
use x509_cert::der::asn1::{Any, BitString, Ia5String, OctetString, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::ID_KP_SERVER_AUTH;
use x509_cert::der::oid::db::rfc5912::ECDSA_WITH_SHA_256;
use x509_cert::der::{self, Decode as _, Document, Encode as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey,
    SignatureBitStringEncoding, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::time::Validity;

use crate::crypto;

/// How long the certificate is valid.
pub(super) const DAYS: u64 = 10 * 365;
/// How far before its making it becomes valid, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// The self-signed certificate of `key`, DER, for these names and the local ones.
pub(super) fn self_signed(key: &EcdsaKeyPair, names: &[String], now: SystemTime) -> Result<Vec<u8>, Error> {
    let key = Key(key);
    let public = key.verifying_key();
    let spki = SubjectPublicKeyInfoOwned::from_der(&public.0)?;
    let identifier = base16ct::lower::encode_string(key_identifier(&public.0).get(..8).unwrap_or_default());
    let subject = common_name(&format!("Casemate signer {identifier}"))?;
    let mut all = local_names()?.to_vec();
    for name in names {
        all.push(general_name(name)?);
    }
    let server = Server { subject, names: all };
    let certificate = CertificateBuilder::new(server, serial_number()?, validity(now)?, spki)?
        .build::<_, EcdsaSignature>(&key)?;
    Ok(Certificate::to_der(&certificate)?)
}

/// The name that consists of this common name. Not parsed from `CN=…`: parsing brings in the names of all object identifiers
/// that there are, a hundred kilobytes.
fn common_name(text: &str) -> der::Result<Name> {
    let value = Any::from(Utf8StringRef::new(text)?);
    let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value };
    let mut name = RdnSequence::default();
    name.push(RelativeDistinguishedName::try_from(vec![attribute])?);
    Name::from_der(&name.to_der()?)
}

/// What a server's certificate says about its key.
struct Server {
    subject: Name,
    names: Vec<GeneralName>,
}

impl BuilderProfile for Server {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        public: SubjectPublicKeyInfoRef<'_>,
        issuer: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>, Error> {
        let subject = tbs.subject();
        let own = SubjectKeyIdentifier(OctetString::new(key_identifier(&public.to_der()?))?);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(key_identifier(&issuer.to_der()?))?),
            ..AuthorityKeyIdentifier::default()
        };
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        Ok(vec![
            (true, &constraints).to_extension(subject, &[])?,
            KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(subject, &[])?,
            ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH]).to_extension(subject, &[])?,
            own.to_extension(subject, &[])?,
            authority.to_extension(subject, &[])?,
            (false, &SubjectAltName(self.names.clone())).to_extension(subject, &[])?,
        ])
    }
}

/// The names under which the signer's own host reaches it.
fn local_names() -> der::Result<[GeneralName; 3]> {
    Ok([
        GeneralName::DnsName(Ia5String::new("localhost")?),
        GeneralName::from(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        GeneralName::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ])
}

fn general_name(name: &str) -> der::Result<GeneralName> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(GeneralName::from(address)),
        Err(_) => Ok(GeneralName::DnsName(Ia5String::new(name)?)),
    }
}

/// RFC 7093, 2, method 4: the leftmost 160 bits of the SHA-256 of the SubjectPublicKeyInfo.
fn key_identifier(spki: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, spki).as_ref().iter().take(20).copied().collect()
}

fn validity(now: SystemTime) -> der::Result<Validity> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = |since: Duration| der::DateTime::from_unix_duration(since).map(Into::into);
    let end = now.saturating_add(Duration::from_secs(DAYS * 86_400));
    Ok(Validity::new(time(now.saturating_sub(BACKDATE))?, time(end)?))
}

/// 126 random bits, positive and of constant length.
fn serial_number() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    crypto::random(&mut bytes).map_err(|_| Error::Signature(signature::Error::new()))?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::new(&bytes)?)
}

/// The key as the builder wants to see it.
struct Key<'a>(&'a EcdsaKeyPair);

/// SubjectPublicKeyInfo, DER; empty if it could not be encoded, which the builder then refuses.
#[derive(Clone)]
struct Public(Vec<u8>);

/// ECDSA-Sig-Value (RFC 3279, 2.2.3), DER.
struct EcdsaSignature(Vec<u8>);

impl Keypair for Key<'_> {
    type VerifyingKey = Public;

    fn verifying_key(&self) -> Public {
        Public(self.0.public_key().as_der().map(|der| der.as_ref().to_vec()).unwrap_or_default())
    }
}

impl EncodePublicKey for Public {
    fn to_public_key_der(&self) -> spki::Result<Document> {
        Ok(Document::try_from(self.0.as_slice())?)
    }
}

impl DynSignatureAlgorithmIdentifier for Key<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA_256, parameters: None })
    }
}

impl Signer<EcdsaSignature> for Key<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<EcdsaSignature, signature::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| signature::Error::new())?;
        Ok(EcdsaSignature(signature.as_ref().to_vec()))
    }
}

impl SignatureBitStringEncoding for EcdsaSignature {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}
