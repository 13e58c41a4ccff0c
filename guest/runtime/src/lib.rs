//! The runtime of a sealed guest: ordinary Rust without an operating system.
