//! The connection to whoever keeps the volume: the guest asks, the host answers.

use casemate_volume::frame;
use casemate_volume::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::refusal::Refusal;

/// The host's end of the volume, over any stream of bytes. Whatever it says is checked against the limits.
pub(super) struct Host<IO>(IO);

impl<IO: AsyncRead + AsyncWrite + Unpin> Host<IO> {
    /// The host on a connection that it has opened.
    pub(super) fn new(io: IO) -> Self {
        Self(io)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<Response, Refusal> {
        request.check()?;
        self.0.write_all(&frame::encode(request)?).await?;
        self.0.flush().await?;
        let mut prefix = [0; frame::PREFIX];
        self.0.read_exact(&mut prefix).await?;
        let mut body = vec![0; frame::body_len(prefix)?];
        self.0.read_exact(&mut body).await?;
        let response: Response = frame::decode(&body)?;
        response.check()?;
        match response {
            Response::Failed { reason } => Err(Refusal::Failed(reason)),
            response => Ok(response),
        }
    }

    /// Returns when the connection has ended; the host has nothing to say that was not asked.
    pub(super) async fn closed(&mut self) -> Refusal {
        match self.0.read(&mut [0]).await {
            Ok(0) => Refusal::Connection(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Refusal::Host("it spoke without being asked"),
            Err(error) => Refusal::Connection(error),
        }
    }
}
