//! Every value of the doorbell's low bytes.

use casemate_abi::{Doorbell, IDLE_FOREVER};

/// All 65,536 values of the low two bytes, under several of the others: what decodes is what was encoded, and what stands for no
/// request is none.
#[test]
fn values_decode_to_what_they_encode_or_to_nothing() {
    for high in [0, 1, 0xff, 1 << 47, (1 << 48) - 1] {
        for low in 0..=0xffff_u64 {
            let value = high << 16 | low;
            match Doorbell::decode(value) {
                Some((request, argument)) => {
                    assert_eq!(request.value(argument), value);
                    assert!(value & 0xff <= 6 && argument <= IDLE_FOREVER);
                }
                None => assert!(value & 0xff > 6, "{value:#x}"),
            }
        }
    }
}
