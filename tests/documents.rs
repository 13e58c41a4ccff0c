//! What the documentation says is so, where that can be counted: commands, tests that are named as evidence.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use casemate_tests::{Image, Lab, backend, checkout};

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of a document under a heading, up to the next of any level.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + 1;
    let rest = &document[start + heading.len()..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

/// What is in `code` in the first column of a section's tables.
fn documented(document: &str, heading: &str) -> BTreeSet<String> {
    let rows = section(document, heading).lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| row.split(" |").next().unwrap_or_default());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned);
    names.collect()
}

/// The variants of an enum, read from its source: nobody can forget to list them.
fn variants(path: &Path, name: &str) -> BTreeSet<String> {
    let source = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let start = source.find(&format!("pub enum {name} {{")).unwrap_or_else(|| panic!("no enum {name}"));
    let (mut depth, mut names) = (0, BTreeSet::new());
    for line in source[start..].lines() {
        let text = line.trim();
        if depth == 1 && text.starts_with(|first: char| first.is_ascii_uppercase()) {
            names.insert(text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
        }
        let count = |bracket| i32::try_from(text.matches(bracket).count()).unwrap();
        if !text.starts_with("//") {
            depth += count('{') - count('}');
        }
        if depth == 0 {
            break;
        }
    }
    assert!(names.len() > 1, "{name}: {names:?}");
    names
}

/// The source of a crate that is not ours.
fn registry(package: &str) -> std::path::PathBuf {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .current_dir(checkout())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|one| one["name"] == package).unwrap_or_else(|| panic!("no {package}"));
    Path::new(found["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

#[test]
fn every_command_is_documented() {
    let document = read("docs/commands.md");
    let nsm = registry("aws-nitro-enclaves-nsm-api").join("src/api/mod.rs");
    for (heading, path, name) in [
        ("### From its guest: the doorbell", checkout().join("abi/src/lib.rs"), "Doorbell"),
        ("### From its guest: the security module", nsm, "Request"),
        ("### From its guest: packets", checkout().join("abi/src/vsock.rs"), "Op"),
        ("### From a launch or a volume service", checkout().join("vmm/src/platform/protocol.rs"), "Verb"),
        ("### From its guest: the volume", checkout().join("volume/src/message.rs"), "Request"),
    ] {
        assert_eq!(documented(&document, heading), variants(&path, name), "{heading}");
    }
    let stop = read("vmm/src/stop.rs");
    let signals = stop.lines().find(|line| line.starts_with("const SIGNALS")).unwrap();
    let signals =
        signals.split("libc::").skip(1).map(|rest| rest.split([',', ']']).next().unwrap().to_owned());
    assert_eq!(documented(&document, "### Signals"), signals.collect());
}

#[test]
fn a_running_guest_has_the_documented_doors_and_no_others() {
    let document = read("docs/commands.md");
    let lab = Lab::new();
    for debug in [false, true] {
        let flags: &[&str] = if debug { &["--debug-mode"] } else { &[] };
        let guest = lab.launch(Image::Echo, flags);
        drop(guest.connect(7));
        let (mut sockets, mut files) = (BTreeSet::new(), BTreeSet::new());
        for entry in std::fs::read_dir(guest.folder()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let is_socket = entry.file_type().unwrap().is_socket();
            if is_socket {
                sockets.insert(name)
            } else {
                files.insert(name)
            };
        }
        let mut expected = documented(&document, "### Through sockets");
        if !debug {
            expected.remove("console.sock");
        }
        expected.retain(|name| !name.starts_with("CONNECT"));
        assert_eq!(sockets, expected, "{}", backend());
        assert_eq!(files, documented(&document, "### Files"));
        // And it listens nowhere else: every socket of its process is one of these, or a client's.
        let unix = std::fs::read_to_string("/proc/net/unix").unwrap();
        let listening = std::fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap().filter(|entry| {
            let link = std::fs::read_link(entry.as_ref().unwrap().path()).unwrap_or_default();
            let link = link.to_string_lossy().into_owned();
            let Some(inode) = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) else {
                return false;
            };
            // Num RefCount Protocol Flags Type St Inode Path; flag 0x10000: it listens.
            let line = unix.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
            let line = line.unwrap_or_else(|| panic!("{link} is no Unix socket"));
            line.split_whitespace().nth(3) == Some("00010000")
        });
        assert_eq!(listening.count(), sockets.len());
    }
}

#[test]
fn every_fuzz_target_is_documented_and_has_a_corpus() {
    let manifest = read("fuzz/Cargo.toml");
    let path = |line: &'static str| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\"");
    let targets: Vec<&str> = manifest.leak().lines().filter_map(path).collect();
    let (specification, assurance) = (read("docs/specification.md"), read("docs/assurance.md"));
    for target in &targets {
        let named = format!("`{target}`");
        assert!(specification.contains(&named) && assurance.contains(&named), "{target}");
        let corpus = std::fs::read_dir(checkout().join("fuzz/corpus").join(target));
        assert!(corpus.is_ok_and(|files| files.count() > 0), "{target}");
    }
    let number = targets.len();
    assert!(assurance.contains(&format!("has {number} targets")), "{number} targets");
    assert!(read("docs/security-design.md").contains(&format!("{number} fuzz targets")), "{number} targets");
    assert!(read("fuzz/README.md").contains(&format!("{number} of them")), "{number} targets");
}

#[test]
fn the_trusted_base_is_as_documented() {
    let check = checkout().join("supply-chain/trusted-base.py");
    let output = std::process::Command::new(check).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bills_of_materials_name_what_the_lock_file_has_with_its_check_sums() {
    let lab = Lab::new();
    let lock = read("Cargo.lock");
    let script = checkout().join("supply-chain/sbom.py");
    for _ in 0..2 {
        let output = std::process::Command::new(&script).arg(lab.path("sbom")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (program, expected) in [
            ("casemate", "kvm-ioctls"),
            ("casemate-signer", "virtio-drivers"),
            ("casemate-module", "virtio-drivers"),
        ] {
            let text = lab.read(&format!("sbom/{program}.cdx.json"));
            let bill: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let components = bill["components"].as_array().unwrap();
            assert!(components.iter().any(|component| component["name"] == expected), "{program}");
            for component in components {
                let (name, version) =
                    (component["name"].as_str().unwrap(), component["version"].as_str().unwrap());
                let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
                let entry =
                    &lock[lock.find(&entry).unwrap_or_else(|| panic!("{entry} is not in Cargo.lock"))..];
                let entry = entry.split("\n\n").next().unwrap();
                match component["hashes"][0]["content"].as_str() {
                    Some(sum) => assert!(entry.contains(sum), "{name} {version}"),
                    None => assert!(!entry.contains("checksum") && name.starts_with("casemate"), "{name}"),
                }
            }
        }
        let first = lab.path("sbom");
        // The same again, to the byte.
        if !lab.path("sbom-1").exists() {
            std::fs::rename(first, lab.path("sbom-1")).unwrap();
        }
    }
    for program in ["casemate", "casemate-signer", "casemate-module"] {
        let file = |folder: &str| lab.read(&format!("{folder}/{program}.cdx.json"));
        assert_eq!(file("sbom"), file("sbom-1"));
    }
}

/// What stands in `code` in the columns that name evidence, of all tables of a document.
fn evidence(document: &str) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let (mut column, mut found) = (None, Vec::new());
    let mut before = "";
    for line in document.lines() {
        if !line.starts_with('|') {
            column = None;
        } else if line.starts_with("| ---") {
            let named = ["evidence", "shown by"];
            column = cells(before).iter().position(|cell| named.contains(&cell.as_str()));
        } else if let Some(text) = column.and_then(|column| cells(line).get(column).cloned()) {
            found.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        before = line;
    }
    found
}

/// Every Rust and Python file of the checkout that is ours.
fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, into);
            }
        } else if name.ends_with(".rs") || name.ends_with(".py") {
            into.push((path.to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_test_that_is_named_as_evidence_exists() {
    let mut files = Vec::new();
    sources(checkout(), &mut files);
    // Tests, and not what they are made of: the attribute is on a line between the last empty one and the name.
    let named_tests = |text: &'static str| {
        text.match_indices("fn ").filter_map(|(at, _)| {
            let before = &text[..at];
            let head = &before[before.rfind("\n\n").unwrap_or(0)..];
            head.contains("test]").then(|| text[at + 3..].split(['(', '<']).next().unwrap())
        })
    };
    let tests: BTreeSet<&str> = files.iter().flat_map(|(_, text)| named_tests(text.clone().leak())).collect();
    for document in ["security-design", "specification", "commands"] {
        let named = evidence(&read(&format!("docs/{document}.md")));
        assert!(named.len() > 5, "{document}: {named:?}");
        for name in named {
            let is_path = name.ends_with(".rs") || name.ends_with(".py");
            // A command to repeat it with.
            let is_command = name.starts_with("casemate ") || name.contains('=');
            let exists = match is_path {
                true => files.iter().any(|(path, _)| path.ends_with(&name)),
                false => is_command || tests.contains(name.as_str()),
            };
            assert!(exists, "docs/{document}.md: there is no test `{name}`");
        }
    }
}
