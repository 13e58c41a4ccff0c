//! Keys that leave a sealed token and enter another: wrapped, with the approvals that they ask for, to SoftHSM2 and back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::path::Path;

use casemate_tests::token::{LABEL, PIN, Token, module};
use casemate_tests::{Done, can_seal};
use serde_json::Value;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Somebody's key to approve with, made by openssl or by casemate, registered.
fn approver(token: &Token, name: &str, as_officer: bool, with_openssl: Option<&str>) {
    let key = format!("{name}.pem");
    let public = format!("{name}.pem.pub");
    match with_openssl {
        Some(kind) => {
            let kind: Vec<_> = kind.split(' ').collect();
            token.lab.openssl(&[&["genpkey", "-out", &key, "-algorithm"], &kind[..]].concat());
            token.lab.openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]);
        }
        None => drop(token.hsm_offline(&["quorum", "keygen", "--out", &key])),
    }
    let who = if as_officer { "--officer" } else { "--user" };
    token.hsm(&["quorum", "register", who, name, "--public-key", &public, "--password-file", name]);
}

/// A key leaves through C_WrapKey, by a program that knows PKCS#11 alone, once those have approved whom it asks for.
#[test]
fn a_key_leaves_through_the_module_with_the_approvals_that_it_asks_for() {
    if !can_seal("quorums of a sealed token, by command and through the module") {
        return;
    }
    let token = Token::new();
    for name in ["bob", "carol"] {
        token.lab.write(name, format!("{name}-password").as_bytes());
        token.hsm(&["user", "add", name, "--password-file", "officer", "--new-password-file", name]);
    }
    approver(&token, "alice", false, None);
    approver(&token, "bob", false, Some("EC -pkeyopt ec_paramgen_curve:P-384"));
    approver(&token, "carol", false, None);
    approver(&token, "officer", true, Some("RSA -pkeyopt rsa_keygen_bits:2048"));

    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    let kek = ["--keygen", "--key-type", "AES:32", "--label", "kek", "--id", "0a", "--usage-wrap"];
    token.tool_ok(&[&login[..], &kek].concat());
    for (label, id) in [("root", "01"), ("other", "02")] {
        let make =
            ["--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", id, "--extractable"];
        token.tool_ok(&[&login[..], &make].concat());
    }
    let alice = ["--user", "alice", "--password-file", "alice"];
    for key in ["root", "other"] {
        token.hsm(&[&["key", "quorum", key, "2"], &alice[..]].concat());
    }
    let lower = token.try_hsm(&[&["key", "quorum", "root", "1"], &alice[..]].concat());
    assert!(lower.code != 0 && lower.stderr.contains("CKR_"), "{lower:?}");

    let wrap = |key: &str| {
        let mut program = token.command(Path::new(env!("CARGO_BIN_EXE_pkcs11_wrap")));
        program.arg("wrap").arg(module()).args([LABEL, PIN, "aes-kwp", "kek", key, "wrapped"]);
        Done::new(program.output().unwrap())
    };
    let refused = |key: &str, why: &str| {
        let done = wrap(key);
        assert!(done.code != 0 && done.stderr.contains("FunctionRejected"), "{why}: {done:?}");
        assert!(!token.lab.path("wrapped").exists());
    };
    refused("root", "nobody has been asked");

    // What is asked for is what the text says. The mechanism is the program's own, RFC 5649 by its older number.
    let with = ["--with", "kek", "--mechanism", "aes-pad"];
    let ask = |text: &'static str| {
        token.hsm(&[&["key", "wrap", "root", "--ask-quorum", text], &with[..], &alice].concat());
        String::from_utf8(token.lab.read(text)).unwrap()
    };
    let text = ask("text");
    for line in ["asked-by alice", "operation WrapKey", "mechanism 0x210a"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    refused("root", "nobody has approved");
    let shown = token.hsm_offline(&["quorum", "sign", "text", "--key", "carol.pem", "--out", "carol.sig"]);
    assert_eq!(shown, text.trim_end(), "an approver sees what is approved");
    token.lab.openssl(&["dgst", "-sha256", "-sign", "bob.pem", "-out", "bob.sig", "text"]);
    token.hsm_offline(&["quorum", "sign", "text", "--key", "officer.pem", "--out", "officer.sig"]);
    token.hsm_offline(&["quorum", "sign", "text", "--key", "alice.pem", "--out", "alice.sig"]);
    let approve = |signatures: &[&str]| {
        let signatures: Vec<_> = signatures.iter().flat_map(|one| ["--signature", *one]).collect();
        token.try_hsm(&[&["quorum", "approve", "text"], &signatures[..], &alice].concat())
    };
    for (signatures, why) in [
        (&["alice=alice.sig"][..], "one's own"),
        (&["bob=carol.sig"], "another's"),
        (&["bob=bob.sig", "officer=carol.sig"], "one good, one not: neither counts"),
    ] {
        let done = approve(signatures);
        assert!(done.code != 0 && done.stderr.contains("CKR_SIGNATURE_INVALID"), "{why}: {done:?}");
    }
    assert_eq!(approve(&["bob=bob.sig"]).code, 0);
    refused("root", "one is not two");
    let listed = |who: &[&str]| -> Value {
        serde_json::from_str(&token.hsm(&[&["quorum", "list", "--json"], who].concat())).unwrap()
    };
    let carol = ["--user", "carol", "--password-file", "carol"];
    assert_eq!(listed(&carol)["Tokens"][0]["Approved"], serde_json::json!(["bob"]));
    assert_eq!(listed(&carol)["Tokens"][0]["Text"], text);
    assert_eq!(approve(&["bob=bob.sig", "officer=officer.sig"]).code, 0);
    refused("other", "another key than was approved");
    let done = wrap("root");
    assert_eq!(done.code, 0, "two have approved: {done:?}");
    assert_eq!(listed(&carol)["Tokens"], serde_json::json!([]));
    std::fs::remove_file(token.lab.path("wrapped")).unwrap();
    refused("root", "an approval is good once");
    let done = approve(&["bob=bob.sig", "officer=officer.sig"]);
    assert!(done.code != 0 && done.stderr.contains("no such quorum token"), "brought again: {done:?}");

    // A service of the token: with a quorum of its own, an officer adds nobody alone. The same command, once to ask and once to do.
    token.lab.write("second", b"second-password");
    let officer = ["--password-file", "officer"];
    let add = ["user", "add", "second", "--crypto-officer", "--new-password-file", "second"];
    token.hsm(&[&add[..], &officer].concat());
    approver(&token, "second", true, None);
    token.hsm(&[&["quorum", "set", "user", "1"], &officer[..]].concat());
    let remove = |rest: &[&str]| token.try_hsm(&[&["user", "remove", "carol"], &officer[..], rest].concat());
    assert!(remove(&[]).stderr.contains("CKR_FUNCTION_REJECTED"));
    assert_eq!(remove(&["--ask-quorum", "removal"]).code, 0);
    token.hsm_offline(&["quorum", "sign", "removal", "--key", "second.pem", "--out", "second.sig"]);
    let brought =
        ["quorum", "approve", "removal", "--signature", "second=second.sig", "--officer", "officer"];
    token.hsm(&[&brought[..], &officer].concat());
    assert_eq!(remove(&[]).code, 0);
}

/// A token of SoftHSM2's, in its own folder.
struct SoftHsm<'a> {
    token: &'a Token,
}

impl<'a> SoftHsm<'a> {
    fn new(token: &'a Token) -> Self {
        assert!(Path::new(SOFTHSM).exists(), "SoftHSM2 is missing (Debian: apt install softhsm2)");
        let folder = token.lab.path("softhsm");
        std::fs::create_dir(&folder).unwrap();
        token.lab.write("softhsm2.conf", format!("directories.tokendir = {}\n", folder.display()).as_bytes());
        let it = Self { token };
        it.ok("softhsm2-util", "--init-token --free --label other --so-pin 12345678 --pin 87654321");
        it
    }

    /// Runs a program, which must succeed.
    #[track_caller]
    fn ok(&self, program: &str, arguments: &str) {
        let mut command = self.token.command(Path::new(program));
        command.env("SOFTHSM2_CONF", self.token.lab.path("softhsm2.conf")).args(arguments.split(' '));
        let done = Done::new(command.output().unwrap());
        assert_eq!(done.code, 0, "{program} {arguments}: {done:?}");
    }

    #[track_caller]
    fn tool(&self, arguments: &str) {
        let login = format!("--module {SOFTHSM} --token-label other --login --pin 87654321");
        self.ok("pkcs11-tool", &format!("{login} {arguments}"));
    }

    /// Wraps or unwraps.
    #[track_caller]
    fn wrap(&self, action: &str, arguments: &str) {
        let arguments = format!("{action} {SOFTHSM} other 87654321 {arguments}");
        self.ok(env!("CARGO_BIN_EXE_pkcs11_wrap"), &arguments);
    }
}

/// The same keys sign in this token and in SoftHSM2, whichever of them made them. Nothing is in the clear between them: SoftHSM2's
/// RSA key carries an AES key there, and that one everything else, in both directions.
#[test]
fn keys_go_to_softhsm_and_come_from_it() {
    if !can_seal("keys between a sealed token and SoftHSM2") {
        return;
    }
    let token = Token::new();
    let soft = SoftHsm::new(&token);
    let module = module();
    let module = module.display();
    let ours = |arguments: &str| {
        let login = format!("--module {module} --token-label {LABEL} --login --pin {PIN}");
        soft.ok("pkcs11-tool", &format!("{login} {arguments}"));
    };
    let wrap = |arguments: &str| {
        soft.ok(env!("CARGO_BIN_EXE_pkcs11_wrap"), &format!("wrap {module} {LABEL} {PIN} {arguments}"));
    };
    let hsm = |arguments: &str| {
        let arguments = format!("{arguments} --user alice --password-file alice");
        token.hsm(&arguments.split(' ').collect::<Vec<_>>());
    };

    soft.tool("--keypairgen --key-type rsa:2048 --label carrier --id 0c --usage-wrap");
    soft.tool("--read-object --type pubkey --label carrier --output-file carrier.der");
    hsm("key import carrier.der --label carrier --id 0c");
    token.hsm(&["key", "trust", "carrier", "--officer", "officer", "--password-file", "officer"]);
    ours("--keygen --key-type AES:32 --label kek --id 0a --usage-wrap --extractable");
    wrap("oaep carrier kek kek.wrapped");
    soft.wrap("unwrap", "oaep carrier kek.wrapped kek 0a aes");

    token.lab.write("message", b"the message");
    // SoftHSM2 signs digests with ECDSA, and no messages.
    token.lab.openssl(&["dgst", "-sha256", "-binary", "-out", "digest", "message"]);
    let verify = |signature: &str| {
        let command = format!("dgst -sha256 -keyform DER -verify public.der -signature {signature} message");
        token.lab.openssl(&command.split(' ').collect::<Vec<_>>());
    };
    // pkcs11-tool finds what it signs with by its id alone.
    for (key_type, kind, here, there, mechanism) in [
        ("EC:prime256v1", "ec", "11", "22", "ECDSA --input-file digest"),
        ("rsa:2048", "rsa", "33", "44", "SHA256-RSA-PKCS --input-file message"),
    ] {
        let make = |label: &str, id: &str| {
            format!("--keypairgen --key-type {key_type} --label {label} --id {id} --usage-sign --extractable")
        };
        let public = |label: &str, file: &str| {
            format!("--read-object --type pubkey --label {label} --output-file {file}")
        };
        let sign = |id: &str, signature: &str| {
            format!(
                "--sign --mechanism {mechanism} --signature-format openssl --id {id} --output-file {signature}"
            )
        };

        // From here to there.
        let label = format!("ours-{kind}");
        ours(&make(&label, here));
        ours(&public(&label, "public.der"));
        ours(&sign(here, "before.sig"));
        wrap(&format!("aes-kwp kek {label} wrapped"));
        soft.wrap("unwrap", &format!("aes-kwp kek wrapped {label} {here} {kind}"));
        soft.tool(&sign(here, "after.sig"));
        verify("before.sig");
        verify("after.sig");

        // And from there to here.
        let label = format!("theirs-{kind}");
        soft.tool(&make(&label, there));
        soft.tool(&public(&label, "public.der"));
        soft.wrap("wrap", &format!("aes-kwp kek {label} wrapped"));
        hsm(&format!(
            "key unwrap wrapped --with kek --mechanism aes-pad --label {label} --type {kind} --id {there}"
        ));
        ours(&sign(there, "here.sig"));
        verify("here.sig");
        // Its public key is there too, and is the same.
        ours(&public(&label, "again.der"));
        assert_eq!(token.lab.read("again.der"), token.lab.read("public.der"));
    }
}
