//! What the fuzz targets share: things to aim at, made ready.

#[path = "../../tpm/tests/answering/mod.rs"]
pub mod answering;
pub mod authority;
#[path = "../../guest/signer/tests/common/client.rs"]
pub mod client;
pub mod policies;
pub mod recipient;
#[path = "../../guest/signer/tests/common/sealed.rs"]
mod sealed;
pub mod seeds;
pub mod signer;
#[path = "../../guest/signer/tests/hsm/token.rs"]
#[allow(missing_docs, reason = "the tests' own")]
pub mod token;
pub mod volume;
pub mod vsock;

use casemate::image::GuestElf;
use casemate::page_tables::Access;
use casemate_attestation::document::{DocumentSigner, Signed, SignerError};
use casemate_attestation::nsm::session::{Authority, Hello, NONCE_LEN};
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::policy::Policy;
use casemate_attestation::verify::{Established, Evidence, Expectations, VerifyError, verify};

/// Where the check sum lies in an image: the last four bytes of its header.
const CRC: std::ops::Range<usize> =
    casemate_attestation::eif::HEADER_LEN - 4..casemate_attestation::eif::HEADER_LEN;

/// `input` with the check sum that it ought to have.
pub fn with_crc(input: &[u8]) -> Vec<u8> {
    let mut image = input.to_vec();
    if let (Some(before), Some(after)) = (input.get(..CRC.start), input.get(CRC.end..)) {
        let mut sum = crc32fast::Hasher::new();
        sum.update(before);
        sum.update(after);
        image[CRC].copy_from_slice(&sum.finalize().to_be_bytes());
    }
    image
}

/// `policy` as a file.
pub fn json(policy: &Policy) -> Vec<u8> {
    serde_json::to_vec(policy).expect("a policy is JSON")
}

/// Panics unless segments lie in the file, in order and apart, and the entry point in text.
pub fn check_promises(elf: &GuestElf, file: &[u8]) {
    let mut entry_in_text = false;
    for segment in &elf.segments {
        let bytes = file.get(segment.file.clone()).expect("bytes in the file");
        assert!(bytes.len() as u64 <= segment.len);
        let text = segment.access == Access::Execute;
        entry_in_text |= text && (segment.start..segment.start + segment.len).contains(&elf.entry);
    }
    assert!(entry_in_text);
    assert!(elf.segments.is_sorted_by(|low, high| low.page_end() <= high.start));
}

/// Verifies a document as if its own first certificate were a trusted root, so that all of it is looked at.
pub fn verify_by_itself(document: &[u8], signed: &Signed) -> Result<Established, VerifyError> {
    let policy = Policy { allow_debug: true, ..Policy::default() };
    let expected =
        Expectations { roots: &signed.cabundle, policy: &policy, nonce: None, now: signed.claims.timestamp };
    let evidence = Evidence { document, posture: None };
    verify(evidence, expected)
}

/// A security module whose signatures are worth nothing and whose clock stands still.
pub fn nsm() -> Nsm<Fake, Fake> {
    let image = ImageMeasurements { pcr0: Pcr::ZERO, pcr1: Pcr::ZERO, pcr2: Pcr::ZERO, pcr8: None };
    let mode = Mode::Production;
    let launch = Launch { image, role: Pcr::ZERO, instance: Pcr::ZERO, posture: Pcr::ZERO, mode };
    Nsm::new("fuzz".to_owned(), &launch, Fake, Fake)
}

/// What platform and security module share, and a hello of the module's.
pub fn module() -> (Authority, Hello) {
    let image = ImageMeasurements { pcr0: Pcr::ZERO, pcr1: Pcr::ZERO, pcr2: Pcr::ZERO, pcr8: None };
    let authority = Authority::new([7; 32]);
    let hello = Hello::new(&authority, [3; NONCE_LEN], [4; 97], image);
    (authority, hello)
}

/// Signer, clock and random source of [`nsm`].
pub struct Fake;

impl DocumentSigner for Fake {
    fn certificate(&self) -> &[u8] {
        &[1; 1024]
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &[]
    }

    fn sign(&mut self, _: &[u8]) -> Result<[u8; 96], SignerError> {
        Ok([0; 96])
    }
}

impl Services for Fake {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        Ok(1_795_478_400_000)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), ServicesError> {
        buffer.fill(7);
        Ok(())
    }
}
