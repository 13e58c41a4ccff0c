//! What proves where a platform's key is: made by the platform, checked by a verifier who has never seen it.
//!
//! ```text
//! the TPM maker's certification authority          the verifier trusts it
//!   └─ EK certificate → EK                         a genuine TPM has this endorsement key
//!        └─ challenge answered → AK                an attestation key is in the same TPM (module `credential`; once)
//!             ├─ certify → platform key            the key whose name this is, with its attributes and policy, is in the TPM
//!             │    └─ policy = registers           …and is used only while these registers hold these values
//!             └─ quote → registers                 …which they did when the quote was made
//! platform key = key of the root certificate → leaf certificate → document → guest
//! ```
//!
//! That a document under this root exists proves more than the quote does, which may be old: the TPM signed its leaf certificate,
//! so that the registers held these values **at that launch**.
//!
//! The evidence is one CBOR map with a single encoding. It holds no secret. Nothing in it is believed before it is checked.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use casemate_attestation::es384;
use der::asn1::UintRef;
use der::oid::db::rfc5912::{ID_EC_PUBLIC_KEY, RSA_ENCRYPTION};
use der::{Decode as _, Encode as _, Sequence};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use tpm2_protocol::TpmUnmarshal as _;
use tpm2_protocol::data::{TpmAlgId, TpmRh, TpmsAttest, TpmtPublic, TpmtSignature, TpmuAttest};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;

use crate::chip::{self, Chip, DIGEST_LEN};
use crate::command::{self, Attested};
use crate::pcr::{self, Values, sha256};
use crate::template;

/// Version of the form.
const FORMAT: u8 = 1;
/// Longest evidence that is read.
pub const MAX: usize = 32 * 1024;
/// Longest nonce.
pub const NONCE_MAX: usize = 64;
/// Where a TPM keeps the certificate of its RSA-2048 endorsement key (EK Credential Profile 2.5, 2.2.1.4).
const EK_CERTIFICATE: command::Handle = 0x01c0_0002;
/// tcg-kp-EKCertificate (EK Credential Profile 2.5, 3.1.12): 2.23.133.8.1.
const EK_USAGE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// A structure that an attestation key signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// TPMS_ATTEST (part 2, 10.12.12).
    #[serde(with = "serde_bytes")]
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE (part 2, 11.3.4).
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Signed {
    fn new((attest, signature): Attested) -> Result<Self, command::Error> {
        Ok(Self { attest, signature: command::bytes(&signature)? })
    }
}

/// The evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    format: u8,
    /// The endorsement key's certificate, DER.
    #[serde(with = "serde_bytes")]
    pub ek_certificate: Vec<u8>,
    /// The endorsement key, TPMT_PUBLIC.
    #[serde(with = "serde_bytes")]
    pub ek: Vec<u8>,
    /// The attestation key, TPMT_PUBLIC.
    #[serde(with = "serde_bytes")]
    pub ak: Vec<u8>,
    /// The platform key, TPMT_PUBLIC.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// The registers of the key's policy, and what they held.
    pub registers: Values,
    /// The register with the VMM's measurement.
    pub vmm_register: u8,
    /// SHA-384 of the VMM's program.
    #[serde(with = "serde_bytes")]
    pub vmm_sha384: Vec<u8>,
    /// The platform's root certificate, DER.
    #[serde(with = "serde_bytes")]
    pub root: Vec<u8>,
    /// What the verifier sent, if it asked for this evidence.
    #[serde(with = "serde_bytes")]
    pub nonce: Vec<u8>,
    /// The attestation key on the platform key (TPM2_Certify).
    pub certified: Signed,
    /// The attestation key on the registers (TPM2_Quote).
    pub quoted: Signed,
}

/// Why evidence does not hold, or cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Not evidence.
    #[error("not a platform's evidence: {0}")]
    Malformed(String),
    /// A structure in it is malformed.
    #[error("{what}: {source}")]
    Structure {
        /// Which.
        what: &'static str,
        /// What is wrong.
        source: command::Error,
    },
    /// The endorsement key's certificate does not lead to a trusted authority.
    #[error("the EK certificate does not lead to an authority that you trust: {0}")]
    Endorsement(String),
    /// Key and certificate are two.
    #[error("the EK is not the key of the EK certificate")]
    OtherEk,
    /// Nothing ties the attestation key to the TPM.
    #[error(
        "nothing shows that the attestation key is in this TPM: have it enrolled (casemate platform challenge, answer, enrol)"
    )]
    NotEnrolled,
    /// It is tied to another TPM.
    #[error("the enrolment is of another TPM: {0}")]
    OtherTpm(&'static str),
    /// A key may do more, or less, than it should.
    #[error("{0}")]
    Attributes(&'static str),
    /// A signature is wrong.
    #[error("the attestation key did not sign the {0}")]
    Signature(&'static str),
    /// A signed statement says something else.
    #[error("the {what} is about {found}")]
    Statement {
        /// Which.
        what: &'static str,
        /// About what.
        found: &'static str,
    },
    /// The key's policy is another.
    #[error("the platform key can be used with other values of the registers than the evidence says")]
    Policy,
    /// The registers hold something else.
    #[error("{0}")]
    Register(String),
    /// The VMM is another.
    #[error("the platform key is for the VMM with SHA-384 {found}; you want {wanted}")]
    Vmm {
        /// In the evidence.
        found: String,
        /// Wanted.
        wanted: String,
    },
    /// It was not made for this verifier.
    #[error("the quote was not made for this nonce: it is for somebody else, or old")]
    Nonce,
    /// The certificate is of another key.
    #[error("the root certificate is not of the key that is in the TPM")]
    OtherRoot,
}

/// The key is in a TPM: who says so, and what of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Established {
    /// SHA-256 of the endorsement key's certificate.
    pub ek_certificate_sha256: String,
    /// The name of the attestation key.
    pub ak_name: String,
    /// The name of the platform key.
    pub key_name: String,
    /// SHA-256 of the root certificate.
    pub root_sha256: String,
    /// SHA-384 of the one VMM that can use the key.
    pub vmm_sha384: String,
    /// The register for it.
    pub vmm_register: u8,
    /// What the registers hold whenever the key is used.
    pub registers: Values,
    /// How often the TPM was started before the quote was made.
    pub reset_count: u32,
    /// Whether the quote carries the nonce that was sent.
    pub nonce_matched: bool,
    /// The root certificate, DER: under it, documents come from this platform.
    #[serde(skip)]
    pub root: Vec<u8>,
}

impl fmt::Display for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The platform key is in a TPM.")?;
        writeln!(
            f,
            "  EK certificate   SHA-256 {}: leads to an authority that you trust",
            self.ek_certificate_sha256
        )?;
        writeln!(f, "  attestation key  {}: enrolled as that TPM's", self.ak_name)?;
        writeln!(f, "  platform key     {}: certified; cannot leave the TPM", self.key_name)?;
        writeln!(f, "  root certificate SHA-256 {}: of that key", self.root_sha256)?;
        writeln!(f, "  VMM              SHA-384 {} (PCR {})", self.vmm_sha384, self.vmm_register)?;
        for (register, value) in &self.registers {
            writeln!(f, "  PCR {register:<2}           {value}")?;
        }
        let nonce = if self.nonce_matched { "for your nonce" } else { "at some time: no nonce was sent" };
        write!(f, "  quote            made {nonce}, after {} starts", self.reset_count)
    }
}

/// What a verifier knows and demands.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// Certificates of the authorities that it trusts to name TPMs, DER.
    pub ek_roots: Vec<Vec<u8>>,
    /// The TPM that answered its challenge.
    pub enrolment: Option<Enrolment>,
    /// The nonce that it sent.
    pub nonce: Option<Vec<u8>>,
    /// What registers must hold.
    pub registers: Values,
    /// The VMM that it must be.
    pub vmm_sha384: Option<[u8; DIGEST_LEN]>,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// That an attestation key is in the TPM with an EK certificate: what a verifier keeps of an answered challenge. It is the
/// verifier's own file, or of somebody that the verifier believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// SHA-256 of the endorsement key's certificate.
    #[serde(with = "hex::serde")]
    pub ek_certificate_sha256: [u8; 32],
    /// The attestation key's name.
    #[serde(with = "hex::serde")]
    pub ak_name: Vec<u8>,
}

/// What the quote is made for: the root certificate, and the verifier's nonce.
pub fn qualification(root: &[u8], nonce: &[u8]) -> [u8; 32] {
    sha256(&[b"casemate quote 1", &sha256(&[root]), nonce])
}

impl Evidence {
    /// Has the TPM prove where the key is, now. `nonce` is the verifier's, or empty.
    pub fn gather(chip: &Chip, nonce: &[u8]) -> Result<Self, chip::Error> {
        let root = chip.root()?;
        let mut tpm = chip.tpm()?;
        let certificate = tpm.nv_read(EK_CERTIFICATE)?.ok_or_else(|| {
            chip::Error::Registers(
                "this TPM has no certificate for its endorsement key: nobody can tell that it is genuine"
                    .into(),
            )
        })?;
        let (ek, ek_public) = tpm.create_primary(TpmRh::Endorsement, &template::endorsement()?)?;
        tpm.holding(ek, |_| Ok::<(), command::Error>(()))?;
        let (ak, ak_public) = tpm.create_primary(TpmRh::Endorsement, &template::attestation()?)?;
        let registers = chip.registers();
        let (certified, quoted) = tpm.holding(ak, |tpm| {
            let certified = chip.with_key(tpm, |tpm, key| tpm.certify(key, ak, &sha256(&[&root])))?;
            let quoted = tpm.quote(ak, &qualification(&root, nonce), registers.keys().copied())?;
            Ok::<_, chip::Error>((certified, quoted))
        })?;
        Ok(Self {
            format: FORMAT,
            ek_certificate: trimmed(certificate),
            ek: command::bytes(&ek_public)?,
            ak: command::bytes(&ak_public)?,
            key: command::bytes(&chip.public()?)?,
            registers: tpm.read_registers(registers.keys().copied())?,
            vmm_register: chip.vmm_register(),
            vmm_sha384: chip.vmm_sha384().to_vec(),
            root,
            nonce: nonce.to_vec(),
            certified: Signed::new(certified)?,
            quoted: Signed::new(quoted)?,
        })
    }

    /// The one encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail.
        let _ = ciborium::into_writer(self, &mut bytes);
        bytes
    }

    /// Reads evidence; nothing is checked but the form.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let malformed = |reason: &str| EvidenceError::Malformed(reason.to_owned());
        if bytes.len() > MAX {
            return Err(malformed("it is too long"));
        }
        let evidence: Self = ciborium::from_reader(bytes).map_err(|error| malformed(&error.to_string()))?;
        if evidence.format != FORMAT {
            return Err(malformed("it is of a form that this version does not know"));
        }
        if evidence.encode() != bytes {
            return Err(malformed("it is not encoded as it should be, or has something behind it"));
        }
        Ok(evidence)
    }

    /// The attestation key's name.
    pub fn ak_name(&self) -> Result<Vec<u8>, EvidenceError> {
        let ak = public("the attestation key", &self.ak)?;
        template::name(&ak).map_err(structure("the attestation key"))
    }

    /// SHA-256 of the endorsement key's certificate.
    pub fn ek_certificate_sha256(&self) -> [u8; 32] {
        sha256(&[&self.ek_certificate])
    }

    /// Checks the endorsement: a genuine TPM, as far as `roots` (DER) say, has the EK. Returns the EK.
    pub fn check_endorsement(&self, roots: &[Vec<u8>], now: u64) -> Result<TpmtPublic, EvidenceError> {
        let untrusted = |reason: String| EvidenceError::Endorsement(reason);
        let roots: Vec<CertificateDer<'_>> =
            roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let anchors: Result<Vec<_>, _> = roots.iter().map(anchor_from_trusted_cert).collect();
        let anchors = anchors.map_err(|error| untrusted(format!("an authority's certificate: {error}")))?;
        let der = CertificateDer::from(self.ek_certificate.as_slice());
        let certificate = EndEntityCert::try_from(&der).map_err(|error| untrusted(error.to_string()))?;
        let verified = certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &[],
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
            KeyUsage::required_if_present(EK_USAGE),
            None,
            None,
        );
        verified.map_err(|error| untrusted(error.to_string()))?;
        let ek = public("the EK", &self.ek)?;
        let template = template::endorsement().map_err(structure("the EK"))?;
        if !template::is_made_from(&ek, &template) {
            return Err(EvidenceError::Attributes("the EK is not one of RSA-2048 as every TPM has it"));
        }
        let in_certificate = rsa_modulus(&self.ek_certificate).ok_or(EvidenceError::OtherEk)?;
        if template::modulus(&ek) != Some(&in_certificate[..]) {
            return Err(EvidenceError::OtherEk);
        }
        Ok(ek)
    }

    /// Checks everything, in the order of the chain, and stops at the first thing that does not hold.
    pub fn verify(&self, expected: &Expectations) -> Result<Established, EvidenceError> {
        self.check_endorsement(&expected.ek_roots, expected.now)?;
        let ak = public("the attestation key", &self.ak)?;
        let template = template::attestation().map_err(structure("the attestation key"))?;
        if !template::is_made_from(&ak, &template) {
            return Err(EvidenceError::Attributes(
                "the attestation key is not restricted to what its TPM made",
            ));
        }
        let ak_name = template::name(&ak).map_err(structure("the attestation key"))?;
        let enrolment = expected.enrolment.as_ref().ok_or(EvidenceError::NotEnrolled)?;
        if enrolment.ek_certificate_sha256 != self.ek_certificate_sha256() {
            return Err(EvidenceError::OtherTpm("it has another EK certificate"));
        }
        if enrolment.ak_name != ak_name {
            return Err(EvidenceError::OtherTpm("it has another attestation key"));
        }

        let key = public("the platform key", &self.key)?;
        let key_name = template::name(&key).map_err(structure("the platform key"))?;
        let certified = signed("certificate of the platform key", &ak, &self.certified)?;
        if certified.extra_data[..] != sha256(&[&self.root]) {
            let what = "certificate of the platform key";
            return Err(EvidenceError::Statement { what, found: "another root certificate" });
        }
        match &certified.attested {
            TpmuAttest::Certify(info) if info.name[..] == key_name => {}
            TpmuAttest::Certify(_) => {
                let what = "certificate of the platform key";
                return Err(EvidenceError::Statement { what, found: "another key" });
            }
            _ => {
                let what = "certificate of the platform key";
                return Err(EvidenceError::Statement { what, found: "something else" });
            }
        }
        self.check_policy(&key)?;
        let quote = self.check_quote(&ak, expected)?;
        if public_point(&self.root).as_deref() != template::p384(&key).as_ref().map(|point| &point[..]) {
            return Err(EvidenceError::OtherRoot);
        }
        self.check_demands(expected)?;
        Ok(Established {
            ek_certificate_sha256: hex::encode(self.ek_certificate_sha256()),
            ak_name: hex::encode(ak_name),
            key_name: hex::encode(key_name),
            root_sha256: hex::encode(sha256(&[&self.root])),
            vmm_sha384: hex::encode(&self.vmm_sha384),
            vmm_register: self.vmm_register,
            registers: self.registers.clone(),
            reset_count: quote.clock_info.reset_count.value(),
            nonce_matched: expected.nonce.is_some(),
            root: self.root.clone(),
        })
    }

    /// The key stays in its TPM, and is used only while the registers hold what the evidence says, the VMM's measurement among
    /// it.
    fn check_policy(&self, key: &TpmtPublic) -> Result<(), EvidenceError> {
        let policy = pcr::policy(&self.registers);
        let template = template::platform(&policy).map_err(structure("the platform key"))?;
        if key.auth_policy != template.auth_policy {
            return Err(EvidenceError::Policy);
        }
        if !template::is_made_from(key, &template) {
            return Err(EvidenceError::Attributes(
                "the platform key is not a P-384 key that was made in its TPM, cannot leave it and has no password",
            ));
        }
        let measured = <&[u8; DIGEST_LEN]>::try_from(self.vmm_sha384.as_slice())
            .map_err(|_| EvidenceError::Malformed("the VMM's digest has another length".into()))?;
        if self.vmm_register >= pcr::FIRST_RESETTABLE
            || self.registers.get(&self.vmm_register) != Some(&pcr::of_vmm(measured))
        {
            return Err(EvidenceError::Register(format!(
                "PCR {} does not hold the measurement of the VMM with this SHA-384 alone",
                self.vmm_register
            )));
        }
        Ok(())
    }

    fn check_quote(&self, ak: &TpmtPublic, expected: &Expectations) -> Result<TpmsAttest, EvidenceError> {
        let what = "quote";
        let quote = signed(what, ak, &self.quoted)?;
        if expected.nonce.as_ref().is_some_and(|nonce| *nonce != self.nonce) {
            return Err(EvidenceError::Nonce);
        }
        if quote.extra_data[..] != qualification(&self.root, &self.nonce) {
            return Err(EvidenceError::Nonce);
        }
        match &quote.attested {
            TpmuAttest::Quote(info) if info.pcr_select != pcr::selection(self.registers.keys().copied()) => {
                Err(EvidenceError::Statement { what, found: "other registers" })
            }
            TpmuAttest::Quote(info) if info.pcr_digest[..] != pcr::composite(&self.registers) => {
                Err(EvidenceError::Statement { what, found: "other values of the registers" })
            }
            TpmuAttest::Quote(_) => Ok(quote),
            _ => Err(EvidenceError::Statement { what, found: "something else" }),
        }
    }

    fn check_demands(&self, expected: &Expectations) -> Result<(), EvidenceError> {
        if let Some(difference) = pcr::difference(&self.registers, &expected.registers) {
            return Err(EvidenceError::Register(difference));
        }
        match &expected.vmm_sha384 {
            Some(wanted) if wanted[..] != self.vmm_sha384 => {
                Err(EvidenceError::Vmm { found: hex::encode(&self.vmm_sha384), wanted: hex::encode(wanted) })
            }
            _ => Ok(()),
        }
    }
}

fn structure(what: &'static str) -> impl Fn(command::Error) -> EvidenceError {
    move |source| EvidenceError::Structure { what, source }
}

fn public(what: &'static str, bytes: &[u8]) -> Result<TpmtPublic, EvidenceError> {
    template::parse(bytes).map_err(structure(what))
}

/// What the attestation key signed: P-256 with SHA-256.
fn signed(what: &'static str, ak: &TpmtPublic, signed: &Signed) -> Result<TpmsAttest, EvidenceError> {
    let malformed = |error: tpm2_protocol::TpmError| structure(what)(error.into());
    let (attest, rest) = TpmsAttest::unmarshal(&signed.attest).map_err(malformed)?;
    let (signature, behind) = TpmtSignature::unmarshal(&signed.signature).map_err(malformed)?;
    if !rest.is_empty() || !behind.is_empty() {
        return Err(structure(what)(command::Error::Malformed("something is behind it".into())));
    }
    let signature = chip::fixed(&signature, TpmAlgId::Sha256, 32).ok_or(EvidenceError::Signature(what))?;
    let point = template::point(ak, 32).ok_or(EvidenceError::Signature(what))?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(&signed.attest, &signature).map_err(|_| EvidenceError::Signature(what))?;
    Ok(attest)
}

/// RSAPublicKey (RFC 8017, A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// The modulus in a certificate of an RSA key with the exponent that TPMs have.
fn rsa_modulus(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    // RSAES-OAEP (RFC 4055) is the other identifier that makers use.
    let oaep = der::oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
    if key.algorithm.oid != RSA_ENCRYPTION && key.algorithm.oid != oaep {
        return None;
    }
    let key = RsaPublicKey::from_der(key.subject_public_key.as_bytes()?).ok()?;
    (key.exponent.as_bytes() == [1, 0, 1]).then(|| key.modulus.as_bytes().to_vec())
}

/// The key of a certificate, if it is one of P-384: an uncompressed point.
pub(crate) fn public_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    let point = key.subject_public_key.as_bytes().filter(|point| point.len() == es384::PUBLIC_LEN)?;
    (key.algorithm.oid == ID_EC_PUBLIC_KEY).then(|| point.to_vec())
}

/// A certificate without what fills its NV index up.
fn trimmed(mut certificate: Vec<u8>) -> Vec<u8> {
    let length = der::SliceReader::new(&certificate).ok().and_then(|mut reader| {
        let header = <der::Header as der::Decode>::decode(&mut reader).ok()?;
        let whole = header.length() + header.encoded_len().ok()?;
        usize::try_from(whole.ok()?).ok()
    });
    certificate.truncate(length.unwrap_or(certificate.len()));
    certificate
}
