//! The runtime of a sealed guest: ordinary Rust, with `std`, where there is no operating system.
//!
//! A guest is a binary crate with `fn main()` that depends on this crate and is built by `casemate build`. It is
//! compiled by the stock stable toolchain for `x86_64-unknown-linux-gnu`, but linked without libc: every C symbol
//! that `std` or a C library asks for is answered by [`libc_surface`], mostly with a refusal, and a symbol that
//! nobody answers is a link error. The image runs at CPL 3 from its first instruction; it contains no system call.
//!
//! Where to start reading: [`start`] is the first instruction and what happens before `main`; [`doorbell`] is the
//! only way out of the guest; [`idle`] is where a guest that has nothing to do ends up.
//!
//! What is trusted: the image, the CPU, and private memory. What is not: everything that the VMM says (boot page,
//! time of day, NSM responses, virtqueues). It is checked where it enters; at worst the guest ends.
//!
//! The C surface exists only under `--cfg casemate_guest`; without it the crate is an ordinary library, so that
//! its logic is tested on any machine.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may"))]
#![cfg_attr(not(casemate_guest), allow(dead_code, reason = "what only start-up code calls"))]
#![allow(unexpected_cfgs, reason = "casemate_guest is set by build-flags.toml, never by a manifest")]

mod boot;
mod clock;
pub mod doorbell;
mod drbg;
pub mod entropy;
mod executor;
mod heap;
pub mod idle;
pub mod libc_surface;
pub mod log;
pub mod nsm;
mod sealing;
pub mod start;
pub mod vsock;

pub use boot::{awaits_volume, cmdline, is_debug};
pub use executor::{block_on, ready};
pub use sealing::sealing_key;
