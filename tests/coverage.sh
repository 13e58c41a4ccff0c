#!/usr/bin/env bash
# Line coverage of the trusted base by the unit and property tests of its crates: tests/coverage.sh. For people, not for CI: it
# compiles everything once more (3 GB in $COVERAGE_DIR). Needs llvm-profdata and llvm-cov of a version that reads what rustc
# writes, in $LLVM_BIN or on the path (rustup component add llvm-tools; Debian's llvm-19 will do).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${LLVM_BIN:+$LLVM_BIN/}
export CARGO_TARGET_DIR=${COVERAGE_DIR:-target/coverage} CARGO_INCREMENTAL=0
export RUSTFLAGS="-C instrument-coverage" LLVM_PROFILE_FILE="$PWD/target/coverage-profiles/%p-%m.profraw"
rm -rf target/coverage-profiles
packages=(casemate-abi casemate-attestation casemate-audit casemate-policy casemate-volume)
run() { cargo test "$@" --no-fail-fast >&2 || true; cargo test "$@" --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }
programs=$(run "${packages[@]/#/-p}" --features casemate-volume/host; run -p casemate --lib)
"${bin}llvm-profdata" merge -sparse target/coverage-profiles/*.profraw -o target/coverage-profiles/all.profdata
"${bin}llvm-cov" report $(printf -- '--object %s ' $programs) -instr-profile=target/coverage-profiles/all.profdata \
    -ignore-filename-regex='(registry|rustc|/target/|tests?\.rs$|/tests/|_tests\.rs$)' -show-region-summary=false -show-branch-summary=false
