//! `POST /names` with `{"names": [...]}`: the names and addresses, beside the local ones, that the TLS certificate is for.
//!
//! Names prove nothing: a client believes this certificate because the guest states it, and no authority would issue
//! another. They are here because clients compare them. So the host may set them, through the guest's own socket, for as
//! long as nobody has claimed the signer. After that its owner relies on the certificate, and it stays.

use std::net::IpAddr;

use hyper::Request;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::errors::{ErrorKind, KmsError};
use crate::signer::Signer;
use crate::validate::Check;

use super::reply::Reply;
use super::{Door, body};

/// The most names.
const NAMES_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesRequest {
    names: Option<Vec<String>>,
}

pub(super) async fn set(signer: &Signer, door: Door, request: Request<Incoming>) -> Result<Reply, Reply> {
    if door != Door::Plain {
        let message = "The names are the host's to set: they come through the guest's own socket.";
        return Err(KmsError::unsupported(message).into());
    }
    let life = signer.state.life();
    let (_, body) = body::receive(signer, request).await?;
    let request: NamesRequest = serde_json::from_slice(&body).map_err(|error| {
        KmsError::new(ErrorKind::Serialization, format!("The request is malformed: {error}"))
    })?;
    let mut check = Check::default();
    check.required("names", &request.names);
    check.list("names", &request.names, 0, NAMES_MAX);
    if request.names.iter().flatten().any(|name| !is_name(name)) {
        check.broken("names", "Member must be a DNS name or an IP address");
    }
    check.done()?;
    let mut names = request.names.unwrap_or_default();
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    names.sort_unstable();
    names.dedup();
    signer.durably(life, "SetNames", || set_names(signer, &names)).await?;
    Ok(Reply::json(b"{}".to_vec()))
}

fn set_names(signer: &Signer, names: &[String]) -> Result<(), KmsError> {
    let failed = |_| KmsError::internal("Making the TLS certificate");
    if signer.tls_identity().map_err(failed)?.names() == names {
        return Ok(());
    }
    if signer.identity.borrow().claimed() {
        let message = "The signer has an owner, who relies on its certificate: its names stay as they are.";
        return Err(KmsError::unsupported(message));
    }
    signer.rename_tls(names).map_err(failed)
}

/// RFC 1123, 2.1, without a final full stop; or an address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.parse::<IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(is_label))
}
