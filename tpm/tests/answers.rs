//! Answers as a broken TPM might give them, or whoever sits between it and the processor.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod answering;

use answering::{ask, good};
use proptest::prelude::*;

#[test]
fn good_answers_are_read() {
    for (command, first, second) in good() {
        ask(command, &[&first, &second]).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
}

#[test]
fn a_tpm_that_is_busy_is_asked_again_and_one_that_falls_silent_is_not() {
    // TPM_RC_RETRY.
    let busy = [0x80, 1, 0, 0, 0, 0, 0, 0, 9, 0x22];
    let (command, answer, _) = good().remove(0);
    ask(command, &[&busy, &busy, &answer]).expect("in the end it answers");
    assert!(ask(command, &[&busy]).is_err());
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        command in any::<u8>(),
    ) {
        let all = good();
        let (asked, mut first, second) = all[which.index(all.len())].clone();
        for (place, value) in changes {
            let place = place.index(first.len());
            first[place] = value;
        }
        first.truncate(cut.map_or(first.len(), |cut| cut.index(first.len())));
        let _ = ask(asked, &[&first, &second]);
        let _ = ask(command, &[&noise]);
        // Success, and then noise.
        let _ = ask(command, &[&[&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], &noise[..]].concat()]);
        let _ = ask(command, &[&[&[0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0], &noise[..]].concat()]);
    }
}
