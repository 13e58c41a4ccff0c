"""What cargo says about the programs that are shipped."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"
BASES = [("VMM", "casemate"), ("guest (signer)", "casemate-signer"), ("guest (module)", "casemate-module")]


def cargo(*arguments):
    command = ["cargo", *arguments, "--locked", "--offline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def members(package, edges):
    """(name, version) of everything that is linked into the package; with the edges `normal`, procedural macros too."""
    tree = cargo("tree", "-p", package, "-e", edges, "--prefix", "none", "--format", "{p}", "--target", TARGET)
    lines = (line.split(" ")[:2] for line in tree.splitlines())
    return {(name, version.removeprefix("v")) for name, version in lines}
