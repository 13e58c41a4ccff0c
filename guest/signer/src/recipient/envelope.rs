//! Secrets for an attested guest: CMS EnvelopedData (RFC 5652, section 6), as AWS KMS makes it for Nitro Enclaves.
//!
//! ```text
//! ContentInfo  envelopedData
//!   EnvelopedData  version 2
//!     recipientInfos  { KeyTransRecipientInfo  version 2
//!         rid                     [0] subjectKeyIdentifier
//!         keyEncryptionAlgorithm  RSAES-OAEP, SHA-256, MGF1 with SHA-256, empty label
//!         encryptedKey            the 32 bytes of the content-encryption key }
//!     encryptedContentInfo
//!         contentType                  data
//!         contentEncryptionAlgorithm   AES-256-CBC, its initialisation vector
//!         encryptedContent             [0] the secret, padded as PKCS #7 has it
//! ```
//!
//! DER throughout, definite lengths: the AWS Nitro Enclaves SDK and `openssl cms -decrypt` read it. CBC does not
//! authenticate; that is the format's, not our choice. Who changes an envelope on its way can spoil the secret, not learn
//! it: the one who decrypts must treat failures of every kind alike.

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use der::asn1::{ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Decode, Encode, Sequence, ValueOrd};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError};

const ENVELOPED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const RSAES_OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

/// RSAES-OAEP-params (RFC 8017, A.2.1): hashAlgorithm SHA-256, maskGenAlgorithm MGF1 with SHA-256, the default label.
#[rustfmt::skip]
const OAEP_PARAMETERS: [u8; 49] = [
    0x30, 0x2f,
        0xa0, 0x0f, 0x30, 0x0d, // hashAlgorithm [0]: 2.16.840.1.101.3.4.2.1, NULL
            0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
        0xa1, 0x1c, 0x30, 0x1a, // maskGenAlgorithm [1]: 1.2.840.113549.1.1.8, with
            0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
            0x30, 0x0d, // 2.16.840.1.101.3.4.2.1, NULL
                0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
];

const KEY_LEN: usize = 32;
const BLOCK_LEN: usize = 16;

/// Encrypts `secret` to an RSA key, given as SubjectPublicKeyInfo.
pub(super) fn seal(spki: &[u8], secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    crypto::random(key.as_mut())?;
    let (iv, content) = encrypt(&key, secret)?;
    let encrypted_key = wrap(spki, key.as_ref())?;
    encode(spki, &encrypted_key, &iv, content).map_err(|_| CryptoError::Library("encoding of CMS"))
}

/// AES-256-CBC with PKCS #7 padding.
fn encrypt(key: &[u8; KEY_LEN], secret: &[u8]) -> Result<([u8; BLOCK_LEN], Vec<u8>), CryptoError> {
    let failed = |_| CryptoError::Library("encryption");
    let key = UnboundCipherKey::new(&AES_256, key).map_err(failed)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?;
    // Room for the padding, so that growing leaves no copy of the secret behind.
    let mut text = Vec::with_capacity(secret.len().saturating_add(BLOCK_LEN));
    text.extend_from_slice(secret);
    let DecryptionContext::Iv128(iv) = key.encrypt(&mut text).map_err(failed)? else {
        return Err(CryptoError::Library("encryption"));
    };
    Ok((*iv.as_ref(), text))
}

fn wrap(spki: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let wrong = |_| CryptoError::Key("RSA");
    let public = PublicEncryptingKey::from_der(spki).map_err(wrong)?;
    let public = OaepPublicEncryptingKey::new(public).map_err(|_| CryptoError::Key("RSA"))?;
    let mut wrapped = vec![0; public.ciphertext_size()];
    let length = public
        .encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut wrapped, None)
        .map_err(|_| CryptoError::Library("encryption"))?
        .len();
    wrapped.truncate(length);
    Ok(wrapped)
}

/// ContentInfo (RFC 5652, section 3) of EnvelopedData.
#[derive(Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: EnvelopedData,
}

/// EnvelopedData (RFC 5652, section 6.1) with neither originatorInfo nor unprotectedAttrs.
#[derive(Sequence)]
struct EnvelopedData {
    version: u8,
    recipient_infos: SetOfVec<KeyTransRecipientInfo>,
    encrypted_content_info: EncryptedContentInfo,
}

/// KeyTransRecipientInfo (RFC 5652, section 6.2.1) whose recipient is named by a subjectKeyIdentifier.
#[derive(Sequence, ValueOrd)]
struct KeyTransRecipientInfo {
    version: u8,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    subject_key_identifier: OctetString,
    key_encryption_algorithm: AlgorithmIdentifierOwned,
    encrypted_key: OctetString,
}

/// EncryptedContentInfo (RFC 5652, section 6.1).
#[derive(Sequence)]
struct EncryptedContentInfo {
    content_type: ObjectIdentifier,
    content_encryption_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    encrypted_content: OctetString,
}

/// The version of EnvelopedData and of KeyTransRecipientInfo where the recipient is named by its key.
const VERSION: u8 = 2;

fn encode(spki: &[u8], key: &[u8], iv: &[u8; BLOCK_LEN], content: Vec<u8>) -> der::Result<Vec<u8>> {
    let recipient = KeyTransRecipientInfo {
        version: VERSION,
        subject_key_identifier: identifier(spki)?,
        key_encryption_algorithm: AlgorithmIdentifierOwned {
            oid: RSAES_OAEP,
            parameters: Some(Any::from_der(&OAEP_PARAMETERS)?),
        },
        encrypted_key: OctetString::new(key)?,
    };
    let data = EnvelopedData {
        version: VERSION,
        recipient_infos: SetOfVec::try_from(vec![recipient])?,
        encrypted_content_info: EncryptedContentInfo {
            content_type: DATA,
            content_encryption_algorithm: AlgorithmIdentifierOwned {
                oid: AES_256_CBC,
                parameters: Some(Any::encode_from(&OctetString::new(*iv)?)?),
            },
            encrypted_content: OctetString::new(content)?,
        },
    };
    ContentInfo { content_type: ENVELOPED_DATA, content: data }.to_der()
}

/// RFC 7093, section 2, method 1: the leftmost 160 bits of the SHA-256 of the public key's bits.
fn identifier(spki: &[u8]) -> der::Result<OctetString> {
    let info = SubjectPublicKeyInfoRef::from_der(spki)?;
    let digest = digest(&SHA256, info.subject_public_key.raw_bytes());
    let leftmost: Vec<u8> = digest.as_ref().iter().take(20).copied().collect();
    OctetString::new(leftmost)
}
