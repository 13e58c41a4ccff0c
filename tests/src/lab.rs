//! A place to run `casemate` in: its own folder, runtime directory and platform key.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;
use serde_json::Value;

use crate::{Image, Running, casemate};

/// A folder with a runtime directory and a home of its own. At its end every guest in it is killed.
pub struct Lab {
    dir: PathBuf,
    /// Put before every command, to run it as somebody else.
    prefix: Vec<String>,
    /// The image of the security module.
    module: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// A new place, for this user.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-test-{}-{count}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let module = if crate::has_kvm() { Image::Module.path() } else { PathBuf::new() };
        Self { dir, prefix: Vec::new(), module }
    }

    /// A new place for another user, who has no privileges but, if `in_kvm`, membership in a group that may open
    /// `/dev/kvm`. They see a device file of their own in its place, so that the machine's is left alone. Needs root.
    pub fn for_user(uid: u32, in_kvm: bool) -> Self {
        const KVM_GROUP: u32 = 45_454;
        let mut lab = Self::new();
        std::os::unix::fs::chown(&lab.dir, Some(uid), Some(uid)).unwrap();
        // Where they can read it.
        lab.module = lab.path("module.eif");
        std::fs::copy(Image::Module.path(), &lab.module).unwrap();
        let groups = if in_kvm { format!("--groups={KVM_GROUP}") } else { "--clear-groups".to_owned() };
        let script = format!(
            "set -e; mkdir -p dev; mount -t tmpfs none dev; mknod -m 660 dev/kvm c 10 232; chgrp {KVM_GROUP} dev/kvm
            mount --bind dev/kvm /dev/kvm; exec setpriv --reuid={uid} --regid={uid} {groups} -- \"$@\""
        );
        lab.prefix = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).into();
        lab
    }

    /// A file or folder in this place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file and returns its path as text.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The folder with a folder for each guest.
    pub fn runtime(&self) -> PathBuf {
        self.path("run")
    }

    /// The folders of guests that are in the runtime directory, but for the security module's.
    pub fn guest_folders(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.runtime()) else {
            return Vec::new();
        };
        let folders = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        folders.filter(|path| *path != self.module_folder()).collect()
    }

    /// The folder of the security module.
    pub fn module_folder(&self) -> PathBuf {
        self.runtime().join("module")
    }

    /// The VMM of the security module that the last launch has started.
    pub fn module_pid(&self) -> i32 {
        process_in(&self.module_folder()).expect("a security module").as_raw_nonzero().get()
    }

    /// A command in this place, as its user.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("CASEMATE_RUNTIME_DIR", self.runtime())
            .env("CASEMATE_HOME", self.path("home"))
            .env("CASEMATE_MODULE", &self.module)
            .stdin(Stdio::null());
        // Whoever runs the tests may have credentials; profiles are in $HOME.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
                command.env_remove(name);
            }
        }
        if let Some(home) = std::env::var_os("HOME") {
            // What casemate starts for a build still finds its toolchain.
            let home = Path::new(&home);
            for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
                if std::env::var_os(name).is_none() {
                    command.env(name, home.join(folder));
                }
            }
        }
        command
    }

    /// Runs `casemate` with these arguments.
    pub fn casemate(&self, arguments: &[&str]) -> Done {
        Done::new(self.command(casemate()).args(arguments).output().unwrap())
    }

    /// Runs `casemate`, which must succeed, and returns what it printed without the newline.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let done = self.casemate(arguments);
        assert_eq!(done.code, 0, "casemate {arguments:?}: {}", done.stderr);
        done.stdout.trim_end().to_owned()
    }

    /// Runs `casemate`, which must succeed and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs `casemate`, which must fail with code 1 and one line that contains `reason`.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], reason: &str) {
        let done = self.casemate(arguments);
        assert_eq!(done.code, 1, "casemate {arguments:?}: {done:?}");
        assert!(done.stderr.contains(reason), "{reason:?} is not in {:?}", done.stderr);
        assert_eq!(done.stderr.trim_end().lines().count(), 1, "{:?}", done.stderr);
    }

    /// Runs openssl, which must succeed.
    #[track_caller]
    pub fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("openssl").args(arguments).current_dir(&self.dir).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {stderr}");
        output.stdout
    }

    /// Launches a guest on the best backend there is and stays with it.
    #[track_caller]
    pub fn launch(&self, image: Image, arguments: &[&str]) -> Running {
        self.launch_file(&image.path(), arguments)
    }

    /// Launches a guest from an image file.
    #[track_caller]
    pub fn launch_file(&self, image: &Path, arguments: &[&str]) -> Running {
        let mut command = self.command(casemate());
        command.arg("run").arg("--json").arg("--image").arg(image);
        if !arguments.iter().any(|argument| argument.starts_with("--backend")) {
            command.arg(format!("--backend={}", crate::backend()));
        }
        Running::launched_by(command.args(arguments), self.runtime())
    }
}

impl Lab {
    /// Launches the signer and serves it on a free port.
    #[track_caller]
    pub fn serve(&self, arguments: &[&str]) -> Running {
        let image = Image::Signer.path();
        let backend = format!("--backend={}", crate::backend());
        let launch = ["--eif-path", image.to_str().unwrap(), &backend];
        self.serve_as(&[&launch[..], arguments].concat())
    }

    /// Serves on a free port what `casemate serve` finds or launches with these arguments.
    #[track_caller]
    pub fn serve_as(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(casemate());
        command.args(["serve", "--json", "--listen", "127.0.0.1:0"]).args(arguments);
        Running::launched_by(&mut command, self.runtime())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for folder in self.guest_folders().into_iter().chain([self.module_folder()]) {
            if let Some(pid) = process_in(&folder) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The VMM of the guest whose folder this is.
fn process_in(folder: &Path) -> Option<Pid> {
    let record = std::fs::read(folder.join("guest.json")).ok()?;
    let record: Value = serde_json::from_slice(&record).ok()?;
    Pid::from_raw(i32::try_from(record.get("pid")?.as_i64()?).ok()?)
}

impl Done {
    /// From what a command left.
    pub fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
