//! The security module before launches, guests and strangers, without a machine: over pipes in memory.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::rc::Rc;

use casemate_attestation::document;
use casemate_attestation::nsm::api::{self, ByteBuf, Request, Response};
use casemate_attestation::nsm::channel::GuestEnd;
use casemate_attestation::nsm::session::{
    self, Authority, HELLO_LEN, Hello, NONCE_LEN, PACKET_MAX, Statement,
};
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::policy::Policy;
use casemate_attestation::sealing::{self, Sealing};
use casemate_attestation::verify::{Evidence, Expectations, verify};
use casemate_module::{Error, Module};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet};

/// In seconds since 1970: 2026-11-24.
const NOW: u64 = 1_795_478_400;

fn measurements(number: u8) -> ImageMeasurements {
    let [pcr0, pcr1, pcr2] = [number; 3].map(|number| Pcr::new([number; 48]));
    ImageMeasurements { pcr0, pcr1, pcr2, pcr8: None }
}

fn launch() -> Launch {
    Launch {
        image: measurements(9),
        role: Pcr::ZERO,
        instance: Pcr::ZERO,
        posture: Pcr::measure(b"posture"),
        mode: Mode::Production,
    }
}

fn authority(platform: &PlatformKey) -> Authority {
    sealing::key(platform, Sealing::Module, &measurements(1)).unwrap()
}

/// A connection to the module, and how it ends.
fn connect(module: &Rc<Module>) -> (DuplexStream, JoinHandle<Result<(), Error>>) {
    let (ours, theirs) = duplex(1 << 16);
    let module = Rc::clone(module);
    (ours, tokio::task::spawn_local(async move { module.serve(theirs).await }))
}

async fn hello(stream: &mut DuplexStream) -> Hello {
    let mut bytes = [0; HELLO_LEN];
    stream.read_exact(&mut bytes).await.unwrap();
    Hello::decode(&bytes).unwrap()
}

async fn send(stream: &mut DuplexStream, packet: &[u8]) {
    stream.write_u32_le(packet.len().try_into().unwrap()).await.unwrap();
    stream.write_all(packet).await.unwrap();
}

/// The answer; `None` if the module has closed instead.
async fn answer(stream: &mut DuplexStream) -> Option<Vec<u8>> {
    let mut answer = vec![0; stream.read_u32_le().await.ok()?.try_into().unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    Some(answer)
}

/// What a launch does. Returns the guest's end.
async fn open(stream: &mut DuplexStream, platform: &PlatformKey, module_id: &str) -> GuestEnd {
    let hello = hello(stream).await;
    let (nonce, authority) = ([3; NONCE_LEN], authority(platform));
    let channel = hello.channel(&authority, &nonce).unwrap();
    let statement = Statement {
        module_id: module_id.to_owned(),
        launch: launch(),
        certificate: platform
            .certify(&hello.public, module_id, Some(&hello.measurements.pcr0), NOW)
            .unwrap()
            .into(),
        cabundle: vec![platform.root().to_vec().into()],
    };
    send(stream, &session::open(&channel, &nonce, &statement.encode().unwrap())).await;
    assert_eq!(answer(stream).await.unwrap(), session::accepted(&channel));
    GuestEnd::new(*channel)
}

fn packet(frame: &[u8]) -> Vec<u8> {
    [&(NOW * 1000).to_le_bytes()[..], frame].concat()
}

async fn ask(stream: &mut DuplexStream, guest: &mut GuestEnd, request: &Request) -> Option<Response> {
    let (frame, expected) = guest.seal(&api::encode_request(request)).unwrap();
    send(stream, &packet(&frame)).await;
    let answer = answer(stream).await?;
    Some(api::decode_response(guest.open(expected, &answer).unwrap()).unwrap())
}

fn attestation(nonce: &[u8]) -> Request {
    Request::Attestation { user_data: None, nonce: Some(ByteBuf::from(nonce)), public_key: None }
}

fn run<F: Future>(test: impl FnOnce(PlatformKey, Rc<Module>) -> F) -> F::Output {
    let platform = PlatformKey::generate(NOW).unwrap();
    let module = Module::new(authority(&platform), measurements(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test(platform, module)))
}

#[test]
fn a_session_gives_documents_that_verify() {
    run(async |platform, module| {
        module.prepare().unwrap();
        let (mut stream, _) = connect(&module);
        let mut guest = open(&mut stream, &platform, "i-1-enc1").await;
        let data = b"measured later".to_vec();
        let extended =
            ask(&mut stream, &mut guest, &Request::ExtendPCR { index: 16, data: data.clone() }).await;
        assert!(matches!(extended, Some(Response::ExtendPCR { .. })));
        ask(&mut stream, &mut guest, &Request::LockPCR { index: 16 }).await.unwrap();
        let Some(Response::Attestation { document }) =
            ask(&mut stream, &mut guest, &attestation(b"fresh")).await
        else {
            panic!("no document");
        };
        let expectations = Expectations {
            roots: &[platform.root().to_vec()],
            policy: &Policy::default(),
            nonce: Some(b"fresh"),
            now: NOW * 1000,
        };
        let evidence = Evidence { document: &document, posture: None };
        verify(evidence, expectations).unwrap();
        let claims = document::parse(&document).unwrap().claims;
        assert_eq!(
            (claims.module_id.as_str(), claims.timestamp),
            ("i-1-enc1", NOW * 1000),
            "the host's time"
        );
        assert_eq!(claims.pcrs[&0], launch().image.pcr0);
        assert_eq!(claims.pcrs[&16], Pcr::ZERO.extended(&data));
    });
}

#[test]
fn guests_have_keys_and_registers_of_their_own() {
    run(async |platform, module| {
        let (mut one, _) = connect(&module);
        let (mut other, _) = connect(&module);
        let mut first = open(&mut one, &platform, "one").await;
        let mut second = open(&mut other, &platform, "other").await;
        let extend = Request::ExtendPCR { index: 16, data: vec![1] };
        ask(&mut one, &mut first, &extend).await.unwrap();
        let register = Request::DescribePCR { index: 16 };
        let of_one = ask(&mut one, &mut first, &register).await.unwrap();
        let of_other = ask(&mut other, &mut second, &register).await.unwrap();
        assert!(matches!(of_one, Response::DescribePCR { data, .. } if data != [0; 48]));
        assert!(matches!(of_other, Response::DescribePCR { data, .. } if data == [0; 48]));
        let mut certificates = Vec::new();
        for (stream, guest) in [(&mut one, &mut first), (&mut other, &mut second)] {
            let Some(Response::Attestation { document }) = ask(stream, guest, &attestation(b"x")).await
            else {
                panic!("no document");
            };
            certificates.push(document::parse(&document).unwrap().certificate);
        }
        assert_ne!(certificates[0], certificates[1]);
    });
}

#[test]
fn a_request_that_is_not_the_guests_next_one_ends_the_session() {
    let request = api::encode_request(&attestation(b"x"));
    for (what, forge) in [
        ("no tag", 0),
        ("the tag of another key", 1),
        ("the request before, again", 2),
        ("one too early", 3),
        ("longer than a packet may be", 4),
    ] {
        run(async |platform, module| {
            let (mut stream, ended) = connect(&module);
            let mut guest = open(&mut stream, &platform, "guest").await;
            let (first, _) = guest.seal(&request).unwrap();
            send(&mut stream, &packet(&first)).await;
            assert!(answer(&mut stream).await.is_some(), "the control");
            match forge {
                0 => send(&mut stream, &packet(&request)).await,
                1 => send(&mut stream, &packet(&GuestEnd::new([7; 32]).seal(&request).unwrap().0)).await,
                2 => send(&mut stream, &packet(&first)).await,
                3 => {
                    guest.seal(&request).unwrap();
                    send(&mut stream, &packet(&guest.seal(&request).unwrap().0)).await;
                }
                _ => stream.write_u32_le(u32::try_from(PACKET_MAX).unwrap() + 1).await.unwrap(),
            }
            assert_eq!(answer(&mut stream).await, None, "{what}");
            assert!(matches!(ended.await.unwrap(), Err(Error::NotTheGuest | Error::TooLong(_))), "{what}");
        });
    }
}

#[test]
fn a_session_that_the_platform_key_did_not_open_is_refused() {
    run(async |platform, module| {
        let stranger = PlatformKey::generate(NOW).unwrap();
        let (mut stream, ended) = connect(&module);
        let hello = hello(&mut stream).await;
        assert!(
            hello.channel(&authority(&stranger), &[3; NONCE_LEN]).is_err(),
            "it is not the stranger's module"
        );
        let statement = Statement {
            module_id: "guest".to_owned(),
            launch: launch(),
            certificate: stranger.certify(&hello.public, "guest", None, NOW).unwrap().into(),
            cabundle: vec![stranger.root().to_vec().into()],
        };
        send(&mut stream, &session::open(&[0; 32], &[3; NONCE_LEN], &statement.encode().unwrap())).await;
        assert_eq!(answer(&mut stream).await, None);
        assert!(matches!(ended.await.unwrap(), Err(Error::Session(session::SessionError::NotALaunch))));
        // Another is served as ever.
        let (mut stream, _) = connect(&module);
        open(&mut stream, &platform, "guest").await;
    });
}

#[test]
fn a_session_is_not_opened_again_by_who_heard_it() {
    run(async |platform, module| {
        let (mut stream, _) = connect(&module);
        let first = hello(&mut stream).await;
        let channel = first.channel(&authority(&platform), &[3; NONCE_LEN]).unwrap();
        let statement = Statement {
            module_id: "guest".to_owned(),
            launch: launch(),
            certificate: platform.certify(&first.public, "guest", None, NOW).unwrap().into(),
            cabundle: vec![platform.root().to_vec().into()],
        };
        let heard = session::open(&channel, &[3; NONCE_LEN], &statement.encode().unwrap());
        send(&mut stream, &heard).await;
        assert!(answer(&mut stream).await.is_some(), "the control");
        let (mut again, ended) = connect(&module);
        hello(&mut again).await;
        send(&mut again, &heard).await;
        assert_eq!(answer(&mut again).await, None);
        assert!(matches!(ended.await.unwrap(), Err(Error::Session(session::SessionError::NotALaunch))));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes in the place of a launch or of a guest: the session ends, and the next is served.
    #[test]
    fn no_bytes_harm_the_module(bytes in proptest::collection::vec(any::<u8>(), 0..300), opened in any::<bool>()) {
        run(async |platform, module| {
            let (mut stream, ended) = connect(&module);
            if opened {
                open(&mut stream, &platform, "guest").await;
            } else {
                hello(&mut stream).await;
            }
            // It may have closed already.
            let _ = stream.write_all(&bytes).await;
            stream.shutdown().await.unwrap();
            assert_eq!(answer(&mut stream).await, None);
            drop(ended.await.unwrap());
            let (mut stream, _) = connect(&module);
            open(&mut stream, &platform, "next").await;
        });
    }
}
