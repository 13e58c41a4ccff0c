//! One connection: a launch opens a session, then its guest's requests come.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use casemate_attestation::nsm::session::{
    Hello, NONCE_LEN, Opened, PACKET_MAX, SessionError, accept, split_request,
};
use casemate_attestation::nsm::{Nsm, Services, ServicesError};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Module;
use crate::leaf::LeafKey;

/// How long a launch may take from the hello to its statement.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a session ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection is gone.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No key pair could be made.
    #[error("no key pair could be made")]
    Key,
    /// No random bytes.
    #[error("the random source failed")]
    Random,
    /// A packet that is too long.
    #[error("a packet of {0} bytes; {PACKET_MAX} are allowed")]
    TooLong(usize),
    /// The session was not opened.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No statement came.
    #[error("no launch opened the session within {} s", PATIENCE.as_secs())]
    Silence,
    /// A request that the guest did not make, or made before.
    #[error("a request that is not the guest's next one")]
    NotTheGuest,
}

impl Module {
    /// Serves one connection to its end. Whatever is not as it should be ends it, and the session with it.
    pub async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Error> {
        let (hello, key) = self.offer()?;
        stream.write_all(&hello.encode()).await?;
        let packet =
            tokio::time::timeout(PATIENCE, packet(&mut stream)).await.map_err(|_| Error::Silence)??;
        let Some(packet) = packet else { return Ok(()) };
        let Opened { statement, accept, mut line } = accept(&self.authority, &hello, &packet)?;
        let bundle = statement.cabundle.into_iter().map(ByteBuf::into_vec).collect();
        let signer = key.certified(statement.certificate.into_vec(), bundle);
        let time = Rc::new(Cell::new(0));
        let host = Host { time: Rc::clone(&time) };
        let mut nsm = Nsm::new(statement.module_id, &statement.launch, signer, host);
        answer(&mut stream, &accept).await?;
        while let Some(packet) = self::packet(&mut stream).await? {
            let (now, frame) = split_request(&packet).ok_or(Error::NotTheGuest)?;
            time.set(now);
            let response = line.answer(frame, |request| nsm.handle(request)).ok_or(Error::NotTheGuest)?;
            answer(&mut stream, &response).await?;
        }
        Ok(())
    }

    fn offer(&self) -> Result<(Hello, LeafKey), Error> {
        let key = self.leaf_key()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
        Ok((Hello::new(&self.authority, nonce, *key.public(), self.measurements), key))
    }
}

/// The next packet; `None` if the other side has closed between two.
async fn packet(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, Error> {
    let length = match stream.read_u32_le().await {
        Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if length > PACKET_MAX {
        return Err(Error::TooLong(length));
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Error> {
    let length = u32::try_from(bytes.len()).map_err(|_| Error::TooLong(bytes.len()))?;
    // In one piece: a packet of the channel is worth saving.
    Ok(stream.write_all(&[&length.to_le_bytes(), bytes].concat()).await?)
}

/// The time as the host tells it with each request, and this guest's own random source.
struct Host {
    time: Rc<Cell<u64>>,
}

impl Services for Host {
    fn unix_millis(&mut self) -> Result<u64, ServicesError> {
        Ok(self.time.get())
    }

    fn fill_random(&mut self, buffer: &mut [u8]) -> Result<(), ServicesError> {
        SystemRandom::new().fill(buffer).map_err(|_| ServicesError)
    }
}
