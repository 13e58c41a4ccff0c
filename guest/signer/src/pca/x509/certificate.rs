//! Certificates (RFC 5280, 4.1).

use std::fmt;

use aws_lc_rs::digest;
use x509_cert::der::asn1::{BitString, Int};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Any, Decode, Encode as _, Sequence};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::Validity;

use crate::crypto::{self, CryptoError, IssuingKey};

use super::signed::{self, Signed};
use super::{Algorithm, X509Error, time};

/// TBSCertificate, with names and key as they were written.
#[derive(Clone, Debug, Sequence)]
struct Body {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", default = "Default::default")]
    version: u8,
    serial: Int,
    algorithm: AlgorithmIdentifierOwned,
    issuer: Any,
    validity: Validity,
    subject: Any,
    public_key: Any,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_id: Option<BitString>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// A serial number: 16 bytes that we draw ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Serial([u8; 16]);

impl Serial {
    /// Before all others; no certificate has it.
    pub(crate) const LEAST: Self = Self([0; 16]);

    /// 126 random bits, positive and of constant length.
    pub(crate) fn random() -> Result<Self, CryptoError> {
        let mut bytes = [0; 16];
        crypto::random(&mut bytes)?;
        let [first, ..] = &mut bytes;
        *first = *first & 0x3f | 0x40;
        Ok(Self(bytes))
    }

    /// The one of these bytes, as they are in a certificate; `None` if we cannot have drawn it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The one in hexadecimal digits, with or without colons and capitals.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        Self::from_bytes(&base16ct::mixed::decode_vec(digits).ok()?)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a certificate is to say.
pub(crate) struct Content<'a> {
    pub(crate) serial: Serial,
    pub(crate) issuer: &'a Any,
    pub(crate) subject: &'a Any,
    /// SubjectPublicKeyInfo.
    pub(crate) public_key: &'a [u8],
    /// Seconds since 1970.
    pub(crate) not_before: u64,
    /// The same.
    pub(crate) not_after: u64,
    pub(crate) extensions: Vec<Extension>,
}

/// A certificate.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    signed: Signed,
    body: Body,
    spki: Vec<u8>,
}

impl Certificate {
    /// Signs a certificate.
    pub(crate) fn make(
        content: Content<'_>,
        key: &IssuingKey,
        algorithm: Algorithm,
    ) -> Result<Self, X509Error> {
        let body = Body {
            version: 2,
            serial: Int::new(content.serial.as_bytes())?,
            algorithm: algorithm.identifier(),
            issuer: content.issuer.clone(),
            validity: Validity::new(time(content.not_before)?, time(content.not_after)?),
            subject: content.subject.clone(),
            public_key: Any::from_der(content.public_key)?,
            issuer_id: None,
            subject_id: None,
            extensions: Some(content.extensions),
        };
        Self::parse(signed::sign(&body.to_der()?, key, algorithm)?)
    }

    /// The certificate in this structure, with nothing after it.
    pub(crate) fn parse(der: Vec<u8>) -> Result<Self, X509Error> {
        let signed = Signed::from_der(&der)?;
        let body = Body::from_der(&signed.content()?)?;
        if *signed.algorithm() != body.algorithm {
            return Err(X509Error::Refused("it names two signature algorithms"));
        }
        let spki = body.public_key.to_der()?;
        Ok(Self { der, signed, body, spki })
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn subject(&self) -> &Any {
        &self.body.subject
    }

    pub(crate) fn issuer(&self) -> &Any {
        &self.body.issuer
    }

    /// SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.spki
    }

    /// The serial number's bytes.
    pub(crate) fn serial(&self) -> &[u8] {
        self.body.serial.as_bytes()
    }

    /// Not before and not after, seconds since 1970.
    pub(crate) fn validity(&self) -> (u64, u64) {
        let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(self.body.validity.not_before), seconds(self.body.validity.not_after))
    }

    pub(crate) fn extensions(&self) -> &[Extension] {
        self.body.extensions.as_deref().unwrap_or_default()
    }

    /// The version, counted from 1.
    pub(crate) fn version(&self) -> u8 {
        self.body.version.saturating_add(1)
    }

    /// An extension, with whether it is critical.
    pub(crate) fn extension<T: for<'a> Decode<'a, Error = x509_cert::der::Error> + AssociatedOid>(
        &self,
    ) -> Result<Option<(bool, T)>, X509Error> {
        let found = self.raw_extension(T::OID);
        found
            .map(|found| Ok::<_, X509Error>((found.critical, T::from_der(found.extn_value.as_bytes())?)))
            .transpose()
    }

    /// An extension as it is written.
    pub(crate) fn raw_extension(&self, oid: ObjectIdentifier) -> Option<&Extension> {
        self.extensions().iter().find(|extension| extension.extn_id == oid)
    }

    /// Whether it is one of an authority, and how many further ones may follow it.
    pub(crate) fn authority(&self) -> Result<Option<Option<u8>>, X509Error> {
        let constraints = self.extension::<BasicConstraints>()?;
        Ok(constraints.filter(|(_, basic)| basic.ca).map(|(_, basic)| basic.path_len_constraint))
    }

    /// Whether its key may be used for that; without the extension, for everything.
    pub(crate) fn may(&self, usage: KeyUsages) -> Result<bool, X509Error> {
        Ok(self.extension::<KeyUsage>()?.is_none_or(|(_, KeyUsage(all))| all.contains(usage)))
    }

    /// The identifier of its key: the one that it states, or else what we should state.
    pub(crate) fn key_identifier(&self) -> Result<Vec<u8>, X509Error> {
        match self.extension::<SubjectKeyIdentifier>()? {
            Some((_, SubjectKeyIdentifier(identifier))) => Ok(identifier.as_bytes().to_vec()),
            None => key_identifier(self.public_key()),
        }
    }

    /// Whether the key in this SubjectPublicKeyInfo has signed it.
    pub(crate) fn verify(&self, spki: &[u8]) -> Result<(), X509Error> {
        self.signed.verify(spki)
    }
}

/// RFC 5280, 4.2.1.2, method 1, as AWS has it: the SHA-1 of the public key's bits. It names the key and protects nothing.
pub(crate) fn key_identifier(spki: &[u8]) -> Result<Vec<u8>, X509Error> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki)?;
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki.subject_public_key.raw_bytes());
    Ok(digest.as_ref().to_vec())
}
