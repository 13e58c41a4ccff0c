//! AWS Signature Version 4: who signed this request (AWS General Reference, "Signing AWS API requests").
//!
//! [`verify`] takes a request as it arrived and a way to find an access key's secret, and gives the key's owner. It
//! promises: what it accepts was signed with that secret, for this service, for this host, method, query, body and
//! every `X-Amz-` header, within 15 minutes of the signer's clock, or within the time that a presigned URL allows.
//!
//! Both forms are taken: the `Authorization` header, and the query of a presigned URL. Three liberties that AWS's text
//! leaves are taken in the strict sense: the signed headers are a sorted list without duplicates, no parameter of the
//! signature appears twice, and a body is always hashed (AWS takes `UNSIGNED-PAYLOAD` for S3 alone). One is taken in
//! the lenient sense: any region is a region of this signer's; it is bound by the key derivation, and clients come with
//! whatever region they have configured. The path is taken as it is: those that are routed, `/` and RPC's, have nothing in
//! them that would be encoded.
//!
//! A request can be repeated within its 15 minutes, as on AWS; TLS is what keeps others from having it.

mod canonical;
mod error;
mod presented;
mod query;
#[cfg(test)]
mod tests;
pub mod time;

use aws_lc_rs::{digest, hmac};
use http::HeaderMap;
use zeroize::Zeroizing;

pub use error::AuthError;
use presented::Presented;
pub use query::Query;

/// How far a client's clock may be off.
const SKEW: u64 = 15 * 60;
/// The only algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The end of every credential scope.
const TERMINATOR: &str = "aws4_request";

/// The parts of a request that a signature covers.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// GET or POST.
    pub method: &'a str,
    /// Of unreserved characters and slashes.
    pub path: &'a str,
    /// What follows the question mark, as it arrived.
    pub query: &'a Query,
    /// As they arrived.
    pub headers: &'a HeaderMap,
    /// All of it.
    pub body: &'a [u8],
}

/// What an access key stands for.
pub struct Credential<T> {
    /// The secret access key.
    pub secret: Zeroizing<String>,
    /// Whose it is.
    pub owner: T,
}

/// The access key that a request names as its sender's, proved or not, if it could be one: for the audit log.
pub fn claimed(authorization: Option<&str>, query: &str) -> Option<String> {
    let credential = match authorization {
        Some(header) => header.split_once("Credential=")?.1.to_owned(),
        None => {
            let query = Query::parse(query);
            std::str::from_utf8(query.all("X-Amz-Credential").next()?).ok()?.to_owned()
        }
    };
    let id = credential.split('/').next().unwrap_or_default();
    // Access keys have 16 to 128 word characters (IAM API reference, AccessKey).
    let fits =
        (16..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits.then(|| id.to_owned())
}

/// The owner of the access key that signed the request for `service`, found by `find` from the key's id and the session
/// token that came with it. `now` is in seconds since 1970.
///
/// # Errors
/// Why the request is not taken for its alleged sender's.
pub fn verify<T>(
    request: Request<'_>,
    service: &str,
    now: u64,
    find: impl FnOnce(&str, Option<&str>) -> Result<Credential<T>, AuthError>,
) -> Result<T, AuthError> {
    let presented = Presented::read(request)?;
    let credential = find(presented.access_key_id, presented.token)?;
    presented.scoped_to(service)?;
    presented.timely(now)?;
    let body_hash = canonical::body_hash(request)?;
    let canonical = canonical::digest(request, &presented, &body_hash)?;
    let to_sign = format!("{ALGORITHM}\n{}\n{}\n{canonical}", presented.timestamp, presented.scope);
    let key = presented.signing_key(&credential.secret);
    hmac::verify(&key, to_sign.as_bytes(), &presented.signature).map_err(|_| AuthError::mismatch())?;
    Ok(credential.owner)
}

impl Presented<'_> {
    /// HMAC by HMAC from the secret to a key for one day, region and service.
    fn signing_key(&self, secret: &str) -> hmac::Key {
        let secret = Zeroizing::new(format!("AWS4{secret}").into_bytes());
        let step =
            |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
        let date = step(&secret, self.date);
        let region = step(date.as_ref(), self.region);
        let service = step(region.as_ref(), self.service);
        let key = step(service.as_ref(), TERMINATOR);
        hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
    }
}

/// Lower-case hexadecimal SHA-256.
fn sha256_hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(digest::digest(&digest::SHA256, bytes).as_ref())
}
