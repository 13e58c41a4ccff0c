//! The process that a vsock is compared with: echo, or a sink, on a Unix socket, with blocking reads and writes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use bench_probe::CHUNK;

use crate::error::{Error, Result};

/// Serves `socket` until the process is ended.
pub fn serve(kind: &str, socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).map_err(Error::file("listen on", socket))?;
    let work = match kind {
        "echo" => echo,
        _ => sink,
    };
    for stream in listener.incoming() {
        let stream = stream.map_err(Error::io("accept a connection"))?;
        std::thread::spawn(move || work(stream));
    }
    Ok(())
}

fn echo(mut stream: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
            return;
        }
    }
}

fn sink(mut stream: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    let mut taken = 0;
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        taken += length;
        while taken >= CHUNK {
            taken -= CHUNK;
            if stream.write_all(&[1]).is_err() {
                return;
            }
        }
    }
}
