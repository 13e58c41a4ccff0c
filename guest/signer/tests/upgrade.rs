//! A volume is opened by another image only if its owner has granted it, to a guest that proves what it is.

mod common;
#[path = "common/sealed.rs"]
mod sealed;
#[path = "common/volume.rs"]
mod volume;

use std::cell::RefCell;
use std::rc::Rc;

use casemate_attestation::nsm::Nsm;
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::sealing::{self, Sealing};
use casemate_signer::{AttestError, Door, Platform, Signer, serve_connection};
use common::{b64, call, ok, text, unb64};
use sealed::support::{self, FixedClock, Leaf};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use volume::{Place, keep, run};
use zeroize::Zeroizing;

/// A signer's image on a platform.
#[derive(Clone, Copy)]
struct Image<'a> {
    platform: &'a PlatformKey,
    name: &'a str,
    mode: Mode,
}

struct Sealed {
    nsm: RefCell<Nsm<Leaf, FixedClock>>,
    sealing_key: [u8; 32],
    measurement: [u8; 48],
}

impl Platform for Sealed {
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        Ok(support::document(&mut self.nsm.borrow_mut(), user_data, nonce, public_key))
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        Some(Zeroizing::new(self.sealing_key))
    }

    fn measurement(&self) -> [u8; 48] {
        self.measurement
    }
}

impl Image<'_> {
    fn pcr0(&self) -> Pcr {
        Pcr::measure(self.name.as_bytes())
    }

    fn launch(&self) -> Rc<Signer> {
        let image = ImageMeasurements { pcr0: self.pcr0(), ..support::launch(self.mode).image };
        let launch = Launch { image, ..support::launch(self.mode) };
        let now = sealed::now();
        let leaf = Leaf::new(self.platform, support::MODULE_ID, now);
        let production = self.mode == Mode::Production;
        let sealing = if production { Sealing::Production } else { Sealing::Debug };
        Signer::new(Box::new(Sealed {
            nsm: RefCell::new(Nsm::new(support::MODULE_ID.into(), &launch, leaf, FixedClock(now))),
            sealing_key: *sealing::key(self.platform, sealing, &image),
            measurement: if production { *self.pcr0().as_bytes() } else { [0; 48] },
        }))
    }
}

/// What a guest states about the key to which volumes can be granted.
async fn statement(signer: &Rc<Signer>, nonce: &[u8]) -> Value {
    let body = json!({"nonce": b64(nonce)}).to_string();
    let request = format!(
        "POST /attestation/volume HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (mut client, server) = duplex(1 << 16);
    let served = tokio::task::spawn_local(serve_connection(server, Rc::clone(signer), Door::Plain));
    client.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    client.read_to_string(&mut response).await.expect("received");
    served.await.expect("no panic").expect("served");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 "), "{response}");
    serde_json::from_str(body).expect("JSON")
}

fn nonce(signer: &Signer) -> Vec<u8> {
    unb64(&ok(signer, "Casemate.GetGrantNonce", json!({}))["Nonce"])
}

/// Why a grant is refused.
#[track_caller]
fn refused(signer: &Signer, document: &Value, pcr0: Pcr) -> String {
    let request = json!({"Document": document, "ImageSha384": pcr0.to_string()});
    call(signer, "Casemate.GrantUpgrade", request).expect_err("granted").message
}

#[test]
fn a_granted_volume_is_the_new_images_alone() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = |name| Image { platform: &platform, name, mode: Mode::Production };
        let (old_image, new_image, third_image) = (image("old"), image("new"), image("third"));
        let place = Place::new();
        let old = old_image.launch();
        let attached = place.attach(&old).await;
        let key = text(&keep(&old, "CreateKey", json!({})).await.expect("created")["KeyMetadata"]["KeyId"]);
        let new = new_image.launch();
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        let request = json!({"Document": document, "ImageSha384": new_image.pcr0().to_string()});
        let granted = keep(&old, "Casemate.GrantUpgrade", request).await.expect("granted");
        assert_eq!(granted["ImageSha384"], new_image.pcr0().to_string());
        let more = text(&keep(&old, "CreateKey", json!({})).await.expect("created")["KeyMetadata"]["KeyId"]);
        attached.kill().await;
        drop((old, new));

        // The old image opens it still, another does not, and the one that it was granted to, launched anew, does.
        place.attach(&old_image.launch()).await.kill().await;
        let reason = place.refused(&third_image.launch()).await;
        assert!(reason.contains("granted to another image"), "{reason}");
        let new = new_image.launch();
        let attached = place.attach(&new).await;
        for key in [&key, &more] {
            ok(&new, "DescribeKey", json!({"KeyId": key}));
        }
        keep(&new, "DisableKey", json!({"KeyId": key})).await.expect("disabled");
        attached.kill().await;

        // From then on it is the new image's, and nobody else's.
        let reason = place.refused(&old_image.launch()).await;
        assert!(reason.contains("sealed by another image"), "{reason}");
        let again = new_image.launch();
        let attached = place.attach(&again).await;
        assert_eq!(ok(&again, "DescribeKey", json!({"KeyId": key}))["KeyMetadata"]["KeyState"], "Disabled");
        attached.kill().await;
        let header = place.store().head().expect("head").header.expect("a header");
        let header = casemate_volume::Header::parse(&header).expect("a header");
        assert_eq!((header.grant, *header.sealed.measurement), (None, *new_image.pcr0().as_bytes()));
    });
}

#[test]
fn only_a_fresh_document_of_the_named_image_in_production_will_do() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let elsewhere = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = Image { platform: &platform, name: "new", mode: Mode::Production };
        let pcr0 = image.pcr0();
        let place = Place::new();
        let old = Image { name: "old", ..image }.launch();
        let new = image.launch();
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        assert!(refused(&old, &document, pcr0).contains("no volume"));
        let attached = place.attach(&old).await;

        let stale = statement(&new, &nonce(&old)).await["document"].clone();
        nonce(&old);
        assert!(refused(&old, &stale, pcr0).contains("nonce"));
        assert!(refused(&old, &stale, pcr0).contains("nonce"), "there is none any more");
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        assert!(refused(&old, &document, Pcr::measure(b"another")).contains("PCR0 is not that of the image"));
        assert!(refused(&old, &document, pcr0).contains("nonce"), "good once");
        let debug = Image { mode: Mode::Debug, ..image }.launch();
        for named in [pcr0, Pcr::ZERO] {
            let document = statement(&debug, &nonce(&old)).await["document"].clone();
            assert!(refused(&old, &document, named).contains("debug mode"));
        }
        let foreign = Image { platform: &elsewhere, ..image }.launch();
        let document = statement(&foreign, &nonce(&old)).await["document"].clone();
        assert!(refused(&old, &document, pcr0).contains("not valid"));

        // A document that a caller asked for, with a key of the caller's.
        let fresh = nonce(&old);
        let guest = Sealed {
            nsm: RefCell::new(support::nsm(&platform, Mode::Production, sealed::now())),
            sealing_key: [0; 32],
            measurement: [0; 48],
        };
        let callers = guest.attest(Some(b"hello"), Some(&fresh), Some(&[9; 32])).expect("a document");
        let reason = refused(&old, &json!(b64(callers)), Pcr::measure(b"image"));
        assert!(reason.contains("/attestation/volume"), "{reason}");
        for (request, expected) in [
            (json!({"Document": document}), "imageSha384"),
            (json!({"ImageSha384": pcr0.to_string()}), "document"),
            (json!({"Document": document, "ImageSha384": "12"}), "96 hexadecimal digits"),
            (json!({"Document": b64("noise"), "ImageSha384": pcr0.to_string()}), "not valid"),
        ] {
            let error = call(&old, "Casemate.GrantUpgrade", request).expect_err("granted");
            assert!(error.message.contains(expected), "{error}");
        }

        let debug_old = Image { name: "old", mode: Mode::Debug, ..image }.launch();
        let document = statement(&new, &nonce(&debug_old)).await["document"].clone();
        assert!(refused(&debug_old, &document, pcr0).contains("never secret"));
        attached.kill().await;
        let header = place.store().head().expect("head").header.expect("a header");
        assert_eq!(casemate_volume::Header::parse(&header).expect("a header").grant, None);
    });
}

#[test]
fn a_grant_that_was_changed_opens_nothing() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = |name| Image { platform: &platform, name, mode: Mode::Production };
        let place = Place::new();
        let (old, new) = (image("old").launch(), image("new").launch());
        let attached = place.attach(&old).await;
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        let request = json!({"Document": document, "ImageSha384": image("new").pcr0().to_string()});
        keep(&old, "Casemate.GrantUpgrade", request).await.expect("granted");
        attached.kill().await;
        let good = volume::Memory::of(&place.store());
        let header = good.header.clone().expect("a header");
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 0x10;
            let mut volume = volume::Memory { header: Some(changed), ..good.clone() };
            assert!(volume.offer(&image("new").launch()).await.is_err(), "byte {at} of the header");
        }
    });
}
