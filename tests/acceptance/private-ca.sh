#!/usr/bin/env bash
# Steps 2 to 4 of the portable root CA, with a root of openssl's own, and revocation. Needs AWS_ENDPOINT_URL, region and
# credentials, and REVOCATION_ADDRESS, where lists and answers are had.
set -euo pipefail
export AWS_PAGER= AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-${AWS_REGION:-us-east-1}}
aws=${AWS_CLI:-aws}
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
passed=0
ok() { passed=$((passed + 1)); echo "ok: $1"; }
fail() { echo "FAIL: $1"; exit 1; }
pem() { grep -q "BEGIN $2" "$1" || fail "$1 holds no $2"; }

# 1. A root CA of openssl's.
openssl req -new -newkey rsa:2048 -nodes -keyout Root_CA.key -out Root_CA.csr -subj "/C=US/ST=Virginia/L=Arlington/O=Example Corp/OU=Security/CN=Example Corp Root CA" 2>/dev/null
printf 'basicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n' >root.conf
openssl x509 -req -days 3650 -sha256 -extfile root.conf -in Root_CA.csr -signkey Root_CA.key -out Root_CA.crt 2>err.txt || fail "$(cat err.txt)"
# 2. The subordinate CA in Private CA.
cat >ca_config.txt <<'J'
{"KeyAlgorithm":"RSA_2048","SigningAlgorithm":"SHA256WITHRSA",
 "Subject":{"Country":"US","Organization":"Example Corp","OrganizationalUnit":"Sales","State":"WA","Locality":"Seattle","CommonName":"Example Corp Subordinate CA 0a"}}
J
arn=$("$aws" acm-pca create-certificate-authority --certificate-authority-configuration file://ca_config.txt \
  --certificate-authority-type SUBORDINATE --tags Key=Name,Value=MyPrivateSubordinateCA --query CertificateAuthorityArn --output text)
[ "$("$aws" acm-pca describe-certificate-authority --certificate-authority-arn "$arn" --query CertificateAuthority.Status --output text)" = PENDING_CERTIFICATE ] || fail "not PENDING_CERTIFICATE"
"$aws" acm-pca list-tags --certificate-authority-arn "$arn" --output text | grep -q MyPrivateSubordinateCA || fail "tag missing"
"$aws" acm-pca get-certificate-authority-csr --certificate-authority-arn "$arn" --output text >IntermediateCA.csr
pem IntermediateCA.csr "CERTIFICATE REQUEST"
openssl req -in IntermediateCA.csr -noout -verify 2>&1 | grep -qi ok || fail "subordinate CSR is not self-signed"
ok "subordinate CA and its CSR"

# 3. The root signs it, and it is imported.
cat >ext.conf <<'C'
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid,issuer
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, cRLSign, keyCertSign
C
openssl x509 -extfile ext.conf -req -in IntermediateCA.csr -CA Root_CA.crt -CAkey Root_CA.key \
  -CAcreateserial -days 3650 -sha256 -out IntermediateCA.crt 2>err.txt || fail "$(cat err.txt)"
openssl verify -CAfile Root_CA.crt IntermediateCA.crt >/dev/null || fail "subordinate does not verify"
openssl req -new -newkey rsa:2048 -nodes -keyout other.key -x509 -subj "/CN=Another Root" -days 10 -out other.crt 2>/dev/null
if "$aws" acm-pca import-certificate-authority-certificate --certificate-authority-arn "$arn" --certificate fileb://IntermediateCA.crt \
  --certificate-chain fileb://other.crt 2>err.txt; then fail "a chain that does not match was imported"; fi
"$aws" acm-pca import-certificate-authority-certificate --certificate-authority-arn "$arn" --certificate fileb://IntermediateCA.crt --certificate-chain fileb://Root_CA.crt
[ "$("$aws" acm-pca describe-certificate-authority --certificate-authority-arn "$arn" --query CertificateAuthority.Status --output text)" = ACTIVE ] || fail "not ACTIVE"
ok "signed by the root, imported, active"

# 4. The subordinate CA issues.
openssl req -new -newkey rsa:2048 -nodes -keyout leaf.key -subj "/CN=www.example.com" -addext "subjectAltName=DNS:www.example.com" -out leaf.csr 2>/dev/null
leaf=$("$aws" acm-pca issue-certificate --certificate-authority-arn "$arn" --csr fileb://leaf.csr --signing-algorithm SHA256WITHRSA \
  --validity Value=30,Type=DAYS --query CertificateArn --output text)
"$aws" acm-pca wait certificate-issued --certificate-authority-arn "$arn" --certificate-arn "$leaf"
"$aws" acm-pca get-certificate --certificate-authority-arn "$arn" --certificate-arn "$leaf" --query Certificate --output text >leaf.crt
openssl verify -CAfile Root_CA.crt -untrusted IntermediateCA.crt leaf.crt >/dev/null || fail "leaf does not chain to the root"
openssl x509 -in leaf.crt -noout -ext subjectAltName | grep -q www.example.com || fail "subjectAltName missing"
ok "an end-entity certificate chains to the root"

# 5. A certificate is revoked: the list and the responder say so.
host=$REVOCATION_ADDRESS
"$aws" acm-pca update-certificate-authority --certificate-authority-arn "$arn" --revocation-configuration \
  "CrlConfiguration={Enabled=true,ExpirationInDays=7,CustomCname=$host},OcspConfiguration={Enabled=true,OcspCustomCname=$host}"
leaf=$("$aws" acm-pca issue-certificate --certificate-authority-arn "$arn" --csr fileb://leaf.csr --signing-algorithm SHA256WITHRSA \
  --validity Value=30,Type=DAYS --query CertificateArn --output text)
"$aws" acm-pca get-certificate --certificate-authority-arn "$arn" --certificate-arn "$leaf" --query Certificate --output text >leaf.crt
id=${arn##*/}
status() { openssl ocsp -issuer IntermediateCA.crt -cert leaf.crt -url "$(openssl x509 -in leaf.crt -noout -ocsp_uri)" -CAfile Root_CA.crt 2>&1; }
status | grep -q "leaf.crt: good" || fail "not good: $(status)"
"$aws" acm-pca revoke-certificate --certificate-authority-arn "$arn" --certificate-serial "${leaf##*/}" --revocation-reason SUPERSEDED
status | grep -q "Response verify OK" || fail "$(status)"
status | grep -q "leaf.crt: revoked" || fail "not revoked: $(status)"
openssl x509 -in leaf.crt -noout -text | grep -q "http://$host/crl/$id.crl" || fail "no CRL distribution point"
exec 3<>"/dev/tcp/${host%:*}/${host##*:}"
printf 'GET /crl/%s.crl HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$id" >&3
sed '1,/^\r$/d' <&3 >list.der
openssl crl -inform DER -in list.der -out list.pem || fail "no list"
if openssl verify -crl_check -CRLfile list.pem -CAfile Root_CA.crt -untrusted IntermediateCA.crt leaf.crt >verify.txt 2>&1; then fail "not revoked by the list"; fi
grep -q "certificate revoked" verify.txt || fail "$(cat verify.txt)"
ok "revoked in the list and by the responder"
echo "$passed passed, 0 failed"
