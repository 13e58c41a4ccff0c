//! PKCS#11 modules: our own, with the sealed signer's token behind it, and SoftHSM2, a software token in the process of
//! whoever asks it, without a network or an API between.
//!
//! Each client is a thread with a session. The library is loaded by a child process ([`serve`]), which finds its token
//! by an environment variable and takes orders by lines: `WORK\tCLIENTS\tWARM\tSPAN`, in milliseconds; none of them only
//! prepares. It answers in JSON.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

use super::owned::{Owned, demanding};
use super::{Side, Tally};
use crate::error::{Error, Result};
use crate::kms::Work;
use crate::measure::Samples;
use crate::workshop::{Workshop, output};

/// Where Debian has SoftHSM2.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// SoftHSM2's pins.
const PIN: &str = "casemate";
/// Our token's officer and user.
const PASSWORD: &str = "casemate-bench";
const MESSAGE: [u8; 32] = [0x5a; 32];
const PLAINTEXT: [u8; 4096] = [7; 4096];
const NONCE: [u8; 12] = [1; 12];

/// Algorithm identifiers, DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
/// The curve's name as PKCS#11 2.40 wants it, a PrintableString.
const ED25519: &[u8] = b"\x13\x0cedwards25519";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    /// Requests in a second and how long each took; neither when only preparing.
    rate: f64,
    latencies: Samples,
    /// The library's refusal.
    refused: Option<String>,
}

/// A token and its library, in a process.
pub struct Library {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Library {
    /// SoftHSM2: installs it if need be (as root, from Debian) and makes a token.
    pub fn softhsm(name: &'static str, workshop: &Workshop, step: &dyn Fn(&str)) -> Result<Self> {
        install(step)?;
        let tokens = workshop.file("softhsm");
        std::fs::create_dir_all(&tokens).map_err(Error::file("make", &tokens))?;
        let configuration = workshop.file("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(&configuration, text).map_err(Error::file("write", &configuration))?;
        let mut child = Command::new(&workshop.bench);
        child.args(["pkcs11", SOFTHSM, PIN, "--new"]).env("SOFTHSM2_CONF", configuration);
        Self::start(name, &mut child)
    }

    /// Our module: builds it, and goes all the way that the owner of a token goes.
    pub fn casemate(
        name: &'static str,
        workshop: &Workshop,
        owned: &Owned,
        step: &dyn Fn(&str),
    ) -> Result<Self> {
        let module = workshop.module(step)?;
        step("making a token");
        let (password, configuration) = (workshop.file("password"), workshop.file("pkcs11.toml"));
        std::fs::write(&password, PASSWORD).map_err(Error::file("write", &password))?;
        let secret = |flag: &str, command: &mut Command| {
            command.arg(flag).arg(&password);
        };
        let mut init = owned.command(workshop, &["hsm", "init", "--label", "bench"]);
        secret("--new-password-file", &mut init);
        output(owned.known(&mut init))?;
        let mut user = owned.command(workshop, &["hsm", "user", "add", "bench"]);
        secret("--password-file", &mut user);
        secret("--new-password-file", &mut user);
        output(owned.known(&mut user))?;
        let mut config = owned.command(workshop, &["hsm", "config"]);
        config.arg("--out").arg(&configuration);
        output(demanding(workshop, &mut config))?;
        let mut child = Command::new(&workshop.bench);
        child.arg("pkcs11").arg(module).arg(format!("bench:{PASSWORD}"));
        Self::start(name, child.env("CASEMATE_PKCS11_CONF", configuration))
    }

    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let program = PathBuf::from(command.get_program());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(Error::file("run", &program))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::answer("the token's process", "no pipes"));
        };
        Ok(Self { name, child, orders, answers: BufReader::new(answers) })
    }

    fn order(&mut self, work: &Work, clients: usize, warm: Duration, span: Duration) -> Result<Answer> {
        let order = format!("{}\t{clients}\t{}\t{}\n", work.name, warm.as_millis(), span.as_millis());
        let failed = || Error::io("talk to the token's process");
        self.orders.write_all(order.as_bytes()).map_err(failed())?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(failed())?;
        serde_json::from_str(&line).map_err(|error| Error::answer("the token's process", error.to_string()))
    }
}

impl Side for Library {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, work: &'static Work) -> Result<bool> {
        let answer = self.order(work, 0, Duration::ZERO, Duration::ZERO)?;
        Ok(answer.refused.is_none())
    }

    fn block(
        &mut self,
        work: &'static Work,
        clients: usize,
        warm: Duration,
        span: Duration,
    ) -> Result<Tally> {
        let answer = self.order(work, clients, warm, span)?;
        match answer.refused {
            Some(refused) => Err(Error::answer(self.name, refused)),
            None => Ok(Tally { rate: answer.rate, latencies: answer.latencies, cpu: None }),
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Installs Debian's package, if the library is not there and this is root.
fn install(step: &dyn Fn(&str)) -> Result<()> {
    if Path::new(SOFTHSM).exists() {
        return Ok(());
    }
    // SAFETY: a system call without memory.
    if unsafe { libc::geteuid() } != 0 {
        let source =
            std::io::Error::other(format!("{SOFTHSM} is not there, and only root can install softhsm2"));
        return Err(Error::Io { what: "use SoftHSM2".into(), source });
    }
    step("installing softhsm2 from Debian");
    output(Command::new("apt-get").args(["-qq", "update"]))?;
    output(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y", "install", "softhsm2"]),
    )?;
    Ok(())
}

/// The child: takes orders until its input ends.
pub fn serve(library: &Path, pin: &str, new: bool) -> Result<()> {
    let token =
        Token::new(library, pin, new).map_err(|error| Error::answer("the token", error.to_string()))?;
    let mut prepared = HashMap::new();
    for line in std::io::stdin().lines() {
        let line = line.map_err(Error::io("read an order"))?;
        let mut fields = line.split('\t');
        let work = fields.next().unwrap_or_default().to_owned();
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        let (clients, warm, span) =
            (number(), Duration::from_millis(number()), Duration::from_millis(number()));
        let answer = token
            .answer(&mut prepared, work, clients, warm, span)
            .unwrap_or_else(|error| Answer { refused: Some(error.to_string()), ..Answer::default() });
        println!("{}", serde_json::to_string(&answer).unwrap_or_default());
    }
    Ok(())
}

type Outcome<T> = std::result::Result<T, cryptoki::error::Error>;

struct Token {
    library: Pkcs11,
    slot: Slot,
    /// The login lasts as long as a session does.
    first: Session,
}

/// What a thread repeats.
#[derive(Clone)]
struct Task {
    key: ObjectHandle,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Sign { scheme: Scheme, input: Vec<u8> },
    Encrypt,
    Decrypt { ciphertext: Vec<u8> },
    DataKey,
}

#[derive(Clone, Copy)]
enum Scheme {
    Ecdsa,
    RsaPkcs,
    Ed25519,
}

impl Scheme {
    fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::Ecdsa => Mechanism::Ecdsa,
            Self::RsaPkcs => Mechanism::Sha256RsaPkcs,
            Self::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        }
    }
}

impl Token {
    /// The first token of a library; a new one is made first.
    fn new(library: &Path, pin: &str, new: bool) -> Outcome<Self> {
        let library = Pkcs11::new(library)?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        let slot = *library.get_slots_with_token()?.first().ok_or(cryptoki::error::Error::NotSupported)?;
        let pin = AuthPin::new(pin.into());
        if new {
            library.init_token(slot, &pin, "casemate bench")?;
        }
        let first = library.open_rw_session(slot)?;
        if new {
            first.login(UserType::So, Some(&pin))?;
            first.init_pin(&pin)?;
            first.logout()?;
        }
        first.login(UserType::User, Some(&pin))?;
        Ok(Self { library, slot, first })
    }

    fn answer(
        &self,
        prepared: &mut HashMap<String, Task>,
        work: String,
        clients: u64,
        warm: Duration,
        span: Duration,
    ) -> Outcome<Answer> {
        let task = match prepared.get(&work) {
            Some(task) => task.clone(),
            None => {
                let task = self.prepare(&work)?;
                task.run(&self.first)?;
                prepared.entry(work).or_insert(task).clone()
            }
        };
        let from = Instant::now() + warm;
        let to = from + span;
        let (library, slot, task) = (&self.library, self.slot, &task);
        let latencies = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..clients).map(|_| scope.spawn(move || repeat(library, slot, task, from, to))).collect();
            let mut all = Samples::default();
            for thread in threads {
                // A panic in a thread is a defect of this program and may end it.
                all.extend(&thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok::<_, cryptoki::error::Error>(all)
        })?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = if clients == 0 { 0.0 } else { latencies.len() as f64 / span.as_secs_f64() };
        Ok(Answer { rate, latencies, refused: None })
    }

    fn prepare(&self, work: &str) -> Outcome<Task> {
        let ec = |curve, algorithm| {
            let input = digest(algorithm, &MESSAGE).as_ref().to_vec();
            let sign = Kind::Sign { scheme: Scheme::Ecdsa, input };
            Ok(Task { key: self.pair(&Mechanism::EccKeyPairGen, Attribute::EcParams(curve))?, kind: sign })
        };
        let rsa = |bits: u64| {
            let sign = Kind::Sign { scheme: Scheme::RsaPkcs, input: MESSAGE.to_vec() };
            let size = Attribute::ModulusBits(bits.into());
            Ok(Task { key: self.pair(&Mechanism::RsaPkcsKeyPairGen, size)?, kind: sign })
        };
        match work {
            "Sign P-256" => ec(P256.to_vec(), &SHA256),
            "Sign P-384" => ec(P384.to_vec(), &SHA384),
            "Sign P-521" => ec(P521.to_vec(), &SHA512),
            "Sign RSA-2048" => rsa(2048),
            "Sign RSA-4096" => rsa(4096),
            "Sign Ed25519" => {
                let kind = Kind::Sign { scheme: Scheme::Ed25519, input: MESSAGE.to_vec() };
                let curve = Attribute::EcParams(ED25519.to_vec());
                Ok(Task { key: self.pair(&Mechanism::EccEdwardsKeyPairGen, curve)?, kind })
            }
            "Encrypt AES-256-GCM, 4 KiB" => Ok(Task { key: self.aes()?, kind: Kind::Encrypt }),
            "Decrypt AES-256-GCM, 4 KiB" => {
                let key = self.aes()?;
                let ciphertext = gcm(|mechanism| self.first.encrypt(mechanism, key, &PLAINTEXT))?;
                Ok(Task { key, kind: Kind::Decrypt { ciphertext } })
            }
            "GenerateDataKey AES-256" => Ok(Task { key: self.aes()?, kind: Kind::DataKey }),
            _ => Err(cryptoki::error::Error::NotSupported),
        }
    }

    /// The private half of a new pair, kept on the token as a signer keeps its keys.
    fn pair(&self, mechanism: &Mechanism<'_>, kind: Attribute) -> Outcome<ObjectHandle> {
        let public = [Attribute::Token(true), Attribute::Verify(true), kind];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
        ];
        Ok(self.first.generate_key_pair(mechanism, &public, &private)?.1)
    }

    fn aes(&self) -> Outcome<ObjectHandle> {
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
        ];
        self.first.generate_key(&Mechanism::AesKeyGen, &template)
    }
}

/// One client: a session of its own.
fn repeat(library: &Pkcs11, slot: Slot, task: &Task, from: Instant, to: Instant) -> Outcome<Samples> {
    let session = library.open_ro_session(slot)?;
    let mut latencies = Samples::default();
    loop {
        let start = Instant::now();
        task.run(&session)?;
        let end = Instant::now();
        if end > to {
            return Ok(latencies);
        }
        if end >= from {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            latencies.push((end - start).as_nanos() as f64);
        }
    }
}

impl Task {
    fn run(&self, session: &Session) -> Outcome<()> {
        match &self.kind {
            Kind::Sign { scheme, input } => session.sign(&scheme.mechanism(), self.key, input).map(drop),
            Kind::Encrypt => gcm(|mechanism| session.encrypt(mechanism, self.key, &PLAINTEXT)).map(drop),
            Kind::Decrypt { ciphertext } => {
                gcm(|mechanism| session.decrypt(mechanism, self.key, ciphertext)).map(drop)
            }
            Kind::DataKey => {
                let data_key = session.generate_random_vec(32)?;
                gcm(|mechanism| session.encrypt(mechanism, self.key, &data_key)).map(drop)
            }
        }
    }
}

fn gcm<T>(work: impl FnOnce(&Mechanism<'_>) -> Outcome<T>) -> Outcome<T> {
    let mut nonce = NONCE;
    work(&Mechanism::AesGcm(GcmParams::new(&mut nonce, &[], 128.into())?))
}
