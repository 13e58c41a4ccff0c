//! The C interface, and everything in the module that is unsafe.
//!
//! | file | subject |
//! | --- | --- |
//! | [`memory`] | the caller's memory: read and written here and nowhere else |
//! | [`values`] | templates and mechanism parameters |
//! | [`state`] | which module the caller is in; panics end here |
//! | `general`, `crypto`, `objects` | the functions |
//! | [`table`] | the lists of functions, and the symbols that a program looks up |
//!
//! What a caller promises is what PKCS#11 3.0 says of each argument: that a pointer which is not null points to as much
//! memory as the length beside it says, for as long as the call lasts. Null pointers are refused where they have no
//! meaning, and lengths that no memory has.
#![allow(non_snake_case, reason = "the functions have the specification's names")]
#![allow(missing_docs, reason = "the functions are documented by the specification")]
#![allow(clippy::missing_safety_doc, reason = "what callers promise is at the head of this module")]
#![allow(clippy::too_many_arguments, reason = "the functions have the specification's arguments")]

mod crypto;
mod general;
pub mod memory;
mod objects;
pub mod state;
pub mod table;
mod values;

pub use memory::Output;
