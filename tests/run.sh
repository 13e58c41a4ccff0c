#!/usr/bin/env bash
# The test command: installs what is missing, builds, and runs every test. What this machine cannot show is listed at
# the end. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "tools"
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need gcc build-essential
need make build-essential
need openssl openssl
need gdb gdb
need readelf binutils
need setpriv util-linux
need python3 python3
need pkcs11-tool opensc
need softhsm2-util softhsm2
need p11tool gnutls-bin
need nginx nginx-light
need ssh-keygen openssh-client
need pkg-config pkg-config
need swtpm swtpm
need swtpm_setup swtpm-tools
need tpm2_checkquote tpm2-tools
[ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
openssl engine pkcs11 >/dev/null 2>&1 || missing+=(libengine-pkcs11-openssl)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null; then
        $sudo apt-get -qq update
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install "${missing[@]}"
    else
        echo "install these first: ${missing[*]}" >&2
        exit 1
    fi
fi

features=casemate-signer/process,casemate-signer/selftest
# Here, where its progress can be seen: the tests share what it makes.
step "AWS's clients"
tests/python.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT

step "build"
cargo build --workspace --features "$features" --bin casemate --bin casemate-control
cargo test --workspace --features "$features" --no-run

# Tens of thousands of cases for the parsers; a single property runs this many (proptest's own default is 256).
export PROPTEST_CASES=${PROPTEST_CASES:-6000}

step "tests"
# Serially by binary, in parallel within one: as cargo does it. The log is kept to say at the end what was left out.
code=0
CASEMATE_BIN="${CASEMATE_BIN:-$(realpath "${CARGO_TARGET_DIR:-target}/debug/casemate")}" \
    cargo test --workspace --features "$features" --no-fail-fast "$@" 2>&1 | tee "$log" || code=$?

# Verifiers and image tools that others wrote. Heavy, so a workspace of their own: attestation/peers.
step "peers"
cargo test --manifest-path attestation/peers/Cargo.toml --target-dir "${CARGO_TARGET_DIR:-target}/peers" --no-fail-fast 2>&1 |
    tee -a "$log" || code=$?

step "summary"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
if grep -q '^NOT COVERED HERE' "$log"; then
    echo "Not covered on this machine:"
    grep -h '^NOT COVERED HERE' "$log" | sed 's/^NOT COVERED HERE: /  - /' | sort -u
else
    echo "Everything was covered: sealed guests on KVM, attacked as root."
fi
exit "$code"
