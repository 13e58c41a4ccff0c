//! Errors as AWS KMS gives them: a type, a message, an HTTP status.
//!
//! The messages follow AWS's where AWS's are known; none carries key material or plaintext.

use serde::Serialize;

named! {
    /// The `__type` of an error. The names are those of the service model and of AWS's common errors.
    pub enum ErrorKind {
        /// No policy allows it, or one forbids it.
        AccessDenied = "AccessDeniedException",
        /// The alias exists already.
        AlreadyExists = "AlreadyExistsException",
        /// No such CloudHSM cluster: there are none here.
        CloudHsmClusterNotFound = "CloudHsmClusterNotFoundException",
        /// No such custom key store: there are none here.
        CustomKeyStoreNotFound = "CustomKeyStoreNotFoundException",
        /// Something that the signer depends on did not answer in time.
        DependencyTimeout = "DependencyTimeoutException",
        /// The signer has an owner already.
        AlreadyClaimed = "AlreadyClaimedException",
        /// The certificate does not comply with the one that signed it, or is for another key.
        CertificateMismatch = "CertificateMismatchException",
        /// The key is disabled.
        Disabled = "DisabledException",
        /// The caller asked only whether the request would succeed; it would.
        DryRunOperation = "DryRunOperationException",
        /// The import token is too old.
        ExpiredImportToken = "ExpiredImportTokenException",
        /// The session that signed the request is over.
        ExpiredToken = "ExpiredTokenException",
        /// The credentials of the request are not complete.
        IncompleteSignature = "IncompleteSignatureException",
        /// The ciphertext was made with another key than the one named.
        IncorrectKey = "IncorrectKeyException",
        /// The key material is not what was imported before, or not what the key can take.
        IncorrectKeyMaterial = "IncorrectKeyMaterialException",
        /// The alias name is reserved, or does not begin with `alias/`.
        InvalidAliasName = "InvalidAliasNameException",
        /// The ARN is not one, or not one of a key.
        InvalidArn = "InvalidArnException",
        /// Members of a request to Private CA do not go together, or are not offered.
        InvalidArgs = "InvalidArgsException",
        /// The certificate authority's state does not allow the operation.
        InvalidAuthorityState = "InvalidStateException",
        /// The ciphertext is corrupt, foreign, or was made with another encryption context.
        InvalidCiphertext = "InvalidCiphertextException",
        /// The grant is not one of the key's.
        InvalidGrantId = "InvalidGrantIdException",
        /// The import token is not one, or one of another key.
        InvalidImportToken = "InvalidImportTokenException",
        /// The grant token is not one.
        InvalidGrantToken = "InvalidGrantTokenException",
        /// The key is for something else, or the algorithm for another key spec.
        InvalidKeyUsage = "InvalidKeyUsageException",
        /// The marker is not one that ListKeys returned.
        InvalidMarker = "InvalidMarkerException",
        /// The token is not one that a listing of Private CA returned.
        InvalidNextToken = "InvalidNextTokenException",
        /// The policy of a certificate authority is not one.
        InvalidPolicy = "InvalidPolicyException",
        /// The operation is prohibited.
        InvalidRequest = "InvalidRequestException",
        /// The request's signature is not that of the request, or its time is over.
        InvalidRequestSignature = "InvalidSignatureException",
        /// The cryptographic library or the platform failed.
        Internal = "KMSInternalException",
        /// The MAC is not that of the message.
        InvalidMac = "KMSInvalidMacException",
        /// The signature is not that of the message.
        InvalidSignature = "KMSInvalidSignatureException",
        /// A tag of a certificate authority is reserved or repeated.
        InvalidTag = "InvalidTagException",
        /// The key's state does not allow the operation.
        InvalidState = "KMSInvalidStateException",
        /// The signer holds as many keys as it may.
        LimitExceeded = "LimitExceededException",
        /// The policy would lock its author out.
        LockoutPrevented = "LockoutPreventedException",
        /// A certificate cannot be read or is not one of an authority.
        MalformedCertificate = "MalformedCertificateException",
        /// A certificate signing request cannot be read, or asks for too little.
        MalformedCsr = "MalformedCSRException",
        /// The policy is not one, or would lock its owner out.
        MalformedPolicyDocument = "MalformedPolicyDocumentException",
        /// The request is not signed.
        MissingAuthenticationToken = "MissingAuthenticationTokenException",
        /// No such key.
        NotFound = "NotFoundException",
        /// The permission is there already.
        PermissionAlreadyExists = "PermissionAlreadyExistsException",
        /// It has been done already.
        RequestAlreadyProcessed = "RequestAlreadyProcessedException",
        /// No such certificate authority, certificate, permission, policy or report.
        ResourceNotFound = "ResourceNotFoundException",
        /// The request is not JSON, or a member has the wrong type.
        Serialization = "SerializationException",
        /// A tag is reserved, repeated or one too many.
        Tag = "TagException",
        /// Too much is in flight; try again.
        Throttling = "ThrottlingException",
        /// A certificate authority has as many tags as it may have.
        TooManyTags = "TooManyTagsException",
        /// There is no such operation, or none was named.
        UnknownOperation = "UnknownOperationException",
        /// No such access key, it is switched off, or the session token is not its own.
        UnrecognizedClient = "UnrecognizedClientException",
        /// A parameter or key spec that this signer does not offer.
        UnsupportedOperation = "UnsupportedOperationException",
        /// A member breaks a documented constraint.
        Validation = "ValidationException",
        /// External key stores cannot be reached from here.
        XksProxyUriUnreachable = "XksProxyUriUnreachableException",
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct KmsError {
    /// The AWS error type.
    pub kind: ErrorKind,
    /// What failed, on what, and what to do.
    pub message: String,
}

/// The body of an error response, JSON 1.1.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
}

impl KmsError {
    /// An error of that type with that message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// AWS answers its own failures with 500 and everything else with 400.
    pub fn status(&self) -> u16 {
        match self.kind {
            ErrorKind::DependencyTimeout | ErrorKind::Internal => 500,
            _ => 400,
        }
    }

    /// The JSON body of the response.
    pub fn to_json(&self) -> Vec<u8> {
        let body = Body { kind: self.kind.name(), message: &self.message };
        serde_json::to_vec(&body).unwrap_or_else(|_| b"{\"__type\":\"KMSInternalException\"}".to_vec())
    }

    /// `ValidationException` with this message.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    /// `UnsupportedOperationException` with this message.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsupportedOperation, message)
    }

    /// `KMSInternalException`: the named step failed, for no fault of the caller.
    pub(crate) fn internal(step: &str) -> Self {
        Self::new(ErrorKind::Internal, format!("{step} failed inside the signer. Retry the request."))
    }
}

impl From<crate::crypto::CryptoError> for KmsError {
    fn from(error: crate::crypto::CryptoError) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }
}

impl From<crate::platform::AttestError> for KmsError {
    fn from(error: crate::platform::AttestError) -> Self {
        match error {
            crate::platform::AttestError::NotSealed => Self::unsupported(error.to_string()),
            crate::platform::AttestError::Refused(_) => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }
}
