//! Who calls, and may they: between the door ([`crate::http`]) and the operations ([`crate::ops`]).
//!
//! An operation gets a [`Call`]: the signer, and on whose behalf it is asked. It reaches a key only through an [`Ask`],
//! which finds the key, authorises the action on it and checks its state, in this order; without a key it says what it
//! does with [`Call::allow`]. So an operation that forgets to ask has nothing to work with.

mod ask;
#[cfg(test)]
mod authority_tests;
pub(crate) mod bind;
mod call;
mod caller;
mod decide;
mod facts;
mod grants;
#[cfg(test)]
mod management_tests;
mod name;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use ask::{Ask, Ready};
pub(crate) use call::Call;
pub use caller::{Caller, Principal};
pub(crate) use decide::would_allow;
pub(crate) use facts::Facts;
pub(crate) use grants::retirable;
pub(crate) use name::no_alias;
