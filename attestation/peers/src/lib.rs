//! Nothing but tests: documents and images of `casemate-attestation` before implementations that are not ours.
//!
//! ```text
//! cargo test --manifest-path attestation/peers/Cargo.toml
//! ```
//!
//! | test | peer |
//! | --- | --- |
//! | `tests/documents.rs` | crates `nsm-nitro-enclave-utils` and `remote-attestation-verifier`, Python `epsilon-attestation-verifier` |
//! | `tests/images.rs` | crate `aws-nitro-enclaves-image-format`, both ways |
