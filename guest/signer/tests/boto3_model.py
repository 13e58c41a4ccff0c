"""Breaks every constraint that botocore's service model has, of every operation, one at a time.

Each request is otherwise as the model wants it. The signer must refuse it with ValidationException, and say which member
broke which constraint.
"""

import re
import sys

from boto3_client import client, refused

# The service is the third argument.
service = client(sys.argv[3], parameter_validation=False)
model = service.meta.service_model
# Java's classes, which are ASCII, where the model has them.
FLAGS = re.ASCII
# Stands for "leave it out".
OMITTED = object()
# Texts that may break a pattern; the first of the right length that does is sent.
STRANGE = ["#", "\u20ac", "A", "a", "1", " ", "\x00", "/", "*"]


def matches(shape, text):
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return True
    pattern = pattern.removeprefix("^").removesuffix("$").replace(r"\p{L}\p{Z}\p{N}_", r"\w\s")
    return re.fullmatch(pattern, text, FLAGS) is not None


# Members whose pattern a repeated character does not satisfy.
EXAMPLES = {
    "RegionType": "eu-central-1",
    "ServicePrincipalType": "a.b.c",
    "GrantConstraintSourceArnType": "arn:aws:s3:eu-west-1:111122223333:x",
    "CloudHsmClusterIdType": "cluster-" + "a" * 11,
    "XksProxyUriEndpointType": "https://example.com",
    "XksProxyUriPathType": "/kms/xks/v1",
    "XksProxyVpcEndpointServiceNameType": "com.amazonaws.vpce.eu-west-1.vpce-svc-0",
    "AccountIdType": "111122223333",
    "Arn": "arn:aws:acm-pca:us-east-1:000000000000:certificate-authority/11111111-2222-4333-8444-555555555555",
    "AuditReportId": "11111111-2222-4333-8444-555555555555",
    "CustomObjectIdentifier": "1.2.3",
    "Base64String1To4096": "BQA=",
    "BackupArn": "backup-" + "a" * 11,
    "BackupId": "backup-" + "a" * 11,
    "CloudHsmArn": "arn:aws:cloudhsm:us-east-1:111122223333:backup/backup-" + "a" * 11,
    "ClusterId": "cluster-" + "a" * 11,
    "EniId": "eni-" + "0" * 8,
    "ExternalAz": "us-east-1a",
    "HsmId": "hsm-" + "a" * 11,
    "HsmType": "hsm2m.medium",
    "IpAddress": "127.0.0.1",
    "Region": "eu-central-1",
    "ResourceId": "backup-" + "a" * 11,
    "SubnetId": "subnet-" + "0" * 8,
}


def valid(shape, length=None):
    """A value that satisfies the constraints."""
    kind = shape.type_name
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    if kind == "structure":
        return {name: valid(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [valid(shape.member)] * (max(low, 1) if length is None else length)
    if kind == "map":
        return {"a": "b"}
    if kind == "blob":
        return b"x" * (max(low, 1) if length is None else length)
    if kind in ("integer", "long"):
        return low
    if kind == "boolean":
        return False
    if kind == "timestamp":
        return 2_000_000_000
    if getattr(shape, "enum", None):
        return shape.enum[0]
    if length is None and shape.name in EXAMPLES:
        return EXAMPLES[shape.name]
    length = max(low, 1) if length is None else length
    for filler in ["a", "A", "1"]:
        if matches(shape, filler * length):
            return filler * length
    # Too short or too long, which is what it is wanted for; it breaks the pattern as well.
    return "a" * length


def breaks(shape, path):
    """Every way to break a value of that shape: the value, the member that AWS would name, the constraint."""
    kind = shape.type_name
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if kind == "structure":
        yield from members(shape, path + ".")
    elif kind == "list":
        if low:
            yield valid(shape, 0), path, f"greater than or equal to {low}"
        if high:
            yield valid(shape, high + 1), path, f"less than or equal to {high}"
        if shape.member.type_name == "structure":
            for value, where, constraint in breaks(shape.member, f"{path}.1.member"):
                yield [value], where, constraint
        else:
            for value, _, constraint in breaks(shape.member, path):
                yield [value], path, constraint
    elif kind in ("integer", "long"):
        if low is not None:
            yield low - 1, path, f"greater than or equal to {low}"
        if high is not None:
            yield high + 1, path, f"less than or equal to {high}"
    elif kind == "blob":
        if low:
            yield b"", path, f"greater than or equal to {low}"
        if high:
            yield valid(shape, high + 1), path, f"less than or equal to {high}"
    elif kind == "string":
        if getattr(shape, "enum", None):
            yield "NOT_A_MEMBER", path, f"enum value set: [{', '.join(shape.enum)}]"
            return
        if low:
            yield valid(shape, low - 1), path, f"greater than or equal to {low}"
        if high:
            yield valid(shape, high + 1), path, f"less than or equal to {high}"
        if "pattern" in shape.metadata:
            length = max(low or 1, 2)
            odd = next((c * length for c in STRANGE if not matches(shape, c * length)), None)
            if odd is not None:
                yield odd, path, "regular expression pattern: "


def members(shape, prefix):
    """The same for a structure, one member at a time."""
    base = valid(shape)
    for name, member in shape.members.items():
        # AWS's names begin with a small letter.
        where = prefix + name[0].lower() + name[1:]
        if name in shape.required_members:
            yield {key: value for key, value in base.items() if key != name}, where, "must not be null"
        for value, path, constraint in breaks(member, where):
            yield {**base, name: value}, path, constraint


REFUSAL = {"cloudhsmv2": "CloudHsmInvalidRequestException"}.get(sys.argv[3], "ValidationException")
mapping = service.meta.method_to_api_mapping
methods = {mapping[name]: getattr(service, name) for name in mapping}
# Documented to be narrower than the model says; the first is checked in tests/keys.rs.
NARROWER = {
    ("ScheduleKeyDeletion", "pendingWindowInDays"),
    ("ImportCertificateAuthorityCertificate", "certificateChain"),
}
# Members that the model calls optional and the documentation does not.
NEEDED = {"Decrypt": {"CiphertextBlob": b"x"}, "GenerateRandom": {"NumberOfBytes": 1}}
failures, sent = [], 0
for operation in model.operation_names:
    shape = model.operation_model(operation).input_shape
    for broken, member, constraint in members(shape, ""):
        if (operation, member) in NARROWER and "CertificateChain" in broken:
            # No request may be as long as the model lets this member be.
            broken["CertificateChain"] = broken["CertificateChain"][: 100 << 10]
        request = {**NEEDED.get(operation, {}), **broken}
        sent += 1
        try:
            code, message = refused(methods[operation], **request)
        except AssertionError as answered:
            code, message = "nothing", str(answered)
        if (operation, member) in NARROWER:
            constraint = "than or equal to"
        if code != REFUSAL or f"'{member}'" not in message or constraint not in message:
            shown = {key: str(value)[:60] for key, value in request.items()}
            failures.append(f"{operation} {shown}: {code}: {message[:300]}\n    wanted {member}: {constraint}")
print("\n".join(failures))
assert not failures, f"{len(failures)} of {sent} constraints"
print(f"{sent} broken constraints in {len(model.operation_names)} operations")
