//! Signatures and MACs, made or verified: parts are gathered here, and the token gets them whole.
//!
//! A message that is longer than a request may be is hashed here, if the mechanism begins with hashing, and the token gets
//! the mechanism's second half. The digest of a message tells nothing that the message does not.

use std::sync::Arc;

use casemate_hsm::limits::DATA_MAX;
use casemate_hsm::{Bytes, Mechanism, Operation, Request, ck};

use crate::digest::{self, Context};
use crate::key::{Facts, Use};
use crate::rv::{Result, Rv, ensure};
use crate::session::Mode;
use crate::token::Token;

/// A C_Sign… or C_Verify… that has begun.
pub struct Signing {
    mechanism: Mechanism,
    key: u64,
    facts: Arc<Facts>,
    message: Message,
    /// How the data comes.
    pub mode: Mode,
    /// A signature for which the caller had too little room, and what it is over if that came with the call.
    made: Option<(Option<Bytes>, Bytes)>,
}

enum Message {
    Whole(Bytes),
    Hashed(Context),
}

/// A mechanism that hashes first: the digest, what is left to do with it, and what comes before it there.
struct Halves {
    digest: u64,
    rest: u64,
    prefix: &'static [u8],
}

/// DigestInfo up to the digest itself: RFC 8017, 9.2, note 1.
const SHA1: &[u8] = &[0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14];
const SHA224: &[u8] = &sha2_info(4, 28);
const SHA256: &[u8] = &sha2_info(1, 32);
const SHA384: &[u8] = &sha2_info(2, 48);
const SHA512: &[u8] = &sha2_info(3, 64);

const fn sha2_info(arc: u8, length: u8) -> [u8; 19] {
    [0x30, 17 + length, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, arc, 5, 0, 4, length]
}

const fn halves(mechanism: u64) -> Option<Halves> {
    let (digest, rest, prefix): (u64, u64, &'static [u8]) = match mechanism {
        ck::CKM_SHA1_RSA_PKCS => (ck::CKM_SHA_1, ck::CKM_RSA_PKCS, SHA1),
        ck::CKM_SHA224_RSA_PKCS => (ck::CKM_SHA224, ck::CKM_RSA_PKCS, SHA224),
        ck::CKM_SHA256_RSA_PKCS => (ck::CKM_SHA256, ck::CKM_RSA_PKCS, SHA256),
        ck::CKM_SHA384_RSA_PKCS => (ck::CKM_SHA384, ck::CKM_RSA_PKCS, SHA384),
        ck::CKM_SHA512_RSA_PKCS => (ck::CKM_SHA512, ck::CKM_RSA_PKCS, SHA512),
        ck::CKM_SHA1_RSA_PKCS_PSS => (ck::CKM_SHA_1, ck::CKM_RSA_PKCS_PSS, &[]),
        ck::CKM_SHA224_RSA_PKCS_PSS => (ck::CKM_SHA224, ck::CKM_RSA_PKCS_PSS, &[]),
        ck::CKM_SHA256_RSA_PKCS_PSS => (ck::CKM_SHA256, ck::CKM_RSA_PKCS_PSS, &[]),
        ck::CKM_SHA384_RSA_PKCS_PSS => (ck::CKM_SHA384, ck::CKM_RSA_PKCS_PSS, &[]),
        ck::CKM_SHA512_RSA_PKCS_PSS => (ck::CKM_SHA512, ck::CKM_RSA_PKCS_PSS, &[]),
        ck::CKM_ECDSA_SHA1 => (ck::CKM_SHA_1, ck::CKM_ECDSA, &[]),
        ck::CKM_ECDSA_SHA224 => (ck::CKM_SHA224, ck::CKM_ECDSA, &[]),
        ck::CKM_ECDSA_SHA256 => (ck::CKM_SHA256, ck::CKM_ECDSA, &[]),
        ck::CKM_ECDSA_SHA384 => (ck::CKM_SHA384, ck::CKM_ECDSA, &[]),
        ck::CKM_ECDSA_SHA512 => (ck::CKM_SHA512, ck::CKM_ECDSA, &[]),
        _ => return None,
    };
    Some(Halves { digest, rest, prefix })
}

impl Signing {
    /// Begins, if the key can be used so.
    pub fn begin(token: &Token, usage: Use, mechanism: Mechanism, key: u64) -> Result<Self> {
        let facts = token.facts(key)?;
        facts.check(token, mechanism.kind, usage)?;
        let message = Message::Whole(Bytes::default());
        Ok(Self { mechanism, key, facts, message, mode: Mode::Open, made: None })
    }

    /// Length of the signature in bytes, or somewhat more.
    pub fn length(&self) -> usize {
        self.facts.signature_length(self.mechanism.kind)
    }

    /// The next part of the message.
    pub fn update(&mut self, part: &[u8]) -> Result<()> {
        self.made = None;
        if let Message::Whole(whole) = &mut self.message {
            if whole.len().saturating_add(part.len()) <= DATA_MAX {
                whole.extend_from_slice(part);
                return Ok(());
            }
            let algorithm = halves(self.mechanism.kind).and_then(|halves| digest::algorithm(halves.digest));
            let mut context = Context::new(algorithm.ok_or(Rv(ck::CKR_DATA_LEN_RANGE))?);
            context.update(whole);
            self.message = Message::Hashed(context);
        }
        if let Message::Hashed(context) = &mut self.message {
            context.update(part);
        }
        Ok(())
    }

    /// The signature over the parts, or over this message.
    pub fn sign(&mut self, token: &Token, message: Option<&Bytes>) -> Result<Bytes> {
        if let Some((over, made)) = &self.made
            && over.as_ref() == message
        {
            return Ok(made.clone());
        }
        let request = self.request(message)?;
        let signature = token.call(Operation::Sign, request)?.data.ok_or(Rv(ck::CKR_DEVICE_ERROR))?;
        self.made = Some((message.cloned(), signature.clone()));
        Ok(signature)
    }

    /// Whether this is the signature over the parts, or over this message.
    pub fn verify(&mut self, token: &Token, message: Option<&Bytes>, signature: Bytes) -> Result<()> {
        let request = Request { signature: Some(signature), ..self.request(message)? };
        token.call(Operation::Verify, request).map(|_| ())
    }

    fn request(&mut self, message: Option<&Bytes>) -> Result<Request> {
        if let Some(message) = message {
            self.message = Message::Whole(Bytes::default());
            self.update(message)?;
        }
        let mut mechanism = self.mechanism.clone();
        let data = match &self.message {
            Message::Whole(whole) => whole.clone(),
            Message::Hashed(context) => {
                let Halves { rest, prefix, .. } = halves(mechanism.kind).ok_or(Rv(ck::CKR_GENERAL_ERROR))?;
                mechanism.kind = rest;
                Bytes::from([prefix, context.clone().finish().as_ref()].concat())
            }
        };
        ensure(data.len() <= DATA_MAX, ck::CKR_DATA_LEN_RANGE)?;
        Ok(Request {
            mechanism: Some(mechanism),
            object: Some(self.key),
            data: Some(data),
            ..Request::default()
        })
    }
}
