"""A client that holds every answer of the signer against botocore's service model."""

import datetime
import json
import os
import sys

import boto3
import botocore.model
import botocore.parsers
from botocore.config import Config
from botocore.exceptions import ClientError

# The protocol in which services are spoken to that have both.
CBOR = "cbor" in sys.argv[3:]
if CBOR:
    botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = ("smithy-rpc-v2-cbor",)


def client(service="kms", **config):
    made = boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "not checked: the signer is unclaimed"),
        config=Config(retries={"max_attempts": 0, "mode": "standard"}, read_timeout=30, **config),
    )
    made.meta.events.register(f"after-call.{service}", check)
    return made


walked = set()


def conforms(value, shape, where):
    """Every member is in the model, has the model's type, and the required ones are there."""
    if shape.type_name == "structure":
        unknown = set(value) - set(shape.members)
        assert not unknown, f"{where}: {unknown} not in the model"
        missing = set(shape.required_members) - set(value)
        assert not missing, f"{where}: {missing} missing"
        for name, member in value.items():
            conforms(member, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for member in value:
            conforms(member, shape.member, f"{where}[]")
    elif shape.type_name == "map":
        for key, member in value.items():
            conforms(key, shape.key, f"{where} key")
            conforms(member, shape.value, f"{where}[{key}]")
    else:
        kinds = {"string": str, "blob": str, "boolean": bool, "integer": int, "timestamp": (int, float)}
        if CBOR:
            kinds |= {"blob": bytes, "timestamp": datetime.datetime}
        assert isinstance(value, kinds[shape.type_name]), f"{where}: {value!r} is no {shape.type_name}"
        if getattr(shape, "enum", None):
            assert value in shape.enum, f"{where}: {value!r} is not in the enumeration"


# What every operation may answer, beside the errors that the model gives it. (It forgets grant tokens at DescribeKey.)
COMMON = {
    "AccessDeniedException",
    "InvalidGrantTokenException",
    "SerializationException",
    "UnknownOperationException",
    "UnsupportedOperationException",
    "ValidationException",
}


def read(http_response):
    """The body, in its protocol."""
    if not CBOR:
        return json.loads(http_response.content)
    parser = botocore.parsers.create_parser("smithy-rpc-v2-cbor")
    stream = parser.get_peekable_stream_from_bytes(http_response.content)
    value = parser.parse_data_item(stream)
    assert not stream.read(), "something follows the CBOR"
    return value


def check(http_response, parsed, model, **_):
    headers = http_response.headers
    assert headers["x-amzn-RequestId"], "no request id"
    if CBOR:
        assert headers["smithy-protocol"] == "rpc-v2-cbor", headers
        kind = "application/cbor" if http_response.content else None
        assert headers.get("content-type") == kind, headers
    if http_response.status_code == 200:
        walked.add(model.name)
        if model.output_shape is not None:
            conforms(read(http_response), model.output_shape, model.name)
    else:
        error = parsed["Error"]["Code"]
        known = {shape.name for shape in model.error_shapes} | COMMON
        assert error in known, f"{model.name} cannot fail with {error}"


def refused(operation, **arguments):
    """The error's type and message."""
    try:
        response = operation(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Message"], "no message"
        return e.response["Error"]["Code"], e.response["Error"]["Message"]
    raise AssertionError(f"{operation} {arguments} was answered: {response}")


def fails(error, operation, **arguments):
    code, message = refused(operation, **arguments)
    assert code == error, f"{operation} failed with {code} instead of {error}: {message}"
