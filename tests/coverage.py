"""Lines covered, by part, from what `llvm-cov export -format=lcov` says: a table for docs/assurance.md (--write), or what is
covered least, by file, with the lines (--files)."""

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
    ("`sigv4/`", r"sigv4/src/"),
    ("`tpm/`", r"tpm/src/"),
    ("`volume/`", r"volume/src/"),
    ("`guest/runtime/`", r"guest/runtime/src/"),
    ("`guest/module/`", r"guest/module/src/"),
    ("`guest/signer/`: KMS", r"guest/signer/src/(ops|store|types|crypto|recipient)/"),
    ("`guest/signer/`: IAM, STS, access", r"guest/signer/src/(identity|access)/"),
    ("`guest/signer/`: Private CA", r"guest/signer/src/pca/"),
    ("`guest/signer/`: token", r"guest/signer/src/hsm/"),
    ("`guest/signer/`: the rest", r"guest/signer/src/"),
    ("VMM: what runs beside a guest", RUNNING),
    ("VMM: launch", r"vmm/src/(guest|machine|module|beside|image|isolation|memory|page_tables|host|timing)"),
    ("VMM: gateway, volume service, TPM service", r"vmm/src/(gateway|volume|platform)/"),
    ("VMM: commands, clusters, `casemate build`", r"vmm/src/"),
    ("`control/`", r"control/src/"),
]
TESTS = r"(/tests?/|_tests?\.rs$|/tests\.rs$|constant_time\.rs$|/bin/)"


# Tests in a file come last in it.
TESTS_BEGIN = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+ \{", re.M)


def code_lines(path):
    """How many lines of a file come before its tests."""
    text = (ROOT / path).read_text()
    begin = TESTS_BEGIN.search(text)
    return text.count("\n", 0, begin.start()) if begin else sys.maxsize


def covered(report):
    """Of each file of ours that is not one of tests: how often each line was run."""
    files, path = {}, None
    for line in report.read_text().splitlines():
        if line.startswith("SF:"):
            path = line.removeprefix("SF:").removeprefix(f"{ROOT}/")
            if path.startswith("/") or re.search(TESTS, path):
                path = None
            else:
                end, lines = code_lines(path), files.setdefault(path, {})
        elif path and line.startswith("DA:"):
            number, count = (int(field) for field in line.removeprefix("DA:").split(",")[:2])
            if number <= end:
                lines[number] = max(lines.get(number, 0), count)
    return files


def main():
    files = covered(pathlib.Path(sys.argv[1]))
    sums = {name: [0, 0] for name, _ in PARTS}
    for path, lines in files.items():
        part = next((name for name, pattern in PARTS if re.match(pattern, path)), None)
        if part:
            sums[part][0] += len(lines)
            sums[part][1] += sum(not count for count in lines.values())
    if "--files" in sys.argv:
        for path, lines in sorted(files.items(), key=lambda file: -sum(not count for count in file[1].values())):
            missed = [str(number) for number, count in sorted(lines.items()) if not count]
            if missed:
                print(f"{len(missed)} of {len(lines)} {path}: {' '.join(missed)}")
        return
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
