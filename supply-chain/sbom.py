#!/usr/bin/env python3
"""Software bills of materials: what is linked into the VMM, the signer and the security module, as CycloneDX 1.5 JSON.

  supply-chain/sbom.py [FOLDER]     writes casemate.cdx.json, casemate-signer.cdx.json and casemate-module.cdx.json there [target/sbom]

The same source gives the same files: no clock, no random serial number. Needs cargo; no network.
"""

import json
import pathlib
import sys
import tomllib

from crates import BASES, ROOT, cargo, members


def purl(name, version):
    return f"pkg:cargo/{name}@{version}"


def bill(package, packages, edges, sums):
    linked = members(package, "normal,no-proc-macro")
    built_with = members(package, "normal,build") - linked
    ours = {key for key in packages if packages[key]["source"] is None}
    components = []
    for name, version in sorted((linked | built_with) - {key for key in ours if key[0] == package}):
        about = packages[name, version]
        component = {
            "type": "library",
            "bom-ref": purl(name, version),
            "name": name,
            "version": version,
            # Not in the program: it ran when that was built.
            "scope": "required" if (name, version) in linked else "excluded",
            "purl": purl(name, version),
        }
        if about["license"]:
            # The specification writes alternatives as SPDX does; old crates use a slash.
            component["licenses"] = [{"expression": about["license"].replace("/", " OR ")}]
        if (name, version) in sums:
            component["hashes"] = [{"alg": "SHA-256", "content": sums[name, version]}]
        if about["repository"]:
            component["externalReferences"] = [{"type": "vcs", "url": about["repository"]}]
        components.append(component)
    (root,) = (key for key in ours if key[0] == package)
    inside = {purl(*key) for key in linked | built_with}
    dependencies = [
        {"ref": purl(*key), "dependsOn": sorted(purl(*other) for other in edges[key] if purl(*other) in inside)}
        for key in sorted(linked | built_with)
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": purl(*root),
                "name": package,
                "version": root[1],
                "licenses": [{"expression": packages[root]["license"]}],
            }
        },
        "components": components,
        "dependencies": dependencies,
    }


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target/sbom"
    folder.mkdir(parents=True, exist_ok=True)
    metadata = json.loads(cargo("metadata", "--format-version=1"))
    by_id = {package["id"]: (package["name"], package["version"]) for package in metadata["packages"]}
    packages = {by_id[package["id"]]: package for package in metadata["packages"]}
    nodes = metadata["resolve"]["nodes"]
    edges = {by_id[node["id"]]: [by_id[other] for other in node["dependencies"]] for node in nodes}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(package["name"], package["version"]): package["checksum"] for package in lock if "checksum" in package}
    for _, package in BASES:
        path = folder / f"{package}.cdx.json"
        path.write_text(json.dumps(bill(package, packages, edges, sums), indent=2) + "\n")
        print(path)


main()
