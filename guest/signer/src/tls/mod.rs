//! TLS that ends inside the signer: rustls, with aws-lc behind it, in front of [`serve_connection`].
//!
//! Start at [`serve_tls`]. `config` says what is offered, `certificate` what the certificate looks like, `identity` how
//! key and certificate are kept. Clients learn that the certificate is this guest's from the statement
//! `POST /attestation/tls`, which carries its hash.
//!
//! What it promises: the key never leaves but into the state record; a client has [`Limits::handshake_timeout`] and
//! [`HANDSHAKE_BYTES`] for its handshake, and however it uses them nobody else waits for it; there are at most
//! [`Limits::tls_connections`] of them, and further ones are closed at once.
//!
//! [`Limits::handshake_timeout`]: crate::Limits::handshake_timeout
//! [`Limits::tls_connections`]: crate::Limits::tls_connections

mod capped;
mod certificate;
mod config;
mod identity;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::http::{Door, serve_connection};
use crate::signer::Signer;

use capped::Capped;
pub(crate) use identity::Identity;

/// The name of the record that holds the identity.
pub(crate) const RECORD: &str = "tls";
/// The most that a client may send before its handshake is over. A ClientHello with two post-quantum key shares and
/// room to spare takes a quarter of it.
const HANDSHAKE_BYTES: usize = 16 * 1024;

/// Why a TLS connection ended, or there is no identity to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// As many clients as the signer takes are connected.
    #[error("too many TLS connections")]
    TooMany,
    /// The handshake took too long.
    #[error("the client did not finish its handshake in time")]
    TimedOut,
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// The volume that may hold the identity is not there.
    #[error("the signer waits for its volume")]
    NoVolume,
    /// What followed the handshake failed.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The private key could not be made or is not one.
    #[error("the cryptographic library refused the TLS key")]
    Key,
    /// The certificate could not be made.
    #[error("the TLS certificate: {0}")]
    Certificate(#[from] x509_cert::builder::Error),
    /// The certificate does not go into PEM.
    #[error("the TLS certificate does not go into PEM")]
    Pem,
    /// The record is not one that this signer wrote.
    #[error("the TLS record is malformed")]
    Record,
    /// rustls refused key or certificate.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The signer's side of TLS.
#[derive(Default)]
pub(crate) struct Tls {
    /// Made when it is first needed, so that a signer without TLS clients does not wait for it at launch.
    identity: RefCell<Option<Rc<Identity>>>,
    /// How many connections there are.
    open: Cell<usize>,
}

impl Tls {
    /// The identity, and whether it has just been made.
    fn identity(&self, now: SystemTime) -> Result<(Rc<Identity>, bool), TlsError> {
        if let Some(identity) = &*self.identity.borrow() {
            return Ok((Rc::clone(identity), false));
        }
        self.generate(&[], now).map(|identity| (identity, true))
    }

    /// A new identity for these names; connections that are open keep the old one.
    fn generate(&self, names: &[String], now: SystemTime) -> Result<Rc<Identity>, TlsError> {
        let identity = Rc::new(Identity::generate(names, now)?);
        self.identity.replace(Some(Rc::clone(&identity)));
        Ok(identity)
    }

    /// The record "tls"; `None` until there is an identity.
    #[allow(dead_code, reason = "for the volume")]
    pub(crate) fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.identity.borrow().as_ref().and_then(|identity| identity.encode().ok())
    }

    /// Puts another identity, or none, in the place of the present one.
    pub(crate) fn replace(&self, identity: Option<Rc<Identity>>) -> Option<Rc<Identity>> {
        self.identity.replace(identity)
    }

    /// Takes the identity of a record in the place of the present one.
    #[allow(dead_code, reason = "for the volume")]
    pub(crate) fn restore(&self, record: &[u8]) -> Result<(), TlsError> {
        self.identity.replace(Some(Rc::new(Identity::restore(record)?)));
        Ok(())
    }
}

impl Signer {
    /// What the signer shows to TLS clients; made now if nobody has asked before.
    pub(crate) fn tls_identity(&self) -> Result<Rc<Identity>, TlsError> {
        let (identity, new) = self.tls.identity(self.now())?;
        if new {
            self.state.touch(RECORD);
        }
        Ok(identity)
    }

    /// Another key and certificate, for these names beside the local ones.
    pub(crate) fn rename_tls(&self, names: &[String]) -> Result<(), TlsError> {
        self.tls.generate(names, self.now())?;
        self.state.touch(RECORD);
        Ok(())
    }

    /// The certificate that TLS clients are shown, PEM: a CA file for this signer and nothing else.
    pub fn tls_certificate(&self) -> Result<String, TlsError> {
        self.tls_identity()?.pem()
    }
}

/// One of the connections that are counted; uncounted when dropped.
struct Open<'a>(&'a Cell<usize>);

impl<'a> Open<'a> {
    fn take(count: &'a Cell<usize>, limit: usize) -> Result<Self, TlsError> {
        let open = count.get();
        if open >= limit {
            return Err(TlsError::TooMany);
        }
        count.set(open.saturating_add(1));
        Ok(Self(count))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves one TLS connection: the handshake, then HTTP/1.1 as [`serve_connection`] does.
///
/// The error says why the connection ended when it did not end well; it is for a log, the client is gone.
pub async fn serve_tls<IO>(io: IO, signer: Rc<Signer>) -> Result<(), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let _open = Open::take(&signer.tls.open, signer.limits.tls_connections)?;
    signer.state.open().await.map_err(|_| TlsError::NoVolume)?;
    let acceptor = TlsAcceptor::from(signer.tls_identity()?.config());
    let handshake = acceptor.accept(Capped::new(io, HANDSHAKE_BYTES));
    let mut stream = match timeout(signer.limits.handshake_timeout, handshake).await {
        Ok(stream) => stream.map_err(TlsError::Handshake)?,
        Err(_) => return Err(TlsError::TimedOut),
    };
    stream.get_mut().0.lift();
    Ok(serve_connection(stream, Rc::clone(&signer), Door::Tls).await?)
}
