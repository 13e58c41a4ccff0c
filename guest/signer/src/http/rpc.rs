//! Smithy RPC v2 CBOR: what AWS's newer models offer beside JSON 1.1, Private CA's among them
//! (<https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html>).
//!
//! `POST /service/ACMPrivateCA/operation/NAME` with `Smithy-Protocol: rpc-v2-cbor` is the operation; bodies are CBOR maps. Here
//! they become JSON and JSON becomes them, so that both protocols have one reader, one writer and one answer:
//!
//! | Smithy | JSON 1.1 | CBOR |
//! | --- | --- | --- |
//! | blob | base64 | byte string |
//! | timestamp | seconds | tag 1, seconds |
//! | everything else | | the same |
//!
//! What it trusts: that an answer's only fractional numbers are dates, and that none has a blob in it. Both are so in the
//! model of Private CA, and not in that of KMS, which does not offer this protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use casemate_attestation::cbor::{self, Value};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderMap};

use crate::errors::{ErrorKind, KmsError};

/// The value of `Smithy-Protocol`, in both directions.
pub(super) const PROTOCOL: &str = "rpc-v2-cbor";
/// The media type of bodies.
pub(super) const CBOR: &str = "application/cbor";
/// The largest body: a chain of certificates and what goes with it. A byte of CBOR takes up to 64 of memory here.
const BODY: usize = 128 << 10;
/// The tag of seconds since 1970 (RFC 8949, 3.4.2).
const TIME: u64 = 1;

/// The operation that a request in this protocol names, as `X-Amz-Target` would.
pub(super) fn target<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers();
    let is = headers.get("smithy-protocol").is_some_and(|value| value.as_bytes() == PROTOCOL.as_bytes());
    // Two names for one operation would be one too many.
    if !is || headers.contains_key("x-amz-target") {
        return None;
    }
    let operation = request.uri().path().strip_prefix("/service/ACMPrivateCA/operation/")?;
    let plain = !operation.is_empty() && operation.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| format!("ACMPrivateCA.{operation}"))
}

/// The request in JSON.
pub(super) fn to_json(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, KmsError> {
    // An operation without input has no body.
    if body.is_empty() {
        return Ok(Vec::new());
    }
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != CBOR.as_bytes()) {
        return Err(malformed("its Content-Type is not application/cbor"));
    }
    if body.len() > BODY {
        return Err(malformed("it is larger than 128 KiB"));
    }
    let mut value = cbor::read(body).map_err(|error| malformed(&error.to_string()))?;
    for_json(&mut value).map_err(malformed)?;
    serde_json::to_vec(&value).map_err(|_| KmsError::internal("Reading the request"))
}

fn malformed(why: &str) -> KmsError {
    KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {why}."))
}

/// Puts what JSON has not in the form that it has there. A value is no deeper than [`cbor::read`] says.
fn for_json(value: &mut Value) -> Result<(), &'static str> {
    match value {
        Value::Bytes(bytes) => *value = Value::Text(STANDARD.encode(bytes)),
        Value::Tag(TIME, time) => {
            let time = std::mem::replace(&mut **time, Value::Null);
            if !matches!(time, Value::Integer(_) | Value::Float(_)) {
                return Err("a date is no number");
            }
            *value = time;
            return for_json(value);
        }
        Value::Float(number) if !number.is_finite() => return Err("a number is not finite"),
        Value::Array(list) => return list.iter_mut().try_for_each(for_json),
        Value::Map(map) => {
            return map.iter_mut().try_for_each(|(name, value)| match name {
                Value::Text(_) => for_json(value),
                _ => Err("a member's name is no text"),
            });
        }
        Value::Tag(..) => return Err("it has a tag that is not that of dates"),
        _ => {}
    }
    Ok(())
}

/// The answer in CBOR.
pub(super) fn from_json(json: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    for_cbor(&mut value);
    Some(cbor::write(&value))
}

/// An error in CBOR.
pub(super) fn error(code: &str, message: &str) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let code = text(&format!("com.amazonaws.acmpca#{code}"));
    cbor::write(&Value::Map(vec![(text("__type"), code), (text("message"), text(message))]))
}

fn for_cbor(value: &mut Value) {
    match value {
        Value::Float(_) => *value = Value::Tag(TIME, Box::new(value.clone())),
        Value::Array(list) => list.iter_mut().for_each(for_cbor),
        Value::Map(map) => map.iter_mut().for_each(|(_, value)| for_cbor(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers() -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(CBOR))])
    }

    /// The JSON of a request that is written in hexadecimal digits.
    fn json(cbor: &str) -> Result<String, String> {
        let cbor = base16ct::lower::decode_vec(cbor).expect("hexadecimal");
        let json = to_json(&headers(), &cbor).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(json).expect("JSON is UTF-8"))
    }

    #[test]
    fn requests_become_json() {
        for (cbor, expected) in [
            ("a0", "{}"),
            ("bfff", "{}"),
            ("", ""),
            // Definite and indefinite lengths (RFC 8949, appendix A).
            ("a261610161628202 03".replace(' ', "").as_str(), r#"{"a":1,"b":[2,3]}"#),
            ("bf61610161629f0203ffff", r#"{"a":1,"b":[2,3]}"#),
            ("a161617f657374726561646d696e67ff", r#"{"a":"streaming"}"#),
            ("a161615f42010243030405ff", r#"{"a":"AQIDBAU="}"#),
            ("a1616143010203", r#"{"a":"AQID"}"#),
            ("a16161c11a514b67b0", r#"{"a":1363896240}"#),
            ("a16161c1fb41d452d9ec200000", r#"{"a":1363896240.5}"#),
            ("a16161f6", r#"{"a":null}"#),
            ("a16161f5", r#"{"a":true}"#),
            ("a161613903e7", r#"{"a":-1000}"#),
            ("a1616162225c", r#"{"a":"\"\\"}"#),
        ] {
            assert_eq!(json(cbor).as_deref(), Ok(expected), "{cbor}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for cbor in [
            "ff",
            "a1",
            "a161",
            "a0a0",
            "a10101",
            "a16161f97e00",
            "a16161f97c00",
            "a16161c11f",
            "a16161c16161",
            "a16161d8184101",
            "a161fe01",
            "1c",
            "fb00",
            "5bffffffffffffffff",
            "9bffffffffffffffff",
            "bbffffffffffffffff",
        ] {
            assert!(json(cbor).is_err(), "{cbor}: {:?}", json(cbor));
        }
        for deep in ["81".repeat(100_000), "c1".repeat(60_000), "9f".repeat(60_000), "a16161".repeat(40_000)]
        {
            assert!(json(&deep).is_err());
        }
        assert!(to_json(&headers(), &vec![0; BODY + 1]).is_err(), "too large");
        assert!(to_json(&HeaderMap::new(), &[0xa0]).is_err(), "no content type");
    }

    #[test]
    fn answers_become_cbor() {
        let cbor = from_json(br#"{"At":1363896240.5,"Days":[5,true,null],"Pem":"x"}"#).expect("JSON");
        let expected = "a3624174c1fb41d452d9ec2000006444617973830 5f5f66350656d6178".replace(' ', "");
        assert_eq!(base16ct::lower::encode_string(&cbor), expected);
        let refusal = error("InvalidArnException", "No.");
        let text = String::from_utf8_lossy(&refusal);
        assert!(text.contains("com.amazonaws.acmpca#InvalidArnException") && text.contains("No."), "{text}");
    }

    #[test]
    fn only_operations_of_private_ca_have_paths() {
        let target = |path: &str, more: &[(&str, &str)]| {
            let mut request = Request::post(path).header("smithy-protocol", PROTOCOL);
            for (name, value) in more {
                request = request.header(*name, *value);
            }
            target(&request.body(()).expect("a request"))
        };
        let good = "/service/ACMPrivateCA/operation/ListTags";
        assert_eq!(target(good, &[]).as_deref(), Some("ACMPrivateCA.ListTags"));
        for bad in [
            "/",
            "/service/TrentService/operation/Sign",
            "/service/ACMPrivateCA/operation/",
            "/service/ACMPrivateCA/operation/a/b",
            "/service/ACMPrivateCA/operation/a%20b",
            "/service/ACMPrivateCA/operation/../x",
            "//service/ACMPrivateCA/operation/ListTags",
        ] {
            assert_eq!(target(bad, &[]), None, "{bad}");
        }
        assert_eq!(target(good, &[("x-amz-target", "TrentService.Sign")]), None);
        let plain = Request::post(good).body(()).expect("a request");
        assert_eq!(super::target(&plain), None);
    }

    /// Any value that a request may hold, with the JSON that it stands for.
    fn value() -> impl Strategy<Value = (Value, serde_json::Value)> {
        let leaf = prop_oneof![
            any::<String>().prop_map(|text| (Value::Text(text.clone()), text.into())),
            any::<i64>().prop_map(|number| (Value::Integer(number.into()), number.into())),
            any::<bool>().prop_map(|flag| (Value::Bool(flag), flag.into())),
            any::<Vec<u8>>().prop_map(|bytes| (Value::Bytes(bytes.clone()), STANDARD.encode(bytes).into())),
            any::<u32>().prop_map(|at| (Value::Tag(TIME, Box::new(Value::Integer(at.into()))), at.into())),
            Just((Value::Null, serde_json::Value::Null)),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(|list| {
                    let (cbor, json): (Vec<_>, Vec<_>) = list.into_iter().unzip();
                    (Value::Array(cbor), json.into())
                }),
                prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(|map| {
                    let cbor =
                        map.iter().map(|(name, (value, _))| (Value::Text(name.clone()), value.clone()));
                    let json = map.iter().map(|(name, (_, value))| (name.clone(), value.clone()));
                    (Value::Map(cbor.collect()), serde_json::Value::Object(json.collect()))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_becomes_its_json((cbor, expected) in value()) {
            let cbor = cbor::write(&cbor);
            let json = to_json(&headers(), &cbor).expect("a request");
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).expect("JSON"), expected);
            // Half of it is no request.
            prop_assert!(cbor.len() < 2 || to_json(&headers(), &cbor[..cbor.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes_are_json_or_refused(bytes in any::<Vec<u8>>()) {
            if let Ok(json) = to_json(&headers(), &bytes) {
                prop_assert!(bytes.is_empty() || serde_json::from_slice::<serde_json::Value>(&json).is_ok());
            }
        }
    }
}
