//! One client: a TCP connection and a connection to the guest, each half of them a loop of its own.
//!
//! ```text
//! client ──up──▶ guest      CONNECT <port>, then what the client sends
//! client ◀─down─ guest      OK <n> is taken away, then what the guest sends
//! ```
//!
//! What the client sends follows the CONNECT line at once, so that the handshake with the VMM costs no round trip.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::clients::{Place, Side};

/// Bytes in flight in each direction of a client.
pub(super) const BUFFER: usize = 16 * 1024;
/// How long a guest may take to accept a connection; one that is not ready yet takes longer than one that is.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the queue of the guest's socket is full.
const QUEUE_FULL: Duration = Duration::from_millis(2);
/// The longest `OK <n>\n`.
const OK_MAX: u64 = 32;
/// How long a client may keep its half open after the guest has closed both of its own.
const LINGER: Duration = Duration::from_secs(10);

/// Carries one client until both sides are done, or until its place is taken away.
pub(super) async fn relay(client: TcpStream, socket: &Path, port: u32, place: &Place) -> io::Result<()> {
    tokio::select! {
        done = carry(client, socket, port, place) => done,
        () = place.told_to_leave() => Ok(()),
    }
}

async fn carry(mut client: TcpStream, socket: &Path, port: u32, place: &Place) -> io::Result<()> {
    // Requests and answers are short and must not wait for an acknowledgement.
    client.set_nodelay(true)?;
    let mut guest = timeout(ACCEPT_TIMEOUT, knock(socket)).await??;
    let (from_client, to_client) = client.split();
    let (from_guest, mut to_guest) = guest.split();
    to_guest.write_all(format!("CONNECT {port}\n").as_bytes()).await?;

    let up = copy(BufReader::with_capacity(BUFFER, from_client), to_guest, place, Side::Client);
    let down = async {
        let mut from_guest = BufReader::with_capacity(BUFFER, from_guest);
        accepted(&mut from_guest).await?;
        copy(from_guest, to_client, place, Side::Guest).await
    };
    both(up, down).await
}

/// Connects to the guest's socket. When many clients come at once its queue is full for a moment, which the kernel answers
/// with EAGAIN (connect(2)) and nobody announces the end of: then it is tried again.
async fn knock(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL).await,
            done => return done,
        }
    }
}

/// Runs both halves. An error in one ends the other; once the guest is done, the client has [`LINGER`] left.
async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        done = &mut up => {
            done?;
            down.await
        }
        done = &mut down => {
            done?;
            timeout(LINGER, up).await.unwrap_or(Ok(()))
        }
    }
}

/// Takes the VMM's answer to CONNECT.
async fn accepted(from_guest: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut limited = from_guest.take(OK_MAX);
    timeout(ACCEPT_TIMEOUT, limited.read_until(b'\n', &mut line)).await??;
    if line.starts_with(b"OK ") && line.ends_with(b"\n") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the guest does not listen on that port"))
}

/// Copies until the reader is at its end, then closes the writer.
async fn copy(
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    place: &Place,
    side: Side,
) -> io::Result<()> {
    loop {
        let bytes = from.fill_buf().await?;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        place.touch(side);
        let written = to.write(bytes).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        from.consume(written);
    }
}
