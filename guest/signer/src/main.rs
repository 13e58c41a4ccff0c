//! The signer as a sealed guest: the library's HTTP front on vsock port 8000, and behind TLS on port 8443, attested by the
//! guest's own NSM; its volume on port 8001;
//! on port 8080 what everybody may have of certificate authorities.

use std::process::ExitCode;
use std::rc::Rc;

use casemate_abi::port;
use casemate_guest::nsm;
use casemate_guest::vsock::VsockListener;
use casemate_signer::{AttestError, Door, Platform, Signer, serve_connection, serve_tls, serve_volume};
use tokio::task::LocalSet;
use zeroize::Zeroizing;

/// The guest's security module.
struct Sealed;

impl Platform for Sealed {
    fn attest(
        &self,
        user_data: Option<&[u8]>,
        nonce: Option<&[u8]>,
        public_key: Option<&[u8]>,
    ) -> Result<Vec<u8>, AttestError> {
        nsm::attestation(nsm::Attestation {
            user_data: user_data.map(Into::into),
            nonce: nonce.map(Into::into),
            public_key: public_key.map(Into::into),
        })
        .map_err(|error| AttestError::Refused(error.to_string()))
    }

    fn command_line(&self) -> &str {
        casemate_guest::cmdline()
    }

    fn sealing_key(&self) -> Option<Zeroizing<[u8; 32]>> {
        casemate_guest::sealing_key()
    }

    fn measurement(&self) -> [u8; 48] {
        nsm::describe_pcr(0).ok().and_then(|pcr| pcr.value.try_into().ok()).unwrap_or([0; 48])
    }

    fn awaits_volume(&self) -> bool {
        casemate_guest::awaits_volume()
    }
}

fn main() -> ExitCode {
    match casemate_guest::block_on(LocalSet::new().run_until(serve())) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("signer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes connections for ever; how one ends concerns its client alone.
async fn serve() -> std::io::Result<std::convert::Infallible> {
    let mut plain = VsockListener::bind(port::SIGNER).map_err(std::io::Error::other)?;
    let mut volume = VsockListener::bind(port::VOLUME).map_err(std::io::Error::other)?;
    let mut tls = VsockListener::bind(port::SIGNER_TLS).map_err(std::io::Error::other)?;
    let mut public = VsockListener::bind(port::REVOCATION).map_err(std::io::Error::other)?;
    let signer = Signer::new(Box::new(Sealed));
    loop {
        let signer = Rc::clone(&signer);
        tokio::select! {
            accepted = plain.accept() => {
                let (stream, _) = accepted?;
                tokio::task::spawn_local(async move { drop(serve_connection(stream, signer, Door::Plain).await) });
            }
            accepted = public.accept() => {
                let (stream, _) = accepted?;
                tokio::task::spawn_local(async move { drop(serve_connection(stream, signer, Door::Public).await) });
            }
            accepted = volume.accept() => {
                let (stream, _) = accepted?;
                tokio::task::spawn_local(serve_volume(stream, signer));
            }
            accepted = tls.accept() => {
                let (stream, _) = accepted?;
                tokio::task::spawn_local(async move { drop(serve_tls(stream, signer).await) });
            }
        }
    }
}
