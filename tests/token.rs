//! The PKCS#11 token of a signer, through the module, used by programs that we did not write: OpenSC's pkcs11-tool, OpenSSL
//! with Debian's engine, OpenSSH.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use casemate_tests::token::{LABEL, OFFICER, PIN, Token, module};
use casemate_tests::{Done, Image, Owned, Running, can_seal, casemate, checkout, is_root, wait_until};
use serde_json::{Value, json};

/// The walk-through of a portable root CA, for every type of key that a root may have.
#[test]
fn a_portable_root_ca_as_in_the_walk_through() {
    if !can_seal("the portable root CA, with a sealed token") {
        return;
    }
    let token = Token::new();
    for key_type in ["rsa:2048", "rsa:4096", "EC:secp384r1", "EC:prime256v1"] {
        let mut script = token.command(&checkout().join("tests/acceptance/portable-root-ca.sh"));
        script
            .env("PKCS11_MODULE", module())
            .env("PKCS11_TOKEN", LABEL)
            .env("PKCS11_PIN", PIN)
            .env("KEY_TYPE", key_type);
        let done = Done::new(script.output().unwrap());
        assert_eq!(done.code, 0, "{key_type}: {done:?}");
        assert!(done.stdout.ends_with("6 passed, 0 failed\n"), "{key_type}: {done:?}");
    }
}

#[test]
fn opensc_finds_nothing_wrong() {
    if !can_seal("pkcs11-tool --test with a sealed token") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    for (key_type, id, usage) in [
        ("rsa:2048", "01", &["--usage-sign", "--usage-decrypt", "--usage-wrap"][..]),
        ("EC:prime256v1", "02", &["--usage-sign"]),
    ] {
        let generate = ["--keypairgen", "--key-type", key_type, "--label", key_type, "--id", id];
        token.tool_ok(&[&login[..], &generate, usage].concat());
    }
    let own = ["--test-ec", "--session-rw", "--key-type", "EC:prime256v1", "--id", "03", "--label", "own"];
    for test in [&["--test"][..], &own] {
        let said = token.tool(&[&login[..], test].concat());
        assert_eq!(said.code, 0, "{test:?}: {said:?}");
        assert!(!said.stdout.contains("ERR") && !said.stderr.contains("ERR"), "{test:?}: {said:?}");
        assert!(
            said.stdout.ends_with("No errors\n") || said.stdout.ends_with("==> OK\n"),
            "{test:?}: {said:?}"
        );
    }
    // OpenSSH lists what it could log in with, without a pin.
    let mut ssh = token.command(Path::new("ssh-keygen"));
    let keys = ssh.arg("-D").arg(module()).stdin(Stdio::null()).output().unwrap();
    let keys = String::from_utf8(keys.stdout).unwrap();
    assert!(keys.contains("ssh-rsa ") && keys.contains("ecdsa-sha2-nistp256 "), "{keys}");
}

/// GnuTLS, which finds its modules through p11-kit: a key made by p11tool, its signature checked, a certificate by certtool.
#[test]
fn gnutls_makes_a_key_and_a_certificate() {
    if !can_seal("GnuTLS with a sealed token") {
        return;
    }
    let token = Token::new();
    let uri = format!("pkcs11:token={LABEL}");
    assert!(token.gnutls("p11tool", "--list-tokens").contains(&format!("Label: {LABEL}")));
    token.lab.write("template", b"cn = Root\nca\ncert_signing_key\nexpiration_days = 10\n");
    for (label, kind) in [("curve", "ecdsa --curve secp256r1"), ("rsa", "rsa --bits 2048")] {
        token.gnutls(
            "p11tool",
            &format!("--login --generate-privkey {kind} --label {label} --outfile {label}.pub {uri}"),
        );
        let key = format!("{uri};object={label};type=private");
        let signed = token.gnutls("p11tool", &format!("--login --test-sign {key}"));
        assert_eq!(signed.matches("... ok").count(), 3, "{signed}");
        let certificate =
            format!("--generate-self-signed --load-privkey {key} --template template --outfile {label}.crt");
        token.gnutls("certtool", &certificate);
        let file = format!("{label}.crt");
        token.lab.openssl(&["verify", "-x509_strict", "-CAfile", &file, &file]);
    }
}

/// nginx serves TLS with a key of the token, in two workers, which are forks of the process that loaded the module.
#[test]
fn nginx_serves_tls_with_a_key_of_the_token() {
    if !can_seal("nginx with a sealed token") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "tls", "--id", "01"];
    token.tool_ok(&[&login[..], &generate].concat());
    let (place, module) = (token.lab.path(""), module());
    let (place, module) = (place.to_str().unwrap().trim_end_matches('/'), module.to_str().unwrap());
    token.lab.write("pin", PIN.as_bytes());
    let key = format!("pkcs11:token={LABEL};object=tls;type=private?pin-source=file:{place}/pin");
    token.lab.write(
        "openssl.cnf",
        format!(
            "openssl_conf = all\n[all]\nengines = engines\n[engines]\npkcs11 = module\n\
             [module]\nengine_id = pkcs11\nMODULE_PATH = {module}\ninit = 1\n"
        )
        .as_bytes(),
    );
    let mut openssl = token.command(Path::new("openssl"));
    openssl.env("PKCS11_MODULE_PATH", module).args(["req", "-engine", "pkcs11", "-keyform", "engine"]);
    openssl.args(["-new", "-x509", "-days", "5", "-subj", "/CN=localhost", "-out", "tls.crt", "-key", &key]);
    let done = Done::new(openssl.args(["-addext", "subjectAltName=DNS:localhost"]).output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");

    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let user = if is_root() { "user root;" } else { "" };
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {place}/{what};"))
        .concat();
    token.lab.write(
        "nginx.conf",
        format!(
            "daemon off; {user} worker_processes 2; pid {place}/nginx.pid; error_log {place}/nginx.log info;\n\
             env OPENSSL_CONF; env CASEMATE_PKCS11_CONF; events {{}}\n\
             http {{ access_log off; {folders}\n\
             server {{ listen {address} ssl; ssl_certificate {place}/tls.crt; ssl_certificate_key \"engine:pkcs11:{key}\";\n\
             return 200 served; }} }}\n"
        )
        .as_bytes(),
    );
    let mut nginx = token.command(Path::new("nginx"));
    nginx.env("OPENSSL_CONF", token.lab.path("openssl.cnf")).args(["-e", "stderr", "-c"]);
    let nginx = nginx.arg(token.lab.path("nginx.conf")).stderr(Stdio::piped()).spawn();
    let mut nginx = nginx.expect("nginx (Debian: apt install nginx-light)");
    wait_until("nginx listens", || {
        TcpStream::connect(address).is_ok() || nginx.try_wait().unwrap().is_some()
    });
    for _ in 0..8 {
        let mut client = token.command(Path::new("openssl"));
        client.args(["s_client", "-quiet", "-connect", &address.to_string(), "-CAfile", "tls.crt"]);
        client.args(["-verify_return_error", "-verify_hostname", "localhost"]);
        let mut client =
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let done = Done::new(client.wait_with_output().unwrap());
        assert!(done.stdout.ends_with("served"), "{done:?}");
    }
    // Both workers end with their master.
    let pid = rustix::process::Pid::from_child(&nginx);
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    assert!(nginx.wait().unwrap().success());
}

/// Four processes with eight threads each, at once; and what one makes, all see.
#[test]
fn threads_and_processes_do_not_get_in_each_others_way() {
    if !can_seal("many threads and processes at a sealed token") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "shared", "--id", "01"];
    token.tool_ok(&[&login[..], &generate].concat());
    let processes: Vec<_> = (0..4)
        .map(|_| {
            let mut client = token.command(Path::new(env!("CARGO_BIN_EXE_pkcs11_client")));
            client.arg(module()).args([LABEL, PIN, "shared", "8", "5"]);
            client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for process in processes {
        let done = Done::new(process.wait_with_output().unwrap());
        assert_eq!((done.code, done.stdout.trim(), &*done.stderr), (0, "40", ""), "{done:?}");
    }
    // And each has logged out, at its exit.
    let closed = token.logged().iter().filter(|name| *name == "CloseSession").count();
    assert!(closed >= 4, "{closed}");
}

/// A program that has logged in goes on when the guest is launched again: the module has it prove what it is, and logs in.
#[test]
fn a_login_outlives_the_guest() {
    if !can_seal("a token whose guest is launched again") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    let generate = ["--keypairgen", "--key-type", "rsa:2048", "--label", "lasting", "--id", "01"];
    token.tool_ok(&[&login[..], &generate].concat());
    let mut client = token.command(Path::new(env!("CARGO_BIN_EXE_pkcs11_client")));
    client.arg(module()).args([LABEL, PIN, "lasting", "2", "2"]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut orders, mut answers) =
        (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()).lines());
    assert_eq!(answers.next().unwrap().unwrap(), "4");

    let Token { lab, owned } = token;
    let address = owned.endpoint.strip_prefix("https://").unwrap().to_owned();
    owned.served.ends_by_terminate();
    let mut serve = lab.command(casemate());
    serve.args(["serve", "--json", "--listen", &address, "--state", "volume", "--eif-path"]);
    let _served = Running::launched_by(serve.arg(Image::Signer.path()), lab.runtime());
    orders.write_all(b"again\n").unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "4");
    drop(orders);
    assert!(client.wait().unwrap().success());
}

/// The module tells a guest nothing, above all no pin, before it has proved what the policy demands.
#[test]
fn a_guest_that_does_not_prove_what_the_policy_demands_gets_no_pin() {
    if !can_seal("a token whose guest does not meet the policy") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN, "--list-objects"];
    token.tool_ok(&login);
    let before = token.logged();
    assert!(before.iter().any(|name| name == "Login"), "{before:?}");

    let other = json!({"pcrs": {"0": "11".repeat(48)}, "nonce_required": true});
    token.lab.write("policy.json", other.to_string().as_bytes());
    let refused = token.tool(&["--slot", "0", "--login", "--pin", PIN, "--list-objects"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("does not prove what the policy demands"), "{refused:?}");
    assert!(token.tool(&["--list-token-slots"]).stderr.contains("No slots."));
    // Nothing that the module asks of a token got to this one: what is new is our own, and the requests for its proof.
    let after = token.logged();
    let of_others = |name: &&String| !["ReadAudit", "SummariseRequests"].contains(&name.as_str());
    let new: Vec<_> = after.iter().skip(before.len()).filter(of_others).collect();
    assert!(new.is_empty(), "{new:?}");
    // Neither is a configuration written for it.
    let refused =
        token.try_hsm(&["config", "--root", "root.pem", "--policy", "policy.json", "--out", "other.toml"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("does not verify, so nothing was written"),
        "{refused:?}"
    );
    assert!(!token.lab.path("other.toml").exists());
}

/// Users by the command line: what an officer may, and what a user may.
#[test]
fn users_are_managed_by_officers() {
    if !can_seal("users of a sealed token") {
        return;
    }
    let token = Token::new();
    let officer = ["--password-file", "officer"];
    let listed: Value =
        serde_json::from_str(&token.hsm(&[&["user", "list", "--json"], &officer[..]].concat())).unwrap();
    let names: Vec<_> =
        listed["Users"].as_array().unwrap().iter().map(|user| user["User"].as_str().unwrap()).collect();
    assert_eq!(names, ["alice", "officer"]);
    // Only once.
    let again = token.try_hsm(&["init", "--label", "again", "--new-password-file", "officer"]);
    assert!(again.code == 1 && again.stderr.contains("initialised already"), "{again:?}");
    // Five wrong passwords lock a user out; an officer lets them in again.
    let objects =
        |password: &str| token.try_hsm(&["objects", "--user", "alice", "--password-file", password]);
    assert_eq!(objects("alice").code, 0);
    for _ in 0..5 {
        assert!(objects("officer").stderr.contains("CKR_PIN_INCORRECT"));
    }
    assert!(objects("alice").stderr.contains("CKR_PIN_LOCKED"), "{:?}", objects("alice"));
    token.lab.write("new", b"another-password");
    token.hsm(&[&["user", "unlock", "alice", "--new-password-file", "new"], &officer[..]].concat());
    assert_eq!(objects("new").code, 0);
    token.hsm(&["password", "alice", "--password-file", "new", "--new-password-file", "alice"]);
    assert_eq!(objects("alice").code, 0);
    token.hsm(&[&["user", "remove", "alice"], &officer[..]].concat());
    assert!(objects("alice").stderr.contains("CKR_PIN_INCORRECT"));
}

/// A root that is taken offline: the token is backed up, nothing runs any more, and a new signer has it back, keys, users and all.
#[test]
fn a_token_is_taken_offline_and_brought_back_from_its_backup() {
    if !can_seal("backups of a sealed token") {
        return;
    }
    let token = Token::new();
    let login = ["--token-label", LABEL, "--login", "--pin", PIN];
    token.tool_ok(
        &[&login[..], &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "root", "--id", "01"]]
            .concat(),
    );
    token.lab.write("message", b"the message");
    let sign = ["--sign", "--mechanism", "ECDSA-SHA256", "--signature-format", "openssl", "--id", "01"];
    let files = |signature: &'static str| ["--input-file", "message", "--output-file", signature];
    token.tool_ok(&[&login[..], &sign, &files("before.sig")].concat());
    // Not by OpenSC, whose --read-object sometimes fails on the point of a curve.
    token.gnutls(
        "p11tool",
        &format!("--login --export-pubkey --outfile public.pem pkcs11:token={LABEL};object=root"),
    );

    // By the owner, and by an officer; a user may not.
    token.hsm(&["backup", "create", "--out", "owners"]);
    let officer = ["--officer", "officer", "--password-file", "officer"];
    token.hsm(&[&["backup", "create", "--out", "backup"], &officer[..]].concat());
    let again = token.try_hsm(&["backup", "create", "--out", "backup"]);
    assert!(again.code != 0 && again.stderr.contains("exists"), "{again:?}");
    let user = ["--officer", "alice", "--password-file", "alice"];
    assert_ne!(token.try_hsm(&[&["backup", "create", "--out", "users"], &user[..]].concat()).code, 0);
    let info: Value =
        serde_json::from_str(&token.hsm_offline(&["backup", "info", "--json", "backup"])).unwrap();
    assert_eq!(info["Label"], LABEL, "{info}");
    let file = token.lab.read("backup");
    for secret in ["alice", OFFICER, "root", "prime256v1"] {
        assert!(
            !file.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "{secret} is in the backup"
        );
    }
    // The same image opens it; another, not before it is shared with it.
    let refused = token.try_hsm(&["backup", "restore", "backup"]);
    assert!(refused.code != 0 && refused.stderr.contains("initialised"), "{refused:?}");

    // Nothing is left running. A new signer, with a volume, an owner and a certificate of its own.
    let Token { lab, owned } = token;
    let Owned { served, .. } = owned;
    assert_eq!(lab.json(&["terminate", "--enclave-name", served.name()])["Terminated"], true);
    let _ = served.wait();
    let owned = lab.serve_claimed(&["--state", "another-volume"]);
    let token = Token { lab, owned };
    let mut broken = file.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    token.lab.write("broken", &broken);
    token.lab.write("short", &file[..file.len() - 40]);
    for bad in ["broken", "short"] {
        assert_ne!(token.try_hsm(&["backup", "restore", bad]).code, 0, "{bad}");
    }
    token.hsm(&["backup", "restore", "backup"]);
    std::fs::remove_file(token.lab.path("pkcs11.toml")).unwrap();
    token.hsm(&["config", "--root", "root.pem", "--policy", "policy.json", "--out", "pkcs11.toml"]);
    token.tool_ok(&[&login[..], &sign, &files("after.sig")].concat());
    for signature in ["before.sig", "after.sig"] {
        token.lab.openssl(&["dgst", "-sha256", "-verify", "public.pem", "-signature", signature, "message"]);
    }
}
