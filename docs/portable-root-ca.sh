#!/usr/bin/env bash
# A portable root CA, from the first key to another HSM. docs/portable-root-ca.md tells what happens and why.
#
#   PKCS11_MODULE=libcasemate_pkcs11.so IMAGE=signer.eif docs/portable-root-ca.sh [EC:secp384r1|rsa:4096|…]
#
# Needs casemate, aws, openssl with the pkcs11 engine (Debian: libengine-pkcs11-openssl) and pkcs11-tool (opensc). Works in a folder of
# its own, with a store of its own for HSMs and backups, and leaves nothing behind. Each step checks itself; the first that fails ends it.
set -euo pipefail
key_type=${1:-EC:secp384r1} aws=${AWS_CLI:-aws} casemate=${CASEMATE:-casemate}
module=$(realpath "$PKCS11_MODULE") image=$(realpath "$IMAGE")
home=${CASEMATE_HOME:-/var/lib/casemate} # where this host's platform has its root, for whoever is root here
unset "${!AWS_@}"                        # profiles are named below, and nothing else is meant
export AWS_PAGER='' PKCS11_MODULE_PATH=$module
dir=$(mktemp -d); cd "$dir"
export HOME=$dir CASEMATE_PKCS11_CONF=$dir/pkcs11.toml PIN=alice:alice-password
steps=0
ok() { steps=$((steps + 1)); echo "ok: $1"; }
fail() { echo "FAIL: $1" >&2; exit 1; }
field() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$2"; }
expect() { [ "$1" = "$2" ] || fail "$3: $1, not $2"; }

pca=''
finish() {
    for hsm in root-hsm second-hsm; do "$casemate" hsm delete "$hsm" --without-backup --store store >/dev/null 2>&1 || true; done
    if [ -n "$pca" ]; then kill "$pca" 2>/dev/null || true; wait "$pca" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap finish EXIT

# What every signer here must prove before it is told anything: this image, and that nobody replays its proof.
"$casemate" describe-eif --eif-path "$image" >eif.json
printf '{"pcrs": {"0": "%s"}, "nonce_required": true}\n' "$(field PCR0 eif.json)" >policy.json
printf 'officer-password\n' >officer; printf 'alice-password\n' >alice; printf 'bob-password\n' >bob
printf '%s' "$PIN" >pin

# An HSM: created, claimed, with a token that has an officer and two users, alice with keys and bob who approves.
hsm() { # NAME
    "$casemate" hsm create --name "$1" --store store --eif-path "$image" --json >"$1.json"
    cp "$home/root.pem" root.pem
    claim "$(field Endpoint "$1.json")" "$1"
    "$casemate" hsm init --label "$1" --new-password-file officer --profile "$1"
    for user in alice bob; do
        "$casemate" hsm user add "$user" --password-file officer --new-password-file "$user" --profile "$1"
    done
    "$casemate" hsm config --root root.pem --policy policy.json --out pkcs11.toml --profile "$1"
}
claim() { "$casemate" claim --endpoint "$1" --profile "$2" --root root.pem --policy policy.json; }
tool() { # TOKEN …
    pkcs11-tool --module "$module" --token-label "$1" --login --pin "$PIN" "${@:2}"
}
uri() { echo "pkcs11:token=$1;object=$2;type=$3?pin-source=file:$dir/pin"; }
public() { openssl pkey -engine pkcs11 -inform engine -pubin -in "$(uri "$1" "$2" public)" -pubout 2>/dev/null; }
pca() { "$aws" acm-pca "$1" --certificate-authority-arn "$arn" --profile pca --output text "${@:2}"; }

# 1. The root CA, in an HSM. Its key can leave, wrapped, if bob approves; nobody can read it.
hsm root-hsm
tool root-hsm --keypairgen --key-type "$key_type" --label root --id 01 --usage-sign --extractable
"$casemate" hsm key quorum root 1 --user alice --password-file alice --profile root-hsm
"$casemate" hsm quorum keygen --out bob.pem
"$casemate" hsm quorum register --user bob --public-key bob.pem.pub --password-file bob --profile root-hsm
cat >root.conf <<'C'
[ca]
default_ca = root
[root]
database = index.txt
crlnumber = crlnumber
default_md = sha384
default_crl_days = 30
crl_extensions = list
[list]
authorityKeyIdentifier = keyid
[certificate]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[req]
distinguished_name = name
[name]
C
: >index.txt; echo 01 >crlnumber
openssl req -engine pkcs11 -keyform engine -new -x509 -days 3650 -sha384 -config root.conf -extensions certificate \
    -key "$(uri root-hsm root private)" -subj "/C=US/O=Example Corp/OU=Security/CN=Example Corp Root CA" -out root.crt
openssl verify -x509_strict -CAfile root.crt root.crt
public root-hsm root >root.pub
expect "$(openssl x509 -in root.crt -noout -pubkey)" "$(cat root.pub)" "the certificate's key"
ok "a $key_type root CA in an HSM"

# 2. The subordinate CA, in Private CA: another signer, which goes on when the HSM is gone.
"$casemate" serve --json --eif-path "$image" --enclave-name pca --state pca.volume --listen 127.0.0.1:0 >pca.json 2>pca.log &
pca=$!
until grep -q '^}' pca.json; do kill -0 "$pca" || fail "$(cat pca.log)"; sleep 0.1; done
claim "$(field Endpoint pca.json)" pca
cat >subordinate.json <<'J'
{"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
 "Subject": {"Country": "US", "Organization": "Example Corp", "OrganizationalUnit": "Sales", "CommonName": "Example Corp Subordinate CA 0a"}}
J
arn=$("$aws" acm-pca create-certificate-authority --certificate-authority-type SUBORDINATE --profile pca \
    --certificate-authority-configuration file://subordinate.json --query CertificateAuthorityArn --output text)
pca get-certificate-authority-csr >subordinate.csr
openssl req -in subordinate.csr -noout -verify
cat >subordinate.conf <<'C'
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, cRLSign, keyCertSign
C
certify() { # CSR TOKEN OUT: the root certifies a subordinate CA
    openssl x509 -req -in "$1" -engine pkcs11 -CAkeyform engine -CAkey "$(uri "$2" root private)" -CA root.crt -CAserial serial -CAcreateserial \
        -days 1825 -sha384 -extfile subordinate.conf -out "$3"
    openssl verify -x509_strict -CAfile root.crt "$3"
}
import() { # CERTIFICATE
    pca import-certificate-authority-certificate --certificate "fileb://$1" --certificate-chain fileb://root.crt
    expect "$(pca describe-certificate-authority --query CertificateAuthority.Status)" ACTIVE "the subordinate CA"
}
certify subordinate.csr root-hsm subordinate.crt
import subordinate.crt
ok "a subordinate CA in Private CA, certified by the root"

# 3. An end-entity certificate. And another subordinate, which will be revoked.
issue() { # NAME: a certificate that chains to the root
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "/CN=$1.example.com" \
        -addext "subjectAltName=DNS:$1.example.com" -out "$1.csr" 2>/dev/null
    certificate=$(pca issue-certificate --csr "fileb://$1.csr" --signing-algorithm SHA256WITHECDSA \
        --validity Value=30,Type=DAYS --query CertificateArn)
    pca get-certificate --certificate-arn "$certificate" --query Certificate >"$1.crt"
    openssl verify -x509_strict -CAfile root.crt -untrusted subordinate.crt -verify_hostname "$1.example.com" "$1.crt"
}
issue first
openssl req -new -newkey rsa:2048 -nodes -keyout retired.key -subj "/O=Example Corp/CN=Retired" -out retired.csr 2>/dev/null
certify retired.csr root-hsm retired.crt
ok "a certificate chains to the root"

# 4. The root goes offline: what is left of the HSM is a backup.
"$casemate" hsm delete root-hsm --store store
if "$casemate" describe-enclaves | grep -q '"root-hsm"'; then fail "the HSM runs still"; fi
if tool root-hsm --list-objects >/dev/null 2>&1; then fail "the token answers still"; fi
ok "the HSM is deleted; its backup is kept"

# 5. The subordinate goes on issuing.
issue second
ok "the subordinate issues without it"

# 6. The root comes back for a day: the same owner, users and keys, at the same address. It signs a revocation list.
"$casemate" hsm create --cluster root-hsm --store store
expect "$(public root-hsm root)" "$(cat root.pub)" "the root key"
list() { # TOKEN
    openssl ca -config root.conf -engine pkcs11 -keyform engine -keyfile "$(uri "$1" root private)" -cert root.crt -gencrl -out root.crl
    openssl crl -in root.crl -noout -CAfile root.crt 2>&1 | grep -q 'verify OK' || fail "the list is not the root's"
}
checked() { openssl verify -x509_strict -crl_check -CRLfile root.crl -CAfile root.crt "$1"; }
list root-hsm
checked retired.crt
openssl ca -config root.conf -engine pkcs11 -keyform engine -keyfile "$(uri root-hsm root private)" -cert root.crt -revoke retired.crt
list root-hsm
checked subordinate.crt
if checked retired.crt >retired.txt 2>&1; then fail "the retired subordinate is not revoked"; fi
grep -q 'certificate revoked' retired.txt || fail "$(cat retired.txt)"
ok "the HSM is back, and has signed a revocation list"

# 7. The root moves to a second HSM: wrapped for a key that was made there, with bob's approval.
hsm second-hsm
tool second-hsm --keypairgen --key-type rsa:3072 --label carrier --id 0c --usage-wrap
public second-hsm carrier >carrier.pub
alice=(--user alice --password-file alice)
"$casemate" hsm key import carrier.pub --label carrier --id 0c "${alice[@]}" --profile root-hsm
wrap() { "$casemate" hsm key wrap root --with carrier --mechanism rsa-aes "${alice[@]}" --profile root-hsm "$@"; }
if wrap --out root.wrapped 2>refused.txt; then fail "the key left without an approval"; fi
grep -q 'takes a quorum' refused.txt || fail "$(cat refused.txt)"
wrap --ask-quorum text
"$casemate" hsm quorum sign text --key bob.pem --out bob.sig
"$casemate" hsm quorum approve text --signature bob=bob.sig "${alice[@]}" --profile root-hsm
wrap --out root.wrapped
if wrap --out again.wrapped 2>/dev/null; then fail "the key left twice with one approval"; fi
"$casemate" hsm key unwrap root.wrapped --with carrier --mechanism rsa-aes --label root --id 01 --type "$(
    case $key_type in rsa:*) echo rsa ;; *) echo ec ;; esac)" "${alice[@]}" --profile second-hsm
expect "$(public second-hsm root)" "$(cat root.pub)" "the root key in the second HSM"
"$casemate" hsm delete root-hsm --store store
ok "the root key is in a second HSM, and the first is gone"

# 8. The same chain goes on: the second HSM renews the subordinate and signs the next list, under the same root certificate.
certify subordinate.csr second-hsm renewed.crt
import renewed.crt
mv renewed.crt subordinate.crt
issue third
openssl verify -x509_strict -CAfile root.crt -untrusted subordinate.crt first.crt second.crt
list second-hsm
checked subordinate.crt
if checked retired.crt >/dev/null 2>&1; then fail "the retired subordinate is not revoked any more"; fi
ok "the same chain goes on under the second HSM"
echo "$steps passed, 0 failed"
