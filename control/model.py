"""Prints what of botocore's model of CloudHSM (Apache-2.0) the endpoint checks requests with: `model.py > model.json`."""

import gzip
import json
import pathlib
import sys

import botocore

path = pathlib.Path(botocore.__file__).parent / "data/cloudhsmv2/2017-04-28/service-2.json.gz"
model = json.loads(gzip.decompress(path.read_bytes()))
shapes = {}


def keep(name):
    if name in shapes:
        return
    shape = {key: value for key, value in model["shapes"][name].items() if key != "documentation"}
    shapes[name] = shape
    if "members" in shape:
        shape["members"] = {member: to["shape"] for member, to in shape["members"].items()}
        for to in shape["members"].values():
            keep(to)
    for part in ("member", "key", "value"):
        if part in shape:
            shape[part] = shape[part]["shape"]
            keep(shape[part])


operations = {name: operation["input"]["shape"] for name, operation in sorted(model["operations"].items())}
for shape in operations.values():
    keep(shape)
text = {"target": model["metadata"]["targetPrefix"], "operations": operations, "shapes": dict(sorted(shapes.items()))}
json.dump(text, sys.stdout, indent=1)
print()
