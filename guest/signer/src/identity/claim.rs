//! Claiming: a signer that belongs to nobody gets its owner, once.
//!
//! Whoever claims gets the access key of the administrator, over the connection that was attested: nobody else ever sees
//! it, and the signer has no other way in. If the image's measured command line names an owner
//! (`casemate.owner=<SHA-256 of the owner's SubjectPublicKeyInfo, hexadecimal>`), only the holder of that key can claim.
//!
//! | | |
//! | --- | --- |
//! | the account | random, or the one that the claim asks for |
//! | the administrator | the IAM user `admin` with an inline policy that allows everything: what a key policy denies is denied to it too |
//! | the owner's proof | a signature over `casemate:claim` ‖ SHA-256 of the TLS certificate's DER ‖ nonce |
//! | afterwards | every request must be signed |

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{KeySpec, MessageType, SigningAlgorithm, VerifyingKey, digest_of};
use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::types::Blob;
use crate::validate::Check;

use super::config::Config;
use super::entity::{Entity, Kind, User};
use super::id::{self, prefix};
use super::session::SessionKey;
use super::{Edit, iam, time};

/// The administrator.
const ADMIN: &str = "admin";
const ADMIN_POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
/// What names the owner in the command line.
const OWNER: &str = "casemate.owner=";
/// What an owner signs begins with this.
const CONTEXT: &[u8] = b"casemate:claim";

/// A claim.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Claim {
    /// The account in ARNs; a random one if not given.
    account: Option<String>,
    /// The region in ARNs.
    region: Option<String>,
    proof: Option<Proof>,
}

/// That the claim is the owner's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    /// SubjectPublicKeyInfo, DER.
    public_key: Blob,
    /// At least 16 bytes of the owner's choice.
    nonce: Blob,
    signature: Blob,
}

/// What the claimant gets.
#[derive(Serialize)]
pub(crate) struct Claimed {
    account: String,
    region: String,
    user_arn: String,
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
}

/// Gives the signer its owner.
pub(crate) fn claim(signer: &Signer, claim: &Claim) -> Result<Claimed, KmsError> {
    check(claim)?;
    if signer.identity.borrow().claimed() {
        return Err(KmsError::new(ErrorKind::AlreadyClaimed, "This signer has been claimed already."));
    }
    if let Some(owner) = owner(signer.platform.command_line())? {
        is_owners(signer, claim, owner)?;
    }
    if signer.holds_keys() {
        return Err(KmsError::new(
            ErrorKind::AlreadyClaimed,
            "This signer has keys that were made before anybody claimed it. Launch a fresh one.",
        ));
    }
    let account = match &claim.account {
        Some(account) => account.clone(),
        None => id::account()?,
    };
    let config = Config { account, region: claim.region.clone().unwrap_or(Config::default().region) };
    settle(signer, config)
}

/// Undoes a claim that could not be made durable: nobody got the access key.
pub(crate) fn undo(signer: &Signer) {
    Edit::of(signer).reset();
}

fn check(claim: &Claim) -> Result<(), KmsError> {
    let mut check = Check::default();
    check.matches("account", claim.account.as_deref(), "(?!0{12})[0-9]{12}", |text| {
        text.len() == 12
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.bytes().any(|byte| byte != b'0')
    });
    check.matches("region", claim.region.as_deref(), "[a-z][a-z0-9-]{0,31}", |text| {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(letters)
    });
    if let Some(proof) = &claim.proof {
        check.blob("proof.publicKey", &Some(&proof.public_key), 1, 4096);
        check.blob("proof.nonce", &Some(&proof.nonce), 16, 512);
        check.blob("proof.signature", &Some(&proof.signature), 1, 6144);
    }
    check.done()
}

/// The SHA-256 in the command line. One that is not readable, or not the only one, lets nobody claim.
fn owner(command_line: &str) -> Result<Option<[u8; 32]>, KmsError> {
    let mut named = command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(OWNER));
    let (Some(hash), other) = (named.next(), named.next()) else { return Ok(None) };
    let mut owner = [0; 32];
    match (base16ct::mixed::decode(hash, &mut owner), other) {
        (Ok(bytes), None) if bytes.len() == 32 => Ok(Some(owner)),
        _ => Err(KmsError::new(
            ErrorKind::AccessDenied,
            "The image's command line must name one owner, casemate.owner=<64 hexadecimal digits>: nobody can claim this \
             signer.",
        )),
    }
}

/// Whether the claim proves to be the owner's.
fn is_owners(signer: &Signer, claim: &Claim, owner: [u8; 32]) -> Result<(), KmsError> {
    let denied = |message: &str| KmsError::new(ErrorKind::AccessDenied, message);
    let proof = claim.proof.as_ref().ok_or_else(|| {
        denied("The image names an owner: the claim must carry a proof by the owner's key.")
    })?;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, proof.public_key.as_ref());
    if hash.as_ref() != owner {
        return Err(denied("The public key of the proof is not that of the owner that the image names."));
    }
    let tls = signer.tls_identity().map_err(|_| KmsError::internal("Making the TLS certificate"))?;
    let message = [CONTEXT, &tls.fingerprint(), proof.nonce.as_ref()].concat();
    // A key is of one kind only; with the others, verification fails.
    let kinds = [
        (KeySpec::P256, SigningAlgorithm::EcdsaSha256),
        (KeySpec::P384, SigningAlgorithm::EcdsaSha384),
        (KeySpec::Ed25519, SigningAlgorithm::Ed25519),
        (KeySpec::MlDsa65, SigningAlgorithm::MlDsa),
    ];
    let verified = kinds.into_iter().any(|(spec, algorithm)| {
        let key = VerifyingKey::from_spki(spec, proof.public_key.as_ref().to_vec());
        let input = digest_of(algorithm, MessageType::Raw, &message);
        key.is_ok_and(|key| {
            input.is_ok_and(|input| key.verify(algorithm, &input, proof.signature.as_ref()).is_ok())
        })
    });
    if verified {
        return Ok(());
    }
    Err(denied(
        "The signature of the proof is not the owner's over this signer's TLS certificate and the nonce.",
    ))
}

fn settle(signer: &Signer, config: Config) -> Result<Claimed, KmsError> {
    let now = time::seconds(signer.now());
    let failed = |_| KmsError::internal("Making the administrator");
    let key = iam::new_access_key(&config.account, now).map_err(failed)?;
    let entity = Entity {
        name: ADMIN.to_owned(),
        path: "/".to_owned(),
        id: id::unique(prefix::USER)?,
        created: now,
        inline: [("Administrator".to_owned(), ADMIN_POLICY.to_owned())].into(),
        ..Entity::default()
    };
    let claimed = Claimed {
        account: config.account.clone(),
        region: config.region.clone(),
        user_arn: Kind::User.arn(&config, &entity.path, &entity.name),
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.clone(),
    };
    let session_key = SessionKey::generate()?;
    let mut edit = Edit::of(signer);
    edit.settle(config, session_key);
    edit.put_user(User { entity, keys: vec![key], ..User::default() });
    Ok(claimed)
}
