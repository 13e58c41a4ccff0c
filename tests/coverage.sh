#!/usr/bin/env bash
# Line coverage by all tests: tests/coverage.sh [--write] [cargo test's arguments]. With --write, the table in docs/assurance.md is
# made anew. For people, not for CI: it compiles the workspace's own crates once more and takes half an hour. Needs
# `rustup component add llvm-tools`, and what tests/run.sh needs.
#
# Counters lie in a file that a process maps when it starts (LLVM's continuous mode). So those of a process count that is killed,
# and of one in a jail where it could write nothing. A sealed guest has no files: its code counts as far as it runs in the tests of
# its crates and in the signer as an ordinary process.
set -euo pipefail
cd "$(dirname "$0")/.."
write=; [ "${1:-}" != --write ] || { write=--write; shift; }
llvm=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/host: //p')/bin
[ -x "$llvm/llvm-cov" ] || { echo "rustup component add llvm-tools" >&2; exit 1; }
profiles=$PWD/target/coverage
rm -rf "$profiles"; mkdir -p "$profiles"
# Our own crates only: what they depend on is shared with every other build. Not sh, which drops CARGO_BIN_EXE_casemate-….
cat >"$profiles/rustc" <<'WRAPPER'
#!/bin/bash
exec "$@" -C instrument-coverage -C llvm-args=-runtime-counter-relocation
WRAPPER
chmod +x "$profiles/rustc"
export RUSTC_WORKSPACE_WRAPPER=$profiles/rustc CARGO_INCREMENTAL=0 LLVM_PROFILE_FILE="$profiles/%m%c.profraw"
features=casemate-signer/process,casemate-signer/selftest
cargo build --workspace --features "$features" --bins >&2
# Where no other build replaces them. `casemate build` makes guests without the wrapper.
cp target/debug/casemate target/debug/casemate-control "$profiles/"
export CASEMATE_BIN=$profiles/casemate
cargo test --workspace --features "$features" --no-run "$@" >&2
cargo test --workspace --features "$features" --no-fail-fast "$@" >&2 || echo "a test failed: what it ran counts" >&2
programs=$(cargo test --workspace --features "$features" --no-run --message-format=json "$@" 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
"$llvm/llvm-profdata" merge -sparse "$profiles"/*.profraw -o "$profiles/all.profdata"
objects=$(printf -- '--object %s ' $programs "$CASEMATE_BIN" "$profiles/casemate-control" target/debug/deps/libcasemate_pkcs11.so)
"$llvm/llvm-cov" export -format=lcov -instr-profile="$profiles/all.profdata" $objects >"$profiles/lines.info"
python3 tests/coverage.py "$profiles/lines.info" $write
