//! AWS Signature Version 4 over the one kind of request that this client sends: `POST /`, no query, a body at hand.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use x509_cert::der::DateTime;
use zeroize::Zeroizing;

/// The signing name of every operation here: the signer's own are KMS's neighbours.
const SERVICE: &str = "kms";

/// What an identity of the signer signs its requests with.
pub struct Credentials {
    /// The access key's identifier.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Zeroizing<String>,
    /// The token of a session.
    pub session_token: Option<Zeroizing<String>>,
    /// The region that requests are signed for.
    pub region: String,
}

/// A header with its value.
pub(crate) type Header = (&'static str, Zeroizing<String>);

/// Signs a request with these headers (names in lower case, `host` among them) and returns those to add.
pub(crate) fn sign(
    credentials: &Credentials,
    headers: &[(&'static str, &str)],
    body: &[u8],
    now: SystemTime,
) -> Vec<Header> {
    let date = timestamp(now);
    let day = date.get(..8).unwrap_or_default();
    let mut added: Vec<Header> = vec![("x-amz-date", Zeroizing::new(date.clone()))];
    added.extend(credentials.session_token.clone().map(|token| ("x-amz-security-token", token)));

    let mut signed: Vec<(&str, &str)> = headers.to_vec();
    signed.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    signed.sort_unstable();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let payload = hex::encode(digest(&SHA256, body));
    let request = Zeroizing::new(format!("POST\n/\n\n{lines}\n{names}\n{payload}"));

    let scope = format!("{day}/{}/{SERVICE}/aws4_request", credentials.region);
    let request = hex::encode(digest(&SHA256, request.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}");
    let signature = hex::encode(mac(&signing_key(credentials, day), to_sign.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    );
    added.push(("authorization", Zeroizing::new(authorization)));
    added
}

fn signing_key(credentials: &Credentials, day: &str) -> Zeroizing<Vec<u8>> {
    let secret = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.as_str()));
    [day, &credentials.region, SERVICE, "aws4_request"]
        .iter()
        .fold(Zeroizing::new(secret.as_bytes().to_vec()), |key, part| {
            Zeroizing::new(mac(&key, part.as_bytes()).as_ref().to_vec())
        })
}

fn mac(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

/// `YYYYMMDDTHHMMSSZ`.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Fails only beyond the year 9999.
    let date =
        DateTime::from_unix_duration(Duration::from_secs(since.as_secs())).unwrap_or(DateTime::INFINITY);
    let (year, month, day) = (date.year(), date.month(), date.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", date.hour(), date.minutes(), date.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
            region: "us-east-1".to_owned(),
        }
    }

    /// 2015-08-30T12:36:00Z, as in AWS's own examples.
    fn then() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    #[test]
    fn a_request_is_signed_as_botocore_signs_it() {
        // botocore 1.44.8: SigV4Auth(credentials, "kms", "us-east-1") over the same request at the same time.
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", "localhost:8443"),
            ("x-amz-target", "TrentService.ListKeys"),
        ];
        let signed = sign(&credentials(), &headers, b"{}", then());
        let value = |name| signed.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        assert_eq!(value("x-amz-date"), Some("20150830T123600Z"));
        assert_eq!(
            value("authorization"),
            Some(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=e79abd757e5cace37e3fa8ac2bc389ca58c2ba227e83d2433d3636d662e1b7b6"
            )
        );
        assert_eq!(value("x-amz-security-token"), None);
    }

    #[test]
    fn a_sessions_token_is_signed_too() {
        let with_token =
            Credentials { session_token: Some(Zeroizing::new("token".to_owned())), ..credentials() };
        let signed = sign(&with_token, &[("host", "localhost")], b"", then());
        let authorization = signed.iter().find(|(name, _)| *name == "authorization").map(|(_, v)| v.as_str());
        assert!(
            authorization.is_some_and(|value| {
                value.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,")
            })
        );
    }
}
