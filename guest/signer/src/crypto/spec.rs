//! Key specs, usages and algorithms of the KMS model, and which go together.
//!
//! AWS KMS Developer Guide, "Key spec reference".

use aws_lc_rs::digest;

named! {
    /// What kind of key.
    pub enum KeySpec {
        /// RSA, 2048 bits.
        Rsa2048 = "RSA_2048",
        /// RSA, 3072 bits.
        Rsa3072 = "RSA_3072",
        /// RSA, 4096 bits.
        Rsa4096 = "RSA_4096",
        /// NIST P-256.
        P256 = "ECC_NIST_P256",
        /// NIST P-384.
        P384 = "ECC_NIST_P384",
        /// NIST P-521.
        P521 = "ECC_NIST_P521",
        /// secp256k1.
        Secp256k1 = "ECC_SECG_P256K1",
        /// AES-256-GCM.
        Symmetric = "SYMMETRIC_DEFAULT",
        /// HMAC with SHA-224.
        Hmac224 = "HMAC_224",
        /// HMAC with SHA-256.
        Hmac256 = "HMAC_256",
        /// HMAC with SHA-384.
        Hmac384 = "HMAC_384",
        /// HMAC with SHA-512.
        Hmac512 = "HMAC_512",
        /// SM2: in the model, not offered.
        Sm2 = "SM2",
        /// ML-DSA-44.
        MlDsa44 = "ML_DSA_44",
        /// ML-DSA-65.
        MlDsa65 = "ML_DSA_65",
        /// ML-DSA-87.
        MlDsa87 = "ML_DSA_87",
        /// Ed25519.
        Ed25519 = "ECC_NIST_EDWARDS25519",
        /// ML-KEM-512.
        MlKem512 = "ML_KEM_512",
        /// ML-KEM-768.
        MlKem768 = "ML_KEM_768",
        /// ML-KEM-1024.
        MlKem1024 = "ML_KEM_1024",
    }
}

named! {
    /// What a key may be used for; fixed at creation.
    pub enum KeyUsage {
        /// Signatures.
        SignVerify = "SIGN_VERIFY",
        /// Encryption.
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        /// Message authentication codes.
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        /// Key agreement.
        KeyAgreement = "KEY_AGREEMENT",
        /// Key encapsulation.
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

named! {
    /// A signature algorithm.
    pub enum SigningAlgorithm {
        /// RSASSA-PSS with SHA-256, salt as long as the digest.
        PssSha256 = "RSASSA_PSS_SHA_256",
        /// RSASSA-PSS with SHA-384, salt as long as the digest.
        PssSha384 = "RSASSA_PSS_SHA_384",
        /// RSASSA-PSS with SHA-512, salt as long as the digest.
        PssSha512 = "RSASSA_PSS_SHA_512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Pkcs1Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Pkcs1Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Pkcs1Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
        /// ECDSA with SHA-256, signature in DER.
        EcdsaSha256 = "ECDSA_SHA_256",
        /// ECDSA with SHA-384, signature in DER.
        EcdsaSha384 = "ECDSA_SHA_384",
        /// ECDSA with SHA-512, signature in DER.
        EcdsaSha512 = "ECDSA_SHA_512",
        /// SM2DSA: in the model, not offered.
        Sm2Dsa = "SM2DSA",
        /// ML-DSA, FIPS 204, with an empty context.
        MlDsa = "ML_DSA_SHAKE_256",
        /// Ed25519, RFC 8032.
        Ed25519 = "ED25519_SHA_512",
        /// Ed25519ph, RFC 8032, with an empty context.
        Ed25519ph = "ED25519_PH_SHA_512",
    }
}

named! {
    /// An encryption algorithm.
    pub enum EncryptionAlgorithm {
        /// AES-256-GCM.
        Symmetric = "SYMMETRIC_DEFAULT",
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1.
        OaepSha1 = "RSAES_OAEP_SHA_1",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        OaepSha256 = "RSAES_OAEP_SHA_256",
        /// SM2PKE: in the model, not offered.
        Sm2Pke = "SM2PKE",
    }
}

named! {
    /// A MAC algorithm.
    pub enum MacAlgorithm {
        /// HMAC with SHA-224.
        HmacSha224 = "HMAC_SHA_224",
        /// HMAC with SHA-256.
        HmacSha256 = "HMAC_SHA_256",
        /// HMAC with SHA-384.
        HmacSha384 = "HMAC_SHA_384",
        /// HMAC with SHA-512.
        HmacSha512 = "HMAC_SHA_512",
    }
}

named! {
    /// A key agreement algorithm.
    pub enum KeyAgreementAlgorithm {
        /// Cofactor Diffie-Hellman on an elliptic curve.
        Ecdh = "ECDH",
    }
}

named! {
    /// A key encapsulation algorithm.
    pub enum EncapsulationAlgorithm {
        /// ML-KEM, FIPS 203.
        MlKem = "ML_KEM",
    }
}

named! {
    /// What the `Message` of Sign and Verify is.
    pub enum MessageType {
        /// The message itself.
        Raw = "RAW",
        /// Its digest.
        Digest = "DIGEST",
        /// The message representative µ of FIPS 204, section 6.2.
        ExternalMu = "EXTERNAL_MU",
    }
}

impl KeySpec {
    /// The usages that this signer offers for the spec; the first is what an omitted usage could mean.
    pub const fn usages(self) -> &'static [KeyUsage] {
        use KeyUsage::{EncapsulateDecapsulate, EncryptDecrypt, GenerateVerifyMac, KeyAgreement, SignVerify};
        match self {
            Self::Symmetric => &[EncryptDecrypt],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[SignVerify, EncryptDecrypt],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[GenerateVerifyMac],
            Self::P256 | Self::P384 | Self::P521 => &[SignVerify, KeyAgreement],
            Self::Secp256k1 | Self::Ed25519 => &[SignVerify],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[SignVerify],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[EncapsulateDecapsulate],
            Self::Sm2 => &[],
        }
    }

    /// Whether keys of the spec have a private and a public half.
    pub const fn is_key_pair(self) -> bool {
        !matches!(self, Self::Symmetric | Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512)
    }

    /// Whether the spec is one of RSA.
    pub const fn is_rsa(self) -> bool {
        self.rsa_bits().is_some()
    }

    /// The length of the modulus, if the spec is one of RSA.
    pub(super) const fn rsa_bits(self) -> Option<usize> {
        match self {
            Self::Rsa2048 => Some(2048),
            Self::Rsa3072 => Some(3072),
            Self::Rsa4096 => Some(4096),
            _ => None,
        }
    }

    /// The spec as `CustomerMasterKeySpec`, the deprecated name of the member, which newer specs never had.
    pub fn as_customer_master_key_spec(self) -> Option<Self> {
        match self {
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 | Self::Ed25519 => None,
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => None,
            _ => Some(self),
        }
    }

    /// The signature algorithms of a signing key of this spec.
    pub const fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        use SigningAlgorithm as A;
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                &[A::Pkcs1Sha256, A::Pkcs1Sha384, A::Pkcs1Sha512, A::PssSha256, A::PssSha384, A::PssSha512]
            }
            Self::P256 | Self::Secp256k1 => &[A::EcdsaSha256],
            Self::P384 => &[A::EcdsaSha384],
            Self::P521 => &[A::EcdsaSha512],
            Self::Ed25519 => &[A::Ed25519, A::Ed25519ph],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[A::MlDsa],
            _ => &[],
        }
    }

    /// The encryption algorithms of an encryption key of this spec.
    pub const fn encryption_algorithms(self) -> &'static [EncryptionAlgorithm] {
        match self {
            Self::Symmetric => &[EncryptionAlgorithm::Symmetric],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                &[EncryptionAlgorithm::OaepSha1, EncryptionAlgorithm::OaepSha256]
            }
            _ => &[],
        }
    }

    /// The algorithms of a key agreement key of this spec.
    pub const fn agreement_algorithms(self) -> &'static [KeyAgreementAlgorithm] {
        match self {
            Self::P256 | Self::P384 | Self::P521 => &[KeyAgreementAlgorithm::Ecdh],
            _ => &[],
        }
    }

    /// The algorithms of a key encapsulation key of this spec.
    pub const fn encapsulation_algorithms(self) -> &'static [EncapsulationAlgorithm] {
        match self {
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[EncapsulationAlgorithm::MlKem],
            _ => &[],
        }
    }

    /// The MAC algorithms of an HMAC key of this spec.
    pub const fn mac_algorithms(self) -> &'static [MacAlgorithm] {
        match self {
            Self::Hmac224 => &[MacAlgorithm::HmacSha224],
            Self::Hmac256 => &[MacAlgorithm::HmacSha256],
            Self::Hmac384 => &[MacAlgorithm::HmacSha384],
            Self::Hmac512 => &[MacAlgorithm::HmacSha512],
            _ => &[],
        }
    }
}

impl SigningAlgorithm {
    /// The digest that is signed, where the algorithm signs one.
    pub fn hash(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::PssSha256 | Self::Pkcs1Sha256 | Self::EcdsaSha256 => Some(&digest::SHA256),
            Self::PssSha384 | Self::Pkcs1Sha384 | Self::EcdsaSha384 => Some(&digest::SHA384),
            Self::PssSha512 | Self::Pkcs1Sha512 | Self::EcdsaSha512 => Some(&digest::SHA512),
            Self::Sm2Dsa | Self::MlDsa | Self::Ed25519 | Self::Ed25519ph => None,
        }
    }

    /// The length that `Message` must have for this message type.
    pub fn message_length(self, message_type: MessageType) -> MessageLength {
        use MessageLength::{Any, Exactly, Never};
        match (self, message_type) {
            (Self::Ed25519ph, MessageType::Raw) => Never,
            // Ed25519ph over the caller's digest: AWS hashes it again (FIPS 186-5, section 7.8.1), and so do we.
            (Self::Ed25519ph, MessageType::Digest) => Exactly(64),
            (_, MessageType::Raw) => Any,
            (Self::MlDsa, MessageType::ExternalMu) => Exactly(64),
            (_, MessageType::Digest) => self.hash().map_or(Never, |hash| Exactly(hash.output_len())),
            (_, MessageType::ExternalMu) => Never,
        }
    }
}

/// Which lengths of `Message` an algorithm takes for a message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageLength {
    /// Any that the API allows.
    Any,
    /// This one.
    Exactly(usize),
    /// None: the algorithm does not take the message type.
    Never,
}
