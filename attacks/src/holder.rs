//! The control of the attacks: an ordinary process that holds what a sealed guest holds.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};

use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use io_uring::IoUring;

/// Holds `secret` on the heap and in a memfd; a P-384 private key on the heap; and a second memfd with the secret that is
/// registered with an io_uring, as the VMM does it, but one without restrictions. Prints the public key in hexadecimal,
/// then waits for the end of stdin.
pub fn hold(secret: &[u8]) -> io::Result<()> {
    let on_the_heap = std::hint::black_box(secret.to_vec());
    let file = memfd("held", secret)?;
    let registered = memfd("registered", secret)?;
    let ring = IoUring::new(1);
    if let Ok(ring) = &ring {
        ring.submitter().register_files(&[registered.as_raw_fd()])?;
    }
    drop(registered);
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(io::Error::other)?;
    let scalar: EcPrivateKeyBin<'_> = key.private_key().as_be_bytes().map_err(io::Error::other)?;
    let scalar = std::hint::black_box(scalar.as_ref().to_vec());
    println!("{}", hex::encode(key.public_key().as_ref()));
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    drop((on_the_heap, file, ring, scalar));
    Ok(())
}

fn memfd(name: &str, secret: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::io::pwrite(&fd, secret, 0)?;
    Ok(fd)
}
