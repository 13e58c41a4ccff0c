//! Attestation documents as Nitro publishes them: COSE_Sign1 (RFC 9052, 4.2), ES384, **untagged**.
//!
//! ```text
//! [ h'a1013822',   protected: {1: -35}, that is ES384
//!   {},            unprotected
//!   payload,       a byte string of at most 16384 bytes, below
//!   signature ]    96 bytes, r ‖ s
//!
//! payload = { "module_id": text, "digest": "SHA384", "timestamp": ms, "pcrs": { 0: bytes48, … },
//!             "certificate": DER, "cabundle": [ROOT, INT1, …], "public_key": bytes or null,
//!             "user_data": bytes or null, "nonce": bytes or null }
//! ```
//!
//! Only locked registers are in `pcrs`. [`parse`] treats the bytes as an allegation: a [`Signed`] exists only if
//! every field has its type, is there once and keeps its limit, nothing follows, and all of it is written in the
//! one preferred way (RFC 8949, 4.1). Holding one says nothing about who signed it: see [`verify`](mod@crate::verify).

use std::collections::BTreeMap;

use aws_nitro_enclaves_nsm_api::api::{AttestationDoc, Digest};
use coset::cbor::Value;
use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};

use crate::es384::SIGNATURE_LEN;
use crate::nsm::{NONCE_MAX, PUBLIC_KEY_MAX, USER_DATA_MAX};
use crate::pcr::{self, Pcr};

/// Longest payload in bytes.
pub const PAYLOAD_MAX: usize = 16384;
/// Longest certificate in bytes, in the document and in the bundle.
pub const CERTIFICATE_MAX: usize = 1024;
/// Longest document in bytes: the payload, and what surrounds it.
pub const DOCUMENT_MAX: usize = PAYLOAD_MAX + 128;

/// The protected header of every document: {1: -35}.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// The key that signs documents was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attestation key could not sign")]
pub struct SignerError;

/// Whoever signs documents: holds the leaf key and knows its certificates.
pub trait DocumentSigner {
    /// The leaf certificate, DER.
    fn certificate(&self) -> &[u8];
    /// The certificates above it, DER, root first.
    fn cabundle(&self) -> &[Vec<u8>];
    /// An ES384 signature, r ‖ s.
    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError>;
}

/// What a document says about its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The guest's name.
    pub module_id: String,
    /// When the document was made, in milliseconds since 1970.
    pub timestamp: u64,
    /// The locked registers.
    pub pcrs: BTreeMap<u16, Pcr>,
    /// A public key that the guest wants bound to the document.
    pub public_key: Option<Vec<u8>>,
    /// Whatever the guest wants bound to the document.
    pub user_data: Option<Vec<u8>>,
    /// What the verifier sent, so that it knows the document is fresh.
    pub nonce: Option<Vec<u8>>,
}

/// A document that is well-formed. Nobody has checked its signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What it says.
    pub claims: Claims,
    /// The leaf certificate, DER.
    pub certificate: Vec<u8>,
    /// The certificates above it, DER, root first.
    pub cabundle: Vec<Vec<u8>>,
    /// The bytes that the signature covers (RFC 9052, 4.4).
    pub to_be_signed: Vec<u8>,
    /// r ‖ s.
    pub signature: Vec<u8>,
}

/// Makes and signs a document.
pub fn seal(claims: Claims, signer: &mut impl DocumentSigner) -> Result<Vec<u8>, SignerError> {
    let payload = AttestationDoc::new(
        claims.module_id,
        Digest::SHA384,
        claims.timestamp,
        claims.pcrs.iter().map(|(index, pcr)| (usize::from(*index), pcr.as_bytes().to_vec())).collect(),
        signer.certificate().to_vec(),
        signer.cabundle().to_vec(),
        claims.user_data,
        claims.nonce,
        claims.public_key,
    );
    let payload = serde_cbor::to_vec(&payload).map_err(|_| SignerError)?;
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(iana::Algorithm::ES384).build())
        .payload(payload)
        .try_create_signature(&[], |to_be_signed| signer.sign(to_be_signed).map(Vec::from))?
        .build()
        .to_vec()
        .map_err(|_| SignerError)
}

/// Why bytes are not an attestation document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Longer than any document.
    #[error("{0} bytes are more than a document has ({DOCUMENT_MAX})")]
    TooLong(usize),
    /// Not an untagged COSE_Sign1 and nothing else.
    #[error("not a COSE_Sign1 (an untagged CBOR array of four): {0}")]
    NotCose(String),
    /// The protected header is not {1: -35} or the unprotected one is not empty.
    #[error("the header is not exactly {{1: -35}} (ES384) protected and nothing unprotected")]
    Header,
    /// There is no payload, or it is too long.
    #[error("the payload is missing, empty or longer than {PAYLOAD_MAX} bytes")]
    PayloadLength,
    /// The signature is not r ‖ s of P-384.
    #[error("the signature has {0} bytes; ES384 has {SIGNATURE_LEN}")]
    SignatureLength(usize),
    /// The payload is not a CBOR map.
    #[error("the payload is not a CBOR map")]
    NotAMap,
    /// Something was written in another than the preferred way, or something follows.
    #[error("{0} is not in preferred CBOR serialisation, or something follows it")]
    NotPreferred(&'static str),
    /// A field that documents do not have.
    #[error("unknown field {0}")]
    UnknownField(String),
    /// A field that appears twice.
    #[error("field `{0}` appears twice")]
    Duplicate(&'static str),
    /// A field that must be there.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field with a wrong type, length or value.
    #[error("field `{field}` is not {expected}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// Reads a document, all of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Signed, ParseError> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(ParseError::TooLong(bytes.len()));
    }
    let cose = CoseSign1::from_slice(bytes).map_err(|error| ParseError::NotCose(error.to_string()))?;
    if cose.protected.original_data.as_deref() != Some(&PROTECTED[..]) || !cose.unprotected.is_empty() {
        return Err(ParseError::Header);
    }
    if cose.clone().to_vec().ok().as_deref() != Some(bytes) {
        return Err(ParseError::NotPreferred("the document"));
    }
    if cose.signature.len() != SIGNATURE_LEN {
        return Err(ParseError::SignatureLength(cose.signature.len()));
    }
    let to_be_signed = cose.tbs_data(&[]);
    let payload = cose.payload.filter(|payload| (1..=PAYLOAD_MAX).contains(&payload.len()));
    let fields = Fields::read(&payload.ok_or(ParseError::PayloadLength)?)?;
    fields.check(to_be_signed, cose.signature)
}

/// The names of all fields, in Nitro's order.
const NAMES: [&str; 9] = [
    "module_id",
    "digest",
    "timestamp",
    "pcrs",
    "certificate",
    "cabundle",
    "public_key",
    "user_data",
    "nonce",
];

/// The payload's fields: known names, each at most once.
struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    fn read(payload: &[u8]) -> Result<Self, ParseError> {
        let value: Value =
            coset::cbor::from_reader(payload).map_err(|_| ParseError::NotPreferred("the payload"))?;
        let mut again = Vec::with_capacity(payload.len());
        coset::cbor::into_writer(&value, &mut again).map_err(|_| ParseError::NotPreferred("the payload"))?;
        if again != payload {
            return Err(ParseError::NotPreferred("the payload"));
        }
        let Value::Map(entries) = value else {
            return Err(ParseError::NotAMap);
        };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let known = key.as_text().and_then(|key| NAMES.into_iter().find(|name| *name == key));
            let name = known.ok_or_else(|| ParseError::UnknownField(describe(&key)))?;
            if fields.insert(name, value).is_some() {
                return Err(ParseError::Duplicate(name));
            }
        }
        Ok(Self(fields))
    }

    fn check(mut self, to_be_signed: Vec<u8>, signature: Vec<u8>) -> Result<Signed, ParseError> {
        const DER: &str = "1 to 1024 bytes of DER";
        let wrong = |field, expected| ParseError::Field { field, expected };
        let module_id = self.take("module_id")?.into_text().ok().filter(|id| !id.is_empty());
        if self.take("digest")?.as_text() != Some("SHA384") {
            return Err(wrong("digest", "\"SHA384\""));
        }
        let timestamp = self.take("timestamp")?.into_integer().ok().and_then(|time| u64::try_from(time).ok());
        let certificate = self.take("certificate")?.into_bytes().ok().filter(|der| is_certificate(der));
        let cabundle = self.take("cabundle")?.into_array().ok().filter(|bundle| !bundle.is_empty());
        let cabundle: Option<Vec<_>> = cabundle.and_then(|bundle| {
            bundle
                .into_iter()
                .map(|entry| entry.into_bytes().ok().filter(|der| is_certificate(der)))
                .collect()
        });
        let claims = Claims {
            module_id: module_id.ok_or(wrong("module_id", "non-empty text"))?,
            timestamp: timestamp.ok_or(wrong("timestamp", "milliseconds since 1970"))?,
            pcrs: registers(self.take("pcrs")?)
                .ok_or(wrong("pcrs", "a map of 1 to 32 registers, 0 to 31, of 48 bytes each"))?,
            public_key: self.optional("public_key", PUBLIC_KEY_MAX, "null or at most 1024 bytes")?,
            user_data: self.optional("user_data", USER_DATA_MAX, "null or at most 512 bytes")?,
            nonce: self.optional("nonce", NONCE_MAX, "null or at most 512 bytes")?,
        };
        Ok(Signed {
            claims,
            certificate: certificate.ok_or(wrong("certificate", DER))?,
            cabundle: cabundle.ok_or(wrong("cabundle", "a list of certificates, each 1 to 1024 bytes"))?,
            to_be_signed,
            signature,
        })
    }

    fn take(&mut self, name: &'static str) -> Result<Value, ParseError> {
        self.0.remove(name).ok_or(ParseError::Missing(name))
    }

    fn optional(
        &mut self,
        field: &'static str,
        limit: usize,
        expected: &'static str,
    ) -> Result<Option<Vec<u8>>, ParseError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bytes(bytes)) if bytes.len() <= limit => Ok(Some(bytes)),
            Some(_) => Err(ParseError::Field { field, expected }),
        }
    }
}

fn is_certificate(der: &[u8]) -> bool {
    (1..=CERTIFICATE_MAX).contains(&der.len())
}

/// The registers in a map; `None` if an index or a length is wrong, or an index appears twice.
fn registers(value: Value) -> Option<BTreeMap<u16, Pcr>> {
    let mut registers = BTreeMap::new();
    for (index, value) in value.into_map().ok()? {
        let index = u16::try_from(index.into_integer().ok()?).ok().filter(|index| *index < pcr::COUNT)?;
        let value = <[u8; pcr::LEN]>::try_from(value.into_bytes().ok()?).ok()?;
        if registers.insert(index, Pcr::new(value)).is_some() {
            return None;
        }
    }
    (!registers.is_empty()).then_some(registers)
}

/// A short, printable name for a map key that we do not know.
fn describe(key: &Value) -> String {
    match key.as_text() {
        Some(text) => format!("{:?}", text.chars().take(32).collect::<String>()),
        None => "whose name is not text".into(),
    }
}
