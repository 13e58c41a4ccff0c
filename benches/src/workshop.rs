//! What measuring needs: programs and images built from this checkout, a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use casemate_attestation::pcr::Pcr;
use casemate_attestation::policy::{OneOf, Policy};

use crate::error::{Error, Result};

/// Programs, images and a folder, which is removed at the end.
pub struct Workshop {
    /// The optimised `casemate`.
    pub casemate: PathBuf,
    /// The signer as an ordinary process.
    pub signer_process: PathBuf,
    /// This program, which also plays the other end of a Unix socket.
    pub bench: PathBuf,
    /// The signer's image.
    pub signer: PathBuf,
    /// The probe's image.
    pub probe: PathBuf,
    /// The security module's image.
    security_module: PathBuf,
    /// What a verifier demands of the signer: PCR0, PCR1 and PCR2 as the image has them, and the nonce.
    pub policy: Policy,
    /// The PKCS#11 module, if somebody has built it.
    module: Option<PathBuf>,
    directory: PathBuf,
}

/// The checkout.
pub fn checkout() -> PathBuf {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR"));
    benches.parent().unwrap_or(benches).to_owned()
}

impl Workshop {
    /// Takes `casemate`, `casemate-signer-process`, `signer.eif`, `probe.eif`, `module.eif` and, if it is asked for,
    /// `libcasemate_pkcs11.so` from a folder, as they are.
    pub fn with_programs(programs: &Path) -> Result<Self> {
        let casemate = programs.join("casemate");
        let signer = programs.join("signer.eif");
        Ok(Self {
            policy: policy(&casemate, &signer)?,
            casemate,
            signer,
            signer_process: programs.join("casemate-signer-process"),
            probe: programs.join("probe.eif"),
            security_module: programs.join("module.eif"),
            module: Some(programs.join("libcasemate_pkcs11.so")),
            bench: this_program()?,
            directory: directory()?,
        })
    }

    /// Builds what is out of date. `step` hears what is being done.
    pub fn open(step: impl Fn(&str)) -> Result<Self> {
        step("building casemate and the signer as a process (optimised)");
        let arguments = "build --release -p casemate -p casemate-signer --features casemate-signer/process \
                         --bin casemate --bin casemate-signer-process --message-format=json-render-diagnostics";
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let messages =
            output(Command::new(cargo).args(arguments.split_whitespace()).current_dir(checkout()))?;
        let casemate = executable(&messages, "casemate")?;
        let signer_process = executable(&messages, "casemate-signer-process")?;

        let directory = directory()?;
        step("building the signer's image");
        let signer = image(&casemate, "guest/signer", "signer", &directory)?;
        step("building the probe's image");
        let probe = image(&casemate, "benches/guests/probe", "probe", &directory)?;
        step("building the security module's image");
        let security_module = image(&casemate, "guest/module", "module", &directory)?;
        let policy = policy(&casemate, &signer)?;
        let (bench, module) = (this_program()?, None);
        Ok(Self {
            casemate,
            signer_process,
            bench,
            signer,
            probe,
            security_module,
            policy,
            module,
            directory,
        })
    }

    /// The PKCS#11 module, built now if it is out of date.
    pub fn module(&self, step: &dyn Fn(&str)) -> Result<PathBuf> {
        if let Some(module) = &self.module {
            return Ok(module.clone());
        }
        step("building the PKCS#11 module (optimised)");
        let arguments = "build --profile module -p casemate-pkcs11 --message-format=json-render-diagnostics";
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let messages =
            output(Command::new(cargo).args(arguments.split_whitespace()).current_dir(checkout()))?;
        let found = messages.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let files = message.get("filenames")?.as_array()?.iter().filter_map(Value::as_str);
            files.filter(|file| file.ends_with("/libcasemate_pkcs11.so")).map(PathBuf::from).next()
        });
        found.ok_or_else(|| Error::answer("what cargo built", "no PKCS#11 module"))
    }

    /// A file of ours.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the guests are registered: in memory if the system has such a folder for everybody, as `/run` and
    /// `$XDG_RUNTIME_DIR` are.
    pub fn runtime_dir(&self) -> PathBuf {
        let memory = Path::new("/dev/shm");
        match self.directory.file_name() {
            Some(name) if memory.is_dir() => memory.join(name),
            _ => self.file("run"),
        }
    }

    /// Makes `command` keep its guests and its platform key in our folder, and their attestation keys in our module.
    pub fn environment(&self, command: &mut Command) {
        command
            .env("CASEMATE_RUNTIME_DIR", self.runtime_dir())
            .env("CASEMATE_HOME", self.file("home"))
            .env("CASEMATE_MODULE", &self.security_module);
    }

    /// Ends the security module, and every guest, if there are any.
    pub fn end_all(&self) -> Result<()> {
        let mut command = Command::new(&self.casemate);
        self.environment(&mut command);
        output(command.args(["terminate", "--all"])).map(drop)
    }

    /// The process of the security module's VMM.
    pub fn security_module_pid(&self) -> Result<u32> {
        let path = self.runtime_dir().join("module/guest.json");
        let text = std::fs::read(&path).map_err(Error::file("read", &path))?;
        let record: Value = serde_json::from_slice(&text).unwrap_or_default();
        let pid = record.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| Error::answer("the security module's record", "no process"))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // The security module, which is left.
        let _ = self.end_all();
        let _ = std::fs::remove_dir_all(self.runtime_dir());
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(Error::io("find this program"))
}

/// Makes our folder.
fn directory() -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("casemate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(Error::file("make", &directory))?;
    Ok(directory)
}

/// What `command` prints.
pub fn output(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(format!("run {program}")))?;
    if !output.status.success() {
        return Err(Error::Program {
            program,
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a program in what cargo reports.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    let found = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name").and_then(Value::as_str) == Some(name);
        let path = message.get("executable").and_then(Value::as_str)?;
        is_it.then(|| PathBuf::from(path))
    });
    found.ok_or_else(|| Error::answer("what cargo built", format!("no program {name}")))
}

fn image(casemate: &Path, folder: &str, binary: &str, directory: &Path) -> Result<PathBuf> {
    let path = directory.join(format!("{binary}.eif"));
    output(
        Command::new(casemate)
            .args(["build", "--bin", binary, "--manifest-path"])
            .arg(checkout().join(folder).join("Cargo.toml"))
            .arg("--output")
            .arg(&path),
    )?;
    Ok(path)
}

fn policy(casemate: &Path, image: &Path) -> Result<Policy> {
    let text = output(Command::new(casemate).args(["describe-eif", "--eif-path"]).arg(image))?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut policy = Policy { nonce_required: true, ..Policy::default() };
    for index in 0..3 {
        let pcr: Option<Pcr> = value
            .pointer(&format!("/Measurements/PCR{index}"))
            .and_then(|pcr| serde_json::from_value(pcr.clone()).ok());
        let pcr = pcr.ok_or_else(|| Error::answer("describe-eif", text.clone()))?;
        policy.pcrs.insert(index, OneOf::One(pcr));
    }
    Ok(policy)
}
