//! A sealed guest, launched by the `casemate` command and ended when dropped.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http;
use crate::workshop::Workshop;

/// A guest that was announced; it may not be ready yet, but connections wait until it is.
pub struct Guest {
    child: Child,
    directory: PathBuf,
}

/// A guest that has not been announced yet.
pub struct Starting {
    child: Child,
    runtime: PathBuf,
}

/// The command that launches `image`.
pub fn command(workshop: &Workshop, image: &Path) -> Command {
    let mut command = Command::new(&workshop.casemate);
    command.args(["run", "--json", "--image"]).arg(image);
    workshop.environment(&mut command);
    command
}

impl Starting {
    /// Runs `command`, which [`command`] made.
    pub fn spawn(workshop: &Workshop, mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::file("run", &workshop.casemate))?;
        Ok(Self { child, runtime: workshop.runtime_dir() })
    }

    /// Waits until the VMM says that the guest is sealed.
    pub fn announced(mut self) -> Result<Guest> {
        let mut text = String::new();
        if let Some(stdout) = self.child.stdout.take() {
            let mut lines = BufReader::new(stdout);
            // One object, pretty-printed: its last line is a brace.
            while lines.read_line(&mut text).map_err(Error::io("read what casemate prints"))? > 0 {
                if text.ends_with("\n}\n") {
                    break;
                }
            }
        }
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let Some(id) = value.get("EnclaveID").and_then(Value::as_str) else {
            let mut said = String::new();
            if let Some(mut stderr) = self.child.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
            return Err(Error::Program { program: "casemate run".into(), said });
        };
        Ok(Guest { directory: self.runtime.join(id), child: self.child })
    }
}

impl Guest {
    /// Launches `image`.
    pub fn launch(workshop: &Workshop, image: &Path) -> Result<Self> {
        Starting::spawn(workshop, command(workshop, image))?.announced()
    }

    /// The way in.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("vsock.sock")
    }

    /// A stream to a port.
    pub fn connect(&self, port: u32) -> Result<UnixStream> {
        http::connect(&self.socket(), port)
    }

    /// The file that tells how long the virtual CPU's thread has run, for [`cpu_time`].
    pub fn cpu_time_file(&self) -> Result<PathBuf> {
        vcpu_time_file(self.pid())
    }

    /// The VMM's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// The same, of the VMM with this process number.
pub fn vcpu_time_file(pid: u32) -> Result<PathBuf> {
    let tasks = PathBuf::from(format!("/proc/{pid}/task"));
    let entries = std::fs::read_dir(&tasks).map_err(Error::file("list", &tasks))?;
    let mut paths = entries.flatten().map(|task| task.path());
    let vcpu =
        paths.find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "vcpu"));
    vcpu.map(|path| path.join("schedstat"))
        .ok_or_else(|| Error::answer("the VMM's threads", "none is called vcpu"))
}

/// Nanoseconds that a thread has run: the first number of its `schedstat`.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn cpu_time(schedstat: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(schedstat).map_err(Error::file("read", schedstat))?;
    let time: Option<u64> = text.split(' ').next().and_then(|time| time.parse().ok());
    time.map(|time| time as f64).ok_or_else(|| Error::answer("schedstat", text))
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends `casemate` by SIGTERM, which it answers by removing its files.
pub fn end(child: &mut Child) {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: a system call without memory; the child is not yet waited for, so the number is still its.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
    let _ = child.wait();
}
