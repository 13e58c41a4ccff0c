//! A client's first bytes: whatever they are, it hears nothing before the guest has agreed, and the device goes on.
#![no_main]

use casemate_fuzz::vsock::Guest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let mut guest = Guest::new();
    let clients = [guest.client(input.0), guest.client(input.1)];
    guest.turn().expect("no client ends the device");
    for mut client in clients {
        assert_eq!(casemate_fuzz::vsock::heard(&mut client), b"");
    }
});
