//! A session: its operations, one of each kind at a time, and the objects that end with it.

use std::sync::{Arc, Mutex};

use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Request, attribute, ck};
use cryptoki_sys as sys;

use crate::cipher::Cipher;
use crate::digest::{self, Context};
use crate::ffi::Output;
use crate::key::Use;
use crate::rv::{Result, Rv, ensure};
use crate::sign::Signing;
use crate::sync::lock;
use crate::token::Token;

/// A session.
pub struct Session {
    /// Its slot.
    pub slot: u64,
    /// Its token.
    pub token: Arc<Token>,
    /// Whether token objects may be made and changed in it.
    pub read_write: bool,
    pub(crate) work: Mutex<Work>,
}

/// What is going on in a session.
#[derive(Default)]
pub struct Work {
    /// What a search has found and nobody has taken yet.
    pub found: Option<std::vec::IntoIter<u64>>,
    digest: Option<Hashing>,
    sign: Option<Signing>,
    verify: Option<Signing>,
    encrypt: Option<Cipher>,
    decrypt: Option<Cipher>,
    /// A wrapped key that the caller has not taken yet.
    pub wrapped: Option<Wrapped>,
    /// Session objects made in it.
    pub objects: Vec<u64>,
}

/// A wrapped key, and what was asked for it: by whom, how, under which key, which key.
pub struct Wrapped {
    /// The question.
    pub what: (Option<String>, Mechanism, u64, u64),
    /// The answer.
    pub data: Bytes,
}

struct Hashing {
    context: Context,
    mode: Mode,
}

/// How an operation gets its data. It stays with what it began with, also if only a length was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody has said.
    #[default]
    Open,
    /// At once.
    Whole,
    /// In parts.
    Parts,
}

impl Mode {
    /// Takes data in this mode.
    fn go_on(&mut self, with: Self) -> Result<()> {
        ensure(*self == Self::Open || *self == with, sys::CKR_OPERATION_ACTIVE)?;
        *self = with;
        Ok(())
    }

    /// Takes all data, or the end of the parts, of which there may have been none.
    fn end(&mut self, whole: bool) -> Result<()> {
        self.go_on(if whole { Self::Whole } else { Self::Parts })
    }
}

/// Runs the step that ends an operation. The operation goes on only if the caller asked for a length, or had too little
/// room (PKCS#11 3.0, 5.2).
fn end<T>(
    operation: &mut Option<T>,
    output: &mut Output,
    step: impl FnOnce(&mut T, &mut Output) -> Result<()>,
) -> Result<()> {
    let running = operation.as_mut().ok_or(Rv(ck::CKR_OPERATION_NOT_INITIALIZED))?;
    let result = step(running, output);
    let goes_on = result == Err(Rv(ck::CKR_BUFFER_TOO_SMALL)) || (result.is_ok() && output.is_query());
    if !goes_on {
        *operation = None;
    }
    result
}

/// Runs a step in the middle of an operation, which an error ends.
fn go_on<T, R>(operation: &mut Option<T>, step: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
    let running = operation.as_mut().ok_or(Rv(ck::CKR_OPERATION_NOT_INITIALIZED))?;
    let result = step(running);
    if let Err(Rv(rv)) = result
        && rv != ck::CKR_BUFFER_TOO_SMALL
    {
        *operation = None;
    }
    result
}

/// Whether an operation may begin.
fn idle<T>(operation: &Option<T>) -> Result<()> {
    ensure(operation.is_none(), sys::CKR_OPERATION_ACTIVE)
}

impl Session {
    /// A session in which nothing happens yet.
    pub fn new(slot: u64, token: Arc<Token>, read_write: bool) -> Self {
        Self { slot, token, read_write, work: Mutex::default() }
    }

    /// `CKS_`…
    pub fn state(&self) -> u64 {
        match (self.token.user_type(), self.read_write) {
            (None, false) => sys::CKS_RO_PUBLIC_SESSION,
            (None, true) => sys::CKS_RW_PUBLIC_SESSION,
            (Some(UserType::CryptoUser), false) => sys::CKS_RO_USER_FUNCTIONS,
            (Some(UserType::CryptoUser), true) => sys::CKS_RW_USER_FUNCTIONS,
            (Some(UserType::CryptoOfficer), _) => sys::CKS_RW_SO_FUNCTIONS,
        }
    }

    /// Ends what is going on, and the session's objects. Those of a guest that cannot be reached end without us.
    pub fn close(&self) {
        let work = std::mem::take(&mut *lock(&self.work));
        for object in work.objects {
            let request = Request { object: Some(object), ..Request::default() };
            let _ = self.token.call(Operation::DestroyObject, request);
        }
    }

    /// An Init function without a mechanism: ends the operation of this flag, which must be one.
    pub fn cancel_one(&self, flag: u64) -> Result<()> {
        let active = {
            let work = lock(&self.work);
            match flag {
                ck::CKF_DIGEST => work.digest.is_some(),
                ck::CKF_SIGN => work.sign.is_some(),
                ck::CKF_VERIFY => work.verify.is_some(),
                ck::CKF_ENCRYPT => work.encrypt.is_some(),
                _ => work.decrypt.is_some(),
            }
        };
        ensure(active, ck::CKR_ARGUMENTS_BAD)?;
        self.cancel(flag);
        Ok(())
    }

    /// C_SessionCancel; the flags are those of the mechanisms.
    pub fn cancel(&self, flags: u64) {
        let work = &mut *lock(&self.work);
        let wanted = |flag| flags & flag != 0;
        if wanted(ck::CKF_DIGEST) {
            work.digest = None;
        }
        if wanted(ck::CKF_SIGN) {
            work.sign = None;
        }
        if wanted(ck::CKF_VERIFY) {
            work.verify = None;
        }
        if wanted(ck::CKF_ENCRYPT) {
            work.encrypt = None;
        }
        if wanted(ck::CKF_DECRYPT) {
            work.decrypt = None;
        }
        if wanted(sys::CKF_FIND_OBJECTS) {
            work.found = None;
        }
    }

    /// C_DigestInit.
    pub fn digest_init(&self, mechanism: &Mechanism) -> Result<()> {
        let work = &mut *lock(&self.work);
        idle(&work.digest)?;
        let algorithm = digest::algorithm(mechanism.kind).ok_or(Rv(ck::CKR_MECHANISM_INVALID))?;
        work.digest = Some(Hashing { context: Context::new(algorithm), mode: Mode::Open });
        Ok(())
    }

    /// C_Digest, or C_DigestFinal without data.
    pub fn digest(&self, data: Option<&Bytes>, output: &mut Output) -> Result<()> {
        end(&mut lock(&self.work).digest, output, |hashing, output| {
            hashing.mode.end(data.is_some())?;
            let mut context = hashing.context.clone();
            if let Some(data) = data {
                context.update(data);
            }
            output.put(context.finish().as_ref())
        })
    }

    /// C_DigestUpdate.
    pub fn digest_update(&self, part: &[u8]) -> Result<()> {
        go_on(&mut lock(&self.work).digest, |hashing| {
            hashing.mode.go_on(Mode::Parts)?;
            hashing.context.update(part);
            Ok(())
        })
    }

    /// C_DigestKey. Digests are computed here, so it takes a key whose value may be read.
    pub fn digest_key(&self, key: u64) -> Result<()> {
        ensure(lock(&self.work).digest.is_some(), ck::CKR_OPERATION_NOT_INITIALIZED)?;
        let told = self.attributes(key, &[ck::CKA_CLASS, ck::CKA_VALUE]).map_err(|Rv(rv)| {
            Rv(if rv == ck::CKR_OBJECT_HANDLE_INVALID { ck::CKR_KEY_HANDLE_INVALID } else { rv })
        })?;
        let [Attribute { value: Some(class), .. }, Attribute { value, .. }] = told.template.as_slice() else {
            return Err(Rv(ck::CKR_DEVICE_ERROR));
        };
        ensure(attribute::number(class) == Some(ck::CKO_SECRET_KEY), ck::CKR_KEY_HANDLE_INVALID)?;
        let value = value.as_ref().ok_or(Rv(ck::CKR_KEY_INDIGESTIBLE));
        go_on(&mut lock(&self.work).digest, |hashing| {
            hashing.mode.go_on(Mode::Parts)?;
            hashing.context.update(value?);
            Ok(())
        })
    }

    /// C_SignInit.
    pub fn sign_init(&self, mechanism: Mechanism, key: u64) -> Result<()> {
        let work = &mut *lock(&self.work);
        idle(&work.sign)?;
        work.sign = Some(Signing::begin(&self.token, Use::Sign, mechanism, key)?);
        Ok(())
    }

    /// C_Sign, or C_SignFinal without a message.
    pub fn sign(&self, message: Option<&Bytes>, output: &mut Output) -> Result<()> {
        end(&mut lock(&self.work).sign, output, |signing, output| {
            signing.mode.end(message.is_some())?;
            if output.is_query() {
                return output.put_length(signing.length());
            }
            output.put(&signing.sign(&self.token, message)?)
        })
    }

    /// C_SignUpdate.
    pub fn sign_update(&self, part: &[u8]) -> Result<()> {
        go_on(&mut lock(&self.work).sign, |signing| {
            signing.mode.go_on(Mode::Parts)?;
            signing.update(part)
        })
    }

    /// C_VerifyInit.
    pub fn verify_init(&self, mechanism: Mechanism, key: u64) -> Result<()> {
        let work = &mut *lock(&self.work);
        idle(&work.verify)?;
        work.verify = Some(Signing::begin(&self.token, Use::Verify, mechanism, key)?);
        Ok(())
    }

    /// C_Verify, or C_VerifyFinal without a message.
    pub fn verify(&self, message: Option<&Bytes>, signature: Bytes) -> Result<()> {
        let mut verifying = lock(&self.work).verify.take().ok_or(Rv(ck::CKR_OPERATION_NOT_INITIALIZED))?;
        verifying.mode.end(message.is_some())?;
        verifying.verify(&self.token, message, signature)
    }

    /// C_VerifyUpdate.
    pub fn verify_update(&self, part: &[u8]) -> Result<()> {
        go_on(&mut lock(&self.work).verify, |verifying| {
            verifying.mode.go_on(Mode::Parts)?;
            verifying.update(part)
        })
    }

    /// C_EncryptInit, C_DecryptInit.
    pub fn cipher_init(&self, usage: Use, mechanism: Mechanism, key: u64) -> Result<()> {
        let cipher = &mut *lock(&self.work);
        let cipher = cipher.cipher(usage);
        idle(cipher)?;
        *cipher = Some(Cipher::begin(&self.token, usage, mechanism, key)?);
        Ok(())
    }

    /// C_Encrypt and C_Decrypt, or C_EncryptFinal and C_DecryptFinal without input.
    pub fn cipher(&self, usage: Use, input: Option<&Bytes>, output: &mut Output) -> Result<()> {
        end(lock(&self.work).cipher(usage), output, |cipher, output| {
            cipher.mode.end(input.is_some())?;
            if output.is_query() {
                return output.put_length(cipher.length(input.map_or(0, |input| input.len())));
            }
            output.put(&cipher.finish(&self.token, input)?)
        })
    }

    /// C_EncryptUpdate, C_DecryptUpdate.
    pub fn cipher_update(&self, usage: Use, part: &[u8], output: &mut Output) -> Result<()> {
        go_on(lock(&self.work).cipher(usage), |cipher| {
            cipher.mode.go_on(Mode::Parts)?;
            let ready = cipher.ready(part.len());
            if !output.fits(ready)? {
                return Ok(());
            }
            output.put(&cipher.update(&self.token, part)?)
        })
    }
}

impl Work {
    fn cipher(&mut self, usage: Use) -> &mut Option<Cipher> {
        if usage == Use::Decrypt { &mut self.decrypt } else { &mut self.encrypt }
    }
}
