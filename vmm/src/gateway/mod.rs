//! The gateway: TCP clients on one side, one port of a guest on the other, and bytes between them.
//!
//! It is a process of its own, outside of the VMM, with one thread. It carries TLS that ends inside the guest, so what it
//! sees and could do is what any router could: it cannot read or change a request, only lose it. It takes no commands
//! but the signals that end it.
//!
//! What it promises: a client that hangs, trickles, floods or disappears harms nobody else. Each client has a small buffer
//! in each direction and waits for its own reader; there are [`CLIENTS_MAX`] clients at most, and when one more comes,
//! the one that has been silent the longest is let go. When one direction of a connection is closed, that direction is
//! closed on the other side, and only that. It may have a second address, for what everybody may have of the guest's
//! certificate authorities; clients have [`PUBLIC_MAX`] places of their own there.
//!
//! Start at [`Gateway`]; `relay` is one client, `clients` all of them, `jail` what the process gives up first, [`handover`] how
//! another gateway takes its place.

mod clients;
pub mod handover;
mod jail;
mod relay;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use casemate_abi::port;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::guest::VSOCK_SOCKET;
use crate::stop::Stop;
use clients::Clients;

/// The most clients at once. Fewer than the signer takes, so that one that is let go here makes room there.
pub const CLIENTS_MAX: usize = 500;
/// The most clients at once on the address for what everybody may have.
pub const PUBLIC_MAX: usize = 100;
/// How long requests may take that are on their way when the endpoint is handed over.
const LAST_REQUESTS: Duration = Duration::from_secs(30);
/// How long to wait after a client could not be taken: out of descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This signal told it to.
    Signal(i32),
    /// The guest is gone.
    Guest,
    /// Another gateway has its clients now.
    HandedOver,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that it needs could not be had.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A privilege could not be given up.
    #[error("{0}; no client was taken")]
    Jail(#[from] crate::jail::Error),
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

/// The guest that clients are carried to.
#[derive(Debug)]
pub struct Target {
    /// Its folder, where its socket is.
    pub folder: PathBuf,
    /// Its vsock port.
    pub port: u32,
    /// A descriptor of its VMM's process (pidfd): readable once that has ended.
    pub process: OwnedFd,
}

/// A gateway that listens, and does not take clients yet.
pub struct Gateway {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    /// For what everybody may have.
    public: Option<TcpListener>,
}

impl Gateway {
    /// Listens on the first of these addresses that is free.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(async { listen(addresses) })?;
        let address = listener.local_addr()?;
        Ok(Self { runtime, listener, address, public: None })
    }

    /// Listens on the first of these addresses that is free, too, for what everybody may have of certificate authorities:
    /// revocation lists and OCSP, over HTTP in the clear, which the guest answers on [`port::REVOCATION`].
    pub fn bind_public(&mut self, addresses: &[SocketAddr]) -> io::Result<()> {
        self.public = Some(self.runtime.block_on(async { listen(addresses) })?);
        Ok(())
    }

    /// Goes on with the listeners of a gateway that has handed them over.
    pub fn resume(listeners: handover::Listeners) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let open = |listener: OwnedFd| {
            let listener = std::net::TcpListener::from(listener);
            runtime.block_on(async { TcpListener::from_std(listener) })
        };
        let (listener, public) = (open(listeners.clients)?, listeners.public.map(open).transpose()?);
        let address = listener.local_addr()?;
        Ok(Self { runtime, listener, address, public })
    }

    /// Where everybody gets what everybody may have.
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.public.as_ref()?.local_addr().ok()
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes into the jail, for good, and carries clients until a signal comes, the guest is gone, or another gateway has taken
    /// over. Call it from the only thread; signals that came since `stop` was made count.
    pub fn run(self, target: &Target, stop: &Stop) -> Result<Ended, Error> {
        let Self { runtime, listener, public, .. } = self;
        let signals = stop.descriptor().map_err(failed("watch for signals"))?;
        let process = target.process.try_clone().map_err(failed("watch the guest"))?;
        let door = handover::listen(&target.folder).map_err(failed("listen for a successor"))?;
        jail::enter(&target.folder, 2 * (CLIENTS_MAX + PUBLIC_MAX))?;
        let _inside = runtime.enter();
        let signals = watch(signals).map_err(failed("watch for signals"))?;
        let process = watch(process).map_err(failed("watch the guest"))?;
        LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                served = serve(listener, public, door, PathBuf::from(VSOCK_SOCKET).into(), target.port) => served.map_err(failed("take clients")),
                _ = signals.readable() => Ok(stop.signal().map_or(Ended::Guest, |received| Ended::Signal(received.number))),
                _ = process.readable() => Ok(Ended::Guest),
            }
        })
    }
}

/// Listens on the first of these addresses that is free, within a runtime. The queue has room for as many clients as may be
/// connected: the standard library's has room for 128, and beyond that the kernel resets some of those that come at once.
fn listen(addresses: &[SocketAddr]) -> io::Result<TcpListener> {
    let on = |address: &SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(*address)?;
        socket.listen(CLIENTS_MAX as u32)
    };
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to listen on");
    for address in addresses {
        match on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Waits for a descriptor to become readable, within a runtime.
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as it lives.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Takes clients until a successor comes, and carries the last requests to their end.
async fn serve(
    listener: TcpListener,
    public: Option<TcpListener>,
    door: Option<std::os::unix::net::UnixListener>,
    socket: Rc<Path>,
    port: u32,
) -> io::Result<Ended> {
    let clients = Rc::new(Clients::default());
    let door = door.map(UnixListener::from_std).transpose()?;
    let successor = tokio::select! {
        never = accept(&listener, Rc::clone(&clients), Rc::clone(&socket), port, CLIENTS_MAX) => match never {},
        never = accept_public(public.as_ref(), socket) => match never {},
        successor = hand_over(door, &listener, public.as_ref()) => successor,
    };
    // What comes now waits in the queue of the socket, which is the successor's too.
    drop((listener, public));
    clients.drain(LAST_REQUESTS).await;
    // Its end, when this process ends, tells the successor.
    std::mem::forget(successor);
    Ok(Ended::HandedOver)
}

/// The successor that has the listeners.
async fn hand_over(
    door: Option<UnixListener>,
    listener: &TcpListener,
    public: Option<&TcpListener>,
) -> UnixStream {
    let Some(door) = door else { return std::future::pending().await };
    let listeners: Vec<_> =
        std::iter::once(listener).chain(public).map(|listener| listener.as_fd()).collect();
    loop {
        match door.accept().await {
            Ok((successor, _)) if handover::give(successor.as_fd(), &listeners).is_ok() => {
                return successor;
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Takes those who want what everybody may have, if there is a listener for them. Their requests are short, and repeated by
/// whoever was let go.
async fn accept_public(listener: Option<&TcpListener>, socket: Rc<Path>) -> Infallible {
    match listener {
        Some(listener) => accept(listener, Rc::default(), socket, port::REVOCATION, PUBLIC_MAX).await,
        None => std::future::pending().await,
    }
}

/// Takes clients for ever; how one ends concerns it alone.
async fn accept(
    listener: &TcpListener,
    clients: Rc<Clients>,
    socket: Rc<Path>,
    port: u32,
    limit: usize,
) -> Infallible {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let place = clients.enter(limit);
        let socket = Rc::clone(&socket);
        tokio::task::spawn_local(async move { drop(relay::relay(client, &socket, port, &place).await) });
    }
}
