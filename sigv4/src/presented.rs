//! What a request says about its signature: in the header `Authorization`, or in the query of a presigned URL.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{ALGORITHM, AuthError, Query, Request, SKEW, TERMINATOR, time};

/// The query parameter that is not itself signed.
pub(super) const SIGNATURE: &str = "X-Amz-Signature";
/// A presigned URL is good for a week at most.
const LONGEST: u64 = 7 * 24 * 3600;

/// Well-formed, and not yet verified.
pub(super) struct Presented<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) token: Option<&'a str>,
    /// Date, region, service and terminator with slashes between.
    pub(super) scope: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// When it was signed, as it is signed.
    pub(super) timestamp: &'a str,
    time: u64,
    /// Names in lower case, sorted, with semicolons between; `host` and every `x-amz-` and `x-casemate-` header is among
    /// them.
    pub(super) signed_headers: &'a str,
    pub(super) signature: [u8; 32],
    /// The seconds that a presigned URL is good for.
    expires: Option<u64>,
    pub(super) presigned: bool,
}

/// The members before they are looked into.
struct Members<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    timestamp: &'a str,
    token: Option<&'a str>,
    expires: Option<&'a str>,
}

impl<'a> Presented<'a> {
    /// Finds the signature of `request`.
    pub(super) fn read(request: Request<'a>) -> Result<Self, AuthError> {
        let by_header = request.headers.contains_key(AUTHORIZATION);
        let by_query = request.query.all("X-Amz-Algorithm").next().is_some();
        let members = match (by_header, by_query) {
            (false, false) => return Err(AuthError::Missing),
            (true, false) => Members::from_headers(request.headers)?,
            (false, true) => Members::from_query(request.query)?,
            (true, true) => {
                return Err(AuthError::incomplete(
                    "The request has an Authorization header and a presigned query: only one of them is allowed.",
                ));
            }
        };
        members.check(request.headers)
    }

    /// Whether the scope is of this service and of the day of the signature.
    pub(super) fn scoped_to(&self, service: &str) -> Result<(), AuthError> {
        if self.service != service {
            let message = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(AuthError::Refused(message));
        }
        let day = self.timestamp.get(..8).unwrap_or_default();
        if self.date != day {
            return Err(AuthError::Refused(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{}' != '{day}', from '{}'.",
                self.date, self.timestamp
            )));
        }
        Ok(())
    }

    /// Whether the signature is neither too old nor from the future.
    pub(super) fn timely(&self, now: u64) -> Result<(), AuthError> {
        let (valid, window) = match self.expires {
            Some(seconds) => (seconds, format!("{seconds} sec.")),
            None => (SKEW, format!("{} min.", SKEW / 60)),
        };
        if self.time > now.saturating_add(SKEW) {
            return Err(AuthError::Refused(format!(
                "Signature not yet current: {} is still later than {} ({} + {} min.)",
                self.timestamp,
                time::basic(now.saturating_add(SKEW)),
                time::basic(now),
                SKEW / 60
            )));
        }
        if self.time.saturating_add(valid) < now {
            return Err(AuthError::Refused(format!(
                "Signature expired: {} is now earlier than {} ({} - {window})",
                self.timestamp,
                time::basic(now.saturating_sub(valid)),
                time::basic(now)
            )));
        }
        Ok(())
    }
}

impl<'a> Members<'a> {
    /// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
    fn from_headers(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let authorization = once(headers, "authorization")?.unwrap_or_default();
        let parameters = authorization.strip_prefix(ALGORITHM).ok_or_else(|| {
            AuthError::incomplete(format!("Authorization header must begin with '{ALGORITHM}'."))
        })?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            let parameter = parameter.trim();
            let (name, value) = parameter.split_once('=').ok_or_else(|| {
                AuthError::incomplete(
                    "The Authorization header has something that is not a key=value pair (missing equal-sign).",
                )
            })?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(AuthError::incomplete("The Authorization header has an unknown parameter.")),
            };
            if slot.replace(value).is_some() {
                return Err(AuthError::incomplete(format!("Authorization header has '{name}' twice.")));
            }
        }
        let missing = |name| {
            move || AuthError::incomplete(format!("Authorization header requires '{name}' parameter."))
        };
        Ok(Self {
            credential: credential.ok_or_else(missing("Credential"))?,
            signed_headers: signed_headers.ok_or_else(missing("SignedHeaders"))?,
            signature: signature.ok_or_else(missing("Signature"))?,
            timestamp: once(headers, "x-amz-date")?.ok_or_else(|| {
                AuthError::incomplete("Authorization header requires existence of a 'X-Amz-Date' header.")
            })?,
            token: once(headers, "x-amz-security-token")?,
            expires: None,
        })
    }

    /// `X-Amz-Algorithm=…&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=…&X-Amz-SignedHeaders=…&X-Amz-Signature=…`
    fn from_query(query: &'a Query) -> Result<Self, AuthError> {
        let optional = |name: &str| {
            let mut values = query.all(name);
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => std::str::from_utf8(value)
                    .map(Some)
                    .map_err(|_| AuthError::incomplete(format!("'{name}' is not text."))),
                (Some(_), Some(_)) => Err(AuthError::incomplete(format!("The query has '{name}' twice."))),
            }
        };
        let required = |name: &str| {
            optional(name)?.ok_or_else(|| {
                AuthError::incomplete(format!(
                    "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
                ))
            })
        };
        if required("X-Amz-Algorithm")? != ALGORITHM {
            return Err(AuthError::incomplete(format!("'X-Amz-Algorithm' must be '{ALGORITHM}'.")));
        }
        Ok(Self {
            credential: required("X-Amz-Credential")?,
            signed_headers: required("X-Amz-SignedHeaders")?,
            signature: required(SIGNATURE)?,
            timestamp: required("X-Amz-Date")?,
            token: optional("X-Amz-Security-Token")?,
            expires: Some(required("X-Amz-Expires")?),
        })
    }

    /// Looks into the members.
    fn check(self, headers: &'a HeaderMap) -> Result<Presented<'a>, AuthError> {
        let (access_key_id, scope) = self.credential.split_once('/').unwrap_or((self.credential, ""));
        let parts: Vec<&str> = scope.split('/').collect();
        let [date, region, service, terminator] = parts.as_slice() else {
            return Err(AuthError::incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        if *terminator != TERMINATOR {
            return Err(AuthError::Refused(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
            )));
        }
        let time = time::parse_basic(self.timestamp).ok_or_else(|| {
            AuthError::incomplete(
                "Date must be in ISO-8601 'basic format', YYYYMMDD'T'HHMMSS'Z', with the time in UTC.",
            )
        })?;
        // A signature that is not 32 bytes of hexadecimal is simply not the right one.
        let mut signature = [0; 32];
        match base16ct::lower::decode(self.signature, &mut signature) {
            Ok(bytes) if bytes.len() == 32 => {}
            _ => return Err(AuthError::mismatch()),
        }
        covers(self.signed_headers, headers)?;
        let presigned = self.expires.is_some();
        let expires = self.expires.map(|text| {
            let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
            let message = format!("'X-Amz-Expires' must be a number of seconds from 1 to {LONGEST}.");
            seconds.ok_or_else(|| AuthError::incomplete(message))
        });
        Ok(Presented {
            access_key_id,
            token: self.token,
            scope,
            date,
            region,
            service,
            timestamp: self.timestamp,
            time,
            signed_headers: self.signed_headers,
            signature,
            expires: expires.transpose()?,
            presigned,
        })
    }
}

/// Whether the list of signed headers is one, and names all that must be signed.
fn covers(signed: &str, headers: &HeaderMap) -> Result<(), AuthError> {
    let names: Vec<&str> = signed.split(';').collect();
    if names.iter().any(|name| name.is_empty() || name.bytes().any(|byte| byte.is_ascii_uppercase()))
        || !names.is_sorted_by(|low, high| low < high)
    {
        return Err(AuthError::incomplete("'SignedHeaders' must be names in lower case, sorted, each once."));
    }
    let must = headers.keys().map(http::header::HeaderName::as_str).filter(|name| {
        // Ours carry attestation documents, which decide too.
        name.starts_with("x-amz-") || name.starts_with("x-casemate-")
    });
    for name in must.chain(["host"]) {
        if names.binary_search(&name).is_err() {
            let message = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
            return Err(AuthError::Refused(message));
        }
    }
    Ok(())
}

/// The one value of a header; more than one is nobody's honest request.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| AuthError::incomplete(format!("The header '{name}' is not text."))),
        (Some(_), Some(_)) => {
            Err(AuthError::incomplete(format!("The request has the header '{name}' twice.")))
        }
    }
}
