//! A guest with a known secret on its heap, its stack and in its static data, for attackers to look for.
//!
//! The secret is computed at run time, so that its bytes are in no file. On vsock port 9000 the guest takes a command a
//! line: `PING` (is it alive?), `CHECK` (how many copies of the secret does it hold?), `SEALING KEY` (what is it?),
//! `ATTEST` and a public key in hexadecimal (a document over it, please), `EXIT` (with code 7), `PANIC`, `CRASH` (a write
//! to unmapped memory).

use std::hint::black_box;
use std::sync::Mutex;

use casemate_guest::nsm::{self, Attestation};
use casemate_guest::vsock::{VsockListener, VsockStream};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// The beginning of the sequence; `casemate_tests::secret` computes the same.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

static IN_STATIC_DATA: Mutex<[u8; 64]> = Mutex::new([0; 64]);

/// xorshift64 (Marsaglia 2003), eight steps.
fn secret() -> [u8; 64] {
    let mut state = black_box(SEED);
    let mut bytes = [0; 64];
    for chunk in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn main() -> std::io::Result<()> {
    let on_the_stack = black_box(secret());
    let on_the_heap = black_box(secret().to_vec());
    if let Ok(mut bytes) = IN_STATIC_DATA.lock() {
        *bytes = secret();
    }
    casemate_guest::block_on(serve(&on_the_stack, &on_the_heap))
}

async fn serve(on_the_stack: &[u8; 64], on_the_heap: &[u8]) -> std::io::Result<()> {
    let mut listener = VsockListener::bind(9000)?;
    println!("listening on port 9000"); // Seen in debug mode only.
    loop {
        let (stream, _) = listener.accept().await?;
        // An error here is the client's: it has gone.
        let _ = answer(stream, on_the_stack, on_the_heap).await;
    }
}

async fn answer(stream: VsockStream, on_the_stack: &[u8; 64], on_the_heap: &[u8]) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end() {
            "PING" => stream.write_all(b"PONG\n").await?,
            "CHECK" => {
                let in_static_data = IN_STATIC_DATA.lock().map(|bytes| *bytes).unwrap_or([0; 64]);
                let copies = [black_box(on_the_stack).as_slice(), black_box(on_the_heap), &in_static_data];
                let intact = copies.iter().filter(|copy| **copy == secret()).count();
                stream.write_all(format!("{intact}\n").as_bytes()).await?;
            }
            "SEALING KEY" => {
                let key = casemate_guest::sealing_key();
                let answer = key.map_or_else(|| "none".to_owned(), |key| digits(key.as_slice()));
                stream.write_all(format!("{answer}\n").as_bytes()).await?;
            }
            attest if attest.starts_with("ATTEST ") => {
                let key = attest.strip_prefix("ATTEST ").map(bytes).unwrap_or_default();
                let request = Attestation { public_key: Some(key), ..Attestation::default() };
                let answer = match nsm::attestation(request) {
                    Ok(document) => digits(&document),
                    Err(error) => error.to_string(),
                };
                stream.write_all(format!("{answer}\n").as_bytes()).await?;
            }
            "EXIT" => std::process::exit(7),
            "PANIC" => panic!("asked to"),
            // SAFETY: none. The address is unmapped on purpose: the guest must end here.
            "CRASH" => unsafe { std::ptr::with_exposed_provenance_mut::<u64>(0x2000_0000).write_volatile(1) },
            _ => stream.write_all(b"?\n").await?,
        }
        line.clear();
    }
    Ok(())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits; none if they are not.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    pairs.collect::<Option<_>>().unwrap_or_default()
}
