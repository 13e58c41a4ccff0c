//! What a sealed guest is compared with: ordinary processes behind a Unix socket.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A server process, ended when dropped.
pub struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    /// Runs `program` with `arguments` and then the socket's path, and waits until it listens.
    pub fn start(program: &Path, arguments: &[&str], socket: PathBuf) -> Result<Self> {
        let _ = std::fs::remove_file(&socket);
        let child = Command::new(program)
            .args(arguments)
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(Error::file("run", program))?;
        let process = Self { child, socket };
        let start = Instant::now();
        while UnixStream::connect(&process.socket).is_err() {
            if start.elapsed() > Duration::from_secs(10) {
                return Err(Error::answer("a reference process", "it does not listen"));
            }
            std::thread::sleep(Duration::from_micros(20));
        }
        Ok(process)
    }

    /// The file that tells how long its first thread has run, for [`cpu_time`](crate::guest::cpu_time).
    pub fn cpu_time_file(&self) -> PathBuf {
        let pid = self.child.id();
        PathBuf::from(format!("/proc/{pid}/task/{pid}/schedstat"))
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
