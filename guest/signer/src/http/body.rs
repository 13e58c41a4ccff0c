//! Request bodies, bounded in size, in time, and all together.

use std::cell::Cell;

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;

use super::reply::Reply;

/// A share of the bytes that all clients' bodies may take together; given back when dropped.
struct Share<'a> {
    used: &'a Cell<usize>,
    limit: usize,
    held: usize,
}

impl Share<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), Reply> {
        let used = self.used.get().saturating_add(bytes);
        if used > self.limit {
            let message = "Too many large requests are being received. Retry in a moment.";
            return Err(Reply::from(KmsError::new(ErrorKind::Throttling, message)).closing());
        }
        self.used.set(used);
        self.held = self.held.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.used.set(self.used.get().saturating_sub(self.held));
    }
}

/// Head and body of a request; the body may hold a plaintext and is erased when dropped.
pub(super) async fn receive(
    signer: &Signer,
    request: Request<Incoming>,
) -> Result<(Parts, Zeroizing<Vec<u8>>), Reply> {
    let limits = &signer.limits;
    let (head, body) = request.into_parts();
    match timeout(limits.body_timeout, collect(signer, body)).await {
        Ok(body) => body.map(|body| (head, body)),
        Err(_) => {
            let seconds = limits.body_timeout.as_secs();
            let message = format!("The body of the request did not arrive within {seconds} s.");
            Err(Reply::error(408, &KmsError::validation(message)).closing())
        }
    }
}

async fn collect(signer: &Signer, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, Reply> {
    let limits = &signer.limits;
    let mut share = Share { used: &signer.in_flight, limit: limits.bodies_in_flight, held: 0 };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limits.body_bytes {
        return Err(too_large(limits.body_bytes));
    }
    // Room for all of an announced body at once, so that growing leaves no copies of a plaintext behind.
    share.take(announced)?;
    let mut whole = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("The body of the request is broken: {error}.");
            Reply::from(KmsError::new(ErrorKind::Serialization, message)).closing()
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len().saturating_add(data.len());
        if length > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        share.take(length.saturating_sub(share.held))?;
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

fn too_large(limit: usize) -> Reply {
    let message = format!("The request is larger than the limit of {limit} bytes.");
    Reply::error(413, &KmsError::validation(message)).closing()
}
