//! The virtual CPU's loop: run the guest, do what it asks at the doorbell, run it again.
//!
//! This is the whole of what a guest can ask for: see `casemate_abi::Doorbell`. Every value that comes with a
//! request is the guest's and is checked here.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use casemate_abi::{Doorbell, IDLE_FOREVER, shared};
use rustix::event::epoll;
use vmm_sys_util::eventfd::EventFd;

use crate::backend::{Cpu, Exit, Fault};
use crate::memory::SharedMemory;

/// How a guest ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It asked to end with this exit code.
    Exit(u8),
    /// It did something it may not do.
    Fault(Fault),
    /// It rang the doorbell with a value that means nothing.
    BadDoorbell(u64),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "the guest ended with exit code {code}"),
            Self::Fault(fault) => write!(f, "the guest was stopped: {fault}"),
            Self::BadDoorbell(value) => write!(f, "the guest was stopped: {value:#x} is no request"),
        }
    }
}

/// Answers NSM requests: CBOR in, CBOR out, never fails.
pub trait NsmDevice: Send {
    /// Answers one request.
    fn handle(&mut self, request: &[u8]) -> Vec<u8>;
}

/// What the guest reaches through the doorbell.
pub struct Devices {
    /// The security module.
    pub nsm: Box<dyn NsmDevice>,
    /// Wakes the guest from idling.
    pub wake: Arc<WakeGuest>,
    /// Signalled when the guest notifies a virtqueue (by backends that do not signal it themselves).
    pub kick: EventFd,
    /// Told once the guest is ready, and about debug output.
    pub events: Box<dyn GuestEvents>,
}

/// What the VMM wants to know about a running guest.
pub trait GuestEvents: Send {
    /// The guest accepts connections.
    fn ready(&mut self);
    /// The guest wrote text to its log; called in debug mode only.
    fn log(&mut self, text: &[u8]);
    /// The guest has ended.
    fn ended(&mut self, end: &End);
}

/// Wakes an idle guest. Cheap when it is not idle.
#[derive(Debug)]
pub struct WakeGuest {
    event: EventFd,
    idle: AtomicBool,
}

impl WakeGuest {
    /// A new wake-up event.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            event: EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)?,
            idle: AtomicBool::new(false),
        })
    }

    /// Lets the guest run if it is idle or about to be. A wake-up is never lost.
    pub fn wake(&self) {
        // A full counter already is a wake-up: the error means nothing is to be done.
        let _ = self.event.write(1);
    }

    /// Whether the guest waits at the doorbell.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }
}

/// Runs the guest to its end.
pub fn run(cpu: &mut dyn Cpu, memory: &SharedMemory, mut devices: Devices) -> std::io::Result<End> {
    let idle = Idle::new(devices.wake.clone())?;
    let end = loop {
        let value = match cpu.run()? {
            Exit::Doorbell(value) => value,
            Exit::Interrupted => continue,
            Exit::Fault(fault) => break End::Fault(fault),
        };
        match Doorbell::decode(value) {
            Some((Doorbell::VsockRx | Doorbell::VsockTx, _)) => devices.kick.write(1)?,
            Some((Doorbell::Nsm, len)) => nsm(memory, devices.nsm.as_mut(), len)?,
            Some((Doorbell::Idle, microseconds)) => idle.wait(microseconds)?,
            Some((Doorbell::Ready, _)) => devices.events.ready(),
            Some((Doorbell::Log, len)) => log(memory, devices.events.as_mut(), len)?,
            Some((Doorbell::Exit, code)) => break End::Exit(u8::try_from(code).unwrap_or(u8::MAX)),
            None => break End::BadDoorbell(value),
        }
    };
    devices.events.ended(&end);
    Ok(end)
}

fn nsm(memory: &SharedMemory, device: &mut dyn NsmDevice, len: u64) -> std::io::Result<()> {
    // Copied once: the guest, or root, may change the mailbox while it is being looked at.
    let mut request = vec![0; len.min(shared::NSM_REQUEST_MAX) as usize];
    memory
        .read(shared::NSM_REQUEST, &mut request)
        .map_err(std::io::Error::other)?;
    let mut response = device.handle(&request);
    response.truncate(shared::NSM_RESPONSE_MAX as usize);
    memory
        .write(shared::NSM_RESPONSE, &response)
        .map_err(std::io::Error::other)?;
    memory
        .store(shared::NSM_RESPONSE_LEN, response.len() as u64)
        .map_err(std::io::Error::other)
}

fn log(memory: &SharedMemory, events: &mut dyn GuestEvents, len: u64) -> std::io::Result<()> {
    let mut text = vec![0; len.min(shared::LOG_MAX) as usize];
    memory
        .read(shared::LOG, &mut text)
        .map_err(std::io::Error::other)?;
    events.log(&text);
    Ok(())
}

/// Where the virtual CPU's thread sleeps while its guest has nothing to do.
struct Idle {
    epoll: std::os::fd::OwnedFd,
    wake: Arc<WakeGuest>,
}

impl Idle {
    fn new(wake: Arc<WakeGuest>) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is owned by `wake`, which lives as long as this borrow.
        let event =
            unsafe { std::os::fd::BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&wake.event)) };
        epoll::add(&epoll, event, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        Ok(Self { epoll, wake })
    }

    fn wait(&self, microseconds: u64) -> std::io::Result<()> {
        // epoll counts in milliseconds; rounding up keeps the guest from spinning before its timer.
        let timeout = (microseconds != IDLE_FOREVER)
            .then(|| Duration::from_millis(microseconds.div_ceil(1000)).try_into().ok())
            .flatten();
        self.wake.idle.store(true, Ordering::Relaxed);
        let mut events = Vec::with_capacity(1);
        let waited = epoll::wait(
            self.epoll.as_fd(),
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        );
        self.wake.idle.store(false, Ordering::Relaxed);
        let _ = self.wake.event.read();
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
