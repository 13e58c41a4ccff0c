//! AWS CloudHSM's API for the HSMs of this host, with AWS's own clients: the commands of the seed walk-through, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use casemate_tests::token::module;
use casemate_tests::{Done, Image, Lab, can_seal, casemate, checkout, python_programs};
use serde_json::Value;

/// `casemate hsm control`.
struct Control {
    child: Child,
    address: String,
}

impl Control {
    #[track_caller]
    fn start(lab: &Lab) -> Self {
        // Beside `casemate`, where cargo puts both; a test that is run alone builds it.
        let program = casemate().with_file_name("casemate-control");
        if !program.exists() {
            let arguments = ["build", "-q", "-p", "casemate-control"];
            let built = Command::new(env!("CARGO")).args(arguments).current_dir(checkout()).status();
            assert!(built.unwrap().success() && program.exists(), "{} is not there", program.display());
        }
        let image = Image::Signer.path();
        let mut command = lab.command(casemate());
        command
            .args(["hsm", "control", "--listen", "127.0.0.1:0", "--other-region", "us-west-2=west"])
            .arg("--eif-path")
            .arg(image);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let address = said.split_once("http://").and_then(|(_, rest)| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("it did not start: {said}")).to_owned();
        Self { child, address }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An unmodified `aws cloudhsmv2 …`, with the profile that `hsm control` wrote.
fn aws(lab: &Lab, arguments: &[&str]) -> Done {
    let mut command = lab.command(&python_programs().join("aws"));
    command.arg("cloudhsmv2").args(arguments).args(["--profile", "casemate-control", "--output", "json"]);
    Done::new(command.output().unwrap())
}

#[track_caller]
fn ok(lab: &Lab, arguments: &[&str]) -> Value {
    let done = aws(lab, arguments);
    assert_eq!(done.code, 0, "aws cloudhsmv2 {arguments:?}: {done:?}");
    serde_json::from_str(&done.stdout).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// `key = value` in a file of AWS's.
fn setting(lab: &Lab, key: &str) -> String {
    let file = String::from_utf8(lab.read(".aws/credentials")).unwrap();
    let value = file.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    value.unwrap().trim().to_owned()
}

#[track_caller]
fn tool(lab: &Lab, arguments: &[&str]) {
    let mut command = lab.command(Path::new("pkcs11-tool"));
    command.env("CASEMATE_PKCS11_CONF", lab.path("pkcs11.toml")).arg("--module").arg(module());
    command.args(["--token-label", "root-ca", "--login", "--pin", "alice:alice-password"]).args(arguments);
    let done = Done::new(command.output().expect("pkcs11-tool (Debian: apt install opensc)"));
    assert_eq!(done.code, 0, "pkcs11-tool {arguments:?}: {done:?}");
}

/// The root key signs, and openssl verifies.
#[track_caller]
fn signs(lab: &Lab) {
    let sign = ["--sign", "--mechanism", "ECDSA-SHA256", "--signature-format", "openssl", "--id", "01"];
    tool(lab, &[&sign[..], &["--input-file", "message", "--output-file", "signature"]].concat());
    let key = ["dgst", "-sha256", "-verify", "public.pem"];
    lab.openssl(&[&key[..], &["-signature", "signature", "message"]].concat());
    std::fs::remove_file(lab.path("signature")).unwrap();
}

#[test]
fn a_root_is_taken_offline_with_the_commands_of_the_walk_through() {
    if !can_seal("AWS CloudHSM's commands with a sealed token") {
        return;
    }
    let lab = Lab::new();
    let _control = Control::start(&lab);
    let made = ok(&lab, &["create-cluster", "--hsm-type", "hsm2m.medium", "--subnet-ids", "subnet-00000000"]);
    let cluster = text(&made["Cluster"]["ClusterId"]);
    let zone = ["--cluster-id", &cluster, "--availability-zone", "us-east-1a"];
    let created = ok(&lab, &[&["create-hsm"], &zone[..]].concat());
    let endpoint = text(&created["Hsm"]["StateMessage"]);
    assert_eq!(created["Hsm"]["State"], "ACTIVE", "{created}");
    // Whoever runs the endpoint has no part in this: the signer's owner, its officer, its user.
    lab.demand(Image::Signer);
    let demands = ["--root", "root.pem", "--policy", "policy.json"];
    lab.ok(&[&["claim", "--endpoint", &endpoint, "--profile", "owner"], &demands[..]].concat());
    lab.write("officer", b"officer-password");
    lab.write("alice", b"alice-password");
    let owner = ["--profile", "owner"];
    let init = ["hsm", "init", "--label", "root-ca", "--new-password-file", "officer"];
    lab.ok(&[&init[..], &owner].concat());
    let add = ["hsm", "user", "add", "alice", "--password-file", "officer", "--new-password-file", "alice"];
    lab.ok(&[&add[..], &owner].concat());
    lab.ok(&[&["hsm", "config", "--out", "pkcs11.toml"], &demands[..], &owner].concat());
    tool(&lab, &["--keypairgen", "--key-type", "EC:prime256v1", "--label", "root", "--id", "01"]);
    // By openssl: OpenSC 0.23 makes no public key of it now and then.
    let key = "pkcs11:token=root-ca;object=root;type=public";
    let mut openssl = lab.command(Path::new("openssl"));
    openssl
        .env("CASEMATE_PKCS11_CONF", lab.path("pkcs11.toml"))
        .env("PKCS11_MODULE_PATH", module())
        .args(["pkey", "-engine", "pkcs11", "-inform", "engine", "-pubin", "-in", key, "-pubout"])
        .args(["-out", "public.pem"]);
    let done = Done::new(openssl.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    lab.write("message", b"the message");
    signs(&lab);

    // "To remove the CloudHSM resources"
    let described = ok(&lab, &["describe-clusters"]);
    assert_eq!(described["Clusters"][0]["State"], "ACTIVE", "{described}");
    let address = text(&described["Clusters"][0]["Hsms"][0]["EniIp"]);
    let gone = ok(&lab, &["delete-hsm", "--cluster-id", &cluster, "--eni-ip", &address]);
    assert_eq!(gone["HsmId"], created["Hsm"]["HsmId"]);
    assert_eq!(lab.guest_folders(), Vec::<PathBuf>::new(), "nothing runs");
    assert!(TcpStream::connect(endpoint.strip_prefix("https://").unwrap()).is_err());
    let described = ok(&lab, &["describe-clusters"]);
    assert_eq!(described["Clusters"][0]["Hsms"], serde_json::json!([]), "{described}");

    // "To disable expiration of your automatically generated CloudHSM backup"
    let backups = ok(&lab, &["describe-backups"]);
    assert_eq!(backups["Backups"][0]["ClusterId"], cluster.as_str(), "{backups}");
    let backup = text(&backups["Backups"][0]["BackupId"]);
    let kept = ok(&lab, &["modify-backup-attributes", "--backup-id", &backup, "--never-expires"]);
    assert_eq!(kept["Backup"]["NeverExpires"], true, "{kept}");
    ok(&lab, &["copy-backup-to-region", "--destination-region", "us-west-2", "--backup-id", &backup]);
    ok(&lab, &["delete-backup", "--backup-id", &backup]);
    ok(&lab, &["restore-backup", "--backup-id", &backup]);

    // "create a new HSM in the same cluster, and this action will restore the backup"
    let back = ok(&lab, &[&["create-hsm"], &zone[..]].concat());
    assert_eq!(back["Hsm"]["EniIp"], address.as_str(), "{back}");
    signs(&lab);
    let add = ["hsm", "user", "add", "bob", "--password-file", "officer", "--new-password-file", "alice"];
    lab.ok(&[&add[..], &owner].concat());
    ok(&lab, &["delete-hsm", "--cluster-id", &cluster, "--hsm-id", &text(&back["Hsm"]["HsmId"])]);

    // The copy in the other region is from before bob: there it would come back without him.
    let west = ["--region", "us-west-2"];
    let copies = ok(&lab, &[&["describe-backups"], &west[..]].concat());
    assert_eq!(copies["Backups"][0]["SourceBackup"], backup.as_str(), "{copies}");
    let copy = text(&copies["Backups"][0]["BackupId"]);
    let new = ["create-cluster", "--hsm-type", "hsm2m.medium", "--subnet-ids", "subnet-0000000a"];
    let made = ok(&lab, &[&new[..], &["--source-backup-id", &copy], &west].concat());
    let there = text(&made["Cluster"]["ClusterId"]);
    let zone = ["create-hsm", "--cluster-id", &there, "--availability-zone", "us-west-2a"];
    let old = aws(&lab, &[&zone[..], &west].concat());
    assert!(old.stderr.contains("there were changes after backup"), "{old:?}");
    assert_eq!(lab.guest_folders(), Vec::<PathBuf>::new());
}

/// A script with boto3, against the endpoint of a lab.
#[track_caller]
fn boto3(lab: &Lab, control: &Control, script: &Path, more: &[&str]) -> String {
    let tests = checkout().join("guest/signer/tests");
    let mut command = lab.command(&python_programs().join("python"));
    command
        .arg("-B")
        .arg(script)
        .arg(format!("http://{}", control.address))
        .arg("-")
        .args(more)
        .env("PYTHONPATH", tests)
        .env("AWS_ACCESS_KEY_ID", setting(lab, "aws_access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", setting(lab, "aws_secret_access_key"));
    let done = Done::new(command.output().unwrap());
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    done.stdout
}

#[test]
fn boto3_walks_clusters_backups_and_tags() {
    if !can_seal("backups of a sealed token") {
        return;
    }
    let lab = Lab::new();
    let image = Image::Signer.path();
    lab.ok(&["hsm", "create", "--name", "one", "--eif-path", image.to_str().unwrap()]);
    lab.ok(&["hsm", "delete", "one"]);
    lab.ok(&["hsm", "create", "--cluster", "one"]);
    lab.ok(&["hsm", "delete", "one"]);
    let control = Control::start(&lab);
    let said = boto3(&lab, &control, &checkout().join("tests/cloudhsm_walk.py"), &[]);
    assert!(said.contains("walked 16 operations"), "{said}");
}

#[test]
fn every_constraint_of_cloudhsms_model_is_checked_and_its_member_named() {
    let lab = Lab::new();
    let control = Control::start(&lab);
    let script = checkout().join("guest/signer/tests/boto3_model.py");
    let said = boto3(&lab, &control, &script, &["cloudhsmv2"]);
    assert!(said.contains("in 18 operations"), "{said}");
    // What is built in is what botocore has.
    let python = python_programs().join("python");
    let model = Command::new(python).arg(checkout().join("control/model.py")).output().unwrap();
    assert_eq!(model.stdout, std::fs::read(checkout().join("control/model.json")).unwrap());
}

#[test]
fn the_endpoint_is_for_this_host_and_for_signed_requests_alone() {
    let lab = Lab::new();
    lab.fails(&["hsm", "control", "--listen", "0.0.0.0:0"], "it is for this host alone");
    let control = Control::start(&lab);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(&control.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let request = |method: &str, headers: &str| {
        format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
        )
    };
    for headers in ["", "X-Amz-Target: BaldrApiService.DescribeClusters\r\n"] {
        let answer = ask(&request("POST", headers));
        assert!(answer.contains("400") && answer.contains("MissingAuthenticationToken"), "{answer}");
    }
    assert!(ask(&request("GET", "")).contains("MissingAuthenticationToken"));
    assert!(ask("no HTTP\r\n\r\n").contains("400"));
    // Nobody but the user can read the key.
    for file in ["home/hsm/control.json", ".aws/credentials"] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(lab.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}
