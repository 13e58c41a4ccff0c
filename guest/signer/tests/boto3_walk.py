"""Walks every operation of the signer with boto3, and holds each response against botocore's service model."""

import hashlib

from boto3_client import client, fails, walked

kms = client()


def create(spec, usage):
    return kms.create_key(KeySpec=spec, KeyUsage=usage, Description=spec)["KeyMetadata"]


SPECS = ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"]
SPECS += ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"]
for spec in SPECS:
    key = create(spec, "SIGN_VERIFY")
    assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["KeyId"] == key["KeyId"]
    assert kms.get_public_key(KeyId=key["KeyId"])["SigningAlgorithms"] == key["SigningAlgorithms"]
    for algorithm in key["SigningAlgorithms"]:
        message, kind = b"casemate", "RAW"
        if algorithm == "ED25519_PH_SHA_512":
            message, kind = hashlib.sha512(message).digest(), "DIGEST"
        arguments = dict(KeyId=key["KeyId"], Message=message, MessageType=kind, SigningAlgorithm=algorithm)
        signature = kms.sign(**arguments)["Signature"]
        assert kms.verify(Signature=signature, **arguments)["SignatureValid"]
        fails("KMSInvalidSignatureException", kms.verify, Signature=signature[:-1] + b"\0\0", **arguments)

key = create("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")["KeyId"]
context = {"purpose": "test", "größe": "1"}
blob = kms.encrypt(KeyId=key, Plaintext=b"plain", EncryptionContext=context)["CiphertextBlob"]
assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"plain"
fails("InvalidCiphertextException", kms.decrypt, CiphertextBlob=blob)
data = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
assert kms.decrypt(CiphertextBlob=data["CiphertextBlob"])["Plaintext"] == data["Plaintext"]
assert "Plaintext" not in kms.generate_data_key_without_plaintext(KeyId=key, NumberOfBytes=24)
assert len(kms.generate_random(NumberOfBytes=100)["Plaintext"]) == 100
fails("ValidationException", kms.generate_data_key, KeyId=key)
fails("DryRunOperationException", kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)

other = create("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")["KeyId"]
moved = kms.re_encrypt(CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=other)
assert moved["SourceKeyId"].endswith(key) and moved["KeyId"].endswith(other)
assert kms.decrypt(KeyId=other, CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"plain"
fails("InvalidCiphertextException", kms.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other)
pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]
pair = kms.generate_data_key_pair_without_plaintext(KeyId=key, KeyPairSpec="ML_KEM_768")
assert "PrivateKeyPlaintext" not in pair and pair["KeyMaterialId"]
fails("UnsupportedOperationException", kms.generate_data_key_pair, KeyId=key, KeyPairSpec="SM2")

peers = [create("ECC_NIST_P384", "KEY_AGREEMENT")["KeyId"] for _ in range(2)]
public = [kms.get_public_key(KeyId=peer)["PublicKey"] for peer in peers]
secrets = [
    kms.derive_shared_secret(KeyId=one, KeyAgreementAlgorithm="ECDH", PublicKey=other)["SharedSecret"]
    for one, other in zip(peers, reversed(public))
]
assert secrets[0] == secrets[1]
for spec in ["ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"]:
    kem = create(spec, "ENCAPSULATE_DECAPSULATE")
    assert kem["EncapsulationAlgorithms"] == ["ML_KEM"]
    made = kms.encapsulate(KeyId=kem["KeyId"], EncapsulationAlgorithm="ML_KEM")
    opened = kms.decapsulate(
        KeyId=kem["KeyId"],
        EncapsulationAlgorithm="ML_KEM",
        SharedSecretCiphertextBlob=made["SharedSecretCiphertextBlob"],
    )
    assert opened["SharedSecret"] == made["SharedSecret"]
    fails(
        "InvalidCiphertextException",
        kms.decapsulate,
        KeyId=kem["KeyId"],
        EncapsulationAlgorithm="ML_KEM",
        SharedSecretCiphertextBlob=made["SharedSecretCiphertextBlob"] + b"0",
    )

rsa = create("RSA_2048", "ENCRYPT_DECRYPT")["KeyId"]
for algorithm in ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]:
    sealed = kms.encrypt(KeyId=rsa, Plaintext=b"plain", EncryptionAlgorithm=algorithm)["CiphertextBlob"]
    assert kms.decrypt(KeyId=rsa, CiphertextBlob=sealed, EncryptionAlgorithm=algorithm)["Plaintext"] == b"plain"

mac_key = create("HMAC_512", "GENERATE_VERIFY_MAC")["KeyId"]
mac = kms.generate_mac(KeyId=mac_key, Message=b"m", MacAlgorithm="HMAC_SHA_512")["Mac"]
assert kms.verify_mac(KeyId=mac_key, Message=b"m", MacAlgorithm="HMAC_SHA_512", Mac=mac)["MacValid"]
fails("KMSInvalidMacException", kms.verify_mac, KeyId=mac_key, Message=b"n", MacAlgorithm="HMAC_SHA_512", Mac=mac)

listed = [k["KeyId"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}) for k in page["Keys"]]
assert len(listed) == len(set(listed)) == len(SPECS) + 9, listed

kms.disable_key(KeyId=key)
fails("DisabledException", kms.encrypt, KeyId=key, Plaintext=b"x")
kms.enable_key(KeyId=key)
deletion = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
assert deletion["DeletionDate"].year >= 2026 and deletion["KeyState"] == "PendingDeletion"
fails("KMSInvalidStateException", kms.encrypt, KeyId=key, Plaintext=b"x")
kms.cancel_key_deletion(KeyId=key)
fails("DisabledException", kms.encrypt, KeyId=key, Plaintext=b"x")
fails("NotFoundException", kms.describe_key, KeyId="00000000-0000-4000-8000-000000000000")

print(f"walked {len(walked)} operations")
