//! The control of the attack tests: an ordinary process that holds what a sealed guest holds.
//!
//! The secret lies on its heap and in a memfd; a P-384 private key lies on its heap; and a second memfd with the secret is
//! registered with an io_uring, as the VMM does it, but one without restrictions. Prints the public key, then waits for
//! the end of stdin.
#![allow(clippy::unwrap_used, reason = "a test's helper may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use io_uring::IoUring;

fn main() {
    let on_the_heap = std::hint::black_box(casemate_tests::secret().to_vec());
    let file = memfd("held");
    let registered = memfd("registered");
    let ring = IoUring::new(1);
    if let Ok(ring) = &ring {
        ring.submitter().register_files(&[registered.as_raw_fd()]).unwrap();
    }
    drop(registered);
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let scalar: EcPrivateKeyBin<'_> = key.private_key().as_be_bytes().unwrap();
    let scalar = std::hint::black_box(scalar.as_ref().to_vec());
    println!("{}", hex::encode(key.public_key().as_ref()));
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop((on_the_heap, file, ring, scalar));
}

fn memfd(name: &str) -> OwnedFd {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&fd, &casemate_tests::secret(), 0).unwrap();
    fd
}
