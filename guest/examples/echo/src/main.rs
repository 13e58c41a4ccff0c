//! A sealed echo server: what a client sends to port 7 comes back.

use casemate_guest::vsock::VsockListener;

fn main() -> std::io::Result<()> {
    casemate_guest::block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let mut listener = VsockListener::bind(7)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(stream);
            // An error here is the client's: it has gone.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
    }
}
