//! The device's state machine: one request in, one response out.
//!
//! Semantics and error codes are those of nsm-api and, where its documentation is silent, of QEMU's
//! `hw/virtio/virtio-nsm.c`. A request is untrusted: whatever its bytes, [`Nsm::handle`] returns a response of at
//! most [`RESPONSE_MAX`] bytes and does not panic.
//!
//! | request | refused with |
//! | --- | --- |
//! | more than [`REQUEST_MAX`] bytes | InputTooLarge |
//! | not a request, or followed by more | InvalidOperation |
//! | DescribePCR, ExtendPCR, LockPCR of an index above 31; LockPCRs of a range above 32 | InvalidIndex |
//! | ExtendPCR, LockPCR of a locked register; PCR0–15 always are | ReadOnlyIndex |
//! | Attestation with a field over its limit | InputTooLarge |
//! | a response that would not fit | BufferTooSmall |
//! | no random bytes, no signature | InternalError |

use super::api::{self, ByteBuf, Digest, ErrorCode, Request, Response};
use super::{NONCE_MAX, PUBLIC_KEY_MAX, RANDOM_LEN, REQUEST_MAX, RESPONSE_MAX, USER_DATA_MAX};
use crate::document::{self, Claims, DocumentSigner};
use crate::pcr::{self, Bank, BankError, Launch};

/// A service that the device needs from its host is out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's clock or random source failed")]
pub struct ServicesError;

/// What the device needs from the machine it runs on.
pub trait Services {
    /// Milliseconds since 1970 (UTC).
    fn unix_millis(&mut self) -> Result<u64, ServicesError>;
    /// Fills `buffer` with bytes that nobody can predict.
    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), ServicesError>;
}

/// The NSM of one guest.
pub struct Nsm<S, V> {
    module_id: String,
    bank: Bank,
    signer: S,
    services: V,
}

impl<S: DocumentSigner, V: Services> Nsm<S, V> {
    /// The NSM of a guest that was launched with these measurements. `module_id` is the guest's name in
    /// documents and in its certificate.
    pub fn new(module_id: String, launch: &Launch, signer: S, services: V) -> Self {
        Self { module_id, bank: Bank::launch(launch), signer, services }
    }

    /// Answers one request.
    pub fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        let response = self.respond(request).unwrap_or_else(Response::Error);
        let bytes = api::encode_response(&response);
        if bytes.len() > RESPONSE_MAX {
            return api::encode_response(&Response::Error(ErrorCode::BufferTooSmall));
        }
        bytes
    }

    fn respond(&mut self, request: &[u8]) -> Result<Response, ErrorCode> {
        if request.len() > REQUEST_MAX {
            return Err(ErrorCode::InputTooLarge);
        }
        match api::decode_request(request).map_err(|_| ErrorCode::InvalidOperation)? {
            Request::DescribePCR { index } => {
                let (value, lock) = self.bank.describe(index)?;
                Ok(Response::DescribePCR { lock, data: value.as_bytes().to_vec() })
            }
            Request::ExtendPCR { index, data } => {
                let value = self.bank.extend(index, &data)?;
                Ok(Response::ExtendPCR { data: value.as_bytes().to_vec() })
            }
            Request::LockPCR { index } => {
                self.bank.lock(index)?;
                Ok(Response::LockPCR)
            }
            Request::LockPCRs { range } => {
                self.bank.lock_first(range)?;
                Ok(Response::LockPCRs)
            }
            Request::DescribeNSM => Ok(self.describe()),
            Request::Attestation { user_data, nonce, public_key } => {
                self.attest(user_data, nonce, public_key)
            }
            Request::GetRandom => {
                let mut random = vec![0; RANDOM_LEN];
                self.services.fill_random(&mut random).map_err(|_| ErrorCode::InternalError)?;
                Ok(Response::GetRandom { random })
            }
            _ => Err(ErrorCode::InvalidOperation),
        }
    }

    fn describe(&self) -> Response {
        Response::DescribeNSM {
            version_major: 1,
            version_minor: 0,
            version_patch: 0,
            module_id: self.module_id.clone(),
            max_pcrs: pcr::COUNT,
            locked_pcrs: self.bank.locked().map(|(index, _)| index).collect(),
            digest: Digest::SHA384,
        }
    }

    fn attest(
        &mut self,
        user_data: Option<ByteBuf>,
        nonce: Option<ByteBuf>,
        public_key: Option<ByteBuf>,
    ) -> Result<Response, ErrorCode> {
        let claims = Claims {
            module_id: self.module_id.clone(),
            timestamp: self.services.unix_millis().map_err(|_| ErrorCode::InternalError)?,
            pcrs: self.bank.locked().collect(),
            public_key: within(public_key, PUBLIC_KEY_MAX)?,
            user_data: within(user_data, USER_DATA_MAX)?,
            nonce: within(nonce, NONCE_MAX)?,
        };
        let document = document::seal(claims, &mut self.signer).map_err(|_| ErrorCode::InternalError)?;
        Ok(Response::Attestation { document })
    }
}

fn within(field: Option<ByteBuf>, limit: usize) -> Result<Option<Vec<u8>>, ErrorCode> {
    match field {
        Some(bytes) if bytes.len() > limit => Err(ErrorCode::InputTooLarge),
        other => Ok(other.map(ByteBuf::into_vec)),
    }
}

impl From<BankError> for ErrorCode {
    fn from(error: BankError) -> Self {
        match error {
            BankError::NoSuchRegister(_) => Self::InvalidIndex,
            BankError::Locked(_) => Self::ReadOnlyIndex,
        }
    }
}
