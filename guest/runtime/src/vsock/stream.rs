//! What an application sees: [`VsockListener`] and [`VsockStream`].

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use casemate_abi::HOST_CID;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Key;
use super::driver::Driver;
use super::{Error, with};

/// Address of the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VsockAddr {
    /// Context identifier: always the host's.
    pub cid: u64,
    /// The port that the host made up for the client. It proves nothing about the client.
    pub port: u32,
}

/// Takes connections to a port of the guest. Dropping it closes the port and the connections not yet accepted.
#[derive(Debug)]
pub struct VsockListener {
    port: u32,
}

impl VsockListener {
    /// Opens a port. Connections are accepted by the channel from now on and wait for [`VsockListener::accept`].
    ///
    /// The first port that is opened tells the host that the guest is ready (`Doorbell::Ready`): clients that were
    /// waiting are let in, and those that ask for a port that is not open are refused. So bind all ports in a row.
    pub fn bind(port: u32) -> Result<Self, Error> {
        with(|driver| driver.bind(port)).flatten()?;
        Ok(Self { port })
    }

    /// The port this listens on.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The next connection.
    pub async fn accept(&mut self) -> io::Result<(VsockStream, VsockAddr)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// [`VsockListener::accept`] for those who write their own futures.
    pub fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<(VsockStream, VsockAddr)>> {
        let accepted = with(|driver| driver.poll_accept(self.port, context.waker()))?;
        accepted.map_ok(|key| (VsockStream { key }, VsockAddr { cid: HOST_CID, port: key.host_port }))
    }
}

impl Drop for VsockListener {
    fn drop(&mut self) {
        // Fails only without a channel, and then there is nothing to close.
        let _ = with(|driver| driver.unbind(self.port));
    }
}

/// One connection. Dropping it closes both directions; what was written before is still delivered.
pub struct VsockStream {
    key: Key,
}

impl VsockStream {
    /// The port of the guest that the client connected to.
    pub fn local_port(&self) -> u32 {
        self.key.guest_port
    }

    /// The other end.
    pub fn peer_addr(&self) -> VsockAddr {
        VsockAddr { cid: HOST_CID, port: self.key.host_port }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Driver, Key) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        with(|driver| f(driver, self.key))?
    }
}

impl fmt::Debug for VsockStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VsockStream({} <- {}:{})", self.key.guest_port, HOST_CID, self.key.host_port)
    }
}

impl AsyncRead for VsockStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|driver, key| driver.poll_read(key, into, context.waker()))
    }
}

impl AsyncWrite for VsockStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|driver, key| driver.poll_write(key, data, context.waker()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back: a write is a packet in the ring.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|driver, key| Poll::Ready(driver.shutdown(key)))
    }
}

impl Drop for VsockStream {
    fn drop(&mut self) {
        // Fails only without a channel, and then there is nothing to close.
        let _ = with(|driver| driver.abandon(self.key));
    }
}
