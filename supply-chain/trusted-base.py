#!/usr/bin/env python3
"""The trusted base, counted: which crates are linked into the VMM, the signer and the security module, their lines, their
unsafe blocks.

  supply-chain/trusted-base.py           writes docs/trusted-base.md anew, below its marker
  supply-chain/trusted-base.py --check   says what of it is out of date, and fails if that is more than TOLERANCE, or if a crate
                                         has no line in notes.tsv

Needs cargo, and the sources that cargo has fetched; no network.
"""

import json
import pathlib
import re
import sys

from crates import BASES, ROOT, cargo, members

DOCUMENT = ROOT / "docs/trusted-base.md"
MARKER = "<!-- Below: written by supply-chain/trusted-base.py -->\n"
TOLERANCE = 0.25
# Generated from C headers: declarations.
BINDINGS = {"aws-lc-sys", "kvm-bindings", "libc", "linux-raw-sys", "virtio-bindings"}
UNSAFE = re.compile(r"\bunsafe\s*(?=\{)")
UNSAFE_ITEM = re.compile(r"\bunsafe\s+(?:extern|fn|impl|trait)\b")


def table(name):
    lines = (ROOT / "supply-chain" / name).read_text().splitlines()
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line and not line.startswith("#")}


def without_tests(text):
    """A file up to its tests, which come last; a file of tests is nothing."""
    match = re.search(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+ \{", text, re.M)
    return text[: match.start()] if match else text


def code(text):
    """Lines that are neither blank nor comment, joined."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    lines = (line.split("//")[0].rstrip() for line in text.splitlines())
    return [line for line in lines if line.strip()]


def count(folder):
    """Lines of Rust, unsafe blocks, unsafe items; lines of C and assembly."""
    lines = blocks = items = foreign = 0
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).parts
        if not path.is_file() or {"tests", "benches", "examples", "target", "fuzz"} & set(relative[:-1]):
            continue
        if path.suffix == ".rs" and not path.stem.endswith("tests") and relative[0] != "build.rs":
            text = code(without_tests(path.read_text(errors="replace")))
            lines += len(text)
            text = "\n".join(text)
            blocks += len(UNSAFE.findall(text))
            items += len(UNSAFE_ITEM.findall(text))
        elif path.suffix in {".c", ".h", ".S", ".inl"}:
            foreign += len(code(path.read_text(errors="replace")))
    return lines, blocks, items, foreign


def report():
    metadata = json.loads(cargo("metadata", "--format-version=1"))
    folders = {(p["name"], p["version"]): pathlib.Path(p["manifest_path"]).parent for p in metadata["packages"]}
    ours = {p["name"] for p in metadata["packages"] if p["source"] is None}
    notes, groups = table("notes.tsv"), table("groups.tsv")
    counted, where, macros, missing = {}, {}, set(), set()
    for base, package in BASES:
        linked = members(package, "normal,no-proc-macro")
        macros |= members(package, "normal") - linked
        for name, version in sorted(linked):
            where.setdefault((name, version), []).append(base)
            if (name, version) not in counted:
                folder = folders[name, version]
                counted[name, version] = count(folder / "src" if name in ours else folder)
    out, numbers = [], {}
    out.append("| | crates | of them ours | lines of Rust, ours | lines of Rust, others' | declarations of C | `unsafe` blocks, ours | others' |")
    out.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for base, _ in BASES:
        mine = [key for key in counted if base in where[key] and key[0] in ours]
        others = [key for key in counted if base in where[key] and key[0] not in ours]
        total = lambda keys, what: sum(counted[key][what] for key in keys)
        bindings = [key for key in others if key[0] in BINDINGS]
        others = [key for key in others if key[0] not in BINDINGS]
        row = [len(mine) + len(others) + len(bindings), len(mine), total(mine, 0), total(others, 0), total(bindings, 0), total(mine, 1),
               total(others, 1)]
        numbers[base] = row
        out.append(f"| {base} | " + " | ".join(f"{number:,}" for number in row) + " |")
    foreign = sum(numbers[3] for numbers in counted.values())
    out.append("")
    out.append(f"Beside that: {foreign:,} lines of C and assembly in `aws-lc-sys` (all three link it, and of it a part), and {len(macros)} "
               "crates that run at build time only, procedural macros and what they use: " + ", ".join(f"`{name}` {version}" for name, version in sorted(macros)) + ".")
    out += ["", "### Ours", "", "| crate | in | lines | `unsafe` blocks |", "| --- | --- | --- | --- |"]
    for key in sorted(key for key in counted if key[0] in ours):
        lines, blocks, _, _ = counted[key]
        out.append(f"| `{key[0]}` | {', '.join(where[key])} | {lines:,} | {blocks} |")
    out += ["", "### Others'", "", "| crate | version | in | what for | whose | lines | `unsafe` blocks, items |",
            "| --- | --- | --- | --- | --- | --- | --- |"]
    used = set()
    for key in sorted(key for key in counted if key[0] not in ours):
        lines, blocks, items, _ = counted[key]
        what, group = notes.get(key[0], ["**no note**", ""])[:2]
        used.add(group)
        if key[0] not in notes or group not in groups:
            missing.add(key[0])
        out.append(f"| `{key[0]}` | {key[1]} | {', '.join(where[key])} | {what} | {group} | {lines:,} | {blocks}, {items} |")
    out += ["", "### Whose they are, and why they are trusted", "", "| | who | why |", "| --- | --- | --- |"]
    out += [f"| {name} | {who} | {why} |" for name, (who, why) in sorted(groups.items()) if name in used]
    return "\n".join(out) + "\n", numbers, missing


def written(text):
    """The numbers of the summary, as they stand in the document."""
    rows = {}
    for base, _ in BASES:
        match = re.search(rf"^\| {re.escape(base)} \|(.*)\|$", text, re.M)
        rows[base] = [int(cell.strip().replace(",", "")) for cell in match[1].split("|")] if match else []
    return rows


def main():
    text, numbers, missing = report()
    head, marker, old = DOCUMENT.read_text().partition(MARKER)
    if not marker:
        sys.exit(f"{DOCUMENT} has no marker")
    if sys.argv[1:] != ["--check"]:
        DOCUMENT.write_text(head + MARKER + "\n" + text)
        print(f"{DOCUMENT.relative_to(ROOT)} is written")
    faults = [f"{name}: no line in supply-chain/notes.tsv, or its group is not in groups.tsv" for name in sorted(missing)]
    if sys.argv[1:] == ["--check"]:
        for base, row in written(old).items():
            for now, then in zip(numbers[base], row or [0] * 7, strict=True):
                if abs(now - then) > max(TOLERANCE * now, 5):
                    faults.append(f"{base}: {then:,} in docs/trusted-base.md, {now:,} counted: run supply-chain/trusted-base.py")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
