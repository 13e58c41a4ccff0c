//! The channel as a whole: the guest's driver in one thread, the device in another, real Unix sockets, no KVM.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod behaviour;
mod garbage;
mod guest;
mod measure;
mod raw;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use casemate_abi::{DEFAULT_GUEST_CID, SHARED_BASE, SHARED_SIZE};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::{Config, Error, Memory, Notifier, VsockDevice};

/// How long anything may take before a test calls it a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn shared_region() -> Memory {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(SHARED_BASE), SHARED_SIZE as usize)]).unwrap()
}

/// A directory for a socket, removed with everything in it.
pub struct Socket {
    pub path: PathBuf,
}

impl Socket {
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("casemate-vsock-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { path: directory.join("vsock") }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.path.parent().unwrap());
    }
}

/// A device running in a thread of its own; stops, and shows its result, when asked.
pub struct Host {
    pub memory: Memory,
    pub notifier: Notifier,
    pub wake: Arc<EventFd>,
    pub wakes: Arc<AtomicU64>,
    pub socket: Socket,
    /// The device's thread, as the kernel knows it.
    pub tid: i32,
    stop: EventFd,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Host {
    pub fn start() -> Self {
        let (memory, socket) = (shared_region(), Socket::new());
        let listener = UnixListener::bind(&socket.path).unwrap();
        let stop = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let wake = Arc::new(EventFd::new(0).unwrap());
        let wakes = Arc::new(AtomicU64::new(0));
        let mut device = VsockDevice::new(Config {
            memory: memory.clone(),
            guest_cid: DEFAULT_GUEST_CID,
            listener,
            kick: EventFd::new(libc::EFD_NONBLOCK).unwrap(),
            wake: {
                let (wake, wakes) = (Arc::clone(&wake), Arc::clone(&wakes));
                move || {
                    wakes.fetch_add(1, Ordering::Relaxed);
                    wake.write(1).unwrap();
                }
            },
            stop: owned(&stop),
        })
        .unwrap();
        let notifier = device.notifier();
        let (tell_tid, tid) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            tell_tid.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            device.run()
        });
        let tid = tid.recv().unwrap();
        Self { memory, notifier, wake, wakes, socket, tid, stop, thread: Some(thread) }
    }

    pub fn base(&self) -> usize {
        self.memory.get_host_address(GuestAddress(SHARED_BASE)).unwrap() as usize
    }

    /// Stops the device, if it has not ended by itself, and returns how it ended.
    pub fn stop(mut self) -> Result<(), Error> {
        self.stop.write(1).unwrap();
        self.join()
    }

    /// Waits for the device to end by itself.
    pub fn finish(mut self) -> Result<(), Error> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "the device hangs");
            thread::sleep(Duration::from_micros(200));
        }
        thread.join().unwrap()
    }

    /// A client that has not said anything yet.
    pub fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A connection to a port of the guest.
    pub fn connect(&self, port: u32) -> UnixStream {
        let mut stream = self.dial();
        writeln!(stream, "CONNECT {port}").unwrap();
        let line = read_line(&mut stream);
        assert!(line.starts_with("OK "), "{line:?}");
        stream
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.write(1).unwrap();
        if !thread::panicking() {
            self.join().unwrap();
        }
    }
}

pub fn owned(event: &EventFd) -> OwnedFd {
    use std::os::fd::AsRawFd;
    use std::os::fd::BorrowedFd;
    // SAFETY: `event` is open for the whole expression.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }.try_clone_to_owned().unwrap()
}

/// Everything up to and including a newline, or what came before the end.
pub fn read_line(stream: &mut UnixStream) -> String {
    let mut line = String::new();
    let mut byte = [0];
    while !line.ends_with('\n') && stream.read(&mut byte).unwrap() == 1 {
        line.push(byte[0] as char);
    }
    line
}

/// A pseudo-random stream of bytes that both ends can make, and its check sum.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// FNV-1a over 8-byte words where it can; order matters, position matters.
pub fn checksum(mut sum: u64, data: &[u8]) -> u64 {
    for byte in data {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    sum
}
pub const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;
