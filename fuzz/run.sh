#!/bin/sh
# Runs every fuzz target, each for a bounded time: fuzz/run.sh [--keep] [seconds [target ...]]. Needs the nightly toolchain.
# Each begins with corpus/, which is committed, and with fresh seeds. What it finds stays in work/; a crash leaves its input in
# artifacts/ and ends the run. With --keep, the few inputs that together reach most of what was found replace corpus/; 0 seconds
# are for that alone.
set -eu
cd "$(dirname "$0")"
keep=; [ "${1:-}" != --keep ] || { keep=1; shift; }
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -ne 0 ] || set -- $(sed -n 's/.*path = "fuzz_targets\/\(.*\)\.rs".*/\1/p' Cargo.toml)
# Files and bytes of corpus that are kept for a target.
files=48 most=8192

# What `cargo fuzz` does: coverage counters and comparisons for libFuzzer in every crate, and AddressSanitizer.
host=x86_64-unknown-linux-gnu
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo +nightly build --release --target "$host"
built=${CARGO_TARGET_DIR:-target}/$host/release

"$built/seeds" work
for target; do
    mkdir -p "work/$target" "corpus/$target" "artifacts/$target"
    echo "== $target, $seconds s"
    [ "$seconds" = 0 ] || "$built/$target" "work/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" \
        -max_total_time="$seconds" -timeout=10 -max_len=16384 -rss_limit_mb=2048 -verbosity="${FUZZ_VERBOSITY:-0}" \
        -print_final_stats=1
    [ -n "$keep" ] || continue
    rm -rf work/.kept work/.control; mkdir work/.kept
    "$built/$target" -set_cover_merge=1 -merge_control_file=work/.control work/.kept "work/$target" "corpus/$target" \
        -verbosity=0 2>/dev/null
    rm -rf work/.kept; mkdir work/.kept
    python3 select.py work/.control work/.kept "$files" "$most"
    rm -rf "corpus/$target"; mv work/.kept "corpus/$target"
done
