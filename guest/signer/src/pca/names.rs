//! Enumerations of the service model.

use crate::crypto::{Hash, KeySpec};

use super::x509::Algorithm;

named! {
    /// What kind of authority.
    pub(crate) enum Kind {
        /// Its certificate is its own.
        Root = "ROOT",
        /// Another authority signs its certificate.
        Subordinate = "SUBORDINATE",
    }
}

named! {
    /// Where an authority is in its life.
    pub(crate) enum Status {
        /// In the making: nothing here takes that long.
        Creating = "CREATING",
        /// It has no certificate yet.
        PendingCertificate = "PENDING_CERTIFICATE",
        /// It issues.
        Active = "ACTIVE",
        /// It can be restored for a while.
        Deleted = "DELETED",
        /// Switched off.
        Disabled = "DISABLED",
        /// Its certificate's time is over.
        Expired = "EXPIRED",
        /// It could not be made: then it is not there at all, here.
        Failed = "FAILED",
    }
}

named! {
    /// An authority's key.
    pub(crate) enum KeyAlgorithm {
        /// RSA, 2048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA, 3072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA, 4096 bits.
        Rsa4096 = "RSA_4096",
        /// NIST P-256.
        P256 = "EC_prime256v1",
        /// NIST P-384.
        P384 = "EC_secp384r1",
        /// NIST P-521.
        P521 = "EC_secp521r1",
        /// ML-DSA-44.
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA-65.
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA-87.
        MlDsa87 = "ML_DSA_87",
        /// SM2: in the model, not offered.
        Sm2 = "SM2",
    }
}

impl KeyAlgorithm {
    /// What KMS calls such a key.
    pub(crate) fn spec(self) -> KeySpec {
        match self {
            Self::Rsa2048 => KeySpec::Rsa2048,
            Self::Rsa3072 => KeySpec::Rsa3072,
            Self::Rsa4096 => KeySpec::Rsa4096,
            Self::P256 => KeySpec::P256,
            Self::P384 => KeySpec::P384,
            Self::P521 => KeySpec::P521,
            Self::MlDsa44 => KeySpec::MlDsa44,
            Self::MlDsa65 => KeySpec::MlDsa65,
            Self::MlDsa87 => KeySpec::MlDsa87,
            Self::Sm2 => KeySpec::Sm2,
        }
    }
}

named! {
    /// A signature algorithm.
    pub(crate) enum SigningAlgorithm {
        /// ECDSA with SHA-256.
        EcdsaSha256 = "SHA256WITHECDSA",
        /// ECDSA with SHA-384.
        EcdsaSha384 = "SHA384WITHECDSA",
        /// ECDSA with SHA-512.
        EcdsaSha512 = "SHA512WITHECDSA",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RsaSha256 = "SHA256WITHRSA",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RsaSha384 = "SHA384WITHRSA",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RsaSha512 = "SHA512WITHRSA",
        /// RSASSA-PSS with SHA-256.
        PssSha256 = "SHA256WITHRSA_PSS",
        /// RSASSA-PSS with SHA-384.
        PssSha384 = "SHA384WITHRSA_PSS",
        /// RSASSA-PSS with SHA-512.
        PssSha512 = "SHA512WITHRSA_PSS",
        /// SM2 with SM3: in the model, not offered.
        Sm3Sm2 = "SM3WITHSM2",
        /// ML-DSA-44.
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA-65.
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA-87.
        MlDsa87 = "ML_DSA_87",
    }
}

impl SigningAlgorithm {
    /// What certificates call it; `None` for what is not offered.
    pub(crate) fn algorithm(self) -> Option<Algorithm> {
        Some(match self {
            Self::EcdsaSha256 => Algorithm::Ecdsa(Hash::Sha256),
            Self::EcdsaSha384 => Algorithm::Ecdsa(Hash::Sha384),
            Self::EcdsaSha512 => Algorithm::Ecdsa(Hash::Sha512),
            Self::RsaSha256 => Algorithm::Rsa(Hash::Sha256),
            Self::RsaSha384 => Algorithm::Rsa(Hash::Sha384),
            Self::RsaSha512 => Algorithm::Rsa(Hash::Sha512),
            Self::PssSha256 => Algorithm::Pss(Hash::Sha256),
            Self::PssSha384 => Algorithm::Pss(Hash::Sha384),
            Self::PssSha512 => Algorithm::Pss(Hash::Sha512),
            Self::Sm3Sm2 => return None,
            Self::MlDsa44 => Algorithm::MlDsa44,
            Self::MlDsa65 => Algorithm::MlDsa65,
            Self::MlDsa87 => Algorithm::MlDsa87,
        })
    }
}

named! {
    /// How long an authority's certificates live.
    pub(crate) enum UsageMode {
        /// As long as anybody likes.
        General = "GENERAL_PURPOSE",
        /// Seven days at most, so that nothing need be revoked.
        ShortLived = "SHORT_LIVED_CERTIFICATE",
    }
}

named! {
    /// The standard for AWS's key storage: kept and shown, and no claim about this signer.
    pub(crate) enum KeyStorage {
        /// FIPS 140-2, level 2.
        Fips2 = "FIPS_140_2_LEVEL_2_OR_HIGHER",
        /// FIPS 140-2, level 3.
        Fips3 = "FIPS_140_2_LEVEL_3_OR_HIGHER",
        /// China's.
        Ccpc1 = "CCPC_LEVEL_1_OR_HIGHER",
    }
}

named! {
    /// How the end of a validity is given.
    pub(crate) enum ValidityType {
        /// A date in digits.
        EndDate = "END_DATE",
        /// Seconds since 1970.
        Absolute = "ABSOLUTE",
        /// From now.
        Days = "DAYS",
        /// From now.
        Months = "MONTHS",
        /// From now.
        Years = "YEARS",
    }
}

named! {
    /// Whose authorities.
    pub(crate) enum ResourceOwner {
        /// The caller's account's.
        Own = "SELF",
        /// Those that other accounts share: there are none.
        Others = "OTHER_ACCOUNTS",
    }
}

named! {
    /// Why a certificate is revoked.
    pub(crate) enum RevocationReason {
        /// Nothing is said.
        Unspecified = "UNSPECIFIED",
        /// Its key is known to others.
        KeyCompromise = "KEY_COMPROMISE",
        /// The authority's key is.
        AuthorityCompromise = "CERTIFICATE_AUTHORITY_COMPROMISE",
        /// Its subject belongs elsewhere now.
        AffiliationChanged = "AFFILIATION_CHANGED",
        /// There is a new one.
        Superseded = "SUPERSEDED",
        /// It is no longer needed.
        CessationOfOperation = "CESSATION_OF_OPERATION",
        /// Its subject has lost a right.
        PrivilegeWithdrawn = "PRIVILEGE_WITHDRAWN",
        /// An attribute authority's key is known to others.
        AaCompromise = "A_A_COMPROMISE",
    }
}

impl RevocationReason {
    /// CRLReason (RFC 5280, 5.3.1).
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AuthorityCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
            Self::AaCompromise => 10,
        }
    }
}

named! {
    /// The form of an audit report.
    pub(crate) enum ReportFormat {
        /// A list of objects.
        Json = "JSON",
        /// Lines of values.
        Csv = "CSV",
    }
}

named! {
    /// What a permission is for.
    pub(crate) enum Action {
        /// IssueCertificate.
        IssueCertificate = "IssueCertificate",
        /// GetCertificate.
        GetCertificate = "GetCertificate",
        /// ListPermissions.
        ListPermissions = "ListPermissions",
    }
}
