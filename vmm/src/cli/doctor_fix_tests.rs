//! Tests of `doctor --fix`, for a host that is made up and in a folder in place of `/`.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::host::doctor::Grade;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("casemate-fix-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join(file)).ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A host that has every weakness which can be changed, and one which cannot.
fn offers() -> Vec<Offer> {
    let weak = |name| Finding {
        name,
        grade: Grade::Weak,
        value: "weak".into(),
        meaning: "it matters",
        advice: Some("an advice"),
    };
    let names = fix::CHANGES.iter().map(|change| change.finding).chain(["vulnerabilities"]);
    fix::offers(names.map(weak).collect(), &|_| true)
}

fn args(folder: &Folder) -> FixArgs {
    FixArgs { fix: true, yes: false, dry_run: false, output: Some(folder.0.clone()) }
}

/// What was said.
fn said(args: &FixArgs, answers: &str) -> Result<String, Failure> {
    let mut text = String::new();
    offer(args, &offers(), answers.as_bytes(), |line| {
        text.push_str(line);
        text.push('\n');
        Ok(())
    })?;
    Ok(text)
}

#[test]
fn each_change_is_offered_with_its_reason_and_none_is_made_unasked() {
    let folder = Folder::new("unasked");
    for answers in ["", "n\n\nno\nmaybe\n"] {
        let text = said(&args(&folder), answers).unwrap();
        for change in fix::CHANGES {
            assert!(text.contains(&change.describe()) && text.contains(change.costs), "{text}");
        }
        assert!(text.contains("an advice  (by hand)") && text.ends_with("Nothing was changed.\n"), "{text}");
        assert!(!folder.0.exists());
    }
}

#[test]
fn a_dry_run_prints_and_writes_nothing() {
    let text = said(&FixArgs { fix: true, yes: false, dry_run: true, output: None }, "").unwrap();
    assert!(text.contains("/etc/sysctl.d/60-casemate.conf would be:\n# Written by"), "{text}");
    assert!(
        text.contains("\nExecStart=/sbin/swapoff -a\n") && text.ends_with("Nothing was changed.\n"),
        "{text}"
    );
}

#[test]
fn what_is_agreed_to_is_written() {
    let folder = Folder::new("some");
    // io_uring no, Yama yes, kexec no, modules yes; nothing more is said.
    let text = said(&args(&folder), "n\ny\nn\nyes\n").unwrap();
    let settings = folder.read(SYSCTL).unwrap();
    assert!(
        settings.contains("\nkernel.yama.ptrace_scope = 3\n") && !settings.contains("kexec_load"),
        "{settings}"
    );
    let unit = folder.read(UNIT).unwrap();
    assert!(unit.contains("modules_disabled") && !unit.contains("swapoff"), "{unit}");
    assert!(text.contains("sysctl --load") && text.contains("systemctl daemon-reload"), "{text}");

    let text = said(&FixArgs { yes: true, ..args(&folder) }, "").unwrap();
    assert!(text.contains("wrote"), "{text}");
    let (settings, unit) = (folder.read(SYSCTL).unwrap(), folder.read(UNIT).unwrap());
    assert_eq!(settings.lines().filter(|line| line.starts_with("kernel.")).count(), 3);
    assert_eq!(unit.lines().filter(|line| line.starts_with("ExecStart=")).count(), 4);
    assert!(
        !settings.contains("lockdown=") && !unit.contains("lockdown="),
        "boot parameters are for the boot loader"
    );
}

#[test]
fn a_file_of_somebody_elses_is_not_replaced() {
    let folder = Folder::new("foreign");
    let path = folder.0.join(SYSCTL);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "kernel.panic = 1\n").unwrap();
    let failure = said(&FixArgs { yes: true, ..args(&folder) }, "").unwrap_err();
    assert!(failure.to_string().contains("60-casemate.conf"), "{failure}");
    assert_eq!(folder.read(SYSCTL).unwrap(), "kernel.panic = 1\n");
    assert_eq!(folder.read(UNIT), None, "all or nothing");
}
