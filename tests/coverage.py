"""Lines covered, by part of the trusted base, from what `llvm-cov export -summary-only` says: a table for docs/assurance.md."""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/assurance.md"
MARK = "<!-- Written by tests/coverage.sh -->\n"
# What runs in a VMM beside a sealed guest, after its launch.
RUNNING = r"vmm/src/(vsock/|vcpu\.rs|nsm\.rs|stop\.rs|backend/|console\.rs|jail/)"
PARTS = [
    ("`abi/`", r"abi/src/"),
    ("`attestation/`", r"attestation/src/"),
    ("`audit/`", r"audit/src/"),
    ("`client/`", r"client/src/"),
    ("`hsm/`", r"hsm/src/"),
    ("`pkcs11/`", r"pkcs11/src/"),
    ("`policy/`", r"policy/src/"),
    ("`volume/`", r"volume/src/"),
    ("`guest/runtime/`", r"guest/runtime/src/"),
    ("`guest/signer/`: KMS", r"guest/signer/src/(ops|store|types|crypto|recipient)/"),
    ("`guest/signer/`: IAM, STS, access", r"guest/signer/src/(identity|access)/"),
    ("`guest/signer/`: Private CA", r"guest/signer/src/pca/"),
    ("`guest/signer/`: token", r"guest/signer/src/hsm/"),
    ("`guest/signer/`: the rest", r"guest/signer/src/"),
    ("VMM: what runs beside a guest", RUNNING),
    ("VMM: launch", r"vmm/src/(guest|machine|beside|image|isolation|memory|page_tables|host|timing)"),
    ("VMM: gateway, volume service", r"vmm/src/(gateway|volume)/"),
    ("VMM: commands, `casemate build`", r"vmm/src/"),
]
TESTS = r"(/tests?/|_tests?\.rs$|/tests\.rs$|constant_time\.rs$|/bin/)"


def main():
    files = json.load(open(sys.argv[1]))["data"][0]["files"]
    sums = {name: [0, 0] for name, _ in PARTS}
    for file in files:
        path = file["filename"].removeprefix(str(ROOT) + "/")
        part = next((name for name, pattern in PARTS if re.match(pattern, path)), None)
        if part is None or path.startswith("/") or re.search(TESTS, path):
            continue
        lines = file["summary"]["lines"]
        sums[part][0] += lines["count"]
        sums[part][1] += lines["count"] - lines["covered"]
    sums["together"] = [sum(column) for column in zip(*sums.values())]
    table = "| part | lines | not run | covered |\n| --- | --- | --- | --- |\n"
    for name, (count, missed) in sums.items():
        if count:
            table += f"| {name} | {count:,} | {missed:,} | {100 * (count - missed) / count:.1f} % |\n"
    print(table, end="")
    if "--write" in sys.argv:
        before, rest = PAGE.read_text().split(MARK, 1)
        after = rest.split("\n\n", 1)[1]
        PAGE.write_text(before + MARK + table + "\n" + after)


main()
