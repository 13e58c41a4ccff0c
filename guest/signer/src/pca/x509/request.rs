//! Certification requests (PKCS #10, RFC 2986).

use x509_cert::attr::Attributes;
use x509_cert::der::asn1::SetOfVec;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Decode as _, Encode as _, Sequence};
use x509_cert::ext::Extension;

use crate::crypto::IssuingKey;

use super::signed::{self, Signed};
use super::{Algorithm, X509Error};

/// The attribute that holds the extensions that are asked for (RFC 2985, 5.4.2).
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

/// CertificationRequestInfo.
#[derive(Clone, Sequence)]
struct Info {
    version: u8,
    subject: Any,
    public_key: Any,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: Attributes,
}

/// A request that its own key has signed.
pub(crate) struct Request {
    /// The name, DER.
    pub(crate) subject: Any,
    /// The public key, SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    /// The extensions that it asks for.
    pub(crate) extensions: Vec<Extension>,
}

impl Request {
    /// The request in this structure, whose signature must be its own key's.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, X509Error> {
        let signed = Signed::from_der(der)?;
        let info = Info::from_der(&signed.content()?)?;
        let public_key = info.public_key.to_der()?;
        signed.verify(&public_key)?;
        let mut extensions = Vec::new();
        let asked = info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST);
        for value in asked.flat_map(|attribute| attribute.values.iter()) {
            extensions.extend(Vec::<Extension>::from_der(&value.to_der()?)?);
        }
        Ok(Self { subject: info.subject, public_key, extensions })
    }

    /// A request of `key` for these extensions, DER.
    pub(crate) fn make(
        key: &IssuingKey,
        algorithm: Algorithm,
        subject: &Any,
        extensions: Vec<Extension>,
    ) -> Result<Vec<u8>, X509Error> {
        let mut attributes = Attributes::default();
        if !extensions.is_empty() {
            let mut values = SetOfVec::new();
            values.insert(Any::encode_from(&extensions)?)?;
            attributes.insert(x509_cert::attr::Attribute { oid: EXTENSION_REQUEST, values })?;
        }
        let info =
            Info { version: 0, subject: subject.clone(), public_key: Any::from_der(key.spki())?, attributes };
        signed::sign(&info.to_der()?, key, algorithm)
    }
}
