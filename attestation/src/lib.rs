//! What a guest, the VMM and every verifier share: NSM, attestation documents, PCRs, EIF, posture, policy.
