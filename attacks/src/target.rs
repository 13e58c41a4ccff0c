//! A signer to be attacked: launched for this, in a place of its own, with a key whose bytes are known.

use std::io::{BufRead as _, BufReader, Error, Read as _, Result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Bytes of the key.
pub const SECRET_LEN: usize = 32;

/// A folder for guests of our own, and the `casemate` that launches them.
pub struct Place {
    directory: PathBuf,
    casemate: PathBuf,
    image: PathBuf,
}

impl Place {
    /// Makes the folder.
    pub fn new(casemate: PathBuf) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let directory = std::env::temp_dir().join(format!("casemate-selftest-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&directory)?;
        for folder in ["run", "home"] {
            std::fs::DirBuilder::new().mode(0o700).create(directory.join(folder))?;
        }
        Ok(Self { directory, casemate, image: PathBuf::new() })
    }

    /// What [`launch`](Self::launch) launches: a signer.
    pub fn with_image(mut self, image: PathBuf) -> Self {
        self.image = image;
        self
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// `casemate` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.casemate);
        command.args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.env("CASEMATE_RUNTIME_DIR", self.file("run")).env("CASEMATE_HOME", self.file("home"));
        command
    }

    /// What `casemate` prints; what it complains of is an error.
    pub fn casemate(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        if !output.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The VMM of the security module that the launches have started.
    pub fn module_pid(&self) -> Result<i32> {
        let record: Value = serde_json::from_slice(&std::fs::read(self.file("run/module/guest.json"))?)?;
        let pid = record.get("pid").and_then(Value::as_i64).and_then(|pid| i32::try_from(pid).ok());
        pid.ok_or_else(|| Error::other("the security module's record names no process"))
    }

    /// Launches the signer.
    pub fn launch(&self, name: &str, arguments: &[&str]) -> Result<Target<'_>> {
        let image = self.image.display().to_string();
        let mut command = self.command(&["run", "--json", "--image", &image, "--name", name]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or_else(|| Error::other("no stdout"))?);
        let mut text = String::new();
        // One object, pretty-printed: its last line is a brace.
        while lines.read_line(&mut text)? > 0 && !text.ends_with("\n}\n") {}
        let info: Value = serde_json::from_str(&text).unwrap_or_default();
        if info.get("EnclaveID").is_none() {
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut said)?;
            }
            child.wait()?;
            return Err(Error::other(said.trim().to_owned()));
        }
        Ok(Target { place: self, name: name.to_owned(), child })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The security module, which is left.
        let _ = self.casemate(&["terminate", "--all"]);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A signer that runs. Killed when dropped.
pub struct Target<'a> {
    place: &'a Place,
    name: String,
    child: Child,
}

impl Target<'_> {
    /// The VMM's process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// The VMM's process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends the guest as its owner does.
    pub fn terminate(mut self) -> Result<()> {
        self.place.casemate(&["terminate", "--enclave-name", &self.name])?;
        self.child.wait().map(drop)
    }

    /// Calls an operation of the KMS protocol.
    pub fn kms(&self, operation: &str, request: &Value) -> Result<Value> {
        let answer = self.place.casemate(&["kms", "--guest", &self.name, operation, &request.to_string()])?;
        serde_json::from_str(&answer).map_err(Error::other)
    }

    /// Imports `secret` as an AES-256 key, as any client of KMS does it, and returns the key's id.
    pub fn import(&self, secret: &[u8; SECRET_LEN]) -> Result<String> {
        let created = self.kms("CreateKey", &json!({"Origin": "EXTERNAL"}))?;
        let id = text(&created, "/KeyMetadata/KeyId")?;
        let wanted =
            json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
        let parameters = self.kms("GetParametersForImport", &wanted)?;
        let public = STANDARD.decode(text(&parameters, "/PublicKey")?).map_err(Error::other)?;
        let public = PublicEncryptingKey::from_der(&public).map_err(Error::other)?;
        let public =
            OaepPublicEncryptingKey::new(public).map_err(|_| Error::other("the wrapping key is unusable"))?;
        let mut wrapped = vec![0; public.ciphertext_size()];
        public
            .encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut wrapped, None)
            .map_err(|_| Error::other("the key cannot be wrapped"))?;
        let import = json!({
            "KeyId": id,
            "ImportToken": text(&parameters, "/ImportToken")?,
            "EncryptedKeyMaterial": STANDARD.encode(wrapped),
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        });
        self.kms("ImportKeyMaterial", &import)?;
        Ok(id)
    }

    /// Whether the guest still has the key and does its work.
    pub fn works(&self, key: &str) -> Result<()> {
        let plaintext = STANDARD.encode(b"still here");
        let encrypted = self.kms("Encrypt", &json!({"KeyId": key, "Plaintext": plaintext}))?;
        let blob = text(&encrypted, "/CiphertextBlob")?;
        let decrypted = self.kms("Decrypt", &json!({"CiphertextBlob": blob}))?;
        if text(&decrypted, "/Plaintext")? == plaintext {
            Ok(())
        } else {
            Err(Error::other("it decrypts wrongly"))
        }
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.map(ToOwned::to_owned).ok_or_else(|| Error::other(format!("no {pointer} in {value}")))
}

/// The folder that `casemate` and its programs were built from.
pub fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
