//! A program that wraps and unwraps keys with any PKCS#11 module, through rust-cryptoki: OpenSC's pkcs11-tool wraps secret keys
//! alone.
//!
//! `pkcs11_wrap wrap MODULE TOKEN PIN MECHANISM WITH KEY FILE`: the key called KEY, under the one called WITH, into FILE.
//! `pkcs11_wrap unwrap MODULE TOKEN PIN MECHANISM WITH FILE LABEL ID TYPE`: back, on the token.
//! MECHANISM is `aes-kwp` (`CKM_AES_KEY_WRAP_PAD`, RFC 5649) or `oaep` (with SHA-1, all that SoftHSM 2.6 has); TYPE is `ec`, `rsa` or
//! `aes`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "it fails by panicking, as a test does")]

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [action, module, token, pin, mechanism, with, rest @ ..] = arguments.as_slice() else {
        panic!("usage: pkcs11_wrap wrap|unwrap MODULE TOKEN PIN MECHANISM WITH …");
    };
    let library = Pkcs11::new(module).unwrap();
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let mut slots = library.get_slots_with_token().unwrap().into_iter();
    let slot =
        slots.find(|slot| library.get_token_info(*slot).unwrap().label() == *token).expect("the token");
    let session = library.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new((*pin).into()))).unwrap();

    let (secret, private, public) =
        (ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY);
    let oaep = PkcsOaepParams::new(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1, PkcsOaepSource::empty());
    let (mechanism, wraps, unwraps) = match *mechanism {
        "aes-kwp" => (Mechanism::AesKeyWrapPad, secret, secret),
        "oaep" => (Mechanism::RsaPkcsOaep(oaep), public, private),
        other => panic!("no mechanism {other}"),
    };
    match (*action, rest) {
        ("wrap", [key, file]) => {
            let key = find(&session, key, &[private, secret]);
            let wrapped = session.wrap_key(&mechanism, find(&session, with, &[wraps]), key).unwrap();
            std::fs::write(file, wrapped).unwrap();
        }
        ("unwrap", [file, label, id, kind]) => {
            let common = [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Id(hex::decode(id).unwrap()),
            ];
            let own = match *kind {
                "aes" => {
                    let (class, wraps) =
                        (Attribute::Class(secret), [Attribute::Wrap(true), Attribute::Unwrap(true)]);
                    [&[class, Attribute::KeyType(KeyType::AES)], &wraps[..]].concat()
                }
                kind => {
                    let kind = if kind == "ec" { KeyType::EC } else { KeyType::RSA };
                    vec![Attribute::Class(private), Attribute::KeyType(kind), Attribute::Sign(true)]
                }
            };
            let wrapped = std::fs::read(file).unwrap();
            let unwrapping = find(&session, with, &[unwraps]);
            session.unwrap_key(&mechanism, unwrapping, &wrapped, &[&own[..], &common].concat()).unwrap();
        }
        _ => panic!("usage: pkcs11_wrap wrap|unwrap MODULE TOKEN PIN MECHANISM WITH …"),
    }
}

/// The one key of these classes that is called so.
fn find(session: &Session, label: &str, classes: &[ObjectClass]) -> ObjectHandle {
    let named = |class| [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
    let found: Vec<_> =
        classes.iter().flat_map(|class| session.find_objects(&named(*class)).unwrap()).collect();
    let [one] = found.as_slice() else { panic!("{} keys are called {label}", found.len()) };
    *one
}
