//! Responses: a status, a JSON body, and the headers that AWS's clients look for.

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use zeroize::Zeroizing;

use crate::errors::KmsError;
use crate::hsm;
use crate::identity::Fault;
use crate::store::KeyId;

use super::rpc;

pub(super) type Response = hyper::Response<Full<Bytes>>;

const AWS_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const CBOR: HeaderValue = HeaderValue::from_static(rpc::CBOR);
const XML: HeaderValue = HeaderValue::from_static("text/xml");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer before it is an HTTP response.
pub(super) struct Reply {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    close: bool,
    refusal: Option<Refusal>,
}

/// Why a request was refused, for the audit log.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Reply {
    /// The response of a KMS operation. The JSON is erased once hyper has let go of it.
    pub(super) fn kms(json: Zeroizing<Vec<u8>>) -> Self {
        let body = Bytes::from_owner(Erased(json));
        Self { status: StatusCode::OK, content_type: AWS_JSON, body, close: false, refusal: None }
    }

    /// The response of an operation of the Query protocol. The XML is erased once hyper has let go of it.
    pub(super) fn xml(xml: Zeroizing<Vec<u8>>) -> Self {
        let body = Bytes::from_owner(Erased(xml));
        Self { status: StatusCode::OK, content_type: XML, body, close: false, refusal: None }
    }

    /// An error of the Query protocol.
    pub(super) fn xml_error(fault: Fault, xml: Vec<u8>) -> Self {
        let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refusal = Some(Refusal { code: fault.code.name(), message: fault.message });
        Self { status, content_type: XML, body: xml.into(), close: false, refusal }
    }

    /// An error of the token.
    pub(super) fn token_error(fault: &hsm::Fault) -> Self {
        let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&fault.refusal()).unwrap_or_default();
        let refusal = Some(Refusal { code: fault.name(), message: fault.message().to_owned() });
        Self { status, content_type: AWS_JSON, body: body.into(), close: false, refusal }
    }

    /// What everybody may have.
    pub(super) fn public(body: Bytes, content_type: HeaderValue) -> Self {
        Self { status: StatusCode::OK, content_type, body, close: false, refusal: None }
    }

    /// JSON with a secret in it, which is erased once hyper has let go of it.
    pub(super) fn secret(json: Zeroizing<Vec<u8>>) -> Self {
        Self { content_type: JSON, ..Self::kms(json) }
    }

    /// Plain JSON.
    pub(super) fn json(json: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, content_type: JSON, body: json.into(), close: false, refusal: None }
    }

    /// An error with a status of its own.
    pub(super) fn error(status: u16, error: &KmsError) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refusal = Some(Refusal { code: error.kind.name(), message: error.message.clone() });
        Self { status, content_type: AWS_JSON, body: error.to_json().into(), close: false, refusal }
    }

    /// The connection ends after this: the rest of the request has not been read.
    pub(super) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same in CBOR, as [`rpc`] says.
    pub(super) fn in_cbor(mut self) -> Self {
        let body = match &self.refusal {
            Some(refusal) => Some(rpc::error(refusal.code, &refusal.message)),
            // An operation without output has no body.
            None if *self.body == *b"{}" => None,
            None => rpc::from_json(&self.body),
        };
        (self.content_type, self.body) = (CBOR, body.unwrap_or_default().into());
        self
    }

    /// Why the request was refused, if it was.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    pub(super) fn into_response(self, request_id: &str) -> Response {
        let empty = self.body.is_empty();
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.content_type == CBOR {
            headers.insert("smithy-protocol", HeaderValue::from_static(rpc::PROTOCOL));
        }
        if self.content_type != CBOR || !empty {
            headers.insert(CONTENT_TYPE, self.content_type);
        }
        headers
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate, private"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert("x-amzn-requestid", id);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<KmsError> for Reply {
    fn from(error: KmsError) -> Self {
        Self::error(error.status(), &error)
    }
}

/// Bytes that are erased when the last reference goes.
struct Erased(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Erased {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A new request id; a UUID, as AWS's are.
pub(super) fn request_id() -> String {
    KeyId::random().map(|id| id.to_string()).unwrap_or_default()
}
