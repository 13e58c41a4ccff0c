#!/bin/sh
# Runs every fuzz target, each for a bounded time: fuzz/run.sh [seconds [target ...]]. Needs the nightly toolchain.
# Inputs that were found worth keeping stay in corpus/, a crash leaves its input in artifacts/ and ends the run.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -ne 0 ] || set -- $(sed -n 's/.*path = "fuzz_targets\/\(.*\)\.rs".*/\1/p' Cargo.toml)

# What `cargo fuzz` does: coverage counters and comparisons for libFuzzer in every crate, and AddressSanitizer.
host=x86_64-unknown-linux-gnu
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo +nightly build --release --target "$host"
built=${CARGO_TARGET_DIR:-target}/$host/release

"$built/seeds" corpus
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target, $seconds s"
    "$built/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -max_len=16384 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
