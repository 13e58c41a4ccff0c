//! What `X-Amz-Target` names: an operation of KMS, of Private CA, of the PKCS#11 token, or of our own.

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// The service, as logs name it.
    pub(super) service: &'static str,
    /// The service for which requests are signed: our own operations are asked for as KMS's are.
    pub(super) signed_for: &'static str,
    pub(super) operation: &'a str,
}

/// The operation in the value of the header.
pub(super) fn parse(target: &str) -> Option<Target<'_>> {
    let (prefix, operation) = target.split_once('.')?;
    let (service, signed_for) = match prefix {
        "TrentService" => ("kms", "kms"),
        "ACMPrivateCA" => ("acm-pca", "acm-pca"),
        "CasemateHsm" => (super::token::SERVICE, "kms"),
        "Casemate" => ("casemate", "kms"),
        _ => return None,
    };
    Some(Target { service, signed_for, operation })
}
