//! A program that uses a PKCS#11 module as programs do: some threads, a session each, that sign and verify with a key.
//!
//! `pkcs11_client MODULE TOKEN PIN KEY THREADS COUNT`: prints how many signatures were made, and verified. Then again for each
//! line of input, with the same login. It logs out at exit, as OpenSSL's provider does: when the main thread has no storage of its own
//! any more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it fails by panicking, as a test does")]

use std::sync::Mutex;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

static LAST: Mutex<Option<(Session, Pkcs11)>> = Mutex::new(None);

extern "C" fn log_out() {
    drop(LAST.lock().unwrap().take());
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, token, pin, key, threads, count] = arguments.as_slice() else {
        panic!("usage: pkcs11_client MODULE TOKEN PIN KEY THREADS COUNT");
    };
    let (threads, count): (usize, usize) = (threads.parse().unwrap(), count.parse().unwrap());
    let library = Pkcs11::new(module).unwrap();
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let is_it = |slot: &Slot| library.get_token_info(*slot).unwrap().label() == token;
    let slot = library.get_slots_with_token().unwrap().into_iter().find(is_it).expect("the token");
    let first = library.open_ro_session(slot).unwrap();
    first.login(UserType::User, Some(&AuthPin::new(pin.as_str().into()))).unwrap();
    *LAST.lock().unwrap() = Some((first, library.clone()));
    // SAFETY: `log_out` is a function of this program, which is there as long as it is.
    assert_eq!(unsafe { libc::atexit(log_out) }, 0);
    let (library, key) = (&library, key.as_bytes());
    let mut again = String::new();
    loop {
        let made: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| {
                    scope.spawn(move || work(&library.open_ro_session(slot).unwrap(), key, thread, count))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        println!("{made}");
        if std::io::stdin().read_line(&mut again).unwrap() == 0 {
            return;
        }
    }
}

/// Signs `count` messages, each another, and verifies them; with one bit changed they must not verify.
fn work(session: &Session, label: &[u8], thread: usize, count: usize) -> usize {
    let find = |class| {
        let template = [Attribute::Class(class), Attribute::Label(label.to_vec())];
        *session.find_objects(&template).unwrap().first().expect("the key")
    };
    let (private, public) = (find(ObjectClass::PRIVATE_KEY), find(ObjectClass::PUBLIC_KEY));
    let kind = session.get_attributes(private, &[cryptoki::object::AttributeType::KeyType]).unwrap();
    let mechanism = match kind.first() {
        Some(Attribute::KeyType(KeyType::RSA)) => Mechanism::Sha256RsaPkcs,
        _ => Mechanism::EcdsaSha256,
    };
    for number in 0..count {
        let message = format!("message {number} of thread {thread} of {}", std::process::id()).into_bytes();
        let mut signature = session.sign(&mechanism, private, &message).unwrap();
        session.verify(&mechanism, public, &message, &signature).unwrap();
        if let Some(byte) = signature.last_mut() {
            *byte ^= 1;
        }
        assert!(session.verify(&mechanism, public, &message, &signature).is_err());
    }
    count
}
