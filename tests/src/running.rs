//! A guest that runs, and connections to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for anything that a guest or the VMM should do at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A guest launched by `casemate run --json`. Killed when dropped.
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    folder: PathBuf,
    /// What `run --json` printed.
    pub info: Value,
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Opens a connection to a port of a guest; `None` if it is refused.
pub fn connect(socket: &Path, port: u32) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no answer to CONNECT {port}: {error}"),
        }
    }
    assert!(line.starts_with(b"OK "), "{:?}", String::from_utf8_lossy(&line));
    Some(stream)
}

impl Running {
    /// Launches a guest with a command that ends in `casemate run --json`, however it gets there.
    #[track_caller]
    pub fn launched_by(command: &mut Command, runtime: PathBuf) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut json = String::new();
        while !json.ends_with("\n}\n") {
            if stdout.read_line(&mut json).unwrap() == 0 {
                let said = stderr.join().unwrap();
                panic!("the guest was not launched ({}): {json}{said}", child.wait().unwrap());
            }
        }
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let info: Value = serde_json::from_str(&json).unwrap();
        let folder = runtime.join(info["EnclaveID"].as_str().unwrap());
        Self { child, stdout: Some(stdout), stderr: Some(stderr), folder, info }
    }

    /// The process that was started.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The VMM's process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.info["ProcessID"].as_u64().unwrap()).unwrap()
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        self.info["EnclaveName"].as_str().unwrap()
    }

    /// The guest's folder in the runtime directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The guest's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("vsock.sock")
    }

    /// A connection to a port on which the guest listens.
    #[track_caller]
    pub fn connect(&self, port: u32) -> UnixStream {
        connect(&self.socket(), port).unwrap_or_else(|| panic!("port {port} was refused"))
    }

    /// Sends a line to the secret's guest and returns the line that it answers.
    #[track_caller]
    pub fn ask(&self, line: &str) -> String {
        let mut stream = self.connect(9000);
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Sends a line to the secret's guest after which it ends.
    pub fn tell(&self, line: &str) {
        self.connect(9000).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Sends a signal to the VMM.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for the end: how, and what was said on stderr.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        wait_until("the VMM ends", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        (status, self.stderr.take().unwrap().join().unwrap())
    }

    /// Waits for the end and returns what was printed after the JSON.
    #[track_caller]
    pub fn wait_stdout(mut self) -> (ExitStatus, String) {
        wait_until("the VMM ends", || self.child.try_wait().unwrap().is_some());
        (self.child.wait().unwrap(), self.stdout.take().unwrap().join().unwrap())
    }

    /// Asks the VMM to end, and returns its exit code.
    #[track_caller]
    pub fn ends_by_terminate(self) -> i32 {
        self.signal(Signal::TERM);
        self.wait().0.code().unwrap_or(-1)
    }

    /// Waits for the end, which must come with this exit code and, beside what is said of connections, one line on stderr,
    /// and returns that line.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> String {
        let (status, said) = self.wait();
        assert_eq!(status.code(), Some(code), "signal {:?}: {said}", status.signal());
        let lines = said.lines().filter(|line| !line.starts_with("casemate: connection"));
        let [line] = lines.collect::<Vec<_>>()[..] else { panic!("{said}") };
        line.to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
