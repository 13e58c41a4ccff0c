//! An audit log that somebody kept: what verifies has lines that follow each other, and every byte of it counts.
#![no_main]

use casemate_audit::{Head, Verifier};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, record) = input;
    if let Some(head) = Head::parse(text) {
        assert_eq!(head.to_string(), text);
    }
    let mut verifier = Verifier::default();
    for line in text.lines() {
        let before = verifier.head();
        match verifier.line(line) {
            Ok(_) => assert_eq!(verifier.head().sequence, before.sequence + 1),
            Err(_) => assert_eq!(verifier.head(), before),
        }
    }
    // A line that we make is one that we accept, and nobody accepts it twice.
    let mut head = verifier.head();
    if let Ok(line) = head.append(record) {
        if verifier.line(&line).is_ok() {
            assert_eq!(verifier.head(), head);
            assert!(verifier.line(&line).is_err());
        } else {
            assert!(line.len() > record.len(), "only its length can be too much");
        }
    }
});
