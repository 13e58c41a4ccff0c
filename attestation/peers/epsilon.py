"""Puts a document before epsilon-attestation-verifier: epsilon.py DOCUMENT ROOT.pem PCR0

Exits with 0 and prints the module id if it is accepted, else with 1 and the reason.
"""

import base64
import pathlib
import sys

from epsilon_verifier.verifier import verify_attestation

document, root, pcr0 = sys.argv[1:]
result = verify_attestation(
    base64.b64encode(pathlib.Path(document).read_bytes()).decode(),
    expected_pcr0=pcr0,
    aws_root_cert_path=root,
)
if not result.valid:
    sys.exit(f"refused: {result.error}")
checks = (result.syntax_valid, result.certificate_chain_valid, result.aws_signature_valid, result.pcr_verified)
if not all(checks):
    sys.exit(f"accepted without checking everything: {checks}")
print(result.module_id)
