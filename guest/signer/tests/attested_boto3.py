"""A client in an attested guest: secrets for the guest alone, and attested requests of other kinds."""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

signer, guest, folder = sys.argv[1:]


def client():
    return boto3.client(
        "kms",
        endpoint_url=signer,
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="not checked",
        config=Config(retries={"max_attempts": 0, "mode": "standard"}, read_timeout=30),
    )


def document(nonce=None, public_key=None):
    given = {"nonce": nonce, "public_key": public_key}
    fields = {name: base64.b64encode(value).decode() for name, value in given.items() if value is not None}
    request = urllib.request.Request(f"{guest}/attestation", json.dumps(fields).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        return base64.b64decode(json.load(answer)["document"])


def openssl(arguments, given=None):
    return subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True).stdout


with tempfile.TemporaryDirectory(dir=folder) as scratch:
    key = f"{scratch}/key.pem"
    openssl(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key])
    public_key = openssl(["pkey", "-in", key, "-pubout", "-outform", "DER"])

    def opened(envelope):
        return openssl(["cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", key], envelope)

    def recipient():
        return {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document(public_key=public_key)}

    kms = client()
    data = kms.create_key()["KeyMetadata"]["KeyId"]
    pair = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    peer = kms.get_public_key(KeyId=pair)["PublicKey"]
    blob = kms.encrypt(KeyId=data, Plaintext=b"for the guest")["CiphertextBlob"]
    answers = [
        kms.decrypt(CiphertextBlob=blob, Recipient=recipient()),
        kms.generate_data_key(KeyId=data, KeySpec="AES_256", Recipient=recipient()),
        kms.generate_data_key_pair(KeyId=data, KeyPairSpec="ECC_NIST_P256", Recipient=recipient()),
        kms.generate_random(NumberOfBytes=32, Recipient=recipient()),
        kms.derive_shared_secret(KeyId=pair, KeyAgreementAlgorithm="ECDH", PublicKey=peer, Recipient=recipient()),
    ]
    for answer in answers:
        assert not {"Plaintext", "PrivateKeyPlaintext", "SharedSecret"} & set(answer), answer
    secrets = [opened(answer["CiphertextForRecipient"]) for answer in answers]
    assert secrets[0] == b"for the guest"
    assert secrets[1] == kms.decrypt(CiphertextBlob=answers[1]["CiphertextBlob"])["Plaintext"]
    assert secrets[2] == kms.decrypt(CiphertextBlob=answers[2]["PrivateKeyCiphertextBlob"])["Plaintext"]
    assert len(secrets[3]) == 32
    derived = kms.derive_shared_secret(KeyId=pair, KeyAgreementAlgorithm="ECDH", PublicKey=peer)
    assert secrets[4] == derived["SharedSecret"]

    # As in docs/attested-access.md.
    def attest(request, **_):
        target = request.headers["X-Amz-Target"]
        target = target if isinstance(target, bytes) else target.encode()
        nonce = hashlib.sha256(b"casemate:request\n" + target + b"\n" + request.body).digest()
        request.headers["X-Casemate-Attestation"] = base64.b64encode(document(nonce, public_key)).decode()

    signed = []
    attested = client()
    attested.meta.events.register("before-sign.kms", attest)
    attested.meta.events.register("before-send.kms", lambda request, **_: signed.append(request.headers["Authorization"]))
    assert attested.list_keys()["Keys"]
    signing = attested.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    assert attested.sign(KeyId=signing, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    answer = attested.generate_random(NumberOfBytes=16)
    assert "Plaintext" not in answer and len(opened(answer["CiphertextForRecipient"])) == 16
    assert len(signed) == 4 and all("x-casemate-attestation" in str(header) for header in signed)
    try:
        attested.generate_random(NumberOfBytes=16, Recipient=recipient())
        raise AssertionError("two recipients")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "ValidationException", error

print(f"{len(answers)} recipients, 4 headers")
