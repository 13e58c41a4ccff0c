//! A volume is opened by another image only if its owner has granted it, to a guest that proves what it is.

mod common;
#[path = "common/image.rs"]
mod image;
#[path = "common/sealed.rs"]
mod sealed;
#[path = "common/volume.rs"]
mod volume;

use std::cell::RefCell;
use std::rc::Rc;

use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_signer::{Door, Platform, Signer, serve_connection};
use common::{b64, call, ok, text, unb64};
use image::{Image, Sealed};
use sealed::support;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use volume::{Place, keep, run};

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
        let image = |name| Image {
            platform: &platform,
            name,
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
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
        let image = Image {
            platform: &platform,
            name: "new",
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
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
            command_line: String::new(),
        };
        let callers = guest.attest(Some(b"hello"), Some(&fresh), Some(&[9; 32])).expect("a document");
        let reason = refused(&old, &json!(b64(callers)), Pcr::measure(b"image"));
        assert!(reason.contains("/attestation/volume"), "{reason}");
        for (request, expected) in [
            (json!({"Document": document}), "ImageSha384 must be given"),
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
        let image = |name| Image {
            platform: &platform,
            name,
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
        let place = Place::new();
        let (old, new) = (image("old").launch(), image("new").launch());
        let attached = place.attach(&old).await;
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        let request = json!({"Document": document, "ImageSha384": image("new").pcr0().to_string()});
        keep(&old, "Casemate.GrantUpgrade", request).await.expect("granted");
        attached.kill().await;
        let good = volume::Memory::of(&place.store());
        let header = good.header.clone().expect("a header");
        // Nearly all of it is the certificates of the proof; each of its bytes is checked by whoever verifies documents.
        for at in (0..header.len()).filter(|at| *at < 400 || at % 29 == 0) {
            let mut changed = header.clone();
            changed[at] ^= 0x10;
            let mut volume = volume::Memory { header: Some(changed), ..good.clone() };
            assert!(volume.offer(&image("new").launch()).await.is_err(), "byte {at} of the header");
        }
    });
}

#[test]
fn an_update_policy_admits_signed_images_and_none_that_is_older() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = |signed_by, command_line| Image {
            platform: &platform,
            name: "signer",
            mode: Mode::Production,
            signed_by,
            command_line,
        };
        let place = Place::new();
        let old = image(Some("owner"), "casemate.version=1.2.0").launch();
        let attached = place.attach(&old).await;
        let pcr8 = Pcr::measure(b"owner").to_string();
        for (pcr8, version) in [(pcr8.as_str(), "1"), ("ab", "1.0.0"), (&"0".repeat(96), "1.0.0")] {
            let request = json!({"SigningCertificateSha384": pcr8, "MinimumVersion": version});
            let error = call(&old, "Casemate.PutUpdatePolicy", request).expect_err("taken");
            assert!(error.message.contains("three numbers"), "{error}");
        }
        let policy = json!({"SigningCertificateSha384": pcr8, "MinimumVersion": "1.1.0"});
        keep(&old, "Casemate.PutUpdatePolicy", policy).await.expect("taken");
        let shown = ok(&old, "Casemate.GetUpdatePolicy", json!({}));
        assert_eq!((&shown["MinimumVersion"], &shown["ImageVersion"]), (&json!("1.1.0"), &json!("1.2.0")));

        for (signed_by, command_line, expected) in [
            (None, "casemate.version=2.0.0", "not signed"),
            (Some("somebody"), "casemate.version=2.0.0", "not signed"),
            (Some("owner"), "casemate.version=1.1.9", "needs 1.2.0 or later"),
            (Some("owner"), "casemate.version=1.0.0", "needs 1.2.0 or later"),
            (Some("owner"), "casemate.version=newest", "version 0.0.0"),
        ] {
            let new = image(signed_by, command_line);
            let document = statement(&new.launch(), &nonce(&old)).await["document"].clone();
            let error =
                call(&old, "Casemate.GrantUpgrade", json!({"Document": document})).expect_err("granted");
            assert!(error.message.contains(expected), "{error}");
            // To name it does not help.
            let document = statement(&new.launch(), &nonce(&old)).await["document"].clone();
            assert!(refused(&old, &document, new.pcr0()).contains(expected));
        }

        let new = image(Some("owner"), "casemate.version=1.2.1");
        let document = statement(&new.launch(), &nonce(&old)).await["document"].clone();
        let granted =
            keep(&old, "Casemate.GrantUpgrade", json!({"Document": document})).await.expect("granted");
        assert_eq!(granted["ImageVersion"], "1.2.1");
        attached.kill().await;
        drop(old);

        // The policy moves with the volume, and the new image cannot be turned back.
        let new = new.launch();
        let attached = place.attach(&new).await;
        let shown = ok(&new, "Casemate.GetUpdatePolicy", json!({}));
        assert_eq!((&shown["MinimumVersion"], &shown["ImageVersion"]), (&json!("1.1.0"), &json!("1.2.1")));
        let back = image(Some("owner"), "casemate.version=1.2.0").launch();
        let document = statement(&back, &nonce(&new)).await["document"].clone();
        let error = call(&new, "Casemate.GrantUpgrade", json!({"Document": document})).expect_err("granted");
        assert!(error.message.contains("needs 1.2.1 or later"), "{error}");

        // Without the policy each image is named again.
        keep(&new, "Casemate.DeleteUpdatePolicy", json!({})).await.expect("deleted");
        let error = call(&new, "Casemate.GrantUpgrade", json!({"Document": document})).expect_err("granted");
        assert!(error.message.contains("ImageSha384 must be given"), "{error}");
        attached.kill().await;
        let again = image(Some("owner"), "casemate.version=1.2.1").launch();
        let attached = place.attach(&again).await;
        assert!(ok(&again, "Casemate.GetUpdatePolicy", json!({})).get("MinimumVersion").is_none());
        attached.kill().await;
    });
}

#[test]
fn a_volume_is_taken_only_from_a_guest_that_vouches_for_the_grant() {
    run(async {
        let platform = PlatformKey::generate(sealed::now()).expect("a platform key");
        let elsewhere = PlatformKey::generate(sealed::now()).expect("a platform key");
        let image = |name| Image {
            platform: &platform,
            name,
            mode: Mode::Production,
            signed_by: None,
            command_line: "",
        };
        let place = Place::new();
        let (old, new) = (image("old").launch(), image("new").launch());
        let attached = place.attach(&old).await;
        let document = statement(&new, &nonce(&old)).await["document"].clone();
        let request = json!({"Document": document, "ImageSha384": image("new").pcr0().to_string()});
        keep(&old, "Casemate.GrantUpgrade", request).await.expect("granted");
        attached.kill().await;
        let good = volume::Memory::of(&place.store());
        let header =
            casemate_volume::Header::parse(good.header.as_deref().expect("a header")).expect("a header");
        let grant = header.grant.clone().expect("a grant");

        // What the granting guest has stated, stated by others, and other statements of its own.
        let bound = [
            &header.volume.0[..],
            grant.measurement.as_slice(),
            grant.to.as_slice(),
            grant.from.as_slice(),
            &grant.key,
        ]
        .concat();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bound);
        let stated = format!("casemate:grant:1:{}", base16ct::lower::encode_string(hash.as_ref()));
        let says = |image: Image<'_>, text: &str| {
            image.platform().attest(Some(text.as_bytes()), None, None).expect("a document")
        };
        assert_eq!(
            casemate_attestation::document::parse(&grant.proof)
                .expect("a document")
                .claims
                .user_data
                .as_deref(),
            Some(stated.as_bytes())
        );
        for (proof, expected) in [
            (Vec::new(), "not valid"),
            (says(image("third"), &stated), "not of the image that the volume was sealed for"),
            (says(image("new"), &stated), "not of the image that the volume was sealed for"),
            (says(Image { mode: Mode::Debug, ..image("old") }, &stated), "not of the image"),
            (says(Image { platform: &elsewhere, ..image("old") }, &stated), "not valid"),
            (says(image("old"), "casemate:grant:1:00"), "about something else"),
            (says(image("old"), "casemate:volume:2:1.0.0"), "about something else"),
        ] {
            let grant = casemate_volume::layout::Grant { proof: proof.into(), ..grant.clone() };
            let header = casemate_volume::Header { grant: Some(grant), ..header.clone() };
            let mut volume = volume::Memory { header: Some(header.to_bytes()), ..good.clone() };
            let reason = volume.offer(&image("new").launch()).await.expect_err("taken");
            assert!(reason.contains("nobody vouches") && reason.contains(expected), "{reason}");
        }
        // With the statement by the right guest alone it goes on to the root, which knows the header by its hash.
        let grant = casemate_volume::layout::Grant { proof: says(image("old"), &stated).into(), ..grant };
        let header = casemate_volume::Header { grant: Some(grant), ..header };
        let mut volume = volume::Memory { header: Some(header.to_bytes()), ..good.clone() };
        let reason = volume.offer(&image("new").launch()).await.expect_err("taken");
        assert!(!reason.contains("nobody vouches") && reason.contains("belongs to its root"), "{reason}");
    });
}
