//! Whether time tells secrets: the test of "Dude, is my code constant time?" (Reparaz, Balasch, Verbauwhede; DATE 2017).
//!
//! An operation is timed for two classes of input, drawn at random, and Welch's t-test says whether the two differ in the
//! mean. For a comparison, the classes are a tag that is wrong in its first byte and one that is wrong in its last: whoever
//! can tell them apart can guess a tag byte by byte. For a signature whose nonce follows from the message, they are one
//! message and random ones. Both classes pass through the same buffer and differ in nothing that is public.
//!
//! A machine that others use adds noise, but not to one class alone. So a leak is only what is found in each of several
//! rounds, with the same sign; and what is found at all is shown by a comparison that stops at the first difference,
//! which must be caught. What is *not* found proves nothing below the resolution that is printed: some nanoseconds for a
//! comparison by itself, more for what takes longer.

use std::arch::x86_64::{__rdtscp, _mm_lfence};
use std::hint::black_box;
use std::io::{self, Write as _};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use zeroize::Zeroizing;

use crate::crypto::{
    self, KemKey, KeySpec, MacAlgorithm, MacKey, MessageType, SALT_LEN, SigningAlgorithm, SigningKey,
    SymmetricKey,
};
use crate::identity::sigv4::{self, AuthError, Credential, Query, Request};

/// How often each operation is timed in a round.
const SAMPLES: usize = 10_000;
/// Rounds. One that shows nothing ends the search.
const ROUNDS: usize = 6;
/// |t| of a round that shows something. dudect takes 4.5 for a hint and 10 for a proof, of one round.
const SHOWN: f64 = 6.0;
/// Parts of the samples, in percent, that count: the fastest. What interrupts come into is slow.
const FASTEST: [usize; 3] = [50, 80, 95];

/// One class or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    First = 0,
    Second = 1,
}

/// Mean and variance of a class (Welford).
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// The square of the mean's standard error.
    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// What a round says: t, and the difference of the means that t = [`SHOWN`] would have been, in cycles.
#[derive(Clone, Copy, Debug)]
struct Round {
    t: f64,
    resolution: f64,
}

/// The strongest t among the parts of the samples that count.
fn welch(samples: &[(Class, u64)]) -> Round {
    let mut sorted: Vec<u64> = samples.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let round = |percent: usize| {
        let limit = sorted.get(sorted.len() * percent / 100).copied().unwrap_or(u64::MAX);
        let (mut first, mut second) = (Moments::default(), Moments::default());
        for (class, time) in samples.iter().filter(|(_, time)| *time <= limit) {
            match class {
                Class::First => first.add(*time as f64),
                Class::Second => second.add(*time as f64),
            }
        }
        // Half a cycle at least: a clock that ticks coarsely can give one class no variance at all.
        let error = (first.error() + second.error()).sqrt().max(0.5 / SHOWN);
        // Where the classes lie apart, the fastest half is one of them and a few strays of the other.
        let enough = first.count.min(second.count) >= samples.len() as f64 / 10.0;
        enough.then(|| Round { t: (first.mean - second.mean) / error, resolution: SHOWN * error })
    };
    let rounds = FASTEST.into_iter().filter_map(round);
    rounds
        .max_by(|a, b| a.t.abs().total_cmp(&b.t.abs()))
        .expect("the slowest twentieth is not half of a class")
}

/// Cycles that `work` takes. Fenced: neither begins before the first reading nor ends after the second.
fn time(work: impl FnOnce()) -> u64 {
    let mut processor = 0;
    // SAFETY: every x86-64 processor that guests run on has both instructions; `processor` takes a number.
    unsafe {
        _mm_lfence();
        let start = __rdtscp(&raw mut processor);
        _mm_lfence();
        work();
        let end = __rdtscp(&raw mut processor);
        _mm_lfence();
        end.wrapping_sub(start)
    }
}

/// A class for each sample, at random.
fn classes() -> Vec<Class> {
    let mut bytes = vec![0; SAMPLES];
    crypto::random(&mut bytes).expect("random numbers");
    bytes.iter().map(|byte| if byte & 1 == 0 { Class::First } else { Class::Second }).collect()
}

/// Times an operation in rounds until one shows nothing, and says whether all of them found the same.
///
/// `inputs` gives one of each class, of the same length. Both are made for every sample, and the choice between them is made
/// without a branch or an address, because even that could be seen: it leaves the same traces in the processor. `prepare` makes of the chosen one what `operation`, which alone is timed, works on.
fn leaks<T>(
    name: &str,
    inputs: impl Fn() -> [Vec<u8>; 2],
    prepare: impl Fn(&[u8]) -> T,
    operation: impl Fn(&T),
) -> bool {
    let mut rounds: Vec<Round> = Vec::new();
    let mut buffer = Vec::with_capacity(4096);
    while rounds.len() < ROUNDS {
        let sample = |class: Class| {
            let [first, second] = inputs();
            let mask = black_box(0_u8.wrapping_sub(class as u8));
            buffer.clear();
            buffer.extend(first.iter().zip(&second).map(|(first, second)| first ^ ((first ^ second) & mask)));
            let input = prepare(black_box(&buffer));
            (class, time(|| operation(black_box(&input))))
        };
        let samples: Vec<_> = classes().into_iter().map(sample).collect();
        let round = welch(&samples);
        let opposite = rounds.first().is_some_and(|first| first.t * round.t < 0.0);
        rounds.push(round);
        if round.t.abs() < SHOWN || opposite {
            let t: Vec<String> = rounds.iter().map(|round| format!("{:.1}", round.t)).collect();
            println!("{name}: t = {}; would have seen {:.0} cycles", t.join(", "), round.resolution);
            return false;
        }
    }
    println!("{name}: LEAKS: {rounds:.1?}");
    true
}

/// Copies of `good` that are wrong in byte `at`, and in the last one.
fn wrong(good: &[u8], at: usize) -> [Vec<u8>; 2] {
    [at, good.len() - 1].map(|at| {
        let mut tag = good.to_vec();
        if let Some(byte) = tag.get_mut(at) {
            *byte ^= 0x01;
        }
        tag
    })
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    crypto::random(&mut bytes).expect("random numbers");
    bytes
}

/// A comparison as nobody should write it.
fn early_exit(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| black_box(*a) == black_box(*b))
}

/// Fails unless this machine, now, can tell what the tests below look for.
fn can_see() -> bool {
    let good = random(32);
    let seen = leaks(
        "control: a comparison that stops at the first difference",
        || wrong(&good, 0),
        <[u8]>::to_vec,
        |tag| {
            black_box(early_exit(tag, &good));
        },
    );
    if !seen {
        // To the process's stderr, where the test command looks for it, and not to what the harness keeps to itself.
        let _ = writeln!(io::stderr(), "\nNOT COVERED HERE: constant time: this machine is too noisy now");
    }
    seen
}

#[test]
fn no_comparison_of_tags_tells_where_they_differ() {
    if !can_see() {
        return;
    }
    // What session tokens, grant tokens and imported key material are compared with.
    let good = random(32);
    let compare = |tag: &Vec<u8>| {
        let _ = black_box(verify_slices_are_equal(tag, &good));
    };
    assert!(!leaks("comparison", || wrong(&good, 0), <[u8]>::to_vec, compare));

    let message = random(64);
    for algorithm in [MacAlgorithm::HmacSha256, MacAlgorithm::HmacSha512] {
        let key = MacKey::generate(algorithm).expect("a key");
        let good = key.sign(&message);
        let verify = |mac: &Vec<u8>| {
            let _ = black_box(key.verify(&message, mac));
        };
        assert!(!leaks(algorithm.name(), || wrong(&good, 0), <[u8]>::to_vec, verify));
    }

    // Ciphertexts, session tokens and, with the same function of aws-lc, everything on a volume.
    let key = SymmetricKey::generate().expect("a key");
    let salt = [7; SALT_LEN];
    let mut good = random(64);
    key.seal(&salt, b"context", &mut good).expect("sealed");
    let open = |sealed: &Vec<u8>| {
        let _ = black_box(key.open(&salt, b"context", sealed));
    };
    // 64 bytes of text, then the tag.
    assert!(!leaks("AES-256-GCM", || wrong(&good, 64), <[u8]>::to_vec, open));
}

const NOW: u64 = 1_440_938_160; // 20150830T123600Z
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// AWS's published signature of `GET /` (Signature Version 4 test suite, get-vanilla).
const SIGNATURE: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

/// The request of that signature, with another one.
fn signed(signature: &str) -> HeaderMap {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={signature}"
    );
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("example.amazonaws.com"));
    headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    headers.insert(AUTHORIZATION, authorization.parse().expect("a header"));
    headers
}

fn verify(headers: &HeaderMap) -> Result<(), AuthError> {
    let query = Query::parse("");
    let request = Request { method: "GET", path: "/", query: &query, headers, body: b"" };
    let find =
        |_: &str, _: Option<&str>| Ok(Credential { secret: Zeroizing::new(SECRET.to_owned()), owner: () });
    sigv4::verify(request, "service", NOW, find)
}

#[test]
fn no_request_tells_where_its_signature_is_wrong() {
    assert!(verify(&signed(SIGNATURE)).is_ok(), "the request is a good one");
    if !can_see() {
        return;
    }
    let request = |signature: &[u8]| signed(std::str::from_utf8(signature).expect("digits"));
    let refuse = |headers: &HeaderMap| assert!(black_box(verify(headers)).is_err());
    assert!(!leaks("SigV4", || wrong(SIGNATURE.as_bytes(), 0), request, refuse));
}

#[test]
fn no_decapsulation_tells_whether_the_ciphertext_was_genuine() {
    if !can_see() {
        return;
    }
    // FIPS 203, algorithm 21: a ciphertext that is not genuine gives a secret too, in the same time.
    let key = KemKey::generate(KeySpec::MlKem768).expect("a key");
    let (good, _) = key.encapsulate().expect("a ciphertext");
    let [_, forged] = wrong(&good, 0);
    let decapsulate = |ciphertext: &Vec<u8>| {
        let _ = black_box(key.decapsulate(ciphertext));
    };
    assert!(!leaks("ML-KEM-768", || [good.clone(), forged.clone()], <[u8]>::to_vec, decapsulate));
}

#[test]
fn no_signature_tells_its_nonce() {
    if !can_see() {
        return;
    }
    for (spec, algorithm) in
        [(KeySpec::Ed25519, SigningAlgorithm::Ed25519), (KeySpec::Secp256k1, SigningAlgorithm::EcdsaSha256)]
    {
        let key = SigningKey::generate(spec).expect("a key");
        let signature = |message: &Vec<u8>| {
            let input = crypto::digest_of(algorithm, MessageType::Raw, message).expect("a message");
            key.sign(algorithm, &input).expect("a signature")
        };
        // The nonce of both follows from key and message (RFC 8032, RFC 6979). In DER, signatures have different lengths, and
        // writing them takes different times: that is public, so all of these have the same.
        let fixed = random(32);
        let length = signature(&fixed).len();
        let as_long = |message: &Vec<u8>| signature(message).len() == length;
        let pool: Vec<Vec<u8>> =
            std::iter::repeat_with(|| random(32)).filter(as_long).take(usize::from(u8::MAX) + 1).collect();
        let any = || {
            let at = random(1).first().copied().unwrap_or_default();
            pool.get(usize::from(at)).cloned().unwrap_or_default()
        };
        let sign = |message: &Vec<u8>| {
            black_box(signature(message));
        };
        assert!(!leaks(spec.name(), || [fixed.clone(), any()], <[u8]>::to_vec, sign));
    }
}
