//! What keeps neighbours on the processor from measuring a guest.
//!
//! A guest cannot be looked into; but whoever computes on the same core sees traces of it in caches and predictors. What a
//! process can do against that is done here, and the posture says what was reached:
//!
//! | what | where | fact |
//! | --- | --- | --- |
//! | a core that no other guest runs on | [`cores`] | `cores` |
//! | nobody else on the core's other threads while the VMM or its guest runs | [`controls`] | `core_scheduling` |
//! | no speculation past stores, predictors and caches emptied when the core changes hands | [`controls`] | `mitigation.*` |
//! | no page shared with anybody | [`controls`] | `memory_merge` |
//!
//! Everything happens before the jail closes; nothing of it is left to be called afterwards.
//!
//! Trusts: the kernel, which schedules. Root can move every thread to another core at any time, and the kernel parameters
//! that a posture shows are those at launch.

pub mod controls;
pub mod cores;
