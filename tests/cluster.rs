//! HSMs that come and go: a token that is taken offline, kept as a backup, and brought back; here, in another region, on
//! another platform, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_tests::token::module;
use casemate_tests::{Done, Image, Lab, can_seal, casemate, wait_until};
use serde_json::Value;

const OFFICER: &str = "officer-password";
const PIN: &str = "alice:alice-password";
const PUBLIC_KEY: [&str; 11] = [
    "pkey",
    "-engine",
    "pkcs11",
    "-inform",
    "engine",
    "-pubin",
    "-in",
    "pkcs11:token=root-ca;object=root;type=public",
    "-pubout",
    "-out",
    "public.pem",
];
const LOGIN: [&str; 5] = ["--token-label", "root-ca", "--login", "--pin", PIN];

/// A token in an HSM of the store, with an owner, an officer, a crypto user and a root key.
struct Root {
    lab: Lab,
    cluster: String,
    endpoint: String,
    access_key: (String, String),
}

/// Creates an HSM, and gives what it printed.
#[track_caller]
fn create(lab: &Lab, arguments: &[&str]) -> Value {
    let image = Image::Signer.path();
    let new = ["--eif-path", image.to_str().unwrap()];
    let image = if arguments.contains(&"--name") { &new[..] } else { &[] };
    lab.json(&[&["hsm", "create", "--json"], image, arguments].concat())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

impl Root {
    #[track_caller]
    fn new() -> Self {
        let lab = Lab::new();
        let created = create(&lab, &["--name", "root-hsm"]);
        let (cluster, endpoint) = (text(&created["ClusterId"]), text(&created["Endpoint"]));
        let access_key = claim(&lab, &endpoint);
        let root = Self { lab, cluster, endpoint, access_key };
        root.lab.write("officer", OFFICER.as_bytes());
        root.lab.write("alice", PIN.split_once(':').unwrap().1.as_bytes());
        root.hsm(&["init", "--label", "root-ca", "--new-password-file", "officer"]);
        root.hsm(&["user", "add", "alice", "--password-file", "officer", "--new-password-file", "alice"]);
        root.configure();
        root.tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "root", "--id", "01"]);
        root.public_key();
        root.lab.write("message", b"the message");
        root
    }

    fn configure(&self) {
        let _ = std::fs::remove_file(self.lab.path("pkcs11.toml"));
        self.hsm(&["config", "--root", "root.pem", "--policy", "policy.json", "--out", "pkcs11.toml"]);
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = self.lab.command(program);
        command
            .env("AWS_ACCESS_KEY_ID", &self.access_key.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.access_key.1)
            .env("CASEMATE_PKCS11_CONF", self.lab.path("pkcs11.toml"));
        command
    }

    /// `casemate hsm …` at this token.
    fn try_hsm(&self, arguments: &[&str]) -> Done {
        let mut command = self.command(casemate());
        command.arg("hsm").args(arguments).args(["--endpoint-url", &self.endpoint]);
        if arguments[0] != "config" {
            command.args(["--ca-bundle", "ca.pem"]);
        }
        Done::new(command.output().unwrap())
    }

    #[track_caller]
    fn hsm(&self, arguments: &[&str]) -> String {
        let done = self.try_hsm(arguments);
        assert_eq!(done.code, 0, "casemate hsm {arguments:?}: {}", done.stderr);
        done.stdout.trim_end().to_owned()
    }

    fn try_tool(&self, arguments: &[&str]) -> Done {
        let mut command = self.command(Path::new("pkcs11-tool"));
        command.arg("--module").arg(module()).args(LOGIN).args(arguments);
        Done::new(command.output().expect("pkcs11-tool (Debian: apt install opensc)"))
    }

    #[track_caller]
    fn tool(&self, arguments: &[&str]) {
        let done = self.try_tool(arguments);
        assert_eq!(done.code, 0, "pkcs11-tool {arguments:?}: {done:?}");
    }

    /// Leaves the root's public key in `public.pem`. Read by openssl: OpenSC 0.23 makes none of it now and then.
    #[track_caller]
    fn public_key(&self) {
        let mut command = self.command(Path::new("openssl"));
        command.env("PKCS11_MODULE_PATH", module()).args(PUBLIC_KEY);
        let done = Done::new(command.output().unwrap());
        assert_eq!(done.code, 0, "{done:?}");
    }

    /// The root key signs, and openssl verifies.
    #[track_caller]
    fn signs(&self) {
        let sign = ["--sign", "--mechanism", "ECDSA-SHA256", "--signature-format", "openssl", "--id", "01"];
        self.tool(&[&sign[..], &["--input-file", "message", "--output-file", "signature"]].concat());
        let key = ["dgst", "-sha256", "-verify", "public.pem"];
        self.lab.openssl(&[&key[..], &["-signature", "signature", "message"]].concat());
        std::fs::remove_file(self.lab.path("signature")).unwrap();
    }

    /// Deletes the HSM, and gives the backup.
    #[track_caller]
    fn offline(&self) -> String {
        text(&self.lab.json(&["hsm", "delete", "--json", &self.cluster])["BackupId"])
    }

    fn address(&self) -> String {
        self.endpoint.strip_prefix("https://").unwrap().to_owned()
    }
}

/// Claims a signer, and gives the administrator's access key. `ca.pem` is for its clients.
#[track_caller]
fn claim(lab: &Lab, endpoint: &str) -> (String, String) {
    lab.demand(Image::Signer);
    let demands = ["--root", "root.pem", "--policy", "policy.json"];
    lab.ok(&[&["verify", "--tls", endpoint, "--out", "ca.pem"], &demands[..]].concat());
    let claimed = lab.json(&[&["claim", "--endpoint", endpoint, "--print"], &demands[..]].concat());
    (text(&claimed["AccessKeyId"]), text(&claimed["SecretAccessKey"]))
}

/// The processes of a lab: those that were told of its folder.
fn processes(lab: &Lab) -> Vec<String> {
    let place = lab.path("");
    let place = place.to_str().unwrap().trim_end_matches('/').as_bytes().to_vec();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let (arguments, environment) = (read("cmdline"), read("environ"));
        let told = |bytes: &[u8]| bytes.windows(place.len()).any(|window| window == place);
        if told(&arguments) || told(&environment) {
            found.push(String::from_utf8_lossy(&arguments).replace('\0', " "));
        }
    }
    found
}

#[track_caller]
fn nothing_runs(lab: &Lab, address: &str) {
    // The security module, too, which stays for ten seconds where a launch was refused.
    wait_until("no process is left", || processes(lab).is_empty());
    assert_eq!(lab.json(&["describe"]), serde_json::json!([]));
    assert_eq!(lab.guest_folders(), Vec::<PathBuf>::new());
    let names: Vec<_> = std::fs::read_dir(lab.runtime()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["registry.lock"]);
    assert!(TcpStream::connect(address).is_err(), "{address} is open still");
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.contains(lab.path("").to_str().unwrap()), "{sockets}");
}

/// What is in a folder, without what is in folders.
fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_root_that_is_taken_offline_leaves_nothing_running_and_comes_back() {
    if !can_seal("a root that is taken offline") {
        return;
    }
    let root = Root::new();
    root.signs();
    let listed = root.lab.json(&["hsm", "list", "--json"]);
    assert_eq!((&listed[0]["State"], &listed[0]["Running"]), (&"ACTIVE".into(), &true.into()), "{listed}");
    assert!(!processes(&root.lab).is_empty(), "whoever looks for processes finds them");

    let backup = root.offline();
    nothing_runs(&root.lab, &root.address());
    let cluster = root.lab.path(&format!("home/hsm/clusters/{}", root.cluster));
    assert_eq!(files(&cluster), ["cluster.json"], "no state is left but the backup");
    let folder = root.lab.path(&format!("home/hsm/backups/{backup}"));
    assert_eq!(files(&folder), ["backup.json", "image.eif", "state.volume"]);
    for file in files(&folder) {
        let bytes = std::fs::read(folder.join(&file)).unwrap();
        for secret in ["alice", "alice-password", OFFICER, "root-ca", &root.access_key.0] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {file}");
        }
    }
    assert_ne!(root.try_tool(&["--list-objects"]).code, 0);
    let listed = root.lab.json(&["hsm", "list", "--json"]);
    assert_eq!((&listed[0]["State"], &listed[0]["Running"]), (&"ACTIVE".into(), &false.into()), "{listed}");

    // With users, policies and keys, at the same address with the same certificate: nobody is told anything.
    let back = create(&root.lab, &["--cluster", "root-hsm"]);
    assert_eq!((text(&back["Endpoint"]), text(&back["BackupId"])), (root.endpoint.clone(), backup.clone()));
    root.signs();
    root.hsm(&["user", "list", "--password-file", "officer"]);
    root.lab.fails(&["hsm", "create", "--cluster", "root-hsm"], "has an HSM that runs");

    // What is changed now is in the next backup, and an older one does not come back unnoticed.
    root.hsm(&["user", "add", "bob", "--password-file", "officer", "--new-password-file", "alice"]);
    let second = root.offline();
    root.lab.fails(&["hsm", "create", "--from-backup", &backup], "there were changes after backup");
    create(&root.lab, &["--from-backup", &second]);
    assert!(root.hsm(&["user", "list", "--password-file", "officer"]).contains("bob"));
    root.offline();
    create(&root.lab, &["--from-backup", &backup, "--roll-back"]);
    assert!(!root.hsm(&["user", "list", "--password-file", "officer"]).contains("bob"));
    root.signs();

    // One that died is no loss, and is launched again.
    let listed = root.lab.json(&["hsm", "list", "--json"]);
    root.hsm(&["user", "add", "carol", "--password-file", "officer", "--new-password-file", "alice"]);
    let pid = i32::try_from(listed[0]["ProcessID"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until("it is gone", || processes(&root.lab).is_empty());
    let listed = root.lab.json(&["hsm", "list", "--json"]);
    assert_eq!(listed[0]["Running"], false, "{listed}");
    let again = create(&root.lab, &["--cluster", &root.cluster]);
    assert_eq!(again["HsmId"], listed[0]["HsmId"]);
    assert!(root.hsm(&["user", "list", "--password-file", "officer"]).contains("carol"));

    // Without a backup nothing is left of what came after the last.
    let backups = root.lab.json(&["hsm", "backup", "list", "--json"]).as_array().unwrap().len();
    let gone = root.lab.json(&["hsm", "delete", "--json", "--without-backup", "root-hsm"]);
    assert_eq!(gone["BackupId"], Value::Null);
    nothing_runs(&root.lab, &root.address());
    assert_eq!(root.lab.json(&["hsm", "backup", "list", "--json"]).as_array().unwrap().len(), backups);
    root.lab.fails(&["hsm", "delete", "root-hsm"], "has no HSM");
}

#[test]
fn a_stolen_backup_opens_nowhere_else_and_a_damaged_one_nowhere() {
    if !can_seal("backups on another platform") {
        return;
    }
    let root = Root::new();
    let backup = root.offline();
    let folder = root.lab.path(&format!("home/hsm/backups/{backup}"));

    // On another host: another platform key.
    let thief = Lab::new();
    let steal = |name: &str| {
        let copy = thief.path(name);
        std::fs::create_dir(&copy).unwrap();
        for file in files(&folder) {
            std::fs::copy(folder.join(&file), copy.join(&file)).unwrap();
        }
        copy
    };
    let stolen = steal("stolen");
    let refused = thief.casemate(&["hsm", "create", "--from-backup", "./stolen"]);
    assert!(refused.code != 0 && refused.stderr.contains("another platform key"), "{refused:?}");
    nothing_runs(&thief, &root.address());
    assert_eq!(files(&thief.path("home/hsm/clusters")), Vec::<String>::new(), "and no cluster is left of it");
    // In another image on its own host: the one that runs is not the one that opens it.
    let other = Image::Selftest.path();
    let refused = root.lab.casemate(&[
        "hsm",
        "create",
        "--cluster",
        &root.cluster,
        "--eif-path",
        other.to_str().unwrap(),
    ]);
    assert!(refused.code != 0 && refused.stderr.contains("sealed by another image"), "{refused:?}");

    // Damaged, on its own host: any byte of a record.
    let volume = folder.join("state.volume");
    let whole = std::fs::read(&volume).unwrap();
    let mut broken = whole.clone();
    let records = broken.len() / 2;
    broken[records..].iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(&volume, &broken).unwrap();
    assert_ne!(root.lab.casemate(&["hsm", "create", "--cluster", &root.cluster]).code, 0);
    std::fs::write(&volume, &whole).unwrap();

    // Copied to another region of its own host it opens, for whoever has the platform there.
    let copied =
        root.lab.ok(&["hsm", "backup", "copy", &backup, "--to", "west", "--source-region", "us-east-1"]);
    let copied = copied.split_whitespace().next().unwrap();
    assert_ne!(copied, backup);
    let store = ["--store", "west"];
    let listed = root.lab.json(&[&["hsm", "backup", "list", "--json"], &store[..]].concat());
    assert_eq!(listed[0]["Source"]["Backup"], backup.as_str(), "{listed}");
    // The cluster's own store still has what the attempts left of it: nothing.
    let west = create(&root.lab, &[&["--from-backup", copied], &store[..]].concat());
    assert_eq!(text(&west["Endpoint"]), root.endpoint);
    root.signs();
    root.lab.fails(&["hsm", "create", "--cluster", &root.cluster], "runs with that state");
    root.lab.json(&[&["hsm", "delete", "--json", "root-hsm"], &store[..]].concat());
    drop(stolen);
}

#[test]
fn backups_are_kept_deleted_and_brought_back() {
    let lab = Lab::new();
    if !can_seal("backups of a sealed token") {
        return;
    }
    create(&lab, &["--name", "one"]);
    let backup = text(&lab.json(&["hsm", "delete", "--json", "one"])["BackupId"]);
    let state = || lab.json(&["hsm", "backup", "list", "--json"])[0].clone();
    assert_eq!((&state()["NeverExpires"], &state()["DeleteAt"]), (&false.into(), &Value::Null));
    lab.ok(&["hsm", "backup", "keep", &backup]);
    assert_eq!(state()["NeverExpires"], true);
    lab.ok(&["hsm", "backup", "keep", "--no", &backup]);
    assert_eq!(state()["NeverExpires"], false);
    lab.fails(&["hsm", "backup", "undelete", &backup], "nothing to restore");
    lab.ok(&["hsm", "backup", "delete", &backup]);
    assert!(state()["DeleteAt"].is_u64());
    lab.fails(&["hsm", "backup", "keep", &backup], "restore it first");
    lab.fails(&["hsm", "create", "--from-backup", &backup], "restore it first");
    assert_eq!(lab.ok(&["hsm", "backup", "prune"]), "", "it has seven days");
    lab.ok(&["hsm", "backup", "undelete", &backup]);
    create(&lab, &["--from-backup", &backup]);
    lab.fails(&["hsm", "backup", "keep", "backup-aaaaaaaaaaa"], "there is no backup");
    lab.json(&["hsm", "delete", "--json", "one"]);
}

#[test]
fn a_token_moves_to_another_platform_only_if_it_is_shared_with_it() {
    if !can_seal("tokens between two platforms") {
        return;
    }
    let here = Root::new();
    let there = Lab::new();
    let created = create(&there, &["--name", "root-hsm"]);
    let endpoint = text(&created["Endpoint"]);
    let access_key = claim(&there, &endpoint);
    let there = Root { lab: there, cluster: text(&created["ClusterId"]), endpoint, access_key };
    let carry = |from: &Root, file: &str, to: &Root, name: &str| {
        std::fs::copy(from.lab.path(file), to.lab.path(name)).unwrap();
    };
    here.hsm(&["backup", "create", "--out", "backup"]);
    carry(&here, "backup", &there, "backup");
    carry(&here, "root.pem", &there, "their-root.pem");
    carry(&there, "root.pem", &here, "their-root.pem");
    let stolen = there.try_hsm(&["backup", "restore", "backup", "--platform-root", "their-root.pem"]);
    assert!(stolen.code != 0 && stolen.stderr.contains("cannot be opened"), "{stolen:?}");

    // Nonce from here, proof from there, and the officer answers for the other platform's root.
    let pcr0 = text(&serde_json::from_slice::<Value>(&here.lab.read("policy.json")).unwrap()["pcrs"]["0"]);
    let officer = ["--officer", "officer", "--password-file", "officer"];
    let prove = || {
        let nonce = here.hsm(&[&["backup", "nonce"], &officer[..]].concat());
        there.lab.ok(&["hsm", "backup", "request", "--nonce", &nonce, "--out", "proof"]);
        carry(&there, "proof", &here, "proof");
    };
    let share = |root: &str, out: &str| {
        let to = ["--to", &pcr0, "--document", "proof", "--platform-root", root, "--out", out];
        here.try_hsm(&[&["backup", "share", "backup"], &to[..], &officer[..]].concat())
    };
    prove();
    let unknown = share("root.pem", "no");
    assert!(unknown.code != 0 && !here.lab.path("no").exists(), "{unknown:?}");
    prove();
    let shared = share("their-root.pem", "shared");
    assert_eq!(shared.code, 0, "{shared:?}");
    assert_ne!(share("their-root.pem", "again").code, 0, "a proof is good once");

    carry(&here, "shared", &there, "shared");
    assert_ne!(
        there.try_hsm(&["backup", "restore", "shared"]).code,
        0,
        "nobody answers for where it is from"
    );
    there.hsm(&["backup", "restore", "shared", "--platform-root", "their-root.pem"]);
    here.offline();
    carry(&here, "public.pem", &there, "public.pem");
    there.lab.write("message", b"the message");
    there.configure();
    there.signs();
    there.offline();
}
