"""Walks every operation that manages keys with boto3, and holds each answer against botocore's service model."""

import datetime
import json
import subprocess
import tempfile
from pathlib import Path

from boto3_client import client, fails, refused, walked

kms = client()
NOW = datetime.datetime.now(datetime.timezone.utc)
ACCOUNT, REGION = "000000000000", "us-east-1"
ANN = f"arn:aws:iam::{ACCOUNT}:user/ann"
BOB = f"arn:aws:iam::{ACCOUNT}:role/ops/bob"


def create(**arguments):
    return kms.create_key(**arguments)["KeyMetadata"]


def every(operation, member, **arguments):
    """All entries of a listing, two on a page."""
    pages = kms.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **arguments)
    return [entry for page in pages for entry in page[member]]


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(principal, action, **more):
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*", **more}


ADMIN = allow(f"arn:aws:iam::{ACCOUNT}:root", "kms:*")

# Aliases.
key, other = create()["KeyId"], create()["KeyId"]
signing = create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyId"]
for name in ["alias/one", "alias/two/of:it", "alias/three"]:
    kms.create_alias(AliasName=name, TargetKeyId=key)
fails("AlreadyExistsException", kms.create_alias, AliasName="alias/one", TargetKeyId=other)
fails("InvalidAliasNameException", kms.create_alias, AliasName="alias/aws/mine", TargetKeyId=key)
fails("InvalidAliasNameException", kms.create_alias, AliasName="one", TargetKeyId=key)
fails("ValidationException", kms.create_alias, AliasName="alias/four", TargetKeyId="alias/one")
arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/one"
for named in ["alias/one", arn]:
    blob = kms.encrypt(KeyId=named, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, KeyId=named)["Plaintext"] == b"x"
    assert kms.describe_key(KeyId=named)["KeyMetadata"]["KeyId"] == key
# Operations that manage keys take ids and ARNs of keys only, as on AWS.
fails("NotFoundException", kms.disable_key, KeyId="alias/one")
fails("InvalidArnException", kms.disable_key, KeyId=arn)
listed = every("list_aliases", "Aliases")
assert [alias["AliasName"] for alias in listed] == ["alias/one", "alias/three", "alias/two/of:it"], listed
assert listed[0]["AliasArn"] == arn and listed[0]["TargetKeyId"] == key
kms.update_alias(AliasName="alias/three", TargetKeyId=other)
fails("ValidationException", kms.update_alias, AliasName="alias/three", TargetKeyId=signing)
fails("NotFoundException", kms.update_alias, AliasName="alias/four", TargetKeyId=other)
assert [alias["AliasName"] for alias in every("list_aliases", "Aliases", KeyId=other)] == ["alias/three"]
kms.delete_alias(AliasName="alias/three")
fails("NotFoundException", kms.delete_alias, AliasName="alias/three")
fails("NotFoundException", kms.encrypt, KeyId="alias/three", Plaintext=b"x")
fails("InvalidMarkerException", kms.list_aliases, Marker="nonsense")

# Tags.
tags = [{"TagKey": f"tag {n} Ω", "TagValue": str(n)} for n in range(5)]
kms.tag_resource(KeyId=key, Tags=tags)
kms.tag_resource(KeyId=key, Tags=[{"TagKey": "tag 0 Ω", "TagValue": "changed"}])
assert every("list_resource_tags", "Tags", KeyId=key)[0]["TagValue"] == "changed"
kms.untag_resource(KeyId=key, TagKeys=["tag 0 Ω", "not there"])
assert every("list_resource_tags", "Tags", KeyId=key) == tags[1:]
fails("TagException", kms.tag_resource, KeyId=key, Tags=[tags[0], tags[0]])
fails("TagException", kms.tag_resource, KeyId=key, Tags=[{"TagKey": "aws:x", "TagValue": ""}])
many = [{"TagKey": f"more{n}", "TagValue": ""} for n in range(47)]
fails("LimitExceededException", kms.tag_resource, KeyId=key, Tags=many)
tagged = create(Tags=tags)["KeyId"]
assert every("list_resource_tags", "Tags", KeyId=tagged) == tags

# Descriptions and policies.
kms.update_key_description(KeyId=key, Description="of the walk")
assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "of the walk"
assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
default = kms.get_key_policy(KeyId=key)
assert default["PolicyName"] == "default" and json.loads(default["Policy"])["Id"] == "key-default-1"
mine = policy(ADMIN, allow(ANN, "kms:Encrypt"))
kms.put_key_policy(KeyId=key, PolicyName="default", Policy=mine)
assert kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"] == mine
fails("MalformedPolicyDocumentException", kms.put_key_policy, KeyId=key, Policy='{"Statement": []}')
fails("NotFoundException", kms.get_key_policy, KeyId=key, PolicyName="other")
assert json.loads(kms.get_key_policy(KeyId=create(Policy=mine)["KeyId"])["Policy"]) == json.loads(mine)

# A policy that nobody can change, not even whoever owns the signer.
locked = create(Policy=mine, Tags=[{"TagKey": "casemate:policy-locked", "TagValue": "true"}])["KeyId"]
code, message = refused(kms.put_key_policy, KeyId=locked, Policy=policy(ADMIN), BypassPolicyLockoutSafetyCheck=True)
assert code == "AccessDeniedException" and "locked" in message, message
assert kms.get_key_policy(KeyId=locked)["Policy"] == mine
lock = {"TagKey": "casemate:policy-locked", "TagValue": "false"}
fails("TagException", kms.tag_resource, KeyId=locked, Tags=[lock])
fails("TagException", kms.untag_resource, KeyId=locked, TagKeys=["casemate:policy-locked"])
fails("TagException", kms.tag_resource, KeyId=key, Tags=[{**lock, "TagValue": "true"}])
assert every("list_resource_tags", "Tags", KeyId=locked) == [{**lock, "TagValue": "true"}]

# Grants.
grant = dict(
    KeyId=key,
    GranteePrincipal=ANN,
    RetiringPrincipal=BOB,
    Operations=["Encrypt", "Decrypt"],
    Constraints={"EncryptionContextSubset": {"team": "red"}},
    Name="ann",
)
fails("DryRunOperationException", kms.create_grant, DryRun=True, **grant)
made = kms.create_grant(**grant)
assert kms.create_grant(**grant)["GrantId"] == made["GrantId"], "a repeated request made another grant"
grant["Name"] = "ann/again"
again = kms.create_grant(**grant)
assert again["GrantId"] != made["GrantId"]
for n in range(3):
    kms.create_grant(KeyId=key, GranteePrincipal=BOB, Operations=["DescribeKey"])
assert len(every("list_grants", "Grants", KeyId=key)) == 5
(entry,) = every("list_grants", "Grants", KeyId=key, GrantId=made["GrantId"])
assert entry["Constraints"] == grant["Constraints"] and entry["Operations"] == grant["Operations"]
assert entry["GranteePrincipal"] == ANN and entry["RetiringPrincipal"] == BOB and entry["Name"] == "ann"
assert len(every("list_grants", "Grants", KeyId=key, GranteePrincipal=BOB)) == 3
assert len(every("list_retirable_grants", "Grants", RetiringPrincipal=BOB)) == 2
kms.describe_key(KeyId=key, GrantTokens=[made["GrantToken"]])
fails("InvalidGrantTokenException", kms.describe_key, KeyId=key, GrantTokens=["nonsense"])
fails("DryRunOperationException", kms.retire_grant, GrantToken=made["GrantToken"], DryRun=True)
kms.retire_grant(GrantToken=made["GrantToken"])
fails("InvalidGrantTokenException", kms.retire_grant, GrantToken=made["GrantToken"])
key_arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
fails("NotFoundException", kms.retire_grant, KeyId=key_arn, GrantId=made["GrantId"])
kms.retire_grant(KeyId=key_arn, GrantId=again["GrantId"])
left = every("list_grants", "Grants", KeyId=key)
assert len(left) == 3
fails("DryRunOperationException", kms.revoke_grant, KeyId=key, GrantId=left[0]["GrantId"], DryRun=True)
kms.revoke_grant(KeyId=key, GrantId=left[0]["GrantId"])
fails("NotFoundException", kms.revoke_grant, KeyId=key, GrantId=left[0]["GrantId"])
fails("InvalidGrantIdException", kms.revoke_grant, KeyId=key, GrantId="abc")
for error, change in [
    ("ValidationException", {"Operations": ["Sign"]}),
    ("ValidationException", {"KeyId": signing, "Operations": ["Sign"]}),
    ("ValidationException", {"Constraints": {"EncryptionContextEquals": {"a": "x" * 400}}}),
    ("ValidationException", {"GranteeServicePrincipal": "a.amazonaws.com"}),
    ("InvalidArnException", {"GranteePrincipal": "ann"}),
    ("InvalidArnException", {"RetiringPrincipal": "arn:aws:s3:::bucket"}),
]:
    fails(error, kms.create_grant, **{**grant, **change})

# Rotation.
rotating = create()["KeyId"]
first = kms.describe_key(KeyId=rotating)["KeyMetadata"]["CurrentKeyMaterialId"]
old = kms.encrypt(KeyId=rotating, Plaintext=b"before")["CiphertextBlob"]
assert not kms.get_key_rotation_status(KeyId=rotating)["KeyRotationEnabled"]
kms.enable_key_rotation(KeyId=rotating, RotationPeriodInDays=100)
status = kms.get_key_rotation_status(KeyId=rotating)
assert status["KeyRotationEnabled"] and status["RotationPeriodInDays"] == 100
assert 99 <= (status["NextRotationDate"] - NOW).days <= 100, status
kms.disable_key_rotation(KeyId=rotating)
assert not kms.get_key_rotation_status(KeyId=rotating)["KeyRotationEnabled"]
for n in range(25):
    kms.rotate_key_on_demand(KeyId=rotating)
fails("LimitExceededException", kms.rotate_key_on_demand, KeyId=rotating)
assert kms.decrypt(CiphertextBlob=old)["Plaintext"] == b"before"
assert kms.decrypt(CiphertextBlob=old)["KeyMaterialId"] == first
rotations = every("list_key_rotations", "Rotations", KeyId=rotating)
assert len(rotations) == 25 and rotations[-1]["KeyMaterialState"] == "CURRENT"
assert all(rotation["RotationType"] == "ON_DEMAND" for rotation in rotations)
everything = every("list_key_rotations", "Rotations", KeyId=rotating, IncludeKeyMaterial="ALL_KEY_MATERIAL")
assert len(everything) == 26 and everything[0]["KeyMaterialId"] == first
fails("UnsupportedOperationException", kms.enable_key_rotation, KeyId=signing)
fails("UnsupportedOperationException", kms.rotate_key_on_demand, KeyId=signing)


# Import.
def wrap(key_id, material, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048"):
    """What ImportKeyMaterial wants; openssl does the wrapping."""
    parameters = kms.get_parameters_for_import(KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    assert parameters["ParametersValidTo"] > NOW
    with tempfile.TemporaryDirectory() as folder:
        public = Path(folder) / "public.der"
        public.write_bytes(parameters["PublicKey"])
        digest = "sha256" if algorithm.endswith("256") else "sha1"
        options = ["rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
        options = [argument for option in options for argument in ("-pkeyopt", option)]
        command = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", str(public)]

        def oaep(plain):
            return subprocess.run([*command, *options], input=plain, capture_output=True, check=True).stdout

        if algorithm.startswith("RSAES"):
            wrapped = oaep(material)
        else:
            kek = bytes(range(32))
            wrapping = ["openssl", "enc", "-id-aes256-wrap-pad", "-K", kek.hex(), "-iv", "a65959a6"]
            inner = subprocess.run(wrapping, input=material, capture_output=True, check=True).stdout
            wrapped = oaep(kek) + inner
    return dict(KeyId=key_id, ImportToken=parameters["ImportToken"], EncryptedKeyMaterial=wrapped)


FOREVER = dict(ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")
external = create(Origin="EXTERNAL")
assert external["KeyState"] == "PendingImport" and not external["Enabled"]
imported = external["KeyId"]
fails("KMSInvalidStateException", kms.encrypt, KeyId=imported, Plaintext=b"x")
fails("KMSInvalidStateException", kms.enable_key, KeyId=imported)
one, two = bytes(range(32)), bytes(range(32, 64))
fails("ValidationException", kms.import_key_material, **wrap(imported, one))
soon = NOW + datetime.timedelta(days=3)
fails("ValidationException", kms.import_key_material, **wrap(imported, one), ValidTo=NOW + datetime.timedelta(days=400))
fails("ValidationException", kms.import_key_material, **wrap(imported, one), ValidTo=NOW - datetime.timedelta(days=1))
first = kms.import_key_material(**wrap(imported, one), ValidTo=soon)["KeyMaterialId"]
metadata = kms.describe_key(KeyId=imported)["KeyMetadata"]
assert metadata["KeyState"] == "Enabled" and metadata["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
assert abs(metadata["ValidTo"] - soon) < datetime.timedelta(seconds=1)
assert metadata["CurrentKeyMaterialId"] == first
blob = kms.encrypt(KeyId=imported, Plaintext=b"one")["CiphertextBlob"]

# The same material, imported again, is the same; another is refused, or waits for rotation.
assert kms.import_key_material(**wrap(imported, one), **FOREVER)["KeyMaterialId"] == first
assert "ValidTo" not in kms.describe_key(KeyId=imported)["KeyMetadata"]
fails("IncorrectKeyMaterialException", kms.import_key_material, **wrap(imported, two), **FOREVER)
new = dict(ImportType="NEW_KEY_MATERIAL", **FOREVER)
fails("IncorrectKeyMaterialException", kms.import_key_material, **wrap(imported, one), **new)
fails("KMSInvalidStateException", kms.rotate_key_on_demand, KeyId=imported)
second = kms.import_key_material(**wrap(imported, two), **new, KeyMaterialDescription="the second")["KeyMaterialId"]
fails("KMSInvalidStateException", kms.import_key_material, **wrap(imported, bytes(32)), **new)
states = {
    entry["KeyMaterialId"]: (entry["KeyMaterialState"], entry["ImportState"])
    for entry in kms.list_key_rotations(KeyId=imported, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
}
assert states == {first: ("CURRENT", "IMPORTED"), second: ("PENDING_ROTATION", "IMPORTED")}, states
kms.rotate_key_on_demand(KeyId=imported)
assert kms.describe_key(KeyId=imported)["KeyMetadata"]["CurrentKeyMaterialId"] == second
assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"one"

# Material goes and comes back; without all of it the key waits.
assert kms.delete_imported_key_material(KeyId=imported, KeyMaterialId=first)["KeyMaterialId"] == first
assert kms.describe_key(KeyId=imported)["KeyMetadata"]["KeyState"] == "PendingImport"
fails("KMSInvalidStateException", kms.decrypt, CiphertextBlob=blob)
mismatch = dict(KeyMaterialId=second, **FOREVER)
fails("IncorrectKeyMaterialException", kms.import_key_material, **wrap(imported, one), **mismatch)
kms.import_key_material(**wrap(imported, one), KeyMaterialId=first, **FOREVER)
assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"one"
kms.delete_imported_key_material(KeyId=imported)
kms.schedule_key_deletion(KeyId=imported, PendingWindowInDays=7)
fails("KMSInvalidStateException", kms.get_parameters_for_import, KeyId=imported, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
kms.cancel_key_deletion(KeyId=imported)
assert kms.describe_key(KeyId=imported)["KeyMetadata"]["KeyState"] == "PendingImport"

# Tokens belong to one key, and what is not wrapped for them is refused.
elsewhere = create(Origin="EXTERNAL")["KeyId"]
fails("InvalidImportTokenException", kms.import_key_material, **{**wrap(imported, one), "KeyId": elsewhere}, **FOREVER)
fails("InvalidImportTokenException", kms.import_key_material, **{**wrap(elsewhere, one), "ImportToken": b"x" * 100}, **FOREVER)
fails("InvalidCiphertextException", kms.import_key_material, **{**wrap(elsewhere, one), "EncryptedKeyMaterial": b"x" * 256}, **FOREVER)
fails("IncorrectKeyMaterialException", kms.import_key_material, **wrap(elsewhere, bytes(16)), **FOREVER)
fails("UnsupportedOperationException", kms.get_parameters_for_import, KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
fails("UnsupportedOperationException", kms.delete_imported_key_material, KeyId=key)
fails("UnsupportedOperationException", kms.enable_key_rotation, KeyId=elsewhere)

# A key pair of openssl's: what it signs here verifies with openssl's public half.
with tempfile.TemporaryDirectory() as folder:
    pem, spki = Path(folder) / "key.pem", Path(folder) / "public.der"
    generate = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(pem)]
    subprocess.run(generate, capture_output=True, check=True)
    pkcs8 = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", str(pem)]
    der = subprocess.run(pkcs8, capture_output=True, check=True).stdout
    public = ["openssl", "pkey", "-pubout", "-outform", "DER", "-in", str(pem)]
    expected = subprocess.run(public, capture_output=True, check=True).stdout
pair = create(Origin="EXTERNAL", KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyId"]
direct = dict(KeyId=pair, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_4096")
fails("ValidationException", kms.get_parameters_for_import, **direct)
kms.import_key_material(**wrap(pair, der, "RSA_AES_KEY_WRAP_SHA_256"), **FOREVER)
assert kms.get_public_key(KeyId=pair)["PublicKey"] == expected
kms.sign(KeyId=pair, Message=b"m", SigningAlgorithm="RSASSA_PSS_SHA_256")
fails("ValidationException", kms.import_key_material, **wrap(pair, der, "RSA_AES_KEY_WRAP_SHA_1"), **new)

# Multi-Region keys: primary keys without replicas.
multi = create(MultiRegion=True)
assert multi["KeyId"].startswith("mrk-") and multi["MultiRegion"]
configuration = multi["MultiRegionConfiguration"]
assert configuration["MultiRegionKeyType"] == "PRIMARY" and configuration["PrimaryKey"]["Arn"] == multi["Arn"]
blob = kms.encrypt(KeyId=multi["Arn"], Plaintext=b"x")["CiphertextBlob"]
assert kms.decrypt(CiphertextBlob=blob)["KeyId"] == multi["Arn"]
fails("UnsupportedOperationException", kms.replicate_key, KeyId=multi["KeyId"], ReplicaRegion="eu-central-1")
fails("AlreadyExistsException", kms.replicate_key, KeyId=multi["KeyId"], ReplicaRegion=REGION)
fails("UnsupportedOperationException", kms.replicate_key, KeyId=key, ReplicaRegion="eu-central-1")
fails("NotFoundException", kms.update_primary_region, KeyId=multi["KeyId"], PrimaryRegion="eu-central-1")

# The latest use.
assert kms.get_key_last_usage(KeyId=other)["KeyLastUsage"] == {}
kms.generate_data_key(KeyId=other, KeySpec="AES_256")
fails("DryRunOperationException", kms.encrypt, KeyId=other, Plaintext=b"x", DryRun=True)
usage = kms.get_key_last_usage(KeyId=other)
assert usage["KeyLastUsage"]["Operation"] == "GenerateDataKey" and usage["TrackingStartDate"] <= usage["KeyCreationDate"]

# Custom key stores: there are none.
assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
fails("CustomKeyStoreNotFoundException", kms.describe_custom_key_stores, CustomKeyStoreName="mine")
fails("CloudHsmClusterNotFoundException", kms.create_custom_key_store, CustomKeyStoreName="mine", CloudHsmClusterId="cluster-1a23b4cdefg".replace("1", "2"))
fails("XksProxyUriUnreachableException", kms.create_custom_key_store, CustomKeyStoreName="mine", CustomKeyStoreType="EXTERNAL_KEY_STORE")
for operation in [kms.connect_custom_key_store, kms.disconnect_custom_key_store, kms.delete_custom_key_store, kms.update_custom_key_store]:
    fails("CustomKeyStoreNotFoundException", operation, CustomKeyStoreId="cks-1")
fails("CustomKeyStoreNotFoundException", create, Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-1")
fails("CustomKeyStoreNotFoundException", kms.generate_random, NumberOfBytes=1, CustomKeyStoreId="cks-1")

# A key that waits for deletion keeps its names, tags, policy and grants, and takes no others.
kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
for operation, arguments in [
    (kms.create_alias, dict(AliasName="alias/late", TargetKeyId=key)),
    (kms.tag_resource, dict(KeyId=key, Tags=tags[:1])),
    (kms.update_key_description, dict(KeyId=key, Description="late")),
    (kms.create_grant, {**grant, "KeyId": key}),
    (kms.enable_key_rotation, dict(KeyId=key)),
    (kms.rotate_key_on_demand, dict(KeyId=key)),
]:
    fails("KMSInvalidStateException", operation, **arguments)
assert every("list_aliases", "Aliases", KeyId=key) and every("list_resource_tags", "Tags", KeyId=key)
kms.get_key_policy(KeyId=key)

print(f"walked {len(walked)} operations")
