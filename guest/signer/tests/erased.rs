//! A detached volume takes its keys with it: no byte of them is left in the signer's memory, which is searched here. That takes
//! a signer that can be looked into: the ordinary process, which runs the same code.

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use casemate_volume::keeper::{Ended, Keeper, Watcher};
use casemate_volume::store::Store;
use common::{b64, text, unb64};
use serde_json::{Value, json};

/// The key that is looked for.
const KNOWN: [u8; 32] = *b"\xfe\x01these bytes are nowhere else \x02";

/// A signer, and the folder of its volume.
struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    fn start(folder: &Path) -> Self {
        std::fs::write(folder.join("sealing"), [7; 32]).expect("written");
        let _ = std::fs::remove_file(folder.join("socket"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate-signer-process"));
        command.arg(folder.join("socket")).arg("--sealing-key").arg(folder.join("sealing"));
        let child = command.spawn().expect("start");
        let started = Instant::now();
        while !folder.join("socket").exists() {
            assert!(started.elapsed() < Duration::from_secs(10), "the signer did not open its socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, folder: folder.to_owned() }
    }

    fn ask(&self, target: &str, request: &Value) -> Value {
        let body = request.to_string();
        let mut stream = UnixStream::connect(self.folder.join("socket")).expect("connect");
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: {target}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
    }

    /// Brings the volume, and returns once the signer has it.
    fn attach(&self) -> JoinHandle<Ended> {
        let (report, attached) = channel();
        let folder = self.folder.clone();
        let keeper = std::thread::spawn(move || {
            let mut stream = UnixStream::connect(folder.join("socket")).expect("connect");
            stream.write_all(b"CONNECT 8001\n").expect("write");
            let mut byte = [0];
            while byte != *b"\n" {
                stream.read_exact(&mut byte).expect("a line");
            }
            let store = Store::open(&folder.join("volume")).expect("a store");
            let mut keeper = Keeper::new(&store, &folder.join("anchors")).expect("a keeper");
            keeper.serve(&mut stream, &mut Reporter(report)).expect("a good end")
        });
        attached.recv_timeout(Duration::from_secs(10)).expect("attached");
        keeper
    }

    fn detach(&self, keeper: JoinHandle<Ended>) {
        self.ask("Casemate.DetachVolume", &json!({}));
        assert_eq!(keeper.join().expect("no panic"), Ended::Detached);
    }

    /// How often the key is in its memory, as it is, and as it is in JSON.
    fn finds(&self) -> usize {
        let pid = self.child.id();
        let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
        let mut found = 0;
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) =
                line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
            let parse = |text| u64::from_str_radix(text, 16).expect("an address");
            let (start, end) = (parse(start), parse(end));
            let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
            if memory.read_exact_at(&mut bytes, start).is_ok() {
                let base64 = b64(KNOWN);
                for needle in [&KNOWN[..], base64.trim_end_matches('=').as_bytes()] {
                    found += bytes.windows(needle.len()).filter(|window| *window == needle).count();
                }
            }
        }
        found
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Reporter(Sender<()>);

impl Watcher for Reporter {
    fn attached(&mut self, _: u64, _: u64) {
        let _ = self.0.send(());
    }
}

#[test]
fn no_byte_of_a_key_is_left_when_its_volume_has_gone() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("erased-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let first = Process::start(&folder);
    let keeper = first.attach();
    let key = json!({"Origin": "EXTERNAL", "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"});
    let id = text(&first.ask("TrentService.CreateKey", &key)["KeyMetadata"]["KeyId"]);
    let wrapping =
        json!({"KeyId": id, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"});
    let parameters = first.ask("TrentService.GetParametersForImport", &wrapping);
    let public = PublicEncryptingKey::from_der(&unb64(&parameters["PublicKey"])).expect("a key");
    let public = OaepPublicEncryptingKey::new(public).expect("a key");
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &KNOWN, &mut wrapped, None).expect("wrapped");
    let import = json!({"KeyId": id, "ImportToken": parameters["ImportToken"],
        "EncryptedKeyMaterial": b64(&wrapped), "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"});
    first.ask("TrentService.ImportKeyMaterial", &import);
    let mac = json!({"KeyId": id, "Message": b64("m"), "MacAlgorithm": "HMAC_SHA_256"});
    let made = first.ask("TrentService.GenerateMac", &mac);
    assert!(first.finds() > 0, "the control: it is there");
    first.detach(keeper);
    assert_eq!(first.finds(), 0, "of a key that was imported");

    let second = Process::start(&folder);
    let keeper = second.attach();
    assert_eq!(second.ask("TrentService.GenerateMac", &mac)["Mac"], made["Mac"]);
    assert!(second.finds() > 0, "the control: it is there");
    second.detach(keeper);
    assert_eq!(second.finds(), 0, "of a key that was read");
    let _ = std::fs::remove_dir_all(&folder);
}
