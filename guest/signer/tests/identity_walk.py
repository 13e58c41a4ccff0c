"""Claims a signer, then walks every operation of IAM and STS that it offers with boto3, and holds each response against
botocore's service model: every element is in it, has its type, and none that is required is missing."""

import json
import ssl
import sys
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.model
from botocore.config import Config
from botocore.exceptions import ClientError

# Private CA has both; its requests have a path, which is signed too.
botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = ("smithy-rpc-v2-cbor", "json", "query")

endpoint, ca = sys.argv[1:3]
REGION = "eu-central-1"
walked = set()


def claim(**request):
    body = json.dumps(request).encode()
    context = ssl.create_default_context(cafile=ca)
    call = urllib.request.Request(endpoint + "/claim", body, {"Content-Type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(call, context=context))
    except urllib.error.HTTPError as error:
        return json.load(error)


def conforms(element, shape, where):
    """The XML is what the model says."""
    if shape.type_name == "structure":
        names = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        given = [strip(child) for child in element]
        assert set(given) <= set(names), f"{where}: {set(given) - set(names)} not in the model"
        assert len(given) == len(set(given)), f"{where}: an element twice"
        missing = set(shape.required_members) - {names[name][0] for name in given}
        assert not missing, f"{where}: {missing} missing"
        for child in element:
            conforms(child, names[strip(child)][1], f"{where}.{strip(child)}")
    elif shape.type_name == "list":
        for child in element:
            assert strip(child) == shape.member.serialization.get("name", "member"), where
            conforms(child, shape.member, f"{where}[]")
    elif shape.type_name == "map":
        assert all([strip(part) for part in entry] == ["key", "value"] for entry in element), where
    else:
        text = element.text or ""
        if shape.type_name in ("integer", "long"):
            int(text)
        elif shape.type_name == "boolean":
            assert text in ("true", "false"), f"{where}: {text}"
        elif shape.type_name == "timestamp":
            datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
        size = len(text) if shape.type_name == "string" else int(text) if shape.type_name == "integer" else 0
        assert shape.type_name in ("timestamp", "boolean") or size >= shape.metadata.get("min", 0), f"{where}: {text!r} is too short"
        if getattr(shape, "enum", None):
            assert text in shape.enum, f"{where}: {text!r} is not in the enumeration"


def strip(element):
    return element.tag.split("}", 1)[1]


def check(http_response, parsed, model, **_):
    assert http_response.headers["x-amzn-RequestId"], "no request id"
    root = ElementTree.fromstring(http_response.content)
    namespace = model.service_model.metadata["xmlNamespace"]
    assert root.tag.startswith("{" + namespace + "}"), root.tag
    if http_response.status_code == 200:
        walked.add(model.name)
        assert strip(root) == model.name + "Response", root.tag
        assert parsed["ResponseMetadata"]["RequestId"] == http_response.headers["x-amzn-RequestId"]
        parts = {strip(child): child for child in root}
        if model.output_shape is not None:
            wrapper = model.output_shape.serialization["resultWrapper"]
            conforms(parts.pop(wrapper), model.output_shape, model.name)
        assert list(parts) == ["ResponseMetadata"], parts
    else:
        assert parsed["Error"]["Type"] == "Sender" and parsed["ResponseMetadata"]["RequestId"]
        codes = {shape.metadata.get("error", {}).get("code", shape.name): shape for shape in model.error_shapes}
        common = {"ValidationError", "AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"}
        assert parsed["Error"]["Code"] in set(codes) | common, f"{model.name} cannot fail with {parsed['Error']}"
        shape = codes.get(parsed["Error"]["Code"])
        if shape is not None:
            assert http_response.status_code == shape.metadata["error"]["httpStatusCode"], parsed


def client(service, credentials):
    made = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        verify=ca,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
        config=Config(parameter_validation=False, retries={"max_attempts": 0, "mode": "standard"}, read_timeout=30),
    )
    if service not in ("kms", "acm-pca"):
        made.meta.events.register(f"after-call.{service}", check)
    return made


def fails(error, operation, **arguments):
    try:
        operation(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == error, f"{operation}: {e}"
        return e.response["Error"]["Message"]
    raise AssertionError(f"{operation.__name__} {arguments} did not fail")


def allow(action, resource="*", **more):
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource, **more}]}
    )


def trust(principal, action=("sts:AssumeRole",), **more):
    statement = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(action), **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# Claiming.
owned = claim(region=REGION, account="111122223333")
assert owned["user_arn"] == "arn:aws:iam::111122223333:user/admin" and owned["region"] == REGION, owned
assert claim()["__type"] == "AlreadyClaimedException"
admin = {"AccessKeyId": owned["access_key_id"], "SecretAccessKey": owned["secret_access_key"]}
iam, sts, kms = (client(service, admin) for service in ("iam", "sts", "kms"))
account = owned["account"]
root = f"arn:aws:iam::{account}:root"

me = sts.get_caller_identity()
assert (me["Arn"], me["Account"]) == (owned["user_arn"], account) and me["UserId"].startswith("AIDA"), me
assert sts.get_access_key_info(AccessKeyId=admin["AccessKeyId"])["Account"] == account
fails("ValidationError", sts.get_access_key_info, AccessKeyId="AKIAIOSFODNN7EXAMPL0")
fails("InvalidAuthorizationMessageException", sts.decode_authorization_message, EncodedMessage="x")
walked.add("DecodeAuthorizationMessage")

# Users.
made = iam.create_user(UserName="Ann", Path="/team/", Tags=[{"Key": "Cost Center", "Value": "é 1+1=2"}])["User"]
assert made["Arn"] == f"arn:aws:iam::{account}:user/team/Ann" and made["Tags"][0]["Value"] == "é 1+1=2", made
assert iam.get_user(UserName="Ann")["User"]["UserId"] == made["UserId"]
assert iam.get_user()["User"]["UserName"] == "admin"
fails("EntityAlreadyExists", iam.create_user, UserName="ANN")
assert "specified" not in fails("NoSuchEntity", iam.get_user, UserName="ann")
assert "[\\w+=,.@-]+" in fails("ValidationError", iam.create_user, UserName="a b")
fails("ValidationError", iam.create_user, UserName="x" * 65)
fails("ValidationError", iam.create_user, UserName="x", Path="no-slash")
fails("InvalidInput", iam.create_user, UserName="x", Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
fails("ValidationError", iam.create_user, UserName="x", Tags=[{"Key": "aws:a", "Value": "1"}])
for number in range(5):
    iam.create_user(UserName=f"user{number}", Path="/many/")
pages = list(iam.get_paginator("list_users").paginate(PathPrefix="/many/", PaginationConfig={"PageSize": 2}))
assert [len(page["Users"]) for page in pages] == [2, 2, 1]
assert [user["UserName"] for page in pages for user in page["Users"]] == [f"user{n}" for n in range(5)]
fails("ValidationError", iam.list_users, MaxItems=1001)
iam.update_user(UserName="user0", NewUserName="User0", NewPath="/few/")
assert iam.get_user(UserName="User0")["User"]["Path"] == "/few/"
fails("EntityAlreadyExists", iam.update_user, UserName="user1", NewUserName="USER2")
iam.tag_user(UserName="Ann", Tags=[{"Key": "cost center", "Value": "2"}, {"Key": "b", "Value": ""}])
assert iam.list_user_tags(UserName="Ann")["Tags"] == [{"Key": "b", "Value": ""}, {"Key": "cost center", "Value": "2"}]
iam.untag_user(UserName="Ann", TagKeys=["B"])
assert len(iam.list_user_tags(UserName="Ann")["Tags"]) == 1
fails("LimitExceeded", iam.tag_user, UserName="Ann", Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
assert iam.list_mfa_devices(UserName="Ann")["MFADevices"] == []

# Access keys.
key = iam.create_access_key(UserName="Ann")["AccessKey"]
assert key["Status"] == "Active" and len(key["SecretAccessKey"]) == 40, key
second = iam.create_access_key(UserName="Ann")["AccessKey"]
fails("LimitExceeded", iam.create_access_key, UserName="Ann")
ann = {"AccessKeyId": key["AccessKeyId"], "SecretAccessKey": key["SecretAccessKey"]}
assert client("sts", ann).get_caller_identity()["Arn"] == made["Arn"]
used = iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])
assert used["UserName"] == "Ann" and used["AccessKeyLastUsed"]["ServiceName"] == "sts", used
never = iam.get_access_key_last_used(AccessKeyId=second["AccessKeyId"])["AccessKeyLastUsed"]
assert never == {"ServiceName": "N/A", "Region": "N/A"}, never
iam.update_access_key(UserName="Ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
fails("InvalidClientTokenId", client("sts", ann).get_caller_identity)
fails("UnrecognizedClientException", client("kms", ann).list_keys)
iam.update_access_key(UserName="Ann", AccessKeyId=key["AccessKeyId"], Status="Active")
fails("SignatureDoesNotMatch", client("sts", {**ann, "SecretAccessKey": "x" * 40}).get_caller_identity)
fails("InvalidSignatureException", client("kms", {**ann, "SecretAccessKey": "x" * 40}).list_keys)
fails("InvalidClientTokenId", client("sts", {**ann, "SessionToken": "x"}).get_caller_identity)

# In CBOR.
assert client("acm-pca", admin).list_certificate_authorities()["CertificateAuthorities"] == []
fails("UnrecognizedClientException", client("acm-pca", {**ann, "SessionToken": "x"}).list_certificate_authorities)
fails("InvalidSignatureException", client("acm-pca", {**ann, "SecretAccessKey": "x" * 40}).list_certificate_authorities)
fails("AccessDeniedException", client("acm-pca", ann).list_certificate_authorities)


def elsewhere(request, **_):
    request.url = request.url.replace("ListCertificateAuthorities", "ListTags")


redirected = client("acm-pca", admin)
redirected.meta.events.register("before-send.acm-pca", elsewhere)
fails("InvalidSignatureException", redirected.list_certificate_authorities)

iam.delete_access_key(UserName="Ann", AccessKeyId=second["AccessKeyId"])
fails("NoSuchEntity", iam.delete_access_key, UserName="Ann", AccessKeyId=second["AccessKeyId"])
keys = iam.list_access_keys(UserName="Ann")["AccessKeyMetadata"]
assert [listed["AccessKeyId"] for listed in keys] == [key["AccessKeyId"]]
iam.update_access_key(UserName="Ann", AccessKeyId=key["AccessKeyId"], Status="Inactive")
fails("LimitExceeded", iam.delete_access_key, AccessKeyId=admin["AccessKeyId"])
fails("LimitExceeded", iam.update_access_key, AccessKeyId=admin["AccessKeyId"], Status="Inactive")
iam.update_access_key(UserName="Ann", AccessKeyId=key["AccessKeyId"], Status="Active")
ann_iam, ann_sts, ann_kms = (client(service, ann) for service in ("iam", "sts", "kms"))

# Inline policies, and that they count.
said = fails("AccessDenied", ann_iam.list_users)
assert said.startswith(f"User: {made['Arn']} is not authorized to perform: iam:ListUsers on resource: "), said
fails("AccessDeniedException", ann_kms.list_keys)
iam.put_user_policy(UserName="Ann", PolicyName="p", PolicyDocument=allow(["iam:ListUsers", "kms:ListKeys"]))
ann_iam.list_users()
ann_kms.list_keys()
fails("AccessDenied", ann_iam.list_roles)
read = iam.get_user_policy(UserName="Ann", PolicyName="p")
assert read["PolicyDocument"] == json.loads(allow(["iam:ListUsers", "kms:ListKeys"])), read
assert iam.list_user_policies(UserName="Ann")["PolicyNames"] == ["p"]
fails("NoSuchEntity", iam.get_user_policy, UserName="Ann", PolicyName="q")
fails("MalformedPolicyDocument", iam.put_user_policy, UserName="Ann", PolicyName="q", PolicyDocument="{}")
fails("MalformedPolicyDocument", iam.put_user_policy, UserName="Ann", PolicyName="q", PolicyDocument=trust("*"))
fails("ValidationError", iam.put_user_policy, UserName="Ann", PolicyName="q", PolicyDocument="\u0100")
fails("LimitExceeded", iam.put_user_policy, UserName="Ann", PolicyName="q", PolicyDocument=allow(["kms:" + "x" * 2000]))
iam.delete_user_policy(UserName="Ann", PolicyName="p")
fails("AccessDenied", ann_iam.list_users)

# Managed policies.
policy = iam.create_policy(
    PolicyName="Keys", Path="/p/", PolicyDocument=allow("kms:*"), Description="d", Tags=[{"Key": "a", "Value": "b"}]
)["Policy"]
arn = policy["Arn"]
assert arn == f"arn:aws:iam::{account}:policy/p/Keys" and policy["DefaultVersionId"] == "v1", policy
fails("EntityAlreadyExists", iam.create_policy, PolicyName="keys", PolicyDocument=allow("kms:*"))
fails("MalformedPolicyDocument", iam.create_policy, PolicyName="x", PolicyDocument="[]")
fails("LimitExceeded", iam.create_policy, PolicyName="x", PolicyDocument=allow(["kms:" + "x" * 7000]))
iam.attach_user_policy(UserName="Ann", PolicyArn=arn)
ann_kms.list_keys()
fails("NoSuchEntity", iam.attach_user_policy, UserName="Ann", PolicyArn=arn + "x")
attached = iam.list_attached_user_policies(UserName="Ann")["AttachedPolicies"]
assert attached == [{"PolicyName": "Keys", "PolicyArn": arn}]
assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
assert [p["Arn"] for p in iam.list_policies(OnlyAttached=True)["Policies"]] == [arn]
assert iam.list_policies(Scope="AWS")["Policies"] == []
fails("DeleteConflict", iam.delete_policy, PolicyArn=arn)
version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("kms:CreateKey"), SetAsDefault=True)
assert version["PolicyVersion"]["VersionId"] == "v2"
fails("AccessDeniedException", ann_kms.list_keys)
fails("DeleteConflict", iam.delete_policy_version, PolicyArn=arn, VersionId="v2")
iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
ann_kms.list_keys()
versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
assert [(v["VersionId"], v["IsDefaultVersion"]) for v in versions] == [("v2", False), ("v1", True)]
got = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]
assert got["Document"] == json.loads(allow("kms:CreateKey"))
for _ in range(3):
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("kms:CreateKey"))
fails("LimitExceeded", iam.create_policy_version, PolicyArn=arn, PolicyDocument=allow("kms:CreateKey"))
fails("NoSuchEntity", iam.get_policy_version, PolicyArn=arn, VersionId="v9")
iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "c", "Value": "d"}])
assert len(iam.list_policy_tags(PolicyArn=arn)["Tags"]) == 2
iam.untag_policy(PolicyArn=arn, TagKeys=["c", "a"])
assert iam.list_policy_tags(PolicyArn=arn)["Tags"] == []

# Groups.
group = iam.create_group(GroupName="Signers", Path="/g/")["Group"]
assert group["Arn"] == f"arn:aws:iam::{account}:group/g/Signers" and group["GroupId"].startswith("AGPA")
iam.add_user_to_group(GroupName="Signers", UserName="Ann")
iam.detach_user_policy(UserName="Ann", PolicyArn=arn)
fails("NoSuchEntity", iam.detach_user_policy, UserName="Ann", PolicyArn=arn)
fails("AccessDeniedException", ann_kms.list_keys)
iam.attach_group_policy(GroupName="Signers", PolicyArn=arn)
ann_kms.list_keys()
iam.put_group_policy(GroupName="Signers", PolicyName="more", PolicyDocument=allow("iam:Get*"))
ann_iam.get_user(UserName="admin")
assert iam.get_group_policy(GroupName="Signers", PolicyName="more")["GroupName"] == "Signers"
assert iam.list_group_policies(GroupName="Signers")["PolicyNames"] == ["more"]
assert len(iam.list_attached_group_policies(GroupName="Signers")["AttachedPolicies"]) == 1
assert [u["UserName"] for u in iam.get_group(GroupName="Signers")["Users"]] == ["Ann"]
iam.update_group(GroupName="Signers", NewGroupName="Signatories")
ann_kms.list_keys()
assert [g["GroupName"] for g in iam.list_groups_for_user(UserName="Ann")["Groups"]] == ["Signatories"]
assert [g["GroupName"] for g in iam.list_groups()["Groups"]] == ["Signatories"]
fails("DeleteConflict", iam.delete_group, GroupName="Signatories")
entities = iam.list_entities_for_policy(PolicyArn=arn)
assert [g["GroupName"] for g in entities["PolicyGroups"]] == ["Signatories"] and not entities["PolicyUsers"]

# Permissions boundaries.
limit = iam.create_policy(PolicyName="Limit", PolicyDocument=allow("iam:*"))["Policy"]["Arn"]
iam.put_user_permissions_boundary(UserName="Ann", PermissionsBoundary=limit)
fails("AccessDeniedException", ann_kms.list_keys)
ann_iam.get_user(UserName="admin")
assert iam.get_user(UserName="Ann")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == limit
users = iam.list_entities_for_policy(PolicyArn=limit, PolicyUsageFilter="PermissionsBoundary")["PolicyUsers"]
assert [user["UserName"] for user in users] == ["Ann"]
fails("DeleteConflict", iam.delete_policy, PolicyArn=limit)
iam.delete_user_permissions_boundary(UserName="Ann")
ann_kms.list_keys()

# Roles.
role = iam.create_role(
    RoleName="Sender",
    Path="/r/",
    AssumeRolePolicyDocument=trust(root),
    Description="sends",
    MaxSessionDuration=7200,
    Tags=[{"Key": "team", "Value": "mail"}],
)["Role"]
assert role["Arn"] == f"arn:aws:iam::{account}:role/r/Sender" and role["RoleId"].startswith("AROA"), role
assert role["AssumeRolePolicyDocument"] == json.loads(trust(root))
fails("EntityAlreadyExists", iam.create_role, RoleName="sender", AssumeRolePolicyDocument=trust(root))
fails("MalformedPolicyDocument", iam.create_role, RoleName="x", AssumeRolePolicyDocument=allow("sts:AssumeRole"))
fails("NoSuchEntity", iam.get_role, RoleName="x")
assert iam.get_role(RoleName="Sender")["Role"]["MaxSessionDuration"] == 7200
assert [r["RoleName"] for r in iam.list_roles(PathPrefix="/r/")["Roles"]] == ["Sender"]
iam.put_role_policy(RoleName="Sender", PolicyName="p", PolicyDocument=allow("kms:*"))
assert iam.get_role_policy(RoleName="Sender", PolicyName="p")["RoleName"] == "Sender"
assert iam.list_role_policies(RoleName="Sender")["PolicyNames"] == ["p"]
iam.attach_role_policy(RoleName="Sender", PolicyArn=arn)
assert len(iam.list_attached_role_policies(RoleName="Sender")["AttachedPolicies"]) == 1
iam.put_role_permissions_boundary(RoleName="Sender", PermissionsBoundary=limit)
iam.delete_role_permissions_boundary(RoleName="Sender")
iam.tag_role(RoleName="Sender", Tags=[{"Key": "x", "Value": "y"}])
iam.untag_role(RoleName="Sender", TagKeys=["x"])
assert iam.list_role_tags(RoleName="Sender")["Tags"] == [{"Key": "team", "Value": "mail"}]
assert iam.update_role_description(RoleName="Sender", Description="d <2>")["Role"]["Description"] == "d <2>"
assert iam.list_instance_profiles_for_role(RoleName="Sender")["InstanceProfiles"] == []

# AssumeRole.
def assume(role_arn=role["Arn"], by=sts, name="me", **more):
    return by.assume_role(RoleArn=role_arn, RoleSessionName=name, **more)


answer = assume()
session = answer["Credentials"]
assert session["AccessKeyId"].startswith("ASIA") and "PackedPolicySize" not in answer
left = session["Expiration"] - datetime.now(timezone.utc)
assert timedelta(minutes=59) < left <= timedelta(hours=1), left
who = client("sts", session).get_caller_identity()
assert who["Arn"] == f"arn:aws:sts::{account}:assumed-role/Sender/me" == answer["AssumedRoleUser"]["Arn"], who
assert who["UserId"] == role["RoleId"] + ":me" == answer["AssumedRoleUser"]["AssumedRoleId"]
client("kms", session).list_keys()
assert "LastUsedDate" in iam.get_role(RoleName="Sender")["Role"]["RoleLastUsed"]
fails("InvalidClientTokenId", client("sts", {**session, "SessionToken": None}).get_caller_identity)
other = session["SessionToken"][:50] + ("A" if session["SessionToken"][50] != "A" else "B") + session["SessionToken"][51:]
fails("InvalidClientTokenId", client("sts", {**session, "SessionToken": other}).get_caller_identity)
fails("InvalidClientTokenId", client("sts", {**session, "AccessKeyId": "ASIA" + "A" * 16}).get_caller_identity)
fails("ValidationError", assume, DurationSeconds=7201)
fails("ValidationError", assume, DurationSeconds=899)
fails("ValidationError", assume, name="a b")
said = fails("AccessDenied", assume, by=ann_sts)
unknown = fails("AccessDenied", assume, by=ann_sts, role_arn=f"arn:aws:iam::{account}:role/r/Nobody")
assert "sts:AssumeRole on resource: arn:aws:iam" in said and "sts:AssumeRole on resource: arn:aws:iam" in unknown
iam.update_assume_role_policy(RoleName="Sender", PolicyDocument=trust(made["Arn"]))
assume(by=ann_sts)
condition = {"StringEquals": {"sts:ExternalId": "ticket-1", "aws:username": "Ann", "aws:PrincipalTag/cost center": "2"}}
iam.update_assume_role_policy(RoleName="Sender", PolicyDocument=trust(made["Arn"], Condition=condition))
fails("AccessDenied", assume, by=ann_sts)
assume(by=ann_sts, ExternalId="ticket-1")
condition = {"StringLike": {"sts:RoleSessionName": "${aws:username}"}}
iam.update_assume_role_policy(RoleName="Sender", PolicyDocument=trust(made["Arn"], Condition=condition))
fails("AccessDenied", assume, by=ann_sts)
assume(by=ann_sts, name="Ann")

# Sessions are no more than their policies allow.
iam.update_assume_role_policy(
    RoleName="Sender", PolicyDocument=trust(root, ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"))
)
answer = assume(Policy=allow("kms:ListKeys"))
assert 0 < answer["PackedPolicySize"] < 10
limited = client("kms", answer["Credentials"])
limited.list_keys()
fails("AccessDeniedException", limited.create_key)
fails("AccessDenied", client("iam", answer["Credentials"]).list_users)
more = iam.create_policy(PolicyName="Session", PolicyDocument=allow(["kms:CreateKey", "iam:ListUsers"]))["Policy"]["Arn"]
answer = assume(PolicyArns=[{"arn": more}])
limited = client("kms", answer["Credentials"])
assert limited.create_key()["KeyMetadata"]["Arn"].startswith(f"arn:aws:kms:{REGION}:{account}:key/")
fails("AccessDeniedException", limited.list_keys)
fails("AccessDenied", client("iam", answer["Credentials"]).list_users)
fails("MalformedPolicyDocument", assume, Policy=trust("*"))
fails("PackedPolicyTooLarge", assume, Policy=allow(["kms:" + "x" * 4096]))
iam.delete_policy(PolicyArn=more)
fails("UnrecognizedClientException", limited.create_key)

# Tags and source identities go on.
iam.put_role_policy(RoleName="Sender", PolicyName="assume", PolicyDocument=allow("sts:*"))
first = assume(
    Tags=[{"Key": "Team", "Value": "post"}, {"Key": "only", "Value": "once"}],
    TransitiveTagKeys=["Team"],
    SourceIdentity="ann@example.com",
)
assert first["SourceIdentity"] == "ann@example.com"
by = client("sts", first["Credentials"])
fails("AccessDenied", assume, by=by, SourceIdentity="bob")
fails("ValidationError", assume, by=by, DurationSeconds=3601)
fails("ValidationError", assume, by=by, Tags=[{"Key": "team", "Value": "x"}])
fails("ValidationError", assume, TransitiveTagKeys=["nothing"])
condition = {"StringEquals": {"aws:PrincipalTag/team": "post", "aws:SourceIdentity": "ann@example.com"}}
nothing = {"Null": {"aws:PrincipalTag/only": "true"}}
iam.put_role_policy(
    RoleName="Sender", PolicyName="p", PolicyDocument=allow("kms:ListKeys", Condition={**condition, **nothing})
)
iam.detach_role_policy(RoleName="Sender", PolicyArn=arn)
fails("AccessDeniedException", client("kms", first["Credentials"]).list_keys)
chained = assume(by=by)
client("kms", chained["Credentials"]).list_keys()

# GetSessionToken, GetFederationToken.
token = ann_sts.get_session_token(DurationSeconds=900)["Credentials"]
assert client("sts", token).get_caller_identity()["Arn"] == made["Arn"]
client("kms", token).list_keys()
fails("InvalidClientTokenId", client("iam", token).get_user)
fails("AccessDenied", client("sts", token).get_session_token)
fails("AccessDenied", sts.get_session_token, SerialNumber="x" * 9, TokenCode="123456")
federated = sts.get_federation_token(Name="guest", Policy=allow("kms:ListKeys"), DurationSeconds=900)
who = client("sts", federated["Credentials"]).get_caller_identity()
assert who["Arn"] == f"arn:aws:sts::{account}:federated-user/guest" == federated["FederatedUser"]["Arn"], who
client("kms", federated["Credentials"]).list_keys()
fails("AccessDeniedException", client("kms", federated["Credentials"]).create_key)
fails("AccessDenied", assume, by=client("sts", federated["Credentials"]))
nothing = client("kms", sts.get_federation_token(Name="guest")["Credentials"])
fails("AccessDeniedException", nothing.list_keys)
fails("AccessDenied", ann_sts.get_federation_token, Name="guest")

# A user or role of the same name is not the same.
iam.delete_role_policy(RoleName="Sender", PolicyName="p")
fails("DeleteConflict", iam.delete_role, RoleName="Sender")
iam.delete_role_policy(RoleName="Sender", PolicyName="assume")
iam.delete_role(RoleName="Sender")
iam.create_role(RoleName="Sender", Path="/r/", AssumeRolePolicyDocument=trust(root))
fails("InvalidClientTokenId", client("sts", session).get_caller_identity)
iam.update_role(RoleName="Sender", Description="again", MaxSessionDuration=3600)

# The account.
iam.create_account_alias(AccountAlias="my-signer")
assert iam.list_account_aliases()["AccountAliases"] == ["my-signer"]
fails("ValidationError", iam.create_account_alias, AccountAlias="my--signer")
iam.delete_account_alias(AccountAlias="my-signer")
fails("NoSuchEntity", iam.delete_account_alias, AccountAlias="my-signer")
summary = iam.get_account_summary()["SummaryMap"]
assert summary["Users"] == 7 and summary["Groups"] == 1 and summary["Roles"] == 1, summary

# What is left goes.
iam.delete_group_policy(GroupName="Signatories", PolicyName="more")
iam.detach_group_policy(GroupName="Signatories", PolicyArn=arn)
fails("DeleteConflict", iam.delete_policy, PolicyArn=arn)
for number in (2, 3, 4, 5):
    iam.delete_policy_version(PolicyArn=arn, VersionId=f"v{number}")
iam.delete_policy(PolicyArn=arn)
fails("DeleteConflict", iam.delete_user, UserName="Ann")
iam.delete_access_key(UserName="Ann", AccessKeyId=key["AccessKeyId"])
fails("DeleteConflict", iam.delete_user, UserName="Ann")
iam.remove_user_from_group(GroupName="Signatories", UserName="Ann")
iam.delete_group(GroupName="Signatories")
iam.delete_user(UserName="Ann")
fails("InvalidClientTokenId", ann_sts.get_caller_identity)

# Presigned URLs.
def presigned(seconds=60, **change):
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=seconds, HttpMethod="GET")
    for old, new in change.items():
        assert old in url, (old, url)
        url = url.replace(old, new)
    try:
        context = ssl.create_default_context(cafile=ca)
        return urllib.request.urlopen(url, context=context).read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


assert f"<Arn>{owned['user_arn']}</Arn>" in presigned()
assert "<Code>SignatureDoesNotMatch</Code>" in presigned(GetCallerIdentity="GetSessionToken")
assert "<Code>IncompleteSignature</Code>" in presigned(604801)

# Whatever else botocore's signer is given to sign.
credentials = botocore.credentials.Credentials(admin["AccessKeyId"], admin["SecretAccessKey"])
for number in range(60):
    headers = {
        "X-Number": f"  {number}   {number * number}  ",
        "X-Amz-Meta": "a;b=c" * number if number % 2 else "a  b,  c",
    }
    odd = f"b={number}&a=%2F%20~%2A%2B&c=&a=%C3%A9-{number}&A=%3D&_=" if number % 3 else ""
    if number % 5:
        method, body, expected = "POST", b"{}", '"Keys":'
        headers |= {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.ListKeys"}
        request = botocore.awsrequest.AWSRequest(method, f"{endpoint}/?{odd}" if odd else endpoint, headers, body)
        botocore.auth.SigV4Auth(credentials, "kms", REGION).add_auth(request)
    else:
        method, body, expected = "GET", None, owned["user_arn"]
        form = f"Action=GetCallerIdentity&Version=2011-06-15&{odd.replace('&a=', '&d=')}"
        request = botocore.awsrequest.AWSRequest(method, f"{endpoint}/?{form}", headers)
        botocore.auth.SigV4QueryAuth(credentials, "sts", REGION, expires=60).add_auth(request)
    prepared = request.prepare()
    signed = {name: value for name, value in prepared.headers.items() if name != "Content-Length"}
    call = urllib.request.Request(prepared.url, body, signed, method=method)
    try:
        said = urllib.request.urlopen(call, context=ssl.create_default_context(cafile=ca)).read().decode()
    except urllib.error.HTTPError as error:
        said = error.read().decode()
    assert expected in said, (number, prepared.url, said)

print(f"walked {len(walked)} operations: {' '.join(sorted(walked))}")
