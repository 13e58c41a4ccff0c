//! Handing the clients of an endpoint over to another gateway: no connection is refused while one signer takes another's place.
//!
//! ```text
//! successor ──connects to gateway.sock──▶ gateway
//! successor ◀─── the listening sockets ── gateway      takes no client any more; those that come now wait in the socket's queue
//!                                         gateway      carries the requests that are on their way to their end, and goes
//! successor ◀────────────────────── end ─ gateway
//! ```

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Where a gateway can be asked for its listener, in the guest's folder. The kernel lets its owner and root in.
pub const SOCKET: &str = "gateway.sock";

/// The most sockets that a gateway has to give: for clients, and for what everybody may have.
const SOCKETS: usize = 2;
/// What goes with the descriptors: a message cannot be empty.
const BYTE: [u8; 1] = [b'L'];

/// Listens for a successor. `None` if another gateway of this guest does already: then that one can be asked.
pub(super) fn listen(folder: &Path) -> io::Result<Option<UnixListener>> {
    let path = folder.join(SOCKET);
    if UnixStream::connect(&path).is_ok() {
        return Ok(None);
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// Sends the listening sockets to the successor, at most [`SOCKETS`] of them.
pub(super) fn give(successor: BorrowedFd<'_>, listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(listeners)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    sendmsg(successor, &[IoSlice::new(&BYTE)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What a gateway has given away.
pub struct Listeners {
    /// For clients.
    pub clients: OwnedFd,
    /// For what everybody may have, if there was one.
    pub public: Option<OwnedFd>,
}

/// The gateway that has given its listeners away, and goes once nothing is on its way any more.
pub struct Predecessor(UnixStream);

/// Takes the listeners of the gateway of the guest in this folder.
///
/// # Errors
/// `NotFound` and `ConnectionRefused`: no gateway serves that guest. Others come from the sockets.
pub fn take(folder: &Path) -> io::Result<(Listeners, Predecessor)> {
    let stream = UnixStream::connect(folder.join(SOCKET))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let listeners = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => {
            Some(Listeners { clients: descriptors.next()?, public: descriptors.next() })
        }
        _ => None,
    });
    let listeners =
        listeners.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the gateway sent no socket"))?;
    Ok((listeners, Predecessor(stream)))
}

impl Predecessor {
    /// Waits until it is gone; whether it went in that time.
    pub fn wait(mut self, patience: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(patience))?;
        let ended = loop {
            match self.0.read(&mut [0]) {
                // Somebody stopped this process for a while.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                ended => break ended,
            }
        };
        match ended {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }
}
