//! A guest's attestation side in miniature: platform key, leaf key, NSM.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use casemate_attestation::certificate::LEAF_DAYS;
use casemate_attestation::document::{DocumentSigner, SignerError};
use casemate_attestation::nsm::api::{self, ByteBuf, Request, Response};
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::posture::{Posture, fact};
use casemate_attestation::signing::{self, SigningScalar};

/// A moment in seconds since 1970, for tests that pass the time: 2026-11-24.
pub const NOW: u64 = 1_795_478_400;
/// When a leaf made at [`NOW`] has expired.
pub const EXPIRED: u64 = NOW + LEAF_DAYS * 86_400 + 1;

pub struct Leaf {
    pub key: SigningScalar,
    pub certificate: Vec<u8>,
    pub cabundle: Vec<Vec<u8>>,
}

impl Leaf {
    pub fn new(platform: &PlatformKey, module_id: &str, now: u64) -> Self {
        Self::kept_by(Some(&security_module()), platform, module_id, now)
    }

    /// One whose key is in the security module of this PCR0, or in a VMM.
    pub fn kept_by(module: Option<&Pcr>, platform: &PlatformKey, module_id: &str, now: u64) -> Self {
        let key = SigningScalar::generate(signing::system_random).unwrap();
        let certificate = platform.certify(&key.public().unwrap(), module_id, module, now).unwrap();
        Self { key, certificate, cabundle: vec![platform.root().to_vec()] }
    }
}

impl DocumentSigner for Leaf {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.cabundle
    }

    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; 96], SignerError> {
        self.key.sign(to_be_signed).map_err(|_| SignerError)
    }
}

/// A clock that stands at a moment and a real random source.
pub struct FixedClock(pub u64);

impl Services for FixedClock {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        Ok(self.0 * 1000)
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), ServicesError> {
        signing::system_random(buffer).map_err(|_| ServicesError)
    }
}

pub const MODULE_ID: &str = "i-casemate-enc0123456789abcdef";

/// PCR0 of the security module that has the keys of this platform's guests.
pub fn security_module() -> Pcr {
    Pcr::measure(b"security module")
}

pub fn posture() -> Posture {
    let mut posture = Posture::new();
    posture.set(fact::LEAF_KEY, "module").unwrap();
    posture.set(fact::MODULE_PCR0, security_module().to_string()).unwrap();
    posture.set(fact::SEALED_MEMORY, "guest_memfd").unwrap();
    posture.set(fact::LOCKDOWN, "integrity").unwrap();
    posture.set(fact::LANDLOCK, 6).unwrap();
    posture.set(fact::SWAP, false).unwrap();
    posture
}

pub fn launch(mode: Mode) -> Launch {
    Launch {
        image: ImageMeasurements {
            pcr0: Pcr::measure(b"image"),
            pcr1: Pcr::measure(b"bootstrap"),
            pcr2: Pcr::measure(b""),
            pcr8: Some(Pcr::measure(b"certificate")),
        },
        role: Pcr::of_name("arn:casemate:role/signer"),
        instance: Pcr::of_name("i-casemate"),
        posture: posture().pcr(),
        mode,
    }
}

pub fn nsm(platform: &PlatformKey, mode: Mode, now: u64) -> Nsm<Leaf, FixedClock> {
    Nsm::new(MODULE_ID.into(), &launch(mode), Leaf::new(platform, MODULE_ID, now), FixedClock(now))
}

/// The NSM of a guest of another image on the same platform.
pub fn nsm_of_another(platform: &PlatformKey, now: u64) -> Nsm<Leaf, FixedClock> {
    let launch = launch(Mode::Production);
    let image = ImageMeasurements { pcr0: Pcr::measure(b"another image"), ..launch.image };
    let launch = Launch { image, ..launch };
    Nsm::new("another".into(), &launch, Leaf::new(platform, "another", now), FixedClock(now))
}

pub fn ask(nsm: &mut Nsm<Leaf, FixedClock>, request: &Request) -> Response {
    api::decode_response(&nsm.handle(&api::encode_request(request))).unwrap()
}

/// A document over these fields.
pub fn document(
    nsm: &mut Nsm<Leaf, FixedClock>,
    user_data: Option<&[u8]>,
    nonce: Option<&[u8]>,
    public_key: Option<&[u8]>,
) -> Vec<u8> {
    let request = Request::Attestation {
        user_data: user_data.map(ByteBuf::from),
        nonce: nonce.map(ByteBuf::from),
        public_key: public_key.map(ByteBuf::from),
    };
    match ask(nsm, &request) {
        Response::Attestation { document } => document,
        other => panic!("no document but {other:?}"),
    }
}

pub fn attest(nsm: &mut Nsm<Leaf, FixedClock>, nonce: &[u8], user_data: &[u8]) -> Vec<u8> {
    document(nsm, Some(user_data), Some(nonce), None)
}
