//! A guest that writes what it likes into its rings: it may end itself, with an error that names the queue.
#![no_main]

use casemate_fuzz::vsock::{Guest, Move};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|moves: Vec<Move>| {
    let mut guest = Guest::new();
    let _clients = [guest.client(b"CONNECT 1\nabc"), guest.client(b"CONNECT 2\n")];
    for step in moves.iter().take(16) {
        guest.make(step);
        if let Err(error) = guest.turn() {
            assert!(error.to_string().contains("queue"), "{error}");
            return;
        }
    }
});
