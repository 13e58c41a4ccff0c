//! The Casemate VMM: launches sealed guests on KVM.

pub mod backend;
mod beside;
pub mod build;
pub mod cli;
pub mod cluster;
mod console;
pub mod gateway;
pub mod guest;
pub mod host;
pub mod image;
pub mod isolation;
pub mod jail;
pub mod machine;
pub mod memory;
pub mod module;
pub mod nsm;
pub mod page_tables;
pub mod platform;
mod stop;
pub mod timing;
pub mod vcpu;
pub mod volume;
pub mod vsock;
