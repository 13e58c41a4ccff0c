#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::nsm::channel::GuestEnd;
use crate::pcr::Mode;

const NONCES: [[u8; NONCE_LEN]; 2] = [[1; NONCE_LEN], [2; NONCE_LEN]];

fn authority(number: u8) -> Authority {
    Zeroizing::new([number; KEY_LEN])
}

fn measurements(pcr8: Option<u8>) -> ImageMeasurements {
    let [pcr0, pcr1, pcr2] = [1, 2, 3].map(|number| Pcr::new([number; pcr::LEN]));
    ImageMeasurements { pcr0, pcr1, pcr2, pcr8: pcr8.map(|number| Pcr::new([number; pcr::LEN])) }
}

fn hello() -> Hello {
    Hello::new(&authority(7), NONCES[0], [4; PUBLIC_LEN], measurements(None))
}

fn statement() -> Statement {
    let launch = Launch {
        image: measurements(Some(9)),
        role: Pcr::ZERO,
        instance: Pcr::ZERO,
        posture: Pcr::measure(b"posture"),
        mode: Mode::Production,
    };
    Statement {
        module_id: "i-1-enc2".to_owned(),
        launch,
        certificate: ByteBuf::from(vec![0x30; 700]),
        cabundle: vec![ByteBuf::from(vec![0x30; CERTIFICATE_MAX])],
    }
}

/// A launch's side: the channel key and the packet.
fn opened(hello: &Hello, statement: &Statement) -> (Zeroizing<[u8; KEY_LEN]>, Vec<u8>) {
    let channel = hello.channel(&authority(7), &NONCES[1]).unwrap();
    let packet = open(&channel, &NONCES[1], &statement.encode().unwrap());
    (channel, packet)
}

#[test]
fn a_launch_with_the_platform_key_gets_a_session() {
    let hello = hello();
    let (channel, packet) = opened(&hello, &statement());
    let Opened { statement: said, accept: answer, mut line } =
        accept(&authority(7), &hello, &packet).unwrap();
    assert_eq!(said, statement());
    assert_eq!(accepted(&channel), answer);
    let mut guest = GuestEnd::new(*channel);
    let (frame, expected) = guest.seal(b"request").unwrap();
    let answer = line.answer(&frame, |request| [request, b"!"].concat()).unwrap();
    assert_eq!(guest.open(expected, &answer), Some(&b"request!"[..]));
}

#[test]
fn a_hello_survives_the_way() {
    for pcr8 in [None, Some(0), Some(8)] {
        let hello = Hello::new(&authority(1), NONCES[0], [4; PUBLIC_LEN], measurements(pcr8));
        let bytes: [u8; HELLO_LEN] = hello.encode().try_into().unwrap();
        assert_eq!(Hello::decode(&bytes), Some(hello));
    }
}

#[test]
fn only_the_module_is_believed() {
    let hello = hello();
    assert_eq!(
        hello.channel(&authority(8), &NONCES[1]),
        Err(SessionError::NotTheModule),
        "another image's key"
    );
    let bytes = hello.encode();
    for at in 0..bytes.len() {
        let mut changed: [u8; HELLO_LEN] = bytes.clone().try_into().unwrap();
        changed[at] ^= 1;
        let believed = Hello::decode(&changed).map(|hello| hello.channel(&authority(7), &NONCES[1]));
        assert!(!matches!(believed, Some(Ok(_))), "byte {at}");
    }
    let (channel, _) = opened(&hello, &statement());
    let other = hello.channel(&authority(7), &NONCES[0]).unwrap();
    assert_ne!(accepted(&channel), accepted(&other), "the answer to another launch");
}

#[test]
fn a_session_that_the_platform_key_did_not_open_is_refused() {
    let hello = hello();
    let (_, packet) = opened(&hello, &statement());
    let refused = |authority: &Authority, hello: &Hello, packet: &[u8], why: &str| {
        let result = accept(authority, hello, packet).map(|_| ());
        assert_eq!(result, Err(SessionError::NotALaunch), "{why}");
    };
    let guessed = open(&[0; KEY_LEN], &NONCES[1], &statement().encode().unwrap());
    refused(&authority(7), &hello, &guessed, "another channel key");
    refused(&authority(8), &hello, &packet, "another platform's module");
    for at in 0..packet.len() {
        let mut changed = packet.clone();
        changed[at] ^= 1;
        refused(&authority(7), &hello, &changed, "a changed byte");
    }
    for length in 0..packet.len() {
        refused(&authority(7), &hello, &packet[..length], "cut off");
    }
    let fresh = Hello::new(&authority(7), [3; NONCE_LEN], hello.public, hello.measurements);
    refused(&authority(7), &fresh, &packet, "heard before: the module's nonce is another");
    let other = Hello::new(&authority(7), NONCES[0], [5; PUBLIC_LEN], hello.measurements);
    refused(&authority(7), &other, &packet, "for another leaf key");
    assert!(accept(&authority(7), &hello, &packet).is_ok(), "the control");
}

#[test]
fn a_statement_keeps_its_limits() {
    let hello = hello();
    let result = |statement: Statement| {
        let (_, packet) = opened(&hello, &statement);
        accept(&authority(7), &hello, &packet).map(|opened| opened.statement)
    };
    let with = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement();
        change(&mut statement);
        statement
    };
    let wrong: [&dyn Fn(&mut Statement); 6] = [
        &|statement| statement.module_id.clear(),
        &|statement| statement.module_id = "i".repeat(MODULE_ID_MAX + 1),
        &|statement| statement.certificate.clear(),
        &|statement| statement.certificate.resize(CERTIFICATE_MAX + 1, 0x30),
        &|statement| statement.cabundle.clear(),
        &|statement| statement.cabundle = vec![ByteBuf::from(vec![0x30]); BUNDLE_MAX + 1],
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert_eq!(result(with(change)), Err(SessionError::Statement), "{number}");
    }
    let most = with(&|statement| {
        statement.module_id = "i".repeat(MODULE_ID_MAX);
        statement.certificate = ByteBuf::from(vec![0x30; CERTIFICATE_MAX]);
        statement.cabundle = vec![ByteBuf::from(vec![0x30; CERTIFICATE_MAX]); BUNDLE_MAX];
    });
    assert_eq!(result(most.clone()), Ok(most));
    let long = with(&|statement| statement.cabundle = vec![ByteBuf::from(vec![0x30; PACKET_MAX])]);
    assert!(matches!(long.encode(), Err(SessionError::TooLong(length)) if length > PACKET_MAX));
}

proptest! {
    /// Whoever does not hold the key can send what he likes.
    #[test]
    fn no_bytes_open_a_session_or_pass_as_a_request(packet in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(accept(&authority(7), &hello(), &packet).is_err());
        let (_, opening) = opened(&hello(), &statement());
        let mut line = accept(&authority(7), &hello(), &opening).unwrap().line;
        prop_assert!(line.answer(&packet, <[u8]>::to_vec).is_none());
        if let Some((_, frame)) = split_request(&packet) {
            prop_assert!(line.answer(frame, <[u8]>::to_vec).is_none());
        }
        let mut bytes = [0; HELLO_LEN];
        bytes.iter_mut().zip(packet.iter().cycle()).for_each(|(to, from)| *to = *from);
        if let Some(hello) = Hello::decode(&bytes) {
            prop_assert!(hello.channel(&authority(7), &NONCES[1]).is_err());
        }
    }

    /// A statement that a broken launch authenticates does no harm.
    #[test]
    fn no_statement_makes_the_module_panic(statement in proptest::collection::vec(any::<u8>(), 0..512)) {
        let channel = hello().channel(&authority(7), &NONCES[1]).unwrap();
        let packet = open(&channel, &NONCES[1], &statement);
        prop_assert_eq!(accept(&authority(7), &hello(), &packet).map(|_| ()), Err(SessionError::Statement));
    }
}
