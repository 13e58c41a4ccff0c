//! The evidence of a platform's TPM: there is one encoding of each, and checking it never panics. The sample's authority and
//! enrolment are those of tpm/tests.
#![no_main]

use std::sync::LazyLock;

use casemate_tpm::evidence::{Evidence, Expectations};
use libfuzzer_sys::fuzz_target;

static EXPECTED: LazyLock<Expectations> = LazyLock::new(|| Expectations {
    ek_roots: vec![include_bytes!("../../tpm/tests/sample/authority.der").to_vec()],
    enrolment: serde_json::from_slice(include_bytes!("../../tpm/tests/sample/enrolment.json")).ok(),
    now: 1_800_000_000,
    ..Expectations::default()
});

fuzz_target!(|input: &[u8]| {
    if let Ok(evidence) = Evidence::parse(input) {
        assert_eq!(evidence.encode(), input);
        let _ = evidence.verify(&EXPECTED);
    }
});
