//! Good inputs, for a fuzzer to spoil.

use casemate_abi::{DATA_BASE, IMAGE_BASE, PAGE_SIZE};
use casemate_attestation::document::{self, Claims, DocumentSigner, SignerError};
use casemate_attestation::nsm::api::{self, ByteBuf, Request};
use casemate_attestation::pcr::Pcr;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::signing::{self, SigningScalar};

use crate::authority::tlv;

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

/// Bodies of Private CA requests, each with the operation's place in [`OPERATIONS`](crate::authority::OPERATIONS); `$a` is an
/// authority, `$r` its own request, `$c` its certificate.
pub const PRIVATE_CA: &[(u8, &str)] = &[
    (
        0,
        r#"{"CertificateAuthorityType": "SUBORDINATE", "UsageMode": "SHORT_LIVED_CERTIFICATE", "KeyStorageSecurityStandard": "FIPS_140_2_LEVEL_3_OR_HIGHER", "IdempotencyToken": "t", "Tags": [{"Key": "a", "Value": "b"}], "CertificateAuthorityConfiguration": {"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA", "Subject": {"CustomAttributes": [{"ObjectIdentifier": "2.5.4.3", "Value": "a"}]}, "CsrExtensions": {"KeyUsage": {"CRLSign": true, "KeyCertSign": true}, "SubjectInformationAccess": [{"AccessMethod": {"CustomObjectIdentifier": "1.2.3"}, "AccessLocation": {"EdiPartyName": {"PartyName": "p", "NameAssigner": "n"}}}]}}, "RevocationConfiguration": {"CrlConfiguration": {"Enabled": true, "ExpirationInDays": 7, "CustomCname": "a.example", "CustomPath": "p", "CrlType": "COMPLETE"}, "OcspConfiguration": {"Enabled": true, "OcspCustomCname": "b.example"}}}"#,
    ),
    (1, r#"{"CertificateAuthorityArn": "$a", "S3BucketName": "bucket", "AuditReportResponseFormat": "CSV"}"#),
    (
        2,
        r#"{"CertificateAuthorityArn": "$a", "Principal": "acm.amazonaws.com", "Actions": ["IssueCertificate", "GetCertificate", "ListPermissions"], "SourceAccount": "111122223333"}"#,
    ),
    (3, r#"{"CertificateAuthorityArn": "$a", "PermanentDeletionTimeInDays": 7}"#),
    (6, r#"{"CertificateAuthorityArn": "$a"}"#),
    (
        8,
        r#"{"CertificateAuthorityArn": "$a", "CertificateArn": "$a/certificate/0123456789abcdef0123456789abcdef"}"#,
    ),
    (12, r#"{"CertificateAuthorityArn": "$a", "Certificate": "$c", "CertificateChain": "$c"}"#),
    (
        13,
        r#"{"CertificateAuthorityArn": "$a", "Csr": "$r", "SigningAlgorithm": "SHA256WITHECDSA", "TemplateArn": "arn:aws:acm-pca:::template/BlankEndEntityCertificate_APIPassthrough/V1", "Validity": {"Type": "END_DATE", "Value": 20300101000000}, "ValidityNotBefore": {"Type": "ABSOLUTE", "Value": 1800000000}, "IdempotencyToken": "t", "ApiPassthrough": {"Subject": {"Country": "DE", "CommonName": "a"}, "Extensions": {"CertificatePolicies": [{"CertPolicyId": "1.2.3", "PolicyQualifiers": [{"PolicyQualifierId": "CPS", "Qualifier": {"CpsUri": "https://a"}}]}], "ExtendedKeyUsage": [{"ExtendedKeyUsageType": "SERVER_AUTH"}, {"ExtendedKeyUsageObjectIdentifier": "1.2.4"}], "KeyUsage": {"DigitalSignature": true}, "SubjectAlternativeNames": [{"DnsName": "a.example"}, {"Rfc822Name": "a@b"}, {"IpAddress": "10.0.0.1"}, {"UniformResourceIdentifier": "https://a"}, {"RegisteredId": "1.2.3"}, {"OtherName": {"TypeId": "1.2.3", "Value": "v"}}, {"DirectoryName": {"CommonName": "d"}}], "CustomExtensions": [{"ObjectIdentifier": "1.2.3.4", "Value": "BQA=", "Critical": true}]}}}"#,
    ),
    (14, r#"{"MaxResults": 1, "NextToken": "t", "ResourceOwner": "SELF"}"#),
    (
        17,
        r#"{"ResourceArn": "$a", "Policy": "{\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"acm-pca:GetCertificate\", \"Principal\": {\"AWS\": \"111122223333\"}, \"Resource\": \"$a\"}]}"}"#,
    ),
    (
        19,
        r#"{"CertificateAuthorityArn": "$a", "CertificateSerial": "01:23:45:67:89:ab:cd:ef:01:23:45:67:89:ab:cd:ef", "RevocationReason": "KEY_COMPROMISE"}"#,
    ),
    (20, r#"{"CertificateAuthorityArn": "$a", "Tags": [{"Key": "a", "Value": "b"}]}"#),
    (
        22,
        r#"{"CertificateAuthorityArn": "$a", "Status": "DISABLED", "RevocationConfiguration": {"CrlConfiguration": {"Enabled": false}}}"#,
    ),
];

/// Bodies of requests to the token; `$` is the session of whoever asks, objects 1 to 3 are an AES key and a pair of P-256.
pub const TOKEN: &[(&str, &str)] = &[
    (
        "GenerateKey",
        r#"{"SessionToken":"$","Mechanism":{"Type":4224},"Template":[{"Type":353,"Value":"IAAAAAAAAAA="},{"Type":259,"Value":"AA=="}]}"#,
    ),
    (
        "GenerateKeyPair",
        r#"{"SessionToken":"$","Mechanism":{"Type":4160},"PublicTemplate":[{"Type":384,"Value":"BggqhkjOPQMBBw=="}],"Template":[]}"#,
    ),
    (
        "CreateObject",
        r#"{"SessionToken":"$","Template":[{"Type":0,"Value":"BAAAAAAAAAA="},{"Type":256,"Value":"HwAAAAAAAAA="},{"Type":17,"Value":"AAECAwQFBgcICQoLDA0ODw=="}]}"#,
    ),
    ("CopyObject", r#"{"SessionToken":"$","Object":1,"Template":[{"Type":3,"Value":"YQ=="}]}"#),
    ("SetAttributes", r#"{"SessionToken":"$","Object":1,"Template":[{"Type":3,"Value":"YQ=="}]}"#),
    ("GetAttributes", r#"{"SessionToken":"$","Objects":[1,2,3],"Types":[0,3,17,256,384,385]}"#),
    (
        "FindObjects",
        r#"{"SessionToken":"$","Template":[{"Type":0,"Value":"BAAAAAAAAAA="}],"MaxResults":1,"Marker":1}"#,
    ),
    ("Sign", r#"{"SessionToken":"$","Mechanism":{"Type":4164},"Object":3,"Data":"YWJj"}"#),
    (
        "Verify",
        r#"{"SessionToken":"$","Mechanism":{"Type":4164},"Object":2,"Data":"YWJj","Signature":"YWJj"}"#,
    ),
    (
        "Encrypt",
        r#"{"SessionToken":"$","Mechanism":{"Type":4231,"Parameter":{"Kind":"Gcm","Iv":"AAAAAAAAAAAAAAAA","Data":"YWJj","Bits":128}},"Object":1,"Data":"YWJj"}"#,
    ),
    (
        "Decrypt",
        r#"{"SessionToken":"$","Mechanism":{"Type":4229,"Parameter":{"Kind":"Iv","Iv":"AAAAAAAAAAAAAAAAAAAAAA=="}},"Object":1,"Data":"AAAAAAAAAAAAAAAAAAAAAA=="}"#,
    ),
    (
        "Encrypt",
        r#"{"SessionToken":"$","Mechanism":{"Type":4230,"Parameter":{"Kind":"Ctr","Bits":64,"Iv":"AAAAAAAAAAAAAAAAAAAAAA=="}},"Object":1,"Data":"YWJj"}"#,
    ),
    ("WrapKey", r#"{"SessionToken":"$","Mechanism":{"Type":8457},"WrappingObject":1,"Object":1}"#),
    (
        "UnwrapKey",
        r#"{"SessionToken":"$","Mechanism":{"Type":8457},"WrappingObject":1,"Data":"YWJjZGVmZ2hhYmNkZWZnaGFiY2RlZmdo","Template":[{"Type":0,"Value":"BAAAAAAAAAA="},{"Type":256,"Value":"HwAAAAAAAAA="}]}"#,
    ),
    (
        "DeriveKey",
        r#"{"SessionToken":"$","Mechanism":{"Type":4176,"Parameter":{"Kind":"Ecdh","Variant":1,"Data":"","Public":"YWJj"}},"Object":3,"Template":[]}"#,
    ),
    ("CreateUser", r#"{"SessionToken":"$","User":"carol","Pin":"a password","UserType":"CU"}"#),
    ("Login", r#"{"SessionToken":"$","User":"alice","Pin":"alice's password","UserType":"CU"}"#),
    ("SetQuorum", r#"{"SessionToken":"$","Service":"export","Count":1}"#),
    (
        "GetQuorumToken",
        r#"{"SessionToken":"$","Operation":"WrapKey","Mechanism":{"Type":8457},"WrappingObject":1,"Object":1}"#,
    ),
    (
        "ApproveQuorumToken",
        r#"{"SessionToken":"$","QuorumToken":"0123","Approvals":[{"User":"bob","Signature":"YWJj"}]}"#,
    ),
    ("ShareObject", r#"{"SessionToken":"$","Object":1,"User":"bob"}"#),
    ("ShareBackup", r#"{"SessionToken":"$","Data":"AAFhe30=","Document":"hEQ=","ImageSha384":"00"}"#),
    ("RestoreBackup", r#"{"Data":"AAFhe30=","Marker":0}"#),
    ("Random", r#"{"SessionToken":"$","Length":32}"#),
    ("DescribeToken", "{}"),
];

/// Requests for certificates behind their key, and how long the subject before that is: names and extensions of many kinds.
pub fn requests() -> Vec<(u8, Vec<u8>)> {
    let oid = |bytes: &[u8]| tlv(0x06, bytes);
    let common_name = tlv(0x30, &[oid(&[0x55, 4, 3]), tlv(0x0c, b"a")].concat());
    let subject = tlv(0x30, &tlv(0x31, &common_name));
    let names = [
        tlv(0x82, b"a.example"),
        tlv(0x81, b"a@b.example"),
        tlv(0x86, b"https://c.example/"),
        tlv(0x87, &[10, 0, 0, 1]),
        tlv(0xa4, &subject),
        tlv(0xa0, &[oid(&[0x2a, 3]), tlv(0xa0, &tlv(0x0c, b"v"))].concat()),
    ];
    let extension = |id: u8, value: &[u8]| tlv(0x30, &[oid(&[0x55, 0x1d, id]), tlv(0x04, value)].concat());
    let all = [
        extension(17, &tlv(0x30, &names.concat())),
        extension(19, &tlv(0x30, &[0x01, 1, 0xff, 0x02, 1, 0])),
        extension(15, &[0x03, 2, 5, 0xa0]),
        extension(37, &tlv(0x30, &oid(b"\x2b\x06\x01\x05\x05\x07\x03\x01"))),
        extension(30, &tlv(0x30, &tlv(0xa0, &tlv(0x30, &names[0])))),
        extension(32, &tlv(0x30, &tlv(0x30, &oid(&[0x2a, 3])))),
        extension(14, &tlv(0x04, &[1; 20])),
    ];
    let attribute = |extensions: &[u8]| {
        let values = tlv(0x31, &tlv(0x30, extensions));
        tlv(0xa0, &tlv(0x30, &[oid(b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e"), values].concat()))
    };
    let mut rest = vec![tlv(0xa0, &[]), attribute(&all.concat())];
    rest.extend(all.iter().map(|one| attribute(one)));
    rest.into_iter().map(|rest| (subject.len() as u8, [subject.clone(), rest].concat())).collect()
}

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
    let certificate =
        platform.certify(&key.public().expect("a key"), "fuzz", None, NOW).expect("a certificate");
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
