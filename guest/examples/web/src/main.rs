//! A sealed web server: axum and hyper as they are, over the vsock. `/random` answers with a number that nobody on
//! the host knew before.

use axum::{Router, routing::get};
use casemate_guest::vsock::VsockListener;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};

fn main() -> std::io::Result<()> {
    casemate_guest::block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(|| async { "Hello from a sealed guest.\n" }))
        .route("/random", get(random));
    let mut listener = VsockListener::bind(80)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            // An error here is the client's: it has gone, or does not speak HTTP.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn random() -> Result<String, String> {
    let mut bytes = [0; 8];
    casemate_guest::entropy::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(format!("{}\n", u64::from_le_bytes(bytes)))
}
