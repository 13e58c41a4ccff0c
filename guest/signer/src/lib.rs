//! The Casemate signer: the AWS KMS API, computed inside a sealed guest.
