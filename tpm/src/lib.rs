//! The platform key in a TPM 2.0: made, used and counted there, and proved to a stranger.
//!
//! A key that is a file belongs to whoever reads the file. This one never leaves the chip, and the chip uses it only while the
//! boot registers and the register with the VMM's measurement have the values that they had when it was made.
//!
//! | module | subject | trusts |
//! | --- | --- | --- |
//! | [`device`] | a TPM: `/dev/tpmrm0`, or the socket of an emulator | – |
//! | [`command`] | the commands that are used here, typed; the TPM's answers checked for form | the TPM |
//! | [`template`] | what each kind of key may do | – |
//! | [`pcr`] | registers of the TPM, and the policy over them | – |
//! | [`chip`] | the platform key and its secret in a TPM, and what is kept of them on disk | the TPM, the folder's owner |
//! | [`counter`] | counters in the TPM that go one way only | the TPM |
//! | [`evidence`] | what proves all that: made here, and checked by a verifier | the EK's certification authority |
//! | [`credential`] | a challenge that only one TPM can answer, and only about a key that is in it | the EK |
//!
//! Start reading at [`evidence`]. Structures are read and written by `tpm2-protocol`; names are those of the TPM 2.0 Library
//! Specification (TCG, version 1.59), parts 1 to 3.

pub mod chip;
pub mod command;
pub mod counter;
pub mod credential;
pub mod device;
pub mod evidence;
pub mod pcr;
pub mod template;
