//! The Casemate VMM: launches sealed guests on KVM.

pub mod backend;
pub mod image;
pub mod machine;
pub mod memory;
pub mod nsm;
pub mod page_tables;
pub mod vcpu;
