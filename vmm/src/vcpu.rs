//! The virtual CPU's loop: run the guest, do what it asks at the doorbell, run it again.
//!
//! This is the whole of what a guest can ask for: see `casemate_abi::Doorbell`. Every value that comes with a
//! request is the guest's and is checked here.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use casemate_abi::{Doorbell, IDLE_FOREVER, shared};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
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
    /// The VMM was told to stop it.
    Stopped,
    /// The VMM could not run it.
    Failed(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "the guest ended with exit code {code}"),
            Self::Fault(fault) => write!(f, "the guest was stopped: {fault}"),
            Self::Stopped => f.write_str("the guest was told to stop"),
            Self::Failed(why) => write!(f, "the guest cannot run: {why}"),
            Self::BadDoorbell(value) => write!(f, "the guest was stopped: {value:#x} is no request"),
        }
    }
}

/// Answers NSM requests: the VMM's own NSM, or the way to the security module.
pub trait NsmDevice: Send {
    /// Answers one request; with nothing if there is no answer to be had.
    fn handle(&mut self, request: &[u8]) -> Vec<u8>;
}

/// What the guest reaches through the doorbell.
pub struct Devices {
    /// The security module.
    pub nsm: Box<dyn NsmDevice>,
    /// Readable when an idle guest has something to do.
    pub wake: EventFd,
    /// Set to stop the guest at its next exit (wake it as well).
    pub stop: Arc<AtomicBool>,
    /// Whoever wants to know what the guest does.
    pub events: Box<dyn GuestEvents>,
}

/// What the VMM wants to know about a running guest.
pub trait GuestEvents: Send {
    /// The guest notified a virtqueue.
    fn kick(&mut self);
    /// The guest accepts connections.
    fn ready(&mut self);
    /// The guest wrote text to its log; called in debug mode only.
    fn log(&mut self, text: &[u8]);
    /// The guest has ended.
    fn ended(&mut self, end: &End);
}

/// The loop, with everything it needs open: running it makes no descriptor.
pub struct Vcpu {
    nsm: Box<dyn NsmDevice>,
    events: Box<dyn GuestEvents>,
    idle: Idle,
    stop: Arc<AtomicBool>,
}

impl Vcpu {
    /// A loop that serves the guest with these devices.
    pub fn new(devices: Devices) -> std::io::Result<Self> {
        Ok(Self {
            nsm: devices.nsm,
            events: devices.events,
            idle: Idle::new(devices.wake)?,
            stop: devices.stop,
        })
    }

    /// Runs the guest to its end, then zeroes its memory.
    pub fn run(mut self, cpu: &mut dyn Cpu, memory: &SharedMemory) -> std::io::Result<End> {
        let end = self.serve(cpu, memory).unwrap_or_else(|error| End::Failed(error.to_string()));
        let mut top = [0; 8];
        memory.read(shared::HEAP_TOP, &mut top).map_err(std::io::Error::other)?;
        if let Err(error) = cpu.scrub(u64::from_le_bytes(top)) {
            tracing::warn!(%error, "the guest's memory goes back to the kernel without being zeroed here");
        }
        self.events.ended(&end);
        Ok(end)
    }

    /// Reports that the guest could not be started.
    pub fn fail(mut self, error: &std::io::Error) -> End {
        let end = End::Failed(error.to_string());
        self.events.ended(&end);
        end
    }

    fn serve(&mut self, cpu: &mut dyn Cpu, memory: &SharedMemory) -> std::io::Result<End> {
        while !self.stop.load(Ordering::Relaxed) {
            let value = match cpu.run()? {
                Exit::Doorbell(value) => value,
                Exit::Interrupted => continue,
                Exit::Fault(fault) => return Ok(End::Fault(fault)),
            };
            match Doorbell::decode(value) {
                Some((Doorbell::VsockRx | Doorbell::VsockTx, _)) => self.events.kick(),
                Some((Doorbell::Nsm, len)) => nsm(memory, self.nsm.as_mut(), len)?,
                Some((Doorbell::Idle, microseconds)) => self.idle.wait(microseconds)?,
                Some((Doorbell::Ready, _)) => self.events.ready(),
                Some((Doorbell::Log, len)) => log(memory, self.events.as_mut(), len)?,
                Some((Doorbell::Exit, code)) => return Ok(End::Exit(u8::try_from(code).unwrap_or(u8::MAX))),
                None => return Ok(End::BadDoorbell(value)),
            }
        }
        Ok(End::Stopped)
    }
}

fn nsm(memory: &SharedMemory, device: &mut dyn NsmDevice, len: u64) -> std::io::Result<()> {
    // Copied once: the guest, or root, may change the mailbox while it is being looked at.
    let mut request = vec![0; len.min(shared::NSM_REQUEST_MAX + shared::NSM_TAG_LEN) as usize];
    memory.read(shared::NSM_REQUEST, &mut request).map_err(std::io::Error::other)?;
    let mut response = device.handle(&request);
    response.truncate((shared::NSM_RESPONSE_MAX + shared::NSM_TAG_LEN) as usize);
    memory.write(shared::NSM_RESPONSE, &response).map_err(std::io::Error::other)?;
    memory.store(shared::NSM_RESPONSE_LEN, response.len() as u64).map_err(std::io::Error::other)
}

fn log(memory: &SharedMemory, events: &mut dyn GuestEvents, len: u64) -> std::io::Result<()> {
    let mut text = vec![0; len.min(shared::LOG_MAX) as usize];
    memory.read(shared::LOG, &mut text).map_err(std::io::Error::other)?;
    events.log(&text);
    Ok(())
}

/// Where the virtual CPU's thread sleeps while its guest has nothing to do.
struct Idle {
    epoll: Epoll,
    wake: EventFd,
}

impl Idle {
    fn new(wake: EventFd) -> std::io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.ctl(ControlOperation::Add, wake.as_raw_fd(), EpollEvent::new(EventSet::IN, 0))?;
        Ok(Self { epoll, wake })
    }

    fn wait(&self, microseconds: u64) -> std::io::Result<()> {
        // epoll counts in milliseconds; rounding up keeps the guest from spinning before its timer.
        let milliseconds = i32::try_from(microseconds.div_ceil(1000)).unwrap_or(i32::MAX);
        let timeout = if microseconds == IDLE_FOREVER { -1 } else { milliseconds };
        match self.epoll.wait(timeout, &mut [EpollEvent::default()]) {
            Ok(0) => Ok(()),
            Ok(_) => self.wake.read().map(drop),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[path = "vcpu_tests.rs"]
mod tests;
