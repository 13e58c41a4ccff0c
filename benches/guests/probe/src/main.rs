//! The benchmark's guest: repeats operations and exits under its own stopwatch, echoes, swallows.
//!
//! A request is five bytes: an operation and a number of repetitions (little-endian); the answer is the nanoseconds
//! they took (little-endian, 8 bytes), all ones if the operation failed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::time::Instant;

use bench_probe::{
    CHUNK, ECHO_PORT, EXIT_KERNEL, EXIT_NSM, EXIT_VMM, NOTHING, Operation, PORT, SINK_PORT, Task,
};
use casemate_abi::Doorbell;
use casemate_guest::vsock::{VsockListener, VsockStream};
use casemate_guest::{doorbell, nsm};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn main() -> io::Result<()> {
    casemate_guest::block_on(serve())
}

async fn serve() -> io::Result<()> {
    let mut echo = VsockListener::bind(ECHO_PORT)?;
    let mut sink = VsockListener::bind(SINK_PORT)?;
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
    loop {
        let (stream, _) = requests.accept().await?;
        // One after the other: nothing else runs while something is timed.
        let _ = answer(stream).await;
    }
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
