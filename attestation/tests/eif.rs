//! Images: what is read is what was written, every flaw has its reason, signatures hold for one image only.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use casemate_attestation::certificate::MODULE_ID_MAX;
use casemate_attestation::eif::{BuildError, Builder, Eif, EifError, HEADER_LEN, SignatureError, sign};
use casemate_attestation::pcr::Pcr;
use casemate_attestation::platform::{self, PlatformKey};
use casemate_attestation::signing::SigningScalar;
use proptest::prelude::*;

const NOW: u64 = 1_795_478_400;

fn example() -> Vec<u8> {
    let ramdisks = vec![&b"first"[..], b"", b"third"];
    Builder { metadata: Some(b"{}"), ramdisks, ..Builder::guest(b"\x7fELF guest", "quiet") }.build().unwrap()
}

/// The image with `bytes` put at `at` and the CRC made right again.
fn patched(mut image: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    image[at..at + bytes.len()].copy_from_slice(bytes);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&image[..HEADER_LEN - 4]);
    crc.update(&image[HEADER_LEN..]);
    let crc = crc.finalize().to_be_bytes();
    image[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc);
    image
}

#[test]
fn what_is_written_is_read() {
    let image = example();
    let eif = Eif::parse(&image).unwrap();
    assert_eq!((eif.kernel, eif.cmdline), (&b"\x7fELF guest"[..], "quiet"));
    assert_eq!((eif.metadata, eif.ramdisks.len(), eif.signature), (Some(&b"{}"[..]), 3, None));
    assert!(!eif.arm64 && eif.default_cpus == 1);
    assert_eq!(Builder::from_image(&eif).build().unwrap(), image);
}

#[test]
fn measurements_are_those_of_the_published_formula() {
    let image = example();
    let measured = Eif::parse(&image).unwrap().measure().unwrap();
    assert_eq!(measured.pcr0, Pcr::measure(b"\x7fELF guestquietfirstthird"));
    assert_eq!(measured.pcr1, Pcr::measure(b"\x7fELF guestquietfirst"));
    assert_eq!(measured.pcr2, Pcr::measure(b"third"));
    assert_eq!(measured.pcr8, None);
    // (head -c48 /dev/zero; printf x | sha384sum | xxd -r -p) | sha384sum
    assert!(Pcr::measure(b"x").to_string().starts_with("9bfada7cdb440f49"));
}

#[test]
fn metadata_is_not_measured() {
    let builder = Builder::guest(b"elf", "c");
    let plain = builder.build().unwrap();
    let named = Builder { metadata: Some(b"{\"a\":1}"), ..builder }.build().unwrap();
    let measure = |image: &[u8]| Eif::parse(image).unwrap().measure().unwrap();
    assert_eq!(measure(&plain), measure(&named));
}

#[test]
fn each_flaw_has_its_reason() {
    let image = example();
    let parse = |bytes: &[u8]| Eif::parse(bytes).map(|_| ()).unwrap_err();
    let section = |index, fault| EifError::Section { index, fault };
    let (offsets, sizes, first) = (28, 284, HEADER_LEN);
    for (at, bytes, expected) in [
        (0, &b"_eif"[..], EifError::Magic),
        (4, &[0, 3], EifError::Version(3)),
        (6, &[0, 2], EifError::Reserved("flags")),
        (24, &[1], EifError::Reserved("reserved")),
        (540, &[1], EifError::Reserved("unused")),
        (26, &[0, 2], EifError::SectionCount(2)),
        (26, &[0, 33], EifError::SectionCount(33)),
        (26, &[0, 5], section(5, "is not counted, but has an offset or a size")),
        (offsets + 8 * 31, &[1], section(31, "is not counted, but has an offset or a size")),
        (offsets, &[0xff], section(0, "does not begin where the one before it ends")),
        (offsets + 15, &[0], section(1, "does not begin where the one before it ends")),
        (sizes, &[0x7f], section(0, "has another size in its own header than in the image's")),
        (first, &[0, 9], section(0, "has an unknown type")),
        (first, &[0, 2], section(0, "is out of order: kernel, command line, metadata, ramdisks, signature")),
        (first + 2, &[1], section(0, "has flags that this version does not define")),
        (first + 12 + 10 + 12, &[0xff], section(1, "the command line is not UTF-8")),
    ] {
        assert_eq!(parse(&patched(image.clone(), at, bytes)), expected, "{bytes:02x?} at {at}");
    }
    let mut damaged = image.clone();
    damaged[HEADER_LEN + 14] ^= 1;
    assert!(matches!(parse(&damaged), EifError::Crc { .. }));
    let mut longer = image.clone();
    longer.push(0);
    assert_eq!(parse(&patched(longer, 0, b".eif")), EifError::Trailing(1));
    for length in 0..image.len() {
        let cut = &image[..length];
        let cut = if length < HEADER_LEN { cut.to_vec() } else { patched(cut.to_vec(), 0, b".eif") };
        assert!(matches!(parse(&cut), EifError::Truncated { .. }), "length {length}");
    }
    // A size that both headers claim and that overflows every sum.
    let huge = patched(image.clone(), sizes, &[0xff; 8]);
    let huge = patched(huge, first + 4, &[0xff; 8]);
    assert!(matches!(parse(&huge), EifError::Truncated { .. }));
}

#[test]
fn an_image_needs_a_ramdisk_and_room_for_all() {
    let guest = Builder::guest(b"elf", "");
    let build = |count| Builder { ramdisks: vec![&b""[..]; count], ..guest.clone() }.build();
    assert_eq!(build(0), Err(BuildError::NoRamdisk));
    assert!(build(30).is_ok());
    assert_eq!(build(31), Err(BuildError::TooManySections(33)));
}

fn signer(name: &str) -> (SigningScalar, Vec<u8>) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let platform = PlatformKey::load_or_create(&folder, NOW).unwrap();
    let key = SigningScalar::from_pem(&std::fs::read(folder.join("platform.key")).unwrap()).unwrap();
    (key, platform::encode_root(platform.root()).unwrap().into_bytes())
}

#[test]
fn a_signature_gives_pcr8_and_holds_for_one_image_and_one_key() {
    let (key, certificate) = signer("signer");
    let image = example();
    let signed = sign(&Eif::parse(&image).unwrap(), &certificate, &key).unwrap();
    let eif = Eif::parse(&signed).unwrap();
    let measured = eif.measure().unwrap();
    assert_eq!(measured.pcr8, Some(Pcr::measure(&platform::parse_root(&certificate).unwrap())));
    assert_eq!(measured.pcr0, Eif::parse(&image).unwrap().measure().unwrap().pcr0);
    // Signing again replaces the signature.
    let again = sign(&eif, &certificate, &key).unwrap();
    assert_eq!(Eif::parse(&again).unwrap().measure().unwrap(), measured);

    let other = Builder { kernel: b"other", ..Builder::from_image(&eif) }.build().unwrap();
    assert_eq!(Eif::parse(&other).unwrap().measure(), Err(SignatureError::OtherImage));
    let (other_key, other_certificate) = signer("other signer");
    assert_eq!(sign(&eif, &certificate, &other_key), Err(SignatureError::OtherKey));

    let section = eif.signature.unwrap().to_vec();
    let with = |section: &[u8]| {
        let image = Builder { signature: Some(section), ..Builder::from_image(&eif) }.build().unwrap();
        Eif::parse(&image).unwrap().measure()
    };
    let cose = section.windows(9).position(|bytes| bytes == b"signature").unwrap();
    for index in 0..section.len() {
        let mut changed = section.clone();
        changed[index] ^= 1;
        // The certificate itself is nobody's to vouch for: another one with the same key gives another PCR8.
        match with(&changed) {
            Ok(changed) => assert!(index < cose && changed.pcr0 == measured.pcr0, "byte {index}"),
            Err(_) => continue,
        }
    }
    let foreign = sign(&eif, &other_certificate, &other_key).unwrap();
    assert_ne!(Eif::parse(&foreign).unwrap().measure().unwrap().pcr8, measured.pcr8);
    assert!(matches!(with(b""), Err(SignatureError::Malformed(_))));
    assert!(matches!(with(b"\x80"), Err(SignatureError::Malformed(_))));
}

#[test]
fn a_module_id_fits_its_certificate() {
    let platform = PlatformKey::generate(NOW).unwrap();
    let public = SigningScalar::from_bytes(&[1; 48]).unwrap().public().unwrap();
    assert!(
        platform.certify(&public, &"m".repeat(MODULE_ID_MAX), Some(&Pcr::ZERO), NOW).unwrap().len() <= 1024
    );
    for id in [String::new(), "m".repeat(MODULE_ID_MAX + 1)] {
        assert!(platform.certify(&public, &id, None, NOW).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 1000, ..ProptestConfig::default() })]

    /// Whatever is built is read back, every byte of it.
    #[test]
    fn images_survive_the_round_trip(
        kernel in prop::collection::vec(any::<u8>(), 0..200),
        cmdline in ".{0,40}",
        metadata in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        ramdisks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5),
        signature in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        (arm64, default_memory, default_cpus) in any::<(bool, u64, u64)>(),
    ) {
        let image = Builder {
            arm64, default_memory, default_cpus, kernel: &kernel, cmdline: &cmdline,
            metadata: metadata.as_deref(), ramdisks: ramdisks.iter().map(Vec::as_slice).collect(),
            signature: signature.as_deref(),
        }.build().unwrap();
        let eif = Eif::parse(&image).unwrap();
        prop_assert_eq!(eif.kernel, &kernel[..]);
        prop_assert_eq!(eif.cmdline, &cmdline);
        prop_assert_eq!(eif.metadata, metadata.as_deref());
        prop_assert_eq!(&eif.ramdisks, &ramdisks);
        prop_assert_eq!(eif.signature, signature.as_deref());
        prop_assert_eq!(Builder::from_image(&eif).build().unwrap(), image);
    }

    /// No change to an image, its CRC corrected, makes the parser panic; what it accepts, it accounts for.
    #[test]
    fn changed_images_are_refused_or_accounted_for(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        header_only: bool,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut image = example();
        let range = if header_only { HEADER_LEN } else { image.len() };
        for (index, byte) in changes {
            image[index.index(range)] = byte;
        }
        if let Some(cut) = cut {
            image.truncate(HEADER_LEN.max(cut.index(image.len())));
        }
        let image = patched(image, 0, b".eif");
        if let Ok(eif) = Eif::parse(&image) {
            prop_assert_eq!(Builder::from_image(&eif).build().unwrap(), image.clone());
            let _ = eif.measure();
        }
    }

    /// Noise is refused.
    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Eif::parse(&noise).is_err());
    }
}
