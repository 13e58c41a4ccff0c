//! The wire types of nsm-api, and how they travel: serde's externally tagged CBOR.

pub use aws_nitro_enclaves_nsm_api::api::{Digest, ErrorCode, Request, Response};
pub use serde_bytes::ByteBuf;

use crate::cbor;

/// A message was not CBOR of the expected type, or something followed it.
#[derive(Debug)]
pub struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not an NSM message: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The bytes of a request.
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(request)
}

/// The request in these bytes, all of them.
pub fn decode_request(bytes: &[u8]) -> Result<Request, Malformed> {
    // Nitro's own library: the device takes whatever Nitro's device takes.
    serde_cbor::from_slice(bytes).map_err(|error| Malformed(error.to_string()))
}

/// The bytes of a response.
pub fn encode_response(response: &Response) -> Vec<u8> {
    encode(response)
}

/// The response in these bytes, all of them.
pub fn decode_response(bytes: &[u8]) -> Result<Response, Malformed> {
    // By way of a value: a parser for each type in a response would make a guest's image a hundred kilobytes larger, and
    // that of `serde_cbor` always is one.
    let value = cbor::read(bytes).map_err(|error| Malformed(error.to_string()))?;
    value.deserialized().map_err(|error| Malformed(error.to_string()))
}

fn encode(message: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ciborium::into_writer(message, &mut bytes) {
        Ok(()) => bytes,
        // Writing these types to memory cannot fail: they hold no map or number that CBOR lacks. Should it ever, the
        // peer gets an empty message, which is malformed to it.
        Err(_) => Vec::new(),
    }
}
