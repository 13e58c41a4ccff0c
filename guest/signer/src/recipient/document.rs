//! Attestation documents of other guests: verified under this platform's root, here in the guest.
//!
//! A document is believed if its chain leads to the root that this signer's own documents lead to, everything in it is in
//! date by the host's clock, and it is at most [`MAX_AGE_SECONDS`] old. What it then establishes is the guest's registers
//! and, if the facts behind PCR15 came along, the posture of its host: as condition keys. A guest in debug mode, whose
//! registers are zero, establishes nothing: conditions see no keys at all. Documents of the signer's own image are refused,
//! because anybody gets one over any key (`POST /attestation`).

use std::cell::OnceCell;
use std::fmt;
use std::time::UNIX_EPOCH;

use aws_lc_rs::rsa::PublicEncryptingKey;
use casemate_attestation::document;
use casemate_attestation::pcr::Pcr;
use casemate_attestation::policy::Policy;
use casemate_attestation::posture::Fact;
use casemate_attestation::verify::{Established, Evidence, Expectations, verify};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::access::Facts;
use crate::errors::KmsError;
use crate::signer::Signer;

/// How old a document may be, as on AWS.
const MAX_AGE_SECONDS: u64 = 300;

/// What this signer's own documents say: found at first use.
#[derive(Default)]
pub(crate) struct Own(OnceCell<Claims>);

struct Claims {
    /// The root under which documents are believed, in the form of a list.
    roots: Vec<Vec<u8>>,
    /// The register of the signer's own image.
    image: Option<Pcr>,
    /// The security module that has the signer's own key.
    security_module: Option<Pcr>,
}

impl Own {
    fn get(&self, signer: &Signer) -> Result<&Claims, KmsError> {
        if let Some(claims) = self.0.get() {
            return Ok(claims);
        }
        // A signer that is not sealed has no root, and believes nothing.
        let document = signer.platform.attest(None, None, None)?;
        let own = document::parse(&document).map_err(not_valid)?;
        let roots: Vec<_> = own.cabundle.into_iter().take(1).collect();
        let evidence = Evidence { document: &document, posture: None };
        let own = check(&roots, evidence, own.claims.timestamp, None)?;
        let image = own.pcrs.get(&0).copied().filter(|image| !image.is_zero());
        Ok(self.0.get_or_init(|| Claims { roots, image, security_module: own.security_module }))
    }
}

/// The root that somebody names, or else this platform's.
fn roots(signer: &Signer, named: Option<&[u8]>) -> Result<Vec<Vec<u8>>, KmsError> {
    match named {
        Some(root) => Ok(vec![root.to_vec()]),
        None => Ok(signer.own.get(signer)?.roots.clone()),
    }
}

/// Verifies a document, a signer's too, under the root (DER) that somebody answers for who may, or else this platform's;
/// `posture` is the facts behind its PCR15, if they came along.
pub(crate) fn establish(
    signer: &Signer,
    document: &[u8],
    posture: Option<&[u8]>,
    root: Option<&[u8]>,
) -> Result<Established, KmsError> {
    let now = signer.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let roots = roots(signer, root)?;
    let established = check(&roots, Evidence { document, posture }, now, Some(MAX_AGE_SECONDS))?;
    // A platform that has sealed modules certifies other keys as well: those of guests that it cannot seal, and of modules that
    // somebody else has built. Whoever takes one of those signs what he likes.
    let other = |own: &Claims| own.roots == roots && own.security_module != established.security_module;
    if !established.debug
        && signer.own.get(signer).is_ok_and(|own| own.security_module.is_some() && other(own))
    {
        return Err(not_valid("its key is not in the security module that has this signer's"));
    }
    Ok(established)
}

/// The same for a document that was kept: as of the time when it was made, by its own word.
pub(crate) fn establish_then(
    signer: &Signer,
    document: &[u8],
    root: Option<&[u8]>,
) -> Result<Established, KmsError> {
    let made = document::parse(document).map_err(not_valid)?.claims.timestamp;
    check(&roots(signer, root)?, Evidence { document, posture: None }, made, None)
}

fn check(
    roots: &[Vec<u8>],
    evidence: Evidence<'_>,
    now: u64,
    max_age_seconds: Option<u64>,
) -> Result<Established, KmsError> {
    let policy = Policy { max_age_seconds, allow_debug: true, ..Policy::default() };
    verify(evidence, Expectations { roots, policy: &policy, nonce: None, now }).map_err(not_valid)
}

fn not_valid(error: impl fmt::Display) -> KmsError {
    KmsError::validation(format!("The attestation document is not valid: {error}."))
}

/// What a verified document establishes.
#[derive(Debug)]
pub(crate) struct Attested(Established);

impl Attested {
    /// Verifies a document; `posture` is the facts behind its PCR15, if they came along.
    pub(crate) fn verify(signer: &Signer, document: &[u8], posture: Option<&[u8]>) -> Result<Self, KmsError> {
        let own = signer.own.get(signer)?;
        let established = establish(signer, document, posture, None)?;
        if own.image.is_some() && established.pcrs.get(&0) == own.image.as_ref() {
            return Err(KmsError::validation(
                "The attestation document is a signer's. Signers attest whatever key they are asked to, so it proves \
                 nothing about who brings it.",
            ));
        }
        Ok(Self(established))
    }

    /// The nonce in the document.
    pub(super) fn nonce(&self) -> Option<&[u8]> {
        self.0.nonce.as_deref()
    }

    /// The public key in the document: SubjectPublicKeyInfo of an RSA key of 2048 bits or more.
    pub(super) fn key(&self) -> Result<&[u8], KmsError> {
        let key = self.0.public_key.as_deref().ok_or_else(|| {
            KmsError::validation(
                "The attestation document has no public_key, to which the secret could be encrypted.",
            )
        })?;
        // aws-lc refuses moduli below 2048 bits, but would ignore what follows the structure.
        let valid =
            SubjectPublicKeyInfoRef::try_from(key).is_ok() && PublicEncryptingKey::from_der(key).is_ok();
        if valid {
            return Ok(key);
        }
        Err(KmsError::validation(
            "The public_key in the attestation document is not the DER-encoded SubjectPublicKeyInfo of an RSA key of \
             2048 bits or more.",
        ))
    }

    /// The condition keys.
    pub(crate) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        if self.0.debug {
            return facts;
        }
        for (index, value) in &self.0.pcrs {
            if *index == 0 {
                facts.set("kms:RecipientAttestation:ImageSha384", value.to_string());
            }
            facts.set(format!("kms:RecipientAttestation:PCR{index}"), value.to_string());
        }
        for (name, fact) in self.0.posture.iter().flat_map(|posture| posture.facts()) {
            let value = match fact {
                Fact::Flag(flag) => flag.to_string(),
                Fact::Number(number) => number.to_string(),
                Fact::Text(text) => text.clone(),
            };
            facts.set(format!("casemate:Posture/{name}"), value);
        }
        facts
    }
}
