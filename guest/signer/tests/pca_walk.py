"""Walks every operation of Private CA with boto3, and shows what comes out to openssl.

A root and a subordinate, both in the signer; certificates of every template; a revocation list and a responder; the errors
that clients tell apart. The second argument is the address where revocation lists and answers are had.
"""

import base64
import os
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

from boto3_client import client, refused, walked
from cryptography import x509

pca = client("acm-pca")
PUBLIC = sys.argv[2]
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

def call(operation, **request):
    return getattr(pca, operation)(**request)


def refusal(operation, **request):
    return refused(getattr(pca, operation), **request)[0]


def write(name, content):
    with open(name, "wb") as file:
        file.write(content if isinstance(content, bytes) else (content + "\n").encode())
    return name


def openssl(*arguments, fails=False):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    assert (done.returncode != 0) == fails, f"openssl {arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def create(kind, key, signing, name, **more):
    configuration = {"KeyAlgorithm": key, "SigningAlgorithm": signing, "Subject": {"Country": "GB", "CommonName": name}}
    configuration |= more.pop("configuration", {})
    return call(
        "create_certificate_authority",
        CertificateAuthorityConfiguration=configuration,
        CertificateAuthorityType=kind,
        **more,
    )["CertificateAuthorityArn"]


def csr_of(arn):
    return call("get_certificate_authority_csr", CertificateAuthorityArn=arn)["Csr"]


def status(arn):
    return call("describe_certificate_authority", CertificateAuthorityArn=arn)["CertificateAuthority"]["Status"]


def issue(arn, csr, signing, template=None, days=30, **more):
    if template:
        more["TemplateArn"] = f"arn:aws:acm-pca:::template/{template}/V1"
    more.setdefault("Validity", {"Type": "DAYS", "Value": days})
    issued = call(
        "issue_certificate", CertificateAuthorityArn=arn, Csr=csr.encode(), SigningAlgorithm=signing, **more
    )["CertificateArn"]
    pca.get_waiter("certificate_issued").wait(CertificateAuthorityArn=arn, CertificateArn=issued)
    return issued


def get(arn, issued):
    return call("get_certificate", CertificateAuthorityArn=arn, CertificateArn=issued)


def text(pem):
    return openssl("x509", "-in", write("shown.pem", pem), "-noout", "-text")


def leaf_csr(name, *arguments, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    openssl("req", "-new", "-newkey", *key, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", *arguments)
    with open(f"{name}.csr") as file:
        return file.read()


# A root certifies itself; nobody else's key, and nothing before.
root = create("ROOT", "EC_secp384r1", "SHA384WITHECDSA", "Walk Root", IdempotencyToken="one")
assert root == create("ROOT", "EC_secp384r1", "SHA384WITHECDSA", "Walk Root", IdempotencyToken="one")
pca.get_waiter("certificate_authority_csr_created").wait(CertificateAuthorityArn=root)
assert status(root) == "PENDING_CERTIFICATE"
assert refusal("get_certificate_authority_certificate", CertificateAuthorityArn=root) == "InvalidStateException"
plain = leaf_csr("plain", "-subj", "/CN=plain.example", "-addext", "subjectAltName=DNS:plain.example")
arguments = {"CertificateAuthorityArn": root, "SigningAlgorithm": "SHA384WITHECDSA"}
assert refusal("issue_certificate", Csr=plain, Validity={"Type": "DAYS", "Value": 1}, **arguments) == "InvalidStateException"
own = {"TemplateArn": "arn:aws:acm-pca:::template/RootCACertificate/V1", "Validity": {"Type": "YEARS", "Value": 10}}
assert refusal("issue_certificate", Csr=plain, **own, **arguments) == "InvalidArgsException"
issued = issue(root, csr_of(root), "SHA384WITHECDSA", "RootCACertificate", Validity={"Type": "YEARS", "Value": 10})
assert "CertificateChain" not in get(root, issued)
root_pem = get(root, issued)["Certificate"]
call("import_certificate_authority_certificate", CertificateAuthorityArn=root, Certificate=root_pem.encode())
assert status(root) == "ACTIVE"
openssl("verify", "-x509_strict", "-CAfile", write("root.pem", root_pem), "root.pem")

# A subordinate of another kind of key, with names for revocation.
revocation = {
    "CrlConfiguration": {"Enabled": True, "ExpirationInDays": 7, "CustomCname": PUBLIC},
    "OcspConfiguration": {"Enabled": True, "OcspCustomCname": PUBLIC},
}
sub = create("SUBORDINATE", "RSA_2048", "SHA256WITHRSA", "Walk Subordinate", RevocationConfiguration=revocation)
shown = text(get(root, issue(root, csr_of(sub), "SHA512WITHECDSA", "SubordinateCACertificate_PathLen1"))["Certificate"])
assert "CA:TRUE, pathlen:1" in shown and "ecdsa-with-SHA512" in shown, shown
sub_pem = get(root, issue(root, csr_of(sub), "SHA384WITHECDSA", "SubordinateCACertificate_PathLen0", days=3000))["Certificate"]
install = {"CertificateAuthorityArn": sub, "Certificate": sub_pem.encode()}
import_certificate = "import_certificate_authority_certificate"
assert refusal(import_certificate, **install) == "InvalidRequestException"
assert refusal(import_certificate, **install, CertificateChain=sub_pem.encode()) == "CertificateMismatchException"
assert refusal(import_certificate, **install, CertificateChain=b"x") == "InvalidRequestException"
assert refusal(import_certificate, CertificateAuthorityArn=sub, Certificate=root_pem.encode()) == "CertificateMismatchException"
assert refusal(import_certificate, CertificateAuthorityArn=sub, Certificate=b"x") == "MalformedCertificateException"
call("import_certificate_authority_certificate", **install, CertificateChain=root_pem.encode())
got = call("get_certificate_authority_certificate", CertificateAuthorityArn=sub)
assert (got["Certificate"], got["CertificateChain"]) == (sub_pem, root_pem)
write("sub.pem", sub_pem)
write("chain.pem", f"{sub_pem}\n{root_pem}")
described = call("describe_certificate_authority", CertificateAuthorityArn=sub)["CertificateAuthority"]
assert described["Type"] == "SUBORDINATE" and described["RevocationConfiguration"] == revocation | {}, described
assert described["CertificateAuthorityConfiguration"]["Subject"]["CommonName"] == "Walk Subordinate"

# Below path length 0 there is no authority; and nothing outlives its issuer.
assert refusal(
    "issue_certificate",
    CertificateAuthorityArn=sub,
    Csr=plain,
    SigningAlgorithm="SHA256WITHRSA",
    TemplateArn="arn:aws:acm-pca:::template/SubordinateCACertificate_PathLen0/V1",
    Validity={"Type": "DAYS", "Value": 1},
) == "InvalidArgsException"
arguments = {"CertificateAuthorityArn": sub, "SigningAlgorithm": "SHA256WITHRSA"}
day = {"Validity": {"Type": "DAYS", "Value": 1}}
assert refusal("issue_certificate", Csr=plain, Validity={"Type": "YEARS", "Value": 9}, **arguments) == "ValidationException"
assert refusal("issue_certificate", Csr=b"nothing", **day, **arguments) == "MalformedCSRException"
assert refusal("issue_certificate", Csr=leaf_csr("none", "-subj", "/"), **day, **arguments) == "MalformedCSRException"
weak = leaf_csr("weak", "-subj", "/CN=weak", key=("rsa:1024",))
assert refusal("issue_certificate", Csr=weak, **day, **arguments) == "MalformedCSRException"
damaged = plain.replace(plain[200:204], plain[200:204].swapcase(), 1)
assert refusal("issue_certificate", Csr=damaged, **day, **arguments) == "MalformedCSRException"
wrong = {"CertificateAuthorityArn": sub, "SigningAlgorithm": "SHA256WITHECDSA", "Csr": plain}
assert refusal("issue_certificate", **day, **wrong) == "InvalidArgsException"

# Every template: what openssl sees, and that strict validation likes it.
PURPOSES = {
    "EndEntityCertificate": ("sslserver", "TLS Web Server Authentication, TLS Web Client Authentication"),
    "EndEntityClientAuthCertificate": ("sslclient", "TLS Web Client Authentication"),
    "EndEntityServerAuthCertificate": ("sslserver", "TLS Web Server Authentication"),
    "CodeSigningCertificate": ("any", "Code Signing"),
    "OCSPSigningCertificate": ("ocsphelper", "OCSP Signing"),
    "BlankEndEntityCertificate": ("any", None),
    "BlankEndEntityCertificate_CriticalBasicConstraints": ("any", None),
}
asks = leaf_csr(
    "asks", "-subj", "/CN=asks.example", "-addext", "subjectAltName=DNS:asks.example,IP:192.0.2.1",
    "-addext", "keyUsage=critical,keyAgreement", "-addext", "basicConstraints=critical,CA:TRUE",
    "-addext", "certificatePolicies=1.2.3.4", key=("rsa:2048",),
)
given = {
    "Subject": {"Organization": "Given", "CommonName": "given.example"},
    "Extensions": {
        "SubjectAlternativeNames": [{"DnsName": "given.example"}, {"IpAddress": "2001:db8::1"}, {"Rfc822Name": "a@b.example"}],
        "KeyUsage": {"DigitalSignature": True, "NonRepudiation": True},
        "ExtendedKeyUsage": [{"ExtendedKeyUsageType": "SMART_CARD_LOGIN"}, {"ExtendedKeyUsageObjectIdentifier": "1.2.3.9"}],
        "CertificatePolicies": [
            {"CertPolicyId": "1.2.3.5", "PolicyQualifiers": [{"PolicyQualifierId": "CPS", "Qualifier": {"CpsUri": "http://cps.example"}}]}
        ],
        "CustomExtensions": [{"ObjectIdentifier": "1.2.3.6", "Value": "BQA=", "Critical": False}],
    },
}
variants = 0
for base, (purpose, eku) in PURPOSES.items():
    blank = base.startswith("Blank")
    for suffix in ["", "_APIPassthrough", "_CSRPassthrough", "_APICSRPassthrough"]:
        if blank and not suffix:
            continue
        variants += 1
        api, csr = "API" in suffix, "CSR" in suffix
        pem = get(sub, issue(sub, asks, "SHA256WITHRSA", base + suffix, ApiPassthrough=given))["Certificate"]
        shown = text(pem)
        where = f"{base}{suffix}: {shown}"
        assert "CA:FALSE" in shown and "CA:TRUE" not in shown, where
        assert ("Basic Constraints: critical" in shown) == ("Critical" in base), where
        assert ("given.example" in shown) == api and ("O = Given" in shown) == api, where
        assert ("asks.example" in shown) == (not api), where
        assert ("Policy: 1.2.3.5" in shown and "http://cps.example" in shown and "1.2.3.6" in shown) == api, where
        assert ("Policy: 1.2.3.4" in shown) == (csr and not api), where
        if blank:
            assert ("Non Repudiation" in shown and "1.2.3.9" in shown) == api, where
            assert ("Key Agreement" in shown) == (csr and not api), where
        else:
            assert eku in shown and "Non Repudiation" not in shown and "Key Agreement" not in shown, where
        purpose_arguments = [] if blank and api else ["-purpose", purpose]
        openssl("verify", "-x509_strict", *purpose_arguments, "-CAfile", "root.pem", "-untrusted", "sub.pem", write("leaf.pem", pem))
assert variants == 26, variants
for template in ["NoSuchTemplate", "BlankEndEntityCertificate", "SubordinateCACertificate", "SubordinateCACertificate_PathLen4",
                 "RootCACertificate_CSRPassthrough", "EndEntityCertificate_PathLen0"]:
    template = f"arn:aws:acm-pca:::template/{template}/V1"
    assert refusal("issue_certificate", Csr=plain, TemplateArn=template, **day, **arguments) == "InvalidArgsException"

# Names without a subject are critical.
nameless = leaf_csr("nameless", "-subj", "/", "-addext", "subjectAltName=DNS:nameless.example")
pem = get(sub, issue(sub, nameless, "SHA256WITHRSA"))["Certificate"]
assert "Subject Alternative Name: critical" in text(pem)
openssl("verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "sub.pem", write("leaf.pem", pem))

# Dates, and a request that comes twice.
for kind, value, expected in [("END_DATE", 290101000000, "Jan  1 00:00:00 2029"), ("ABSOLUTE", 1893456000, "Jan  1 00:00:00 2030")]:
    before = {"Type": "ABSOLUTE", "Value": 1700000000}
    shown = text(get(sub, issue(sub, plain, "SHA256WITHRSA", Validity={"Type": kind, "Value": value}, ValidityNotBefore=before))["Certificate"])
    assert f"Not After : {expected}" in shown and "Not Before: Nov 14 22:13:20 2023" in shown, shown
once = issue(sub, plain, "SHA256WITHRSA", IdempotencyToken="t")
assert once == issue(sub, plain, "SHA256WITHRSA", IdempotencyToken="t") != issue(sub, plain, "SHA256WITHRSA", IdempotencyToken="u")

# Revocation: the list and the responder before and after.
serial = once.rsplit("/", 1)[1]
write("leaf.pem", get(sub, once)["Certificate"])
write("other.pem", get(sub, issue(sub, plain, "SHA256WITHRSA"))["Certificate"])
addresses = [line.split("URI:")[1].strip() for line in text(get(sub, once)["Certificate"]).splitlines() if "URI:" in line]
assert len(addresses) == 3 and all(address.startswith(f"http://{PUBLIC}/") for address in addresses), addresses
crl_address, ocsp_address, issuer_address = addresses


def fetch(address, body=None):
    with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=10) as answer:
        return answer.read()


def list_now():
    write("list.der", fetch(crl_address))
    shown = openssl("crl", "-inform", "DER", "-in", "list.der", "-noout", "-text", "-CAfile", "sub.pem")
    assert "verify OK" in shown, shown
    openssl("crl", "-inform", "DER", "-in", "list.der", "-out", "list.pem")
    return shown


def ask(name, *more):
    return openssl("ocsp", *more, "-issuer", "sub.pem", "-cert", name, "-url", ocsp_address, "-CAfile", "root.pem", "-verify_other", "sub.pem")


def check_against_list(fails):
    openssl("verify", "-crl_check", "-CRLfile", "list.pem", "-CAfile", "root.pem", "-untrusted", "sub.pem", "leaf.pem", fails=fails)


openssl("x509", "-inform", "DER", "-in", write("issuer.der", fetch(issuer_address)), "-out", "issuer.pem")
openssl("verify", "-CAfile", "root.pem", "issuer.pem")
assert "No Revoked Certificates" in list_now()
check_against_list(fails=False)
for more in [[], ["-sha256"]]:
    answer = ask("leaf.pem", *more)
    assert "Response verify OK" in answer and "leaf.pem: good" in answer, answer
number = [line for line in list_now().splitlines() if line.strip().isdigit()]
pair = ":".join(serial[at : at + 2] for at in range(0, 32, 2)).upper()
revoke = {"CertificateAuthorityArn": sub, "RevocationReason": "KEY_COMPROMISE"}
report = call("create_certificate_authority_audit_report", CertificateAuthorityArn=sub, S3BucketName="bucket", AuditReportResponseFormat="JSON")
call("revoke_certificate", CertificateSerial=pair, **revoke)
assert refusal("revoke_certificate", CertificateSerial=serial, **revoke) == "RequestAlreadyProcessedException"
assert refusal("revoke_certificate", CertificateSerial="00" * 16, **revoke) == "ResourceNotFoundException"
shown = list_now()
assert serial.upper() in shown and "Key Compromise" in shown, shown
assert [line for line in shown.splitlines() if line.strip().isdigit()] > number
check_against_list(fails=True)
answer = ask("leaf.pem")
assert "Response verify OK" in answer and "leaf.pem: revoked" in answer and "keyCompromise" in answer, answer
assert "other.pem: good" in ask("other.pem")
stranger = openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "x.key", "-subj", "/CN=x", "-days", "2", "-out", "stranger.pem")
assert "unauthorized" in openssl("ocsp", "-issuer", "sub.pem", "-cert", "stranger.pem", "-url", ocsp_address, fails=True)
openssl("ocsp", "-issuer", "sub.pem", "-cert", "leaf.pem", "-reqout", "request.der", "-no_nonce")
with open("request.der", "rb") as file:
    request = file.read()
path = urllib.parse.quote(base64.b64encode(request).decode(), safe="")
assert fetch(f"{ocsp_address}/{path}") == fetch(ocsp_address, request), "the same answer, by either method"
assert fetch(ocsp_address, b"nonsense") == bytes.fromhex("30030a0101")
for nothing in ["/crl/x.crl", f"/crl/{root.rsplit('/')[1]}.crl", "/health", "/", "/ocsp/x"]:
    try:
        fetch(f"http://{PUBLIC}{nothing}")
        raise SystemExit(f"{nothing} was answered")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error

# Reports say what was true when they were made.
arguments = {"CertificateAuthorityArn": sub, "AuditReportId": report["AuditReportId"]}
pca.get_waiter("audit_report_created").wait(**arguments)
described = call("describe_certificate_authority_audit_report", **arguments)
assert described["S3Key"] == report["S3Key"] and described["S3BucketName"] == "bucket", described
assert refusal("describe_certificate_authority_audit_report", **arguments | {"AuditReportId": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}) == "ResourceNotFoundException"

# Permissions, policies, tags.
permission = {"CertificateAuthorityArn": sub, "Principal": "acm.amazonaws.com"}
call("create_permission", Actions=["IssueCertificate", "GetCertificate", "ListPermissions"], **permission)
assert refusal("create_permission", Actions=["IssueCertificate"], **permission) == "PermissionAlreadyExistsException"
[permitted] = call("list_permissions", CertificateAuthorityArn=sub)["Permissions"]
assert permitted["Actions"] == ["IssueCertificate", "GetCertificate", "ListPermissions"], permitted
call("delete_permission", **permission)
assert call("list_permissions", CertificateAuthorityArn=sub)["Permissions"] == []
assert refusal("delete_permission", **permission) == "ResourceNotFoundException"
assert refusal("get_policy", ResourceArn=sub) == "ResourceNotFoundException"
policy = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},'
    f'"Action":"acm-pca:GetCertificate","Resource":"{sub}"}}]}}'
)
call("put_policy", ResourceArn=sub, Policy=policy)
assert call("get_policy", ResourceArn=sub)["Policy"] == policy
assert refusal("put_policy", ResourceArn=sub, Policy="{}") == "InvalidPolicyException"
call("delete_policy", ResourceArn=sub)
assert refusal("delete_policy", ResourceArn=sub) == "ResourceNotFoundException"
tags = [{"Key": f"k{n:02}", "Value": "v"} for n in range(50)]
call("tag_certificate_authority", CertificateAuthorityArn=sub, Tags=tags)
assert refusal("tag_certificate_authority", CertificateAuthorityArn=sub, Tags=[{"Key": "more", "Value": ""}]) == "TooManyTagsException"
assert refusal("tag_certificate_authority", CertificateAuthorityArn=sub, Tags=[{"Key": "aws:x", "Value": ""}]) == "InvalidTagException"
pages = list(pca.get_paginator("list_tags").paginate(CertificateAuthorityArn=sub, PaginationConfig={"PageSize": 20}))
assert [len(page["Tags"]) for page in pages] == [20, 20, 10] and sum((page["Tags"] for page in pages), []) == tags
call("untag_certificate_authority", CertificateAuthorityArn=sub, Tags=[{"Key": "k00", "Value": "other"}, {"Key": "k01"}])
left = [tag["Key"] for tag in pca.list_tags(CertificateAuthorityArn=sub)["Tags"]]
assert len(left) == 49 and "k00" in left and "k01" not in left

# The other kinds of key. Debian's openssl knows no ML-DSA, so pyca/cryptography (which comes with a verifier that other tests
# need) checks all of them, too.
for key, signing in [("RSA_3072", "SHA384WITHRSA"), ("RSA_2048", "SHA256WITHRSA_PSS"), ("RSA_3072", "SHA512WITHRSA_PSS"), ("RSA_4096", "SHA512WITHRSA"), ("EC_prime256v1", "SHA512WITHECDSA"),
                     ("EC_secp521r1", "SHA256WITHECDSA"), ("ML_DSA_44", "ML_DSA_44"), ("ML_DSA_65", "ML_DSA_65"), ("ML_DSA_87", "ML_DSA_87")]:
    other = create("ROOT", key, signing, f"Walk {key}")
    pem = get(other, issue(other, csr_of(other), signing, "RootCACertificate", Validity={"Type": "MONTHS", "Value": 13}))["Certificate"]
    call("import_certificate_authority_certificate", CertificateAuthorityArn=other, Certificate=pem.encode())
    pem = get(other, issue(other, plain, signing))["Certificate"]
    other_root = call("get_certificate_authority_certificate", CertificateAuthorityArn=other)["Certificate"]
    loaded = x509.load_pem_x509_certificate(other_root.encode())
    loaded.verify_directly_issued_by(loaded)
    x509.load_pem_x509_certificate(pem.encode()).verify_directly_issued_by(loaded)
    csr = x509.load_pem_x509_csr(csr_of(other).encode())
    assert csr.is_signature_valid and csr.public_key() == loaded.public_key(), key
    if not key.startswith("ML"):
        write("other-root.pem", other_root)
        openssl("verify", "-x509_strict", "-CAfile", "other-root.pem", write("leaf.pem", pem))
configuration = {"Subject": {"CustomAttributes": [{"ObjectIdentifier": "2.5.4.3", "Value": "Custom"}, {"ObjectIdentifier": "1.2.3.4", "Value": "x"}]},
                 "CsrExtensions": {"KeyUsage": {"KeyCertSign": True, "CRLSign": True}, "SubjectInformationAccess": [
                     {"AccessMethod": {"AccessMethodType": "CA_REPOSITORY"}, "AccessLocation": {"UniformResourceIdentifier": "http://r.example"}}]}}
custom = create("SUBORDINATE", "EC_prime256v1", "SHA256WITHECDSA", "", configuration=configuration, UsageMode="SHORT_LIVED_CERTIFICATE")
shown = openssl("req", "-in", write("custom.csr", csr_of(custom)), "-noout", "-text", "-verify")
assert "CN = Custom, 1.2.3.4 = x" in shown and "Certificate Sign, CRL Sign" in shown and "http://r.example" in shown, shown
for wrong in [{"KeyAlgorithm": "SM2", "SigningAlgorithm": "SM3WITHSM2"}, {"SigningAlgorithm": "SHA256WITHECDSA"},
              {"Subject": {"CommonName": "x", "CustomAttributes": [{"ObjectIdentifier": "2.5.4.3", "Value": "y"}]}}, {"Subject": {}}]:
    whole = {"KeyAlgorithm": "RSA_2048", "SigningAlgorithm": "SHA256WITHRSA", "Subject": {"CommonName": "x"}} | wrong
    assert refusal("create_certificate_authority", CertificateAuthorityConfiguration=whole, CertificateAuthorityType="ROOT") == "InvalidArgsException", wrong
for wrong in [{"CrlConfiguration": {"Enabled": True, "ExpirationInDays": 7}}, {"OcspConfiguration": {"Enabled": True}},
              {"CrlConfiguration": {"Enabled": True, "ExpirationInDays": 7, "CustomCname": "http://x"}}]:
    whole = {"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA", "Subject": {"CommonName": "x"}}
    assert refusal("create_certificate_authority", CertificateAuthorityConfiguration=whole, CertificateAuthorityType="ROOT",
                   RevocationConfiguration=wrong) == "InvalidArgsException", wrong

# Name constraints of a root of openssl's, which rule what is issued below; of a form that nobody can enforce, they are not imported.
openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "far.key", "-out", "far.pem", "-days", "20", "-subj", "/CN=Far",
        "-addext", "keyUsage=keyCertSign", "-addext", "nameConstraints=critical,permitted;DNS:example.com,excluded;DNS:secret.example.com")
near = create("SUBORDINATE", "EC_prime256v1", "SHA256WITHECDSA", "Near")
write("near.csr", csr_of(near))


def near_signed(extensions):
    write("near.ext", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n" + extensions)
    openssl("x509", "-req", "-in", "near.csr", "-CA", "far.pem", "-CAkey", "far.key", "-CAcreateserial", "-days", "10", "-extfile", "near.ext", "-out", "near.pem")
    return {"CertificateAuthorityArn": near, "Certificate": open("near.pem", "rb").read(), "CertificateChain": open("far.pem", "rb").read()}


for extensions in ["subjectAltName=DNS:example.org", "nameConstraints=critical,permitted;RID:1.2.3.4", "nameConstraints=critical,excluded;otherName:1.2.3.4;UTF8:x"]:
    assert refusal("import_certificate_authority_certificate", **near_signed(extensions)) == "MalformedCertificateException", extensions
call("import_certificate_authority_certificate", **near_signed("nameConstraints=excluded;email:.example.com"))
for names, fine in [("DNS:a.example.com", True), ("DNS:a.example.org", False), ("DNS:secret.example.com", False), ("DNS:a.example.com,DNS:*.example.org", False),
                    ("DNS:*.example.com", False), ("DNS:a.example.com,email:a@sub.example.com", False), ("DNS:a.example.com,email:a@example.org", True)]:
    csr = leaf_csr("below", "-subj", "/CN=x", "-addext", f"subjectAltName={names}")
    if fine:
        pem = get(near, issue(near, csr, "SHA256WITHECDSA", days=1))["Certificate"]
        openssl("verify", "-x509_strict", "-CAfile", "far.pem", "-untrusted", "near.pem", write("leaf.pem", pem))
    else:
        assert refusal("issue_certificate", CertificateAuthorityArn=near, Csr=csr, SigningAlgorithm="SHA256WITHECDSA", **day) == "InvalidArgsException", names

# The life of an authority.
assert refusal("update_certificate_authority", CertificateAuthorityArn=custom, Status="ACTIVE") == "InvalidStateException"
assert refusal("delete_certificate_authority", CertificateAuthorityArn=sub) == "InvalidStateException"
assert refusal("update_certificate_authority", CertificateAuthorityArn=sub, Status="EXPIRED") == "InvalidArgsException"
call("update_certificate_authority", CertificateAuthorityArn=sub, Status="DISABLED")
assert status(sub) == "DISABLED"
assert refusal("issue_certificate", CertificateAuthorityArn=sub, Csr=plain, SigningAlgorithm="SHA256WITHRSA", **day) == "InvalidStateException"
assert serial.upper() in list_now(), "a list is made for those who rely on certificates"
call("update_certificate_authority", CertificateAuthorityArn=sub, RevocationConfiguration={"CrlConfiguration": {"Enabled": False}})
call("delete_certificate_authority", CertificateAuthorityArn=sub, PermanentDeletionTimeInDays=7)
assert status(sub) == "DELETED"
described = call("describe_certificate_authority", CertificateAuthorityArn=sub)["CertificateAuthority"]
assert 6.9 < (described["RestorableUntil"] - described["LastStateChangeAt"]).total_seconds() / 86400 < 7.1
assert refusal("get_certificate_authority_csr", CertificateAuthorityArn=sub) == "InvalidStateException"
call("restore_certificate_authority", CertificateAuthorityArn=sub)
assert status(sub) == "DISABLED"
assert refusal("restore_certificate_authority", CertificateAuthorityArn=sub) == "InvalidStateException"
call("update_certificate_authority", CertificateAuthorityArn=sub, Status="ACTIVE")
issue(sub, plain, "SHA256WITHRSA")
pages = list(pca.get_paginator("list_certificate_authorities").paginate(PaginationConfig={"PageSize": 4}))
arns = [authority["Arn"] for page in pages for authority in page["CertificateAuthorities"]]
assert {root, sub, custom} <= set(arns) and len(set(arns)) == len(arns) == 13 and len(pages) == 4, arns
assert refusal("list_certificate_authorities", NextToken="x") == "InvalidNextTokenException"
assert pca.list_certificate_authorities(ResourceOwner="OTHER_ACCOUNTS")["CertificateAuthorities"] == []
nobody = root[:-12] + "0" * 12
assert refusal("describe_certificate_authority", CertificateAuthorityArn=nobody) == "ResourceNotFoundException"
assert refusal("describe_certificate_authority", CertificateAuthorityArn=root.replace("certificate-authority", "x")) == "InvalidArnException"

missing = set(pca.meta.service_model.operation_names) - walked
assert not missing, missing
print(f"walked {len(walked)} operations, {variants} templates of end entities")
