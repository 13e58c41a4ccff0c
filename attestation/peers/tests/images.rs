//! Images both ways with `aws-nitro-enclaves-image-format`: each reads, measures and checks what the other wrote.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aws_nitro_enclaves_image_format::defs::{EifBuildInfo, EifIdentityInfo};
use aws_nitro_enclaves_image_format::utils::eif_reader::EifReader;
use aws_nitro_enclaves_image_format::utils::eif_signer::{EifSigner, SignKeyData};
use aws_nitro_enclaves_image_format::utils::EifBuilder;
use casemate_attestation::eif::{BuildInfo, Builder, Eif, Metadata, sign};
use casemate_attestation::pcr::ImageMeasurements;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::signing::SigningScalar;
use sha2::{Digest, Sha384};

const CMDLINE: &str = "casemate.name=signer quiet";

/// A folder with a P-384 key and a certificate for it.
fn signing_material(name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    PlatformKey::load_or_create(&folder, 1_795_478_400).unwrap();
    let (key, certificate) = (folder.join("platform.key"), folder.join("root.pem"));
    (folder, key, certificate)
}

/// What the peer finds in an image: PCR0, PCR1, PCR2 and PCR8, if the CRC is right.
fn peer_reads(path: &Path) -> EifReader {
    let reader = EifReader::from_eif(path.to_str().unwrap().into()).unwrap();
    assert!(reader.check_crc());
    reader
}

fn assert_equal(peer: &BTreeMap<String, String>, ours: &ImageMeasurements) {
    assert_eq!(peer["PCR0"], ours.pcr0.to_string());
    assert_eq!(peer["PCR1"], ours.pcr1.to_string());
    assert_eq!(peer["PCR2"], ours.pcr2.to_string());
    assert_eq!(peer.get("PCR8").cloned(), ours.pcr8.map(|pcr| pcr.to_string()));
}

fn metadata() -> Metadata {
    Metadata {
        image_name: "signer".into(),
        image_version: "0.1.0".into(),
        build_metadata: BuildInfo {
            build_time: "1970-01-01T00:00:00Z".into(),
            build_tool: "casemate".into(),
            build_tool_version: "0.1.0".into(),
            operating_system: "none".into(),
            kernel_version: "none".into(),
        },
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::json!({"purpose": "test"}),
    }
}

#[test]
fn the_peer_reads_measures_and_checks_ours() {
    let (folder, key, certificate) = signing_material("ours");
    let metadata = metadata().encode();
    let elf = vec![0x7f; 300_001];
    for (index, ramdisks) in [vec![&b""[..]], vec![b"one", b"two", b"three"]].into_iter().enumerate() {
        let builder = Builder { metadata: Some(&metadata), ramdisks, ..Builder::guest(&elf, CMDLINE) };
        let unsigned = builder.build().unwrap();
        let image = Eif::parse(&unsigned).unwrap();
        let path = folder.join(format!("unsigned-{index}.eif"));
        fs::write(&path, &unsigned).unwrap();
        assert_equal(&peer_reads(&path).get_measurements().unwrap(), &image.measure().unwrap());

        let key = SigningScalar::from_pem(&fs::read(&key).unwrap()).unwrap();
        let signed = sign(&image, &fs::read(&certificate).unwrap(), &key).unwrap();
        let path = folder.join(format!("signed-{index}.eif"));
        fs::write(&path, &signed).unwrap();
        let mut reader = peer_reads(&path);
        let measurements = reader.get_measurements().unwrap();
        assert_equal(&measurements, &Eif::parse(&signed).unwrap().measure().unwrap());
        assert!(measurements.contains_key("PCR8"));
        reader.get_certificate_info(measurements).unwrap();
        assert_eq!(reader.sign_check, Some(true));
        assert_eq!(reader.get_metadata().unwrap().img_name, "signer");
    }
}

#[test]
fn we_read_measure_and_check_the_peers() {
    let (folder, key, certificate) = signing_material("theirs");
    for (name, signed, ramdisks) in
        [("unsigned", false, 1), ("signed", true, 1), ("more ramdisks", true, 4), ("many ramdisks", false, 20)]
    {
        let material = || SignKeyData::new(key.to_str().unwrap(), &certificate).unwrap();
        let kernel = folder.join("kernel");
        fs::write(&kernel, b"any bytes will do").unwrap();
        let info = EifIdentityInfo {
            img_name: name.into(),
            img_version: "1".into(),
            build_info: EifBuildInfo {
                build_time: "then".into(),
                build_tool: "peer".into(),
                build_tool_version: "0.8.1".into(),
                img_os: "none".into(),
                img_kernel: "none".into(),
            },
            docker_info: serde_json::Value::Null,
            custom_info: serde_json::Value::Null,
        };
        let mut builder =
            EifBuilder::new(&kernel, CMDLINE.into(), signed.then(material), Sha384::new(), 0, info);
        for index in 0..ramdisks {
            let path = folder.join(format!("ramdisk-{index}"));
            fs::write(&path, format!("ramdisk {index}")).unwrap();
            builder.add_ramdisk(&path);
        }
        let path = folder.join(format!("{name}.eif"));
        let measurements = builder.write_to(&mut File::create(&path).unwrap());

        let bytes = fs::read(&path).unwrap();
        let image = Eif::parse(&bytes).unwrap();
        assert_equal(&measurements, &image.measure().unwrap());
        assert_eq!((image.cmdline, image.ramdisks.len()), (CMDLINE, ramdisks));
        assert_eq!(Metadata::parse(image.metadata.unwrap()).unwrap().image_name, name);
        if !signed {
            // Signed afterwards by the peer's sign-eif.
            EifSigner::new(Some(material())).unwrap().sign_image(path.to_str().unwrap()).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(Eif::parse(&bytes).unwrap().measure().unwrap().pcr8.is_some());
        }
        // What we write from it is the same file.
        assert_eq!(Builder::from_image(&image).build().unwrap(), bytes);
    }
}
