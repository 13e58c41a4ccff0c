//! An image file: what is accepted is accounted for to the last byte.
#![no_main]

use casemate::image::Image;
use casemate_attestation::eif::{Builder, Eif};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // No fuzzer guesses a check sum.
    let image = casemate_fuzz::with_crc(input);
    if let Ok(eif) = Eif::parse(&image) {
        assert_eq!(Builder::from_image(&eif).build().expect("was an image"), image);
        let _ = eif.measure();
        if let Ok(image) = Image::from_bytes(&image) {
            let _ = image.metadata();
        }
    }
});
