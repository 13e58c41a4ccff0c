//! The benchmark's guest: repeats operations and exits under its own stopwatch, echoes, swallows.
//!
//! On [`PORT`] a request is five bytes: an operation and a number of repetitions (little-endian); the answer is the nanoseconds
//! they took (little-endian, 8 bytes), all ones if the operation failed. On [`CALLS_PORT`] it is a call of the signer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::time::Instant;

use bench_probe::calls::{self, FAILED, TEXT_MAX};
use bench_probe::{
    CALLS_PORT, CHUNK, ECHO_PORT, EXIT_KERNEL, EXIT_NSM, EXIT_VMM, NOTHING, Operation, PORT, SINK_PORT, Task,
};
use casemate_abi::Doorbell;
use casemate_guest::vsock::{VsockListener, VsockStream};
use casemate_guest::{doorbell, nsm};
use casemate_signer::Signer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn main() -> io::Result<()> {
    casemate_guest::block_on(serve())
}

async fn serve() -> io::Result<()> {
    let mut echo = VsockListener::bind(ECHO_PORT)?;
    let mut sink = VsockListener::bind(SINK_PORT)?;
    let mut calls = VsockListener::bind(CALLS_PORT)?;
    let mut requests = VsockListener::bind(PORT)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            // An error here is the client's: it has gone.
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = sink.accept().await {
            tokio::spawn(swallow(stream));
        }
    });
    let signer = calls::signer();
    loop {
        // One after the other: nothing else runs while something is timed.
        tokio::select! {
            accepted = requests.accept() => drop(answer(accepted?.0).await),
            accepted = calls.accept() => drop(call(accepted?.0, &signer).await),
        }
    }
}

/// Serves a connection with calls.
async fn call(mut stream: VsockStream, signer: &Signer) -> io::Result<()> {
    loop {
        let count = stream.read_u32_le().await?;
        let operation = text(&mut stream).await?;
        let json = text(&mut stream).await?;
        let operation = String::from_utf8_lossy(&operation);
        let answer = match count {
            0 => signer.call(&operation, &json).map(|answer| {
                let length = u32::try_from(answer.len()).unwrap_or(FAILED);
                [&length.to_le_bytes(), answer.as_slice()].concat()
            }),
            _ => calls::time(signer, &operation, &json, count).map(|time| time.to_le_bytes().to_vec()),
        };
        stream.write_all(&answer.unwrap_or_else(|_| u64::MAX.to_le_bytes().to_vec())).await?;
    }
}

async fn text(stream: &mut VsockStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32_le().await? as usize;
    let mut text = vec![0; length.min(TEXT_MAX)];
    stream.read_exact(&mut text).await?;
    Ok(text)
}

async fn swallow(mut stream: VsockStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut taken = 0;
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        taken += length;
        while taken >= CHUNK {
            taken -= CHUNK;
            stream.write_all(&[1]).await?;
        }
    }
}

async fn answer(mut stream: VsockStream) -> io::Result<()> {
    let mut tasks = HashMap::new();
    loop {
        let mut request = [0; 5];
        stream.read_exact(&mut request).await?;
        let [number, count @ ..] = request;
        let nanoseconds = time(&mut tasks, number, u32::from_le_bytes(count));
        stream.write_all(&nanoseconds.unwrap_or(u64::MAX).to_le_bytes()).await?;
    }
}

fn time(tasks: &mut HashMap<u8, Task>, number: u8, count: u32) -> Option<u64> {
    let exit: fn() = match number {
        EXIT_KERNEL => || doorbell::request(Doorbell::VsockTx, 0),
        EXIT_VMM => || doorbell::request(Doorbell::Log, 0),
        EXIT_NSM => || drop(nsm::get_random()),
        NOTHING => || {},
        _ => {
            let task = match tasks.entry(number) {
                Entry::Occupied(task) => task.into_mut(),
                Entry::Vacant(place) => place.insert(Task::new(Operation::from_number(number)?).ok()?),
            };
            return task.time(count).ok();
        }
    };
    let start = Instant::now();
    (0..count).for_each(|_| exit());
    u64::try_from(start.elapsed().as_nanos()).ok()
}
