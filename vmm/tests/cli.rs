//! What a user meets who gets something wrong, and the JSON that programs read: the `casemate` binary, run as it is.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod cli_support;

use std::fs;

use casemate_attestation::eif::{BuildInfo, Builder, Metadata};
use casemate_attestation::pcr::Pcr;
use cli_support::{Scratch, json};
use serde_json::Value;

fn image(scratch: &Scratch, name: &str) -> String {
    let metadata = Metadata {
        image_name: "sample".to_owned(),
        image_version: "1.2".to_owned(),
        build_metadata: BuildInfo {
            build_time: "then".to_owned(),
            build_tool: "test".to_owned(),
            build_tool_version: "0".to_owned(),
            operating_system: "none".to_owned(),
            kernel_version: "none".to_owned(),
        },
        docker_info: Value::Null,
        custom_metadata: serde_json::json!({"team": "blue"}),
    };
    let metadata = metadata.encode();
    let builder = Builder { metadata: Some(&metadata), ..Builder::guest(b"not really an ELF file", "a=b") };
    scratch.write(name, &builder.build().unwrap())
}

#[test]
fn help_names_every_command_and_exits_well() {
    let scratch = Scratch::new();
    let run = scratch.casemate(&["--help"]);
    run.succeeds();
    for command in [
        "run",
        "run-enclave",
        "describe",
        "terminate",
        "build",
        "describe-eif",
        "pcr",
        "sign-eif",
        "console",
        "explain",
        "attest",
        "verify",
        "key",
        "sign",
        "encrypt",
        "decrypt",
        "public-key",
        "doctor",
        "new",
    ] {
        assert!(run.stdout.contains(&format!("\n  {command} ")), "{command} is not in\n{}", run.stdout);
    }
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    let scratch = Scratch::new();
    for arguments in [
        &["frobnicate"][..],
        &["run", "--frobnicate"],
        &["run", "--memory", "lots"],
        &["run", "--cpu-count", "1", "--cpu-ids", "0"],
        &["run", "--backend", "paper"],
        &["terminate"],
        &["terminate", "--all", "--enclave-name", "x"],
        &["console"],
        &["pcr"],
        &["pcr", "--input", "a", "--signing-certificate", "b"],
        &["describe-eif"],
        &["explain"],
        &["sign-eif", "--eif-path", "x", "--private-key", "y"],
        &["verify"],
        &["verify", "doc.cbor"],
        &["verify", "doc.cbor", "--key", "x", "--signature", "y"],
        &["key", "frobnicate"],
        &["doctor", "--yes"],
        &["doctor", "--output", "x"],
        &["doctor", "--fix", "--json"],
        &["doctor", "--fix", "--dry-run", "--yes"],
        &["run", "--cpus", "1", "--cpu-ids", "1"],
        &["run", "--cpus", "3-1"],
    ] {
        let run = scratch.casemate(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains("error:") && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn missing_files_are_named_in_one_line() {
    let scratch = Scratch::new();
    for arguments in [
        &["describe-eif", "--eif-path", "gone.eif"][..],
        &["pcr", "--input", "gone.eif"],
        &["pcr", "--signing-certificate", "gone.eif"],
        &[
            "sign-eif",
            "--eif-path",
            "gone.eif",
            "--signing-certificate",
            "gone.eif",
            "--private-key",
            "gone.eif",
        ],
        &["verify", "gone.eif", "--root", "gone.eif"],
        &["run", "--image", "gone.eif"],
        &["run", "--config", "gone.eif"],
        &["build", "--manifest-path", "gone.eif"],
    ] {
        let run = scratch.casemate(arguments);
        run.fails_with("gone.eif");
        assert_eq!(run.stderr.trim_end().lines().count(), 1, "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn without_a_guest_commands_say_how_to_start_one() {
    let scratch = Scratch::new();
    for arguments in [
        &["attest"][..],
        &["key", "list"],
        &["key", "create"],
        &["public-key", "k"],
        &["terminate", "--enclave-name", "x"],
        &["terminate", "--enclave-id", "x"],
        &["console", "--enclave-name", "x"],
        &["kms", "ListKeys"],
    ] {
        scratch.casemate(arguments).fails_with("[ E39 ] no guest is running: start one with `casemate run`");
    }
    assert_eq!(json(&scratch.casemate(&["describe"])), serde_json::json!([]));
    assert_eq!(json(&scratch.casemate(&["terminate-enclave", "--all"])), serde_json::json!([]));
}

#[test]
fn describe_lists_what_the_jail_allows() {
    let scratch = Scratch::new();
    let list = json(&scratch.casemate(&["describe", "--seccomp"]));
    let find = |name: &str| list.as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned();
    assert!(find("ioctl").unwrap()["reason"].as_str().unwrap().contains("KVM_RUN"));
    for name in
        ["open", "openat", "mmap", "socket", "connect", "execve", "clone", "ptrace", "process_vm_readv"]
    {
        assert!(find(name).is_none(), "{name} is allowed");
    }
}

#[test]
fn describe_eif_has_nitro_clis_shape() {
    let scratch = Scratch::new();
    let path = image(&scratch, "a.eif");
    let info = json(&scratch.casemate(&["describe-eif", "--eif-path", &path]));
    assert_eq!(info["EifVersion"], 4);
    assert_eq!(info["IsSigned"], false);
    assert_eq!(info["CheckCRC"], true);
    assert_eq!(info["ImageName"], "sample");
    assert_eq!(info["ImageVersion"], "1.2");
    assert_eq!(info["Metadata"]["BuildTool"], "test");
    assert_eq!(info["Metadata"]["team"], "blue", "what the user added is flattened");
    assert_eq!(info["Measurements"]["HashAlgorithm"], "Sha384 { ... }");
    assert_eq!(info["Measurements"]["PCR0"], Pcr::measure(b"not really an ELF filea=b").to_string());
    assert_eq!(info["Measurements"].as_object().unwrap().len(), 4);
    assert!(info.get("SigningCertificate").is_none() && info.get("SignatureCheck").is_none());
}

#[test]
fn damaged_images_are_refused_everywhere() {
    let scratch = Scratch::new();
    let good = fs::read(image(&scratch, "a.eif")).unwrap();
    let mut flipped = good.clone();
    flipped[600] ^= 1;
    for (name, bytes) in
        [("empty", &[][..]), ("short", &good[..100]), ("flipped", &flipped), ("text", b"hello world")]
    {
        let path = scratch.write(name, bytes);
        scratch.casemate(&["describe-eif", "--eif-path", &path]).fails_with("[ E35 ]");
        scratch.casemate(&["run", "--image", &path]).fails_with("");
        scratch
            .casemate(&["run-enclave", "--eif-path", &path, "--cpu-count", "1", "--memory", "64"])
            .fails_with("");
    }
    assert_eq!(json(&scratch.casemate(&["describe"])), serde_json::json!([]), "nothing is left behind");
}

#[test]
fn signing_adds_pcr8_and_a_signature_that_holds() {
    let scratch = Scratch::new();
    let (key, certificate) = scratch.certificate("secp384r1");
    let path = image(&scratch, "a.eif");
    let arguments =
        ["sign-eif", "--eif-path", &path, "--signing-certificate", &certificate, "--private-key", &key];
    let signed = json(&scratch.casemate(&arguments));
    let pcr8 = json(&scratch.casemate(&["pcr", "--signing-certificate", &certificate]));
    assert_eq!(signed["Measurements"]["PCR8"], pcr8["PCR8"]);
    let info = json(&scratch.casemate(&["describe-eif", "--eif-path", &path]));
    assert_eq!((&info["IsSigned"], &info["SignatureCheck"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(info["SigningCertificate"]["IssuerName"]["commonName"], "tester");
    assert_eq!(info["SigningCertificate"]["Algorithm"], "ecdsa-with-SHA256");
    assert!(info["SigningCertificate"]["NotAfter"].as_str().unwrap().ends_with(" GMT"));
    // Signing again replaces the signature.
    assert_eq!(json(&scratch.casemate(&arguments))["Measurements"], signed["Measurements"]);
}

#[test]
fn keys_that_cannot_sign_are_refused_and_the_image_is_left_alone() {
    let scratch = Scratch::new();
    let (key, certificate) = scratch.certificate("secp384r1");
    let (small_key, small_certificate) = scratch.certificate("prime256v1");
    let path = image(&scratch, "a.eif");
    let before = fs::read(&path).unwrap();
    for (certificate, key, reason) in [
        (&small_certificate, &key, "P-384"),
        (&certificate, &small_key, "P-384"),
        (&certificate, &certificate, "private key"),
        (&key, &key, "certificate"),
    ] {
        let arguments =
            ["sign-eif", "--eif-path", &path, "--signing-certificate", certificate, "--private-key", key];
        let run = scratch.casemate(&arguments);
        run.fails_with("[ E60 ]");
        assert!(run.stderr.contains(reason), "{}", run.stderr);
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn pcr_measures_a_file() {
    let scratch = Scratch::new();
    let path = scratch.write("x", b"abc");
    assert_eq!(json(&scratch.casemate(&["pcr", "--input", &path]))["PCR"], Pcr::measure(b"abc").to_string());
}

#[test]
fn explain_knows_the_codes_that_are_used() {
    let scratch = Scratch::new();
    assert!(scratch.casemate(&["explain", "--error-code", "E36"]).stdout.contains("EnclaveBootFailure"));
    assert!(scratch.casemate(&["explain", "--error-code", "E51"]).stdout.contains("never"));
    scratch.casemate(&["explain", "--error-code", "E99"]).fails_with("E00 to E60");
}

#[test]
fn a_document_that_is_none_does_not_verify() {
    let scratch = Scratch::new();
    let (_, certificate) = scratch.certificate("secp384r1");
    let document = scratch.write("doc.cbor", b"\x84 this is no document");
    let run = scratch.casemate(&["verify", &document, "--root", &certificate, "--json"]);
    assert_eq!(run.code, 1);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["verified"], false);
    assert!(run.stderr.contains(answer["reason"].as_str().unwrap()), "{}", run.stderr);
    let policy = scratch.write("policy.json", br#"{"prcs": {}}"#);
    scratch.casemate(&["verify", &document, "--root", &certificate, "--policy", &policy]).fails_with("prcs");
}

#[test]
fn doctor_reports_as_json() {
    let scratch = Scratch::new();
    let run = scratch.casemate(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for name in [
        "kvm",
        "guest_memfd",
        "io_uring",
        "yama ptrace_scope",
        "lockdown",
        "swap",
        "same-page merging",
        "tpm",
        "threads per core",
        "core scheduling",
    ] {
        assert!(
            findings.iter().any(|finding| finding["name"] == name) || report["usable"] == false,
            "{name}"
        );
    }
    assert_eq!(run.code == 0, report["usable"] == true);
}

#[test]
fn doctor_changes_nothing_unasked() {
    let scratch = Scratch::new();
    let listed = scratch.casemate(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&listed.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    // The test's stdin says nothing, and that is a no.
    for arguments in [&["doctor", "--fix", "--dry-run"][..], &["doctor", "--fix", "--output", "out"]] {
        let mut command = scratch.command(arguments);
        command.stdin(std::process::Stdio::null());
        let run = scratch.run(command);
        run.succeeds();
        let run = run.stdout;
        for finding in findings.iter().filter(|finding| finding["grade"] == "weak") {
            let reason = finding["meaning"].as_str().unwrap();
            assert!(run.contains(reason), "{reason} is not in\n{run}");
        }
        assert!(run.contains("Nothing was changed.") || run.contains("nothing to change"), "{run}");
        assert!(!scratch.path("out").exists());
    }
}

#[test]
fn new_makes_a_crate_once() {
    let scratch = Scratch::new();
    scratch.casemate(&["new", "my-guest"]).succeeds();
    let manifest = fs::read_to_string(scratch.path("my-guest/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"my-guest\"") && !manifest.contains("{{"), "{manifest}");
    scratch.casemate(&["new", "my-guest"]).fails_with("is there already");
    scratch.casemate(&["new", "9lives"]).fails_with("cannot be a crate's name");
}
