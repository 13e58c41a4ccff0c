//! Requests that AWS publishes with their signatures, and what becomes of requests that were changed.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;

const NOW: u64 = 1_440_938_160; // 20150830T123600Z
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request as text: `METHOD /?query`, headers, an empty line, the body.
struct Parsed {
    method: String,
    path: String,
    query: Query,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn parse(text: &str) -> Parsed {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, target) = lines.next().expect("a line").split_once(' ').expect("a target");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header");
        // As an HTTP parser gives it.
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).expect("a value");
        headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    Parsed {
        method: method.to_owned(),
        path: path.to_owned(),
        query: Query::parse(query),
        headers,
        body: body.as_bytes().to_vec(),
    }
}

impl Parsed {
    fn verify(&self, service: &str, now: u64) -> Result<String, AuthError> {
        let Self { method, path, query, headers, body } = self;
        let request = Request { method, path, query, headers, body };
        verify(request, service, now, |id, token| match id {
            "AKIDEXAMPLE" => Ok(Credential {
                secret: Zeroizing::new(SECRET.to_owned()),
                owner: token.unwrap_or("no token").to_owned(),
            }),
            _ => Err(AuthError::Unknown),
        })
    }
}

fn verified(text: &str) -> Result<String, AuthError> {
    parse(text).verify("service", NOW)
}

/// A request with an `Authorization` header for these signed headers and this signature.
fn by_header(start: &str, headers: &str, signed: &str, signature: &str, body: &str) -> String {
    format!(
        "{start}\nHost:example.amazonaws.com\n{headers}X-Amz-Date:20150830T123600Z\nAuthorization:AWS4-HMAC-SHA256 \
         Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
         Signature={signature}\n\n{body}"
    )
}

const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";

/// From AWS's Signature Version 4 test suite, the requests for `/`.
fn published() -> Vec<String> {
    const PLAIN: &str = "host;x-amz-date";
    let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let token = format!("X-Amz-Security-Token:{TOKEN}\n");
    let form = "Content-Type:application/x-www-form-urlencoded\nContent-Length:13\nx-amz-content-sha256:\
                9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e\n";
    let presigned = |query: &str, signature: &str| {
        format!(
            "GET /?{query}&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F\
             service%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600\
             &X-Amz-Signature={signature}\nHost:example.amazonaws.com\n\n"
        )
    };
    vec![
        by_header("GET /", "", PLAIN, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31", ""),
        by_header(
            "POST /",
            "",
            PLAIN,
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            "",
        ),
        by_header(
            "GET /?Param2=value2&Param1=value1",
            "",
            PLAIN,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            "",
        ),
        by_header(
            "GET /?Param1=value1",
            "",
            PLAIN,
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            "",
        ),
        by_header(
            "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            "",
            PLAIN,
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            "",
        ),
        by_header(
            "GET /",
            "My-Header1:value2\nMy-Header1:value2\nMy-Header1:value1\n",
            "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            "",
        ),
        by_header(
            "GET /",
            "My-Header1:value4\nMy-Header1:value1\nMy-Header1:value3\nMy-Header1:value2\n",
            "host;my-header1;x-amz-date",
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            "",
        ),
        by_header(
            "GET /",
            "My-Header1: value1\nMy-Header2: \"a   b   c\"\n",
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            "",
        ),
        by_header(
            "GET /",
            &token,
            "host;x-amz-date;x-amz-security-token",
            "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            "",
        ),
        by_header(
            "POST /",
            form,
            "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            "Param1=value1",
        ),
        presigned(
            &format!("{unreserved}={unreserved}"),
            "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
        ),
        presigned("%E1%88%B4=bar", "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600"),
    ]
}

#[test]
fn aws_published_signatures_are_accepted() {
    for request in published() {
        let owner = verified(&request).unwrap_or_else(|error| panic!("{request}: {error:?}"));
        let expected = if request.contains("X-Amz-Security-Token:") { TOKEN } else { "no token" };
        assert_eq!(owner, expected);
    }
}

fn vanilla() -> String {
    published().swap_remove(0)
}

#[test]
fn what_is_wrong_is_said_in_awss_words() {
    let refused = |text: &str, message: &str| match verified(text) {
        Err(AuthError::Refused(said)) => assert!(said.contains(message), "{said}"),
        other => panic!("{text}: {other:?}"),
    };
    let incomplete = |text: &str, message: &str| match verified(text) {
        Err(AuthError::Incomplete(said)) => assert!(said.contains(message), "{said}"),
        other => panic!("{text}: {other:?}"),
    };
    let good = vanilla();
    assert_eq!(verified("GET /\nHost:x\n\n"), Err(AuthError::Missing));
    assert_eq!(verified(&good.replace("AKIDEXAMPLE", "AKIDOTHER")), Err(AuthError::Unknown));
    refused(&good.replace("Signature=5", "Signature=6"), "does not match the signature you provided");
    refused(&good.replace("Signature=5f", "Signature=5F"), "does not match the signature you provided");
    refused(&good.replace("Signature=5f", "Signature="), "does not match the signature you provided");
    refused(&good.replace("/service/", "/kms/"), "correct service: 'service'");
    refused(&good.replace("/20150830/", "/20150831/"), "'20150831' != '20150830'");
    refused(&good.replace("/aws4_request", "/aws5_request"), "valid terminator: 'aws4_request'");
    refused(&good.replace("Host:example", "X-Amz-Target:T.O\nHost:example"), "'x-amz-target' must be");
    let document = "X-Casemate-Attestation:AA==\nHost:example";
    refused(&good.replace("Host:example", document), "'x-casemate-attestation' must be");
    refused(&good.replace("SignedHeaders=host;", "SignedHeaders="), "'host' must be a 'SignedHeader'");
    refused(&good.replace("host;x-amz", "host;other;x-amz"), "does not match");
    incomplete(&good.replace("host;x-amz-date", "x-amz-date;host"), "sorted");
    incomplete(&good.replace("host;x-amz-date", "host;host;x-amz-date"), "sorted");
    incomplete(&good.replace("Signature=", "Signatur="), "unknown parameter");
    incomplete(&good.replace(", Signature=", ", Credential="), "'Credential' twice");
    incomplete(&good.replace("Credential=AKIDEXAMPLE/", "Credential="), "exactly 5");
    incomplete(&good.replace("AWS4-HMAC-SHA256", "Basic"), "must begin with");
    incomplete(&good.replace("X-Amz-Date:20150830T123600Z\n", ""), "'X-Amz-Date'");
    incomplete(&good.replace("X-Amz-Date:20150830T123600Z", "X-Amz-Date:20150830T123600"), "ISO-8601");
    incomplete(&good.replace("Host", "X-Amz-Date:20150830T123600Z\nHost"), "twice");
    incomplete(&good.replace("GET /", "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256"), "only one of them");
}

#[test]
fn presigned_urls_are_complete_and_good_for_their_time_only() {
    let good = published().pop().expect("a presigned one");
    for (from, to, message) in [
        ("&X-Amz-Expires=3600", "", "must include 'X-Amz-Expires'"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=0", "from 1 to 604800"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801", "from 1 to 604800"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&X-Amz-Expires=3600", "twice"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "must be 'AWS4-HMAC-SHA256'"),
    ] {
        match verified(&good.replace(from, to)) {
            Err(AuthError::Incomplete(said)) => assert!(said.contains(message), "{said}"),
            other => panic!("{other:?}"),
        }
    }
    for (now, ok) in [(NOW - SKEW, true), (NOW - SKEW - 1, false), (NOW + 3600, true), (NOW + 3601, false)] {
        assert_eq!(parse(&good).verify("service", now).is_ok(), ok, "{now}");
    }
}

#[test]
fn a_clock_may_be_fifteen_minutes_off() {
    let request = parse(&vanilla());
    for now in [NOW - SKEW, NOW, NOW + SKEW] {
        request.verify("service", now).expect("in time");
    }
    let said = |now| match request.verify("service", now) {
        Err(AuthError::Refused(said)) => said,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        said(NOW + SKEW + 1),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
    );
    assert_eq!(
        said(NOW - SKEW - 1),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"
    );
}

#[test]
fn a_body_is_what_was_signed_and_what_was_declared() {
    let good = published().into_iter().find(|request| request.contains("Param1=value1")).expect("one");
    let form = published()
        .into_iter()
        .find(|request| request.starts_with("POST /\nHost:example.amazonaws.com\nContent-Type"));
    let form = form.expect("one with a body");
    verified(&form).expect("as published");
    for changed in [
        form.replace("Param1=value1", "Param1=value2"),
        form.replace("Param1=value1", ""),
        form.replace("9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e", "UNSIGNED-PAYLOAD"),
        format!("{form}&x=y"),
        format!("{good}&x=y"),
    ] {
        assert!(matches!(verified(&changed), Err(AuthError::Refused(_))), "{changed}");
    }
}

#[test]
fn a_plus_sign_in_a_query_is_not_a_space() {
    assert_eq!(Query::parse("a=1+1").pairs(), Query::parse("a=1%2B1").pairs());
    assert_ne!(Query::parse("a=1+1").pairs(), Query::parse("a=1%201").pairs());
    assert_eq!(Query::parse("a=%ff").pairs(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever byte of the head or the body of a signed request is changed, it is refused, or it means the same.
    #[test]
    fn no_changed_request_is_accepted_as_another(which in 0usize..12, at in any::<prop::sample::Index>(), to in 0x20u8..0x7f) {
        let good = published().swap_remove(which);
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to && bytes[at] != b'\n' && to != b':' && bytes[at] != b':');
        bytes[at] = to;
        let changed = String::from_utf8(bytes).expect("ASCII");
        let head_is_one = changed.split("\n\n").next().is_some_and(|head| {
            head.lines().next().is_some_and(|line| line.contains(" /"))
                && head.lines().skip(1).all(|line| {
                    line.split_once(':').is_some_and(|(name, _)| HeaderName::from_bytes(name.as_bytes()).is_ok())
                })
        });
        prop_assume!(head_is_one);
        let (before, after) = (parse(&good), parse(&changed));
        let same = before.method == after.method
            && before.query.canonical(None) == after.query.canonical(None)
            && before.body == after.body
            && headers(&before.headers) == headers(&after.headers);
        prop_assert!(same || after.verify("service", NOW).is_err(), "{}", changed);
    }

    #[test]
    fn no_bytes_make_verification_panic(
        query in "[ -~]{0,200}",
        authorization in prop_oneof!["[ -~]{0,200}", "AWS4-HMAC-SHA256 Credential=[ -~]{0,60}, SignedHeaders=[a-z;]{0,20}, Signature=[0-9a-f]{0,70}"],
        date in prop_oneof!["[ -~]{0,20}", "[0-9]{8}T[0-9]{6}Z"],
        body in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&authorization).expect("ASCII"));
        headers.insert("x-amz-date", HeaderValue::from_str(&date).expect("ASCII"));
        for headers in [headers, HeaderMap::new()] {
            let parsed = Parsed { method: "GET".to_owned(), path: "/".to_owned(), query: Query::parse(&query), headers, body: body.clone() };
            prop_assert!(parsed.verify("service", NOW).is_err());
        }
    }
}

/// Headers as they count: names in any case, values without the white space that HTTP ignores; those that are signed.
fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| *name != "authorization")
        .map(|(name, value)| {
            let words = value.to_str().expect("ASCII").split(' ').filter(|word| !word.is_empty());
            (name.to_string(), words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    all.sort();
    all.push(("authorization".to_owned(), {
        let value =
            headers.get("authorization").map(|value| value.to_str().expect("ASCII")).unwrap_or_default();
        value.chars().filter(|c| *c != ' ').collect()
    }));
    all
}
