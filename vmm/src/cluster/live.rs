//! Which HSMs run: what the registry of guests says, and what the guests say of themselves.

use std::fs;

use casemate_client::Client;
use casemate_client::endpoint::Trust;
use casemate_hsm::message::{TARGET, Token};
use casemate_hsm::{Operation, Response};
use serde_json::Value;

use super::{Cluster, ClusterState, Store};
use crate::cli::registry::{Guest, Registry, RegistryError};
use crate::volume::attachment::Attachment;

/// A cluster's HSM that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its guest.
    pub guest: Guest,
    /// Its volume.
    pub attachment: Attachment,
}

/// The running guest whose volume is this cluster's.
pub fn running(store: &Store, cluster: &Cluster) -> Result<Option<Running>, RegistryError> {
    let Ok(volume) = fs::canonicalize(store.volume(cluster)) else { return Ok(None) };
    let mut guests = Registry::open()?.guests()?.into_iter();
    Ok(guests.find_map(|guest| {
        let attachment = Attachment::of(&guest.dir).filter(|attachment| attachment.file == volume)?;
        Some(Running { guest, attachment })
    }))
}

impl Running {
    /// How far it has got. What it answers is not secret, and believed as little as the host is.
    pub fn state(&self) -> Option<ClusterState> {
        let socket = self.guest.vsock_path();
        let mut plain = Client::open(&socket, casemate_abi::port::SIGNER).ok()?;
        if plain.get_json("/health").ok()?.get("claimed") != Some(&Value::Bool(true)) {
            return Some(ClusterState::Uninitialized);
        }
        let (mut tls, _) = Client::open_tls(&socket, Trust::Later).ok()?;
        let target = format!("{TARGET}{}", Operation::DescribeToken.name());
        let answer = tls.post_operation(&target, b"{}".to_vec()).ok()?;
        let answer: Response = serde_json::from_slice(&answer).ok()?;
        let named = answer.token.is_some_and(|Token { label, .. }| !label.is_empty());
        Some(if named { ClusterState::Active } else { ClusterState::Initialized })
    }
}
