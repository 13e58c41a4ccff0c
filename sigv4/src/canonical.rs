//! The canonical request, as AWS defines it, and its hash.

use http::HeaderMap;
use http::header::HeaderValue;

use super::presented::Presented;
use super::{AuthError, Request, sha256_hex};

/// The hexadecimal hash of the body. A client that declares one must have declared this one.
pub(super) fn body_hash(request: Request<'_>) -> Result<String, AuthError> {
    let hash = sha256_hex(request.body);
    let mut declared = request.headers.get_all("x-amz-content-sha256").iter();
    if declared.any(|declared| declared.as_bytes() != hash.as_bytes()) {
        return Err(AuthError::Refused(
            "The value of X-Amz-Content-Sha256 is not the hexadecimal SHA-256 of the body of the request."
                .to_owned(),
        ));
    }
    Ok(hash)
}

/// The hexadecimal hash of the canonical request.
pub(super) fn digest(
    request: Request<'_>,
    presented: &Presented<'_>,
    body_hash: &str,
) -> Result<String, AuthError> {
    let except = presented.presigned.then_some(super::presented::SIGNATURE);
    let query = request.query.canonical(except);
    let mut text = format!("{}\n{}\n{query}\n", request.method, request.path).into_bytes();
    for name in presented.signed_headers.split(';') {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        header(&mut text, request.headers, name)?;
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{}\n{body_hash}", presented.signed_headers).as_bytes());
    Ok(sha256_hex(&text))
}

/// All values of a header, trimmed, with single spaces, separated by commas.
fn header(text: &mut Vec<u8>, headers: &HeaderMap, name: &str) -> Result<(), AuthError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().ok_or_else(AuthError::mismatch)?;
    value(text, first);
    for other in values {
        text.push(b',');
        value(text, other);
    }
    Ok(())
}

fn value(text: &mut Vec<u8>, header: &HeaderValue) {
    let mut space = false;
    for byte in header.as_bytes().trim_ascii() {
        if *byte != b' ' || !space {
            text.push(*byte);
        }
        space = *byte == b' ';
    }
}
