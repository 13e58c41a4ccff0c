//! What a guest says to the keeper of its volume: it is answered or refused, and the volume stays readable.
#![no_main]

use casemate_fuzz::volume::Host;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static HOST: Host = Host::new();
}

fuzz_target!(|input: &[u8]| {
    HOST.with(|host| {
        let _ = host.serve(input);
        host.check();
    });
});
