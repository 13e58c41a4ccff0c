//! The registers, exhaustively: sets of locks, every register, every request.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use casemate_attestation::pcr::{Bank, BankError, Mode, Pcr};
use support::launch;

/// The registers with this set of PCR16–31 locked.
fn locked(set: u32) -> Bank {
    let mut bank = Bank::launch(&launch(Mode::Production));
    for index in (16..32).filter(|index| set >> index & 1 == 1) {
        bank.lock(index).unwrap();
    }
    bank
}

fn locks(bank: &Bank) -> u32 {
    bank.locked().map(|(index, _)| 1 << index).sum()
}

fn values(bank: &Bank) -> Vec<Pcr> {
    (0..32).map(|index| bank.describe(index).unwrap().0).collect()
}

/// All sets of locks of PCR16–23, with the others open, locked or half of each; on each, every lock and every range, and extending
/// the first and the last register of either kind. Nothing is ever unlocked, nothing else is ever locked, no value moves but that of an open register
/// that is extended.
#[test]
fn every_request_on_every_set_of_locks() {
    let rest = [0, 0x55, 0xff];
    for set in rest.into_iter().flat_map(|rest| (0..=0xff_u32).map(move |set| rest << 8 | set)) {
        let before = set << 16 | 0xffff;
        let bank = locked(before);
        assert_eq!(locks(&bank), before);
        let initial = values(&bank);
        for index in 0..=33 {
            let is_locked = index < 32 && before >> index & 1 == 1;
            let mut changed = bank.clone();
            match changed.lock(index) {
                Ok(()) => assert_eq!(locks(&changed), before | 1 << index),
                Err(BankError::Locked(_)) => assert!(is_locked),
                Err(BankError::NoSuchRegister(_)) => assert!(index > 31),
            }
            assert_eq!(locks(&changed) & before, before);
            let mut changed = bank.clone();
            match changed.lock_first(index) {
                Ok(()) => assert_eq!(u64::from(locks(&changed)), u64::from(before) | ((1 << index) - 1)),
                Err(_) => assert!(index > 32 && locks(&changed) == before),
            }
            assert!(index > 0 || locks(&changed) == before, "a range of none locks none");
        }
        let open = (16..32).filter(|index| before >> index & 1 == 0);
        let shut = (16..32).filter(|index| before >> index & 1 == 1);
        let ends = |mut of: Box<dyn DoubleEndedIterator<Item = u16>>| [of.next(), of.next_back()];
        for index in
            [ends(Box::new(open)), ends(Box::new(shut)), [Some(0), Some(15)]].into_iter().flatten().flatten()
        {
            let mut changed = bank.clone();
            let extended = changed.extend(index, b"x");
            let mut expected = initial.clone();
            match extended {
                Ok(value) => {
                    assert_eq!(before >> index & 1, 0, "PCR{index} was locked");
                    assert_ne!(value, initial[usize::from(index)]);
                    expected[usize::from(index)] = value;
                }
                Err(error) => {
                    assert_eq!(error, BankError::Locked(index));
                    assert_eq!(before >> index & 1, 1, "PCR{index} was open");
                }
            }
            assert_eq!((values(&changed), locks(&changed)), (expected, before));
        }
    }
}

/// All 65,536 indices that fit in a request.
#[test]
fn indices_that_do_not_exist_change_nothing() {
    let mut bank = locked(1 << 20);
    for index in 32..=u16::MAX {
        let gone = BankError::NoSuchRegister(index);
        assert_eq!(bank.describe(index), Err(gone));
        assert_eq!(bank.extend(index, b"x"), Err(gone));
        assert_eq!(bank.lock(index), Err(gone));
        if index > 32 {
            assert_eq!(bank.lock_first(index), Err(gone));
        }
    }
    assert_eq!(locks(&bank), 0x10_ffff);
    assert_eq!(values(&bank), values(&locked(0)));
}
