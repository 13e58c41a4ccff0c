//! What the chain of a log notices.

use casemate_audit::{Error, Head, Verifier};
use proptest::prelude::*;

fn log(records: usize) -> (Vec<String>, Head) {
    let mut head = Head::EMPTY;
    let lines = (0..records)
        .map(|n| head.append(&format!("{{\"eventName\":\"Sign{n}\"}}")).expect("a record"))
        .collect();
    (lines, head)
}

fn check(lines: &[String]) -> Result<Head, Error> {
    let mut verifier = Verifier::default();
    for line in lines {
        verifier.line(line)?;
    }
    Ok(verifier.head())
}

#[test]
fn a_whole_log_ends_with_its_head() {
    let (lines, head) = log(5);
    let mut verifier = Verifier::default();
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(verifier.line(line).expect("follows"), format!("{{\"eventName\":\"Sign{n}\"}}"));
    }
    assert_eq!(verifier.ends_with(&head), Ok(()));
    assert_eq!(Head::parse(&head.to_string()), Some(head));
}

#[test]
fn a_missing_swapped_repeated_or_foreign_line_is_noticed() {
    let (lines, head) = log(6);
    let (other, other_head) = log(7);
    for index in 0..5 {
        let mut missing = lines.clone();
        missing.remove(index);
        assert!(matches!(check(&missing), Err(Error::Sequence { .. })), "line {index} is missing");
        let mut swapped = lines.clone();
        swapped.swap(index, index + 1);
        assert!(check(&swapped).is_err(), "lines {index} and {} are swapped", index + 1);
        let mut repeated = lines.clone();
        repeated.insert(index, lines[index].clone());
        assert!(check(&repeated).is_err(), "line {index} is there twice");
    }
    let mut forged = lines.clone();
    forged[2] = forged[2].replace("Sign2", "Sign9");
    assert!(matches!(check(&forged), Err(Error::Broken { sequence: 4, .. })), "a changed line");

    let mut verifier = Verifier::default();
    for line in &lines[..5] {
        verifier.line(line).expect("follows");
    }
    assert!(matches!(verifier.ends_with(&head), Err(Error::Head { found: 5, stated: 6, .. })), "cut short");
    verifier.line(&lines[5]).expect("follows");
    assert!(verifier.ends_with(&other_head).is_err());
    // The last line alone may be changed without breaking the chain; only the head tells.
    let mut last = other.clone();
    last[6] = last[6].replace("Sign6", "Sign7");
    let mut verifier = Verifier::default();
    for line in &last {
        verifier.line(line).expect("follows");
    }
    assert!(matches!(verifier.ends_with(&other_head), Err(Error::Head { found: 7, stated: 7, .. })));
}

#[test]
fn a_later_part_is_checked_from_a_known_head() {
    let (lines, head) = log(6);
    let mut first = Verifier::default();
    for line in &lines[..3] {
        first.line(line).expect("follows");
    }
    let mut rest = Verifier::after(first.head());
    for line in &lines[3..] {
        rest.line(line).expect("follows");
    }
    assert_eq!(rest.ends_with(&head), Ok(()));
}

#[test]
fn what_is_no_record_is_not_logged() {
    let mut head = Head::EMPTY;
    for record in ["", "{", "{}\n{}", "{\n}", "nonsense"] {
        assert_eq!(head.append(record), Err(Error::Record), "{record:?}");
        assert_eq!(head, Head::EMPTY, "a refused record moved the head");
    }
}

proptest! {
    #[test]
    fn noise_is_refused_and_never_panics(text in ".{0,200}") {
        prop_assert!(Verifier::default().line(&text).is_err());
        let _ = Head::parse(&text);
    }

    #[test]
    fn every_changed_byte_is_noticed(which in 0usize..4, at in 0usize..400, byte in 32u8..127) {
        let (mut lines, head) = log(4);
        let mut bytes = lines[which].clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        lines[which] = String::from_utf8(bytes).expect("ASCII");
        let held = check(&lines).is_ok_and(|found| found == head);
        prop_assert!(!held, "{}", lines[which]);
    }
}
