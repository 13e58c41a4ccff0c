//! Refusals in PKCS#11's words.

use casemate_hsm::{Refusal, ck};

use crate::crypto::CryptoError;
use crate::errors::{ErrorKind, KmsError};

macro_rules! return_values {
    ($($name:ident,)+) => {
        /// The return values that the token gives, under their own names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, reason = "the names are the specification's")]
        pub(crate) enum Rv { $($name,)+ }

        impl Rv {
            /// The number.
            pub(crate) const fn value(self) -> u64 {
                match self { $(Self::$name => ck::$name,)+ }
            }

            /// The name.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

return_values! {
    CKR_ARGUMENTS_BAD,
    CKR_ATTRIBUTE_READ_ONLY,
    CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_ACTION_PROHIBITED,
    CKR_DATA_LEN_RANGE,
    CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE,
    CKR_FUNCTION_REJECTED,
    CKR_KEY_HANDLE_INVALID,
    CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_NOT_WRAPPABLE,
    CKR_KEY_UNEXTRACTABLE,
    CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID,
    CKR_OBJECT_HANDLE_INVALID,
    CKR_PIN_INCORRECT,
    CKR_PIN_LEN_RANGE,
    CKR_PIN_LOCKED,
    CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID,
    CKR_SIGNATURE_INVALID,
    CKR_SIGNATURE_LEN_RANGE,
    CKR_TEMPLATE_INCOMPLETE,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_RESOURCE_EXCEEDED,
    CKR_TOKEN_NOT_INITIALIZED,
    CKR_UNWRAPPING_KEY_HANDLE_INVALID,
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_USER_ALREADY_LOGGED_IN,
    CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
    CKR_USER_NOT_LOGGED_IN,
    CKR_USER_TYPE_INVALID,
    CKR_WRAPPED_KEY_INVALID,
    CKR_WRAPPING_KEY_HANDLE_INVALID,
    CKR_WRAPPING_KEY_SIZE_RANGE,
    CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_DOMAIN_PARAMS_INVALID,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_PUBLIC_KEY_INVALID,
}

/// Why the token refused.
#[derive(Debug)]
pub(crate) enum Fault {
    /// In PKCS#11's words.
    Token(Rv, &'static str),
    /// What has nothing to do with the token: the volume, the library, the signer's own policies.
    Signer(KmsError),
}

impl Fault {
    /// The name of the error.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Token(rv, _) => rv.name(),
            Self::Signer(error) => error.kind.name(),
        }
    }

    /// What failed.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Token(_, message) => message,
            Self::Signer(error) => &error.message,
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Token(..) => 400,
            Self::Signer(error) => error.status(),
        }
    }

    /// The body of the response.
    pub(crate) fn refusal(&self) -> Refusal {
        let rv = match self {
            Self::Token(rv, _) => Some(rv.value()),
            Self::Signer(error) => match error.kind {
                ErrorKind::Internal => Some(ck::CKR_DEVICE_ERROR),
                ErrorKind::DependencyTimeout => Some(ck::CKR_FUNCTION_FAILED),
                _ => None,
            },
        };
        Refusal { kind: self.name().to_owned(), message: self.message().to_owned(), rv }
    }
}

impl From<KmsError> for Fault {
    fn from(error: KmsError) -> Self {
        Self::Signer(error)
    }
}

impl From<CryptoError> for Fault {
    fn from(error: CryptoError) -> Self {
        Self::Signer(error.into())
    }
}

/// A refusal.
pub(super) fn refuse<T>(rv: Rv, message: &'static str) -> Result<T, Fault> {
    Err(Fault::Token(rv, message))
}

/// The library failed at what cannot fail with valid keys.
pub(super) fn broken(step: &'static str) -> Fault {
    CryptoError::Library(step).into()
}
