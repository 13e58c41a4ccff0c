//! A guest for the tests: the real driver, a small executor, and services on a few ports.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use casemate_abi::{DEFAULT_GUEST_CID, Doorbell};
use casemate_guest::vsock::{self, VsockListener, VsockStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vmm_sys_util::eventfd::EventFd;

use super::{CHECKSUM_START, Host, Noise, Notifier, checksum};

pub mod port {
    /// Sends everything back.
    pub const ECHO: u32 = 7;
    /// Reads to the end, then sends the check sum.
    pub const SINK: u32 = 9;
    /// Reads a length and a seed, then sends that much noise.
    pub const SOURCE: u32 = 19;
    /// Accepts and never reads.
    pub const STALL: u32 = 11;
    /// Says hello, closes its sending side, then reads to the end and only then drops.
    pub const HALF: u32 = 13;
    /// Sends a little and drops the stream at once.
    pub const DROP: u32 = 15;
    /// Sends for ever, without looking at it.
    pub const RAW_SOURCE: u32 = 20;
    /// Reads for ever, without looking at it.
    pub const RAW_SINK: u32 = 21;
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static NOTIFIER: RefCell<Option<Notifier>> = const { RefCell::new(None) };
    static SPAWNED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

/// What the VMM's vCPU thread does with a doorbell store.
fn doorbell(value: u64) {
    NOTIFIER.with_borrow(|notifier| {
        let notifier = notifier.as_ref().unwrap();
        match Doorbell::decode(value).unwrap().0 {
            Doorbell::VsockRx | Doorbell::VsockTx => notifier.kick(),
            Doorbell::Ready => notifier.ready(),
            other => panic!("the driver rang {other:?}"),
        }
    });
}

pub fn spawn(task: impl Future<Output = ()> + 'static) {
    SPAWNED.with_borrow_mut(|spawned| spawned.push(Box::pin(task)));
}

struct Ready {
    index: usize,
    queue: Arc<Mutex<VecDeque<usize>>>,
    queued: AtomicBool,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.lock().unwrap().push_back(self.index);
        }
    }
}

/// How a guest waits.
#[derive(Clone, Copy)]
pub struct Idle {
    /// Polls shared memory for this long before it sleeps.
    pub spin: Duration,
}

/// Runs until `stop` says so, as the sealed guest's runtime does: tasks, then the channel, then sleep.
fn execute(idle: Idle, wake: &EventFd, stop: &AtomicBool) {
    let queue = Arc::new(Mutex::new(VecDeque::new()));
    let mut tasks: Vec<Option<(Task, Arc<Ready>)>> = Vec::new();
    let mut last_progress = Instant::now();
    while !stop.load(Ordering::Acquire) {
        for task in SPAWNED.take() {
            let index = tasks.iter().position(Option::is_none).unwrap_or(tasks.len());
            let ready = Arc::new(Ready { index, queue: Arc::clone(&queue), queued: AtomicBool::new(false) });
            if index == tasks.len() {
                tasks.push(None);
            }
            tasks[index] = Some((task, Arc::clone(&ready)));
            ready.wake();
        }
        let next = queue.lock().unwrap().pop_front();
        if let Some(index) = next {
            let Some((task, ready)) = &mut tasks[index] else {
                continue;
            };
            ready.queued.store(false, Ordering::Release);
            let waker = Waker::from(Arc::clone(ready));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                tasks[index] = None;
            }
            continue;
        }
        if !SPAWNED.with_borrow(Vec::is_empty) || vsock::poll() {
            last_progress = Instant::now();
        } else if last_progress.elapsed() < idle.spin {
            std::hint::spin_loop();
        } else if vsock::prepare_idle() {
            wake.read().unwrap();
            last_progress = Instant::now();
        }
    }
}

/// There is one channel in a program, so there is one guest at a time.
static ONE_GUEST: Mutex<()> = Mutex::new(());

/// A guest in a thread; it ends with the value.
pub struct Guest {
    _only: MutexGuard<'static, ()>,
    stop: Arc<AtomicBool>,
    wake: Arc<EventFd>,
    /// The guest's thread, as the kernel knows it.
    pub tid: i32,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    pub fn start(host: &Host) -> Self {
        Self::start_with(host, Idle { spin: Duration::from_micros(20) }, serve_all)
    }

    pub fn start_with(host: &Host, idle: Idle, main: impl FnOnce() + Send + 'static) -> Self {
        let only = ONE_GUEST.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = Arc::new(AtomicBool::new(false));
        let (base, notifier) = (host.base(), host.notifier.clone());
        let (wake, stop_flag) = (Arc::clone(&host.wake), Arc::clone(&stop));
        let memory = host.memory.clone();
        let (tell_tid, tid) = std::sync::mpsc::channel();
        let body = move || {
            tell_tid.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            NOTIFIER.set(Some(notifier));
            // SAFETY: `base` is the shared region's mapping, which `memory` keeps alive for as long as the thread.
            unsafe { vsock::init(NonNull::new(base as *mut u8).unwrap(), DEFAULT_GUEST_CID, doorbell) }
                .unwrap();
            main();
            execute(idle, &wake, &stop_flag);
            drop(memory);
        };
        let thread = std::thread::spawn(body);
        Self {
            _only: only,
            tid: tid.recv().unwrap(),
            stop,
            wake: Arc::clone(&host.wake),
            thread: Some(thread),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake.write(1).unwrap();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the guest panicked");
        }
    }
}

/// Serves one port: a task for each connection.
pub fn serve<F: Future<Output = ()> + 'static>(port: u32, handle: impl Fn(VsockStream) -> F + 'static) {
    let mut listener = VsockListener::bind(port).unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(handle(stream));
        }
    });
}

/// The services of [`port`].
pub fn serve_all() {
    serve(port::ECHO, echo);
    serve(port::SINK, sink);
    serve(port::SOURCE, source);
    serve(port::RAW_SOURCE, |mut stream| async move {
        let buffer = vec![5; 64 * 1024];
        while stream.write_all(&buffer).await.is_ok() {}
    });
    serve(port::RAW_SINK, |mut stream| async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(1..) = stream.read(&mut buffer).await {}
    });
    serve(port::STALL, |stream| async move {
        std::future::poll_fn(|_| Poll::<()>::Pending).await;
        drop(stream);
    });
    serve(port::HALF, |mut stream| async move {
        let _ = stream.write_all(b"hello").await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    serve(port::DROP, |mut stream| async move {
        let _ = stream.write_all(&[b'x'; 100_000]).await;
    });
}

async fn echo(mut stream: VsockStream) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = stream.shutdown().await;
}

async fn sink(mut stream: VsockStream) {
    let (mut buffer, mut sum) = (vec![0; 32 * 1024], CHECKSUM_START);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => sum = checksum(sum, &buffer[..read]),
            Err(_) => return,
        }
    }
    let _ = stream.write_all(&sum.to_le_bytes()).await;
}

async fn source(mut stream: VsockStream) {
    let (Ok(mut length), Ok(seed)) = (stream.read_u64_le().await, stream.read_u64_le().await) else {
        return;
    };
    let (mut noise, mut buffer) = (Noise::new(seed), vec![0; 32 * 1024]);
    while length > 0 {
        let piece = length.min(buffer.len() as u64) as usize;
        noise.fill(&mut buffer[..piece]);
        if stream.write_all(&buffer[..piece]).await.is_err() {
            return;
        }
        length -= piece as u64;
    }
}
