//! What somebody who is root on the host can do to a sealed guest, done.
//!
//! | module | what |
//! | --- | --- |
//! | [`process`], [`memory`], [`descriptors`], [`keys`] | the attacks on a process: looking into its memory, stealing its descriptors, searching for keys |
//! | [`vmm`] | the attacks on the VMM's own control: tracing it, its `kvm_run` page |
//! | [`inject`] | system calls in another process's name |
//! | [`host`] | ways round every process: the kernel's own memory, probes |
//! | [`holder`] | the control: an ordinary process that holds openly what the guest holds |
//! | [`target`] | a signer with a key whose bytes are known, to be attacked |
//! | [`suite`], [`table`] | `casemate selftest`: every attack, what was expected of it and what came of it |
//!
//! An attack that finds nothing anywhere proves nothing. So each that looks for a secret is made on a sealed guest, where it
//! must find nothing, and on the holder, where it must find it.

pub mod descriptors;
pub mod holder;
pub mod host;
pub mod inject;
pub mod keys;
pub mod memory;
pub mod process;
pub mod suite;
pub mod table;
pub mod target;
pub mod vmm;
