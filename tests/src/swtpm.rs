//! A TPM 2.0 in software (swtpm), with an endorsement key that a certification authority of its own has certified, and the
//! programs of tpm2-tools to look at it with.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long the emulator may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The emulator, its state and its authority. Ended with the value.
pub struct SwTpm {
    dir: PathBuf,
    emulator: Option<Child>,
}

impl Default for SwTpm {
    fn default() -> Self {
        Self::new()
    }
}

impl SwTpm {
    /// A new TPM from a new maker, switched on.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: it holds sockets, whose paths may have 107 bytes.
        let dir = std::env::temp_dir().join(format!("casemate-tpm-{}-{count}", std::process::id()));
        std::fs::create_dir_all(dir.join("ca")).unwrap();
        std::fs::create_dir_all(dir.join("state")).unwrap();
        let tpm = Self { dir, emulator: None };
        let (ca, file) = (tpm.dir.join("ca"), |name: &str| tpm.dir.join(name).display().to_string());
        let authority = format!(
            "statedir = {0}\nsigningkey = {0}/signkey.pem\nissuercert = {0}/issuercert.pem\ncertserial = {0}/certserial\n",
            ca.display()
        );
        std::fs::write(file("authority.conf"), authority).unwrap();
        std::fs::write(
            file("authority.options"),
            "--platform-manufacturer Test\n--platform-version 1\n--platform-model T\n",
        )
        .unwrap();
        let setup = format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
            file("authority.conf"),
            file("authority.options")
        );
        std::fs::write(file("setup.conf"), setup).unwrap();
        let made = Command::new("swtpm_setup")
            .args([
                "--tpm2",
                "--create-ek-cert",
                "--tpmstate",
                &file("state"),
                "--config",
                &file("setup.conf"),
            ])
            .output()
            .expect("swtpm_setup: tests/run.sh installs it");
        let said =
            String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "swtpm_setup: {said}");
        tpm.on()
    }

    fn on(mut self) -> Self {
        self.switch_on();
        self
    }

    fn switch_on(&mut self) {
        let socket = self.socket();
        let control = format!("{}.ctrl", socket.display());
        for path in [socket.as_path(), Path::new(&control)] {
            let _ = std::fs::remove_file(path);
        }
        let emulator = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.dir.join("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={control}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm: tests/run.sh installs it");
        self.emulator = Some(emulator);
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < PATIENCE, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn switch_off(&mut self) {
        if let Some(mut emulator) = self.emulator.take() {
            let _ = emulator.kill();
            let _ = emulator.wait();
        }
    }

    /// Switches it off and on: registers start anew, what is in NV memory stays.
    pub fn restart(&mut self) {
        self.switch_off();
        self.switch_on();
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("tpm")
    }

    /// The certificate of the authority that certified its endorsement key, PEM.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca/issuercert.pem")
    }

    /// A file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a program of tpm2-tools in the TPM's folder, which must succeed, and returns what it prints.
    #[track_caller]
    pub fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let (success, said) = self.try_tool(program, arguments);
        assert!(success, "{program} {arguments:?}: {said}");
        said
    }

    /// Runs a program of tpm2-tools, and returns whether it succeeded and what it said.
    pub fn try_tool(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.dir)
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.socket().display()))
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/run.sh installs it"));
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// Measures something into a register, as firmware would.
    #[track_caller]
    pub fn extend(&self, register: u8) {
        self.tool("tpm2_pcrextend", &[&format!("{register}:sha256={}", "ab".repeat(32))]);
    }
}

impl Drop for SwTpm {
    fn drop(&mut self) {
        self.switch_off();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
