#!/usr/bin/env bash
# Prints the folder with the programs of a virtual environment that has requirements.txt in it: python, aws. All tests
# share it; the first makes it, below the target folder. Needs python3 with venv and, once, PyPI.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../target}
mkdir -p "$target/tools"
venv=$(realpath "$target/tools")/python-$(sha256sum requirements.txt | cut -c1-12)
if [ ! -e "$venv/installed" ]; then
    # Whoever comes second waits for the first, and finds it done.
    exec 9>"$venv.lock"
    flock 9
    if [ ! -e "$venv/installed" ]; then
        echo "installing AWS's clients from PyPI into $venv" >&2
        python3 -m venv --clear "$venv" >&2 || { echo "python3 -m venv failed (Debian: apt install python3-venv)" >&2; exit 1; }
        "$venv/bin/python" -m pip install --quiet --requirement requirements.txt >&2
        touch "$venv/installed"
    fi
fi
echo "$venv/bin"
