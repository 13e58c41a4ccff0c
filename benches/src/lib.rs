//! Measures sealed guests on this machine, beside ordinary processes that do the same.
//!
//! Start reading at [`groups`]: one file for each subject. Everything there is interleaved: what is measured and what
//! it is compared with take turns in short blocks, and a ratio is the median over pairs of neighbouring blocks, so that
//! a busy moment of the machine touches both sides. [`measure`] has the statistics, [`report`] the rows, [`plot`] the
//! picture.
//!
//! [`load`] is a benchmark of its own, `casemate bench kms`: many clients of the signer's API, and of its peers.
//!
//! The numbers come from outside wherever possible: a guest is launched by the `casemate` command and reached by its
//! socket, as a user would. What only the inside can tell (the stages of a launch, an operation without its request)
//! comes from the VMM's stamps ([`stamps`]) and from a guest made for it (`bench-probe`).

pub mod error;
pub mod groups;
pub mod guest;
pub mod http;
pub mod kms;
pub mod load;
pub mod measure;
pub mod pca;
pub mod peer;
pub mod plot;
pub mod process;
pub mod report;
pub mod stamps;
pub mod workshop;
