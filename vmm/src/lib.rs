//! The Casemate VMM: launches sealed guests on KVM.
