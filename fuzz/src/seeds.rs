//! Good inputs, for a fuzzer to spoil.

use casemate_abi::{DATA_BASE, IMAGE_BASE, PAGE_SIZE};
use casemate_attestation::document::{self, Claims, DocumentSigner, SignerError};
use casemate_attestation::nsm::api::{self, ByteBuf, Request};
use casemate_attestation::pcr::Pcr;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::signing::{self, SigningScalar};

/// A moment in seconds since 1970 (2026-11-24).
pub const NOW: u64 = 1_795_478_400;

/// A policy with every field.
pub const POLICY: &[u8] = br#"{"module_id": ["a", "b"], "pcrs": {"0": "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"}, "nonce_required": true, "max_age_seconds": 300, "posture": {"sealed_memory": "guest_memfd", "swap": false, "landlock": {"at_least": 4}}, "allow_debug": false}"#;

/// Policy documents, and which of [`KINDS`](crate::policies::KINDS) each is.
pub const POLICY_DOCUMENTS: &[(u8, &str)] = &[
    (
        0,
        r#"{"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": ["kms:S?gn", "kms:*"], "NotResource": "arn:aws:kms:*:111122223333:key/${aws:PrincipalTag/team, 'red'}*", "Condition": {"StringLike": {"k:v": "a${*}*"}, "NumericLessThan": {"k:n": 5}, "Null": {"k:z": true}}}, {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}]}"#,
    ),
    (
        1,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:Sign", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"k:v": ["a", "b"]}, "ForAnyValue:StringNotEqualsIgnoreCase": {"k:w": "c"}, "DateLessThan": {"k:d": "2026-11-24T09:30:00Z"}, "IpAddress": {"k:ip": "10.0.0.0/8"}, "BinaryEquals": {"k:b": "QQ=="}}}}"#,
    ),
    (
        2,
        r#"{"Version": "2012-10-17", "Id": "key", "Statement": [{"Sid": "Enable IAM policies", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}, {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::111122223333:user/ann", "arn:aws:sts::111122223333:assumed-role/app/s1", "AROADBQP57FF2AEXAMPLE"], "Service": "ec2.amazonaws.com"}, "Action": "kms:Sign", "Resource": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:*/a*"}}}, {"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}]}"#,
    ),
    (
        3,
        r#"{"Statement": {"Sid": "", "Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": {"StringEquals": {"sts:ExternalId": "x"}}}}"#,
    ),
];

/// Bodies of KMS requests; `$` stands for a key.
pub const KMS_BODIES: &[&str] = &[
    r#"{"KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Description": "d", "Tags": [{"TagKey": "a", "TagValue": "b"}], "Origin": "AWS_KMS", "MultiRegion": false, "Policy": "{}"}"#,
    r#"{"KeyId": "$", "Plaintext": "YWJj", "EncryptionContext": {"a": "b"}, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "GrantTokens": ["t"], "DryRun": false}"#,
    r#"{"KeyId": "arn:aws:kms:a:b:key/$", "CiphertextBlob": "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_", "EncryptionContext": {}}"#,
    r#"{"KeyId": "$", "Message": "YWJj", "MessageType": "RAW", "SigningAlgorithm": "ECDSA_SHA_256", "Signature": "MEUCIQ=="}"#,
    r#"{"KeyId": "$", "Message": "YWJj", "MessageType": "EXTERNAL_MU", "SigningAlgorithm": "ML_DSA_SHAKE_256"}"#,
    r#"{"KeyId": "$", "Message": "YWJj", "MessageType": "RAW", "SigningAlgorithm": "ED25519_SHA_512"}"#,
    r#"{"KeyId": "$", "Message": "YWJj", "Mac": "YWJj", "MacAlgorithm": "HMAC_SHA_256", "KeySpec": "AES_256", "NumberOfBytes": 32}"#,
    r#"{"KeyId": "$", "PendingWindowInDays": 7, "Limit": 5, "Marker": "m"}"#,
    r#"{"AliasName": "alias/a", "TargetKeyId": "$", "KeyId": "alias/a"}"#,
    r#"{"KeyId": "$", "Tags": [{"TagKey": "casemate:policy-locked", "TagValue": "true"}], "TagKeys": ["a"], "RotationPeriodInDays": 90}"#,
    r#"{"KeyId": "$", "GranteePrincipal": "arn:aws:iam::000000000000:user/a", "Operations": ["Encrypt"], "Constraints": {"EncryptionContextEquals": {"a": "b"}, "SourceArn": "arn:aws:s3:eu-west-1:111122223333:x"}, "Name": "n"}"#,
    r#"{"KeyId": "$", "Policy": "{\"Version\": \"2012-10-17\", \"Statement\": []}", "PolicyName": "default"}"#,
    r#"{"KeyId": "$", "ImportToken": "YWJj", "EncryptedKeyMaterial": "YWJj", "ValidTo": 1800000000.5, "ExpirationModel": "KEY_MATERIAL_EXPIRES"}"#,
];

/// Requests that are signed, by header and in a presigned URL; `$` stands for an access key.
pub const SIGNED: &[&str] = &[
    "POST / HTTP/1.1\r\nhost: a\r\nx-amz-date: 20261124T120000Z\r\ncontent-type: application/x-www-form-urlencoded\r\nauthorization: AWS4-HMAC-SHA256 Credential=$/20261124/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\ncontent-length: 43\r\nconnection: close\r\n\r\nAction=GetCallerIdentity&Version=2011-06-15",
    "POST / HTTP/1.1\r\nhost: a\r\nx-amz-date: 20261124T120000Z\r\nx-amz-target: TrentService.ListKeys\r\nx-amz-security-token: AQID\r\nauthorization: AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20261124/us-east-1/kms/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token;x-amz-target, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    "GET /?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=$%2F20261124%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20261124T120000Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host&X-Amz-Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
];

/// Forms of IAM and STS.
pub const FORMS: &[&str] = &[
    "Action=CreateUser&Version=2010-05-08&UserName=ann&Path=/a/&Tags.member.1.Key=a&Tags.member.1.Value=b",
    "Action=PutUserPolicy&Version=2010-05-08&UserName=admin&PolicyName=p&PolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22kms%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D",
    "Action=CreateRole&Version=2010-05-08&RoleName=r&MaxSessionDuration=3600&AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22111122223333%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D",
    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::111122223333:role/r&RoleSessionName=me&DurationSeconds=900&PolicyArns.member.1.arn=arn:aws:iam::111122223333:policy/p&TransitiveTagKeys.member.1=a",
    "Action=GetFederationToken&Version=2011-06-15&Name=guest&Policy=%7B%7D",
    "Action=ListUsers&Version=2010-05-08&PathPrefix=/&MaxItems=1&Marker=a",
    "Action=UpdateUser&Version=2010-05-08&UserName=admin&NewUserName=root&NewPath=/x/",
    "Action=DeleteAccessKey&Version=2010-05-08&AccessKeyId=AKIAEXAMPLEEXAMPLE",
];

/// A static executable with a page of text and some data.
pub fn elf() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [IMAGE_BASE, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0; 4]);
    for half in [64_u16, 56, 2, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let segments = [(5_u32, PAGE_SIZE, IMAGE_BASE, 8_u64, 8_u64), (6, PAGE_SIZE, DATA_BASE, 8, 0x3000)];
    for (flags, offset, address, in_file, in_memory) in segments {
        file.extend(1_u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, PAGE_SIZE] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(PAGE_SIZE as usize + 8, 0);
    file
}

struct Leaf(SigningScalar, Vec<u8>, Vec<Vec<u8>>);

impl DocumentSigner for Leaf {
    fn certificate(&self) -> &[u8] {
        &self.1
    }

    fn cabundle(&self) -> &[Vec<u8>] {
        &self.2
    }

    fn sign(&mut self, to_be_signed: &[u8]) -> Result<[u8; 96], SignerError> {
        self.0.sign(to_be_signed).map_err(|_| SignerError)
    }
}

/// An attestation document with every field.
pub fn document(platform: &PlatformKey) -> Vec<u8> {
    let key = SigningScalar::generate(signing::system_random).expect("a key");
    let certificate = platform.certify(&key.public().expect("a key"), "fuzz", None, NOW).expect("a certificate");
    let some = |bytes: &[u8]| Some(bytes.to_vec());
    let claims = Claims {
        module_id: "fuzz".to_owned(),
        timestamp: NOW * 1000,
        pcrs: [(0, Pcr::measure(b"image")), (15, Pcr::ZERO)].into(),
        public_key: some(b"key"),
        user_data: some(b"data"),
        nonce: some(b"nonce"),
    };
    document::seal(claims, &mut Leaf(key, certificate, vec![platform.root().to_vec()])).expect("a document")
}

/// One request of each kind to the security module.
pub fn nsm_requests() -> Vec<Vec<u8>> {
    let bytes = || Some(ByteBuf::from(*b"abc"));
    let requests = [
        Request::DescribePCR { index: 3 },
        Request::ExtendPCR { index: 16, data: b"abc".to_vec() },
        Request::LockPCR { index: 17 },
        Request::LockPCRs { range: 20 },
        Request::DescribeNSM,
        Request::Attestation { user_data: bytes(), nonce: bytes(), public_key: bytes() },
        Request::GetRandom,
    ];
    requests.iter().map(api::encode_request).collect()
}
