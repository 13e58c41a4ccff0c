//! The loop that moves packets, and its notifications in both directions.
//!
//! While there is something to do, and for [`SPIN`] after, the thread polls: the guest is told not to ring the
//! doorbell (`VIRTQ_USED_F_NO_NOTIFY`), the sockets are asked without waiting, and the processor is offered to
//! whoever else wants it. Then notifications are asked for, the rings are looked at once more (a packet may have
//! come in between), and the thread sleeps in `epoll_wait`. Events are edge-triggered, so that a connection needs
//! at most two `epoll_ctl` in its life and an event file descriptor needs no `read`.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use casemate_abi::shared;
use casemate_abi::vsock::Header;
use rustix::net::SocketFlags;
use virtio_vsock::packet::{Error as PacketError, VsockPacket};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

use super::log::Log;
use super::muxer::{Muxer, TICK};
use super::ring::Ring;
use super::{Error, MAX_DATA, Memory};

/// How long the thread polls after the last activity before it sleeps.
pub const SPIN: Duration = Duration::from_micros(50);
/// How long it polls at most from the start until the guest is ready: clients wait for that, and it takes less.
const BOOT: Duration = Duration::from_millis(1);
/// Packets handled in one direction before the other one, and the sockets, get their turn.
const BATCH: usize = shared::QUEUE_SIZE as usize;
/// Events taken from the kernel at a time.
const EVENTS: usize = 64;

// Names of the file descriptors that are no connections; those begin at 2³⁰.
const LISTENER: u64 = 0;
const KICK: u64 = 1;
const STOP: u64 = 2;

/// The vCPU thread's way to the device; `Doorbell::VsockRx`, `VsockTx` and `Ready` end here.
#[derive(Clone)]
pub struct Notifier {
    kick: Arc<EventFd>,
    ready: Arc<AtomicBool>,
}

impl Notifier {
    /// `Doorbell::VsockRx` or `Doorbell::VsockTx`: the guest has new buffers or packets.
    pub fn kick(&self) {
        // The only error is a full counter, and then the device has been told already.
        let _ = self.kick.write(1);
    }

    /// `Doorbell::Ready`: the guest accepts connections from now on.
    pub fn ready(&self) {
        self.ready.store(true, Ordering::Release);
        self.kick();
    }
}

/// What a [`VsockDevice`] is made of.
pub struct Config<W> {
    /// The shared region, at its guest-physical address, and nothing else.
    pub memory: Memory,
    /// The guest's context identifier.
    pub guest_cid: u64,
    /// Where clients connect. Until the guest is ready they wait in its backlog.
    pub listener: UnixListener,
    /// Signalled by `Doorbell::VsockRx` and `VsockTx`, by the vCPU thread or by KVM itself (ioeventfd).
    pub kick: EventFd,
    /// Ends the guest's sleep in `Doorbell::Idle`. A wake-up must not be lost: if the guest is not asleep yet, its
    /// next `Idle` returns at once. Called often, so it should be cheap when the guest is awake.
    pub wake: W,
    /// [`VsockDevice::run`] returns once this is readable.
    pub stop: OwnedFd,
}

/// The device. Make it before the jail closes: creating it needs more system calls than running it.
pub struct VsockDevice<W> {
    memory: Memory,
    rx: Ring,
    tx: Ring,
    muxer: Muxer,
    epoll: Arc<Epoll>,
    events: [EpollEvent; EVENTS],
    listener: UnixListener,
    accepting: bool,
    retry_accept: Option<Instant>,
    notifier: Notifier,
    wake: W,
    _stop: OwnedFd,
}

impl<W: Fn()> VsockDevice<W> {
    /// Sets the virtqueues up in `config.memory` and registers what has to be listened to.
    pub fn new(config: Config<W>) -> Result<Self, Error> {
        let Config { memory, guest_cid, listener, kick, wake, stop } = config;
        let rx = Ring::new("rx", shared::RX_QUEUE, &memory)?;
        let tx = Ring::new("tx", shared::TX_QUEUE, &memory)?;
        let host = |action| move |source| Error::Host { action, source };
        listener.set_nonblocking(true).map_err(host("make the listener non-blocking"))?;
        // Sockets that it accepts have it from there; the log names who connects.
        rustix::net::sockopt::set_socket_passcred(&listener, true)
            .map_err(|error| Error::Host { action: "ask who connects", source: error.into() })?;
        let epoll = Arc::new(Epoll::new().map_err(host("create an epoll instance"))?);
        let device = Self {
            memory,
            rx,
            tx,
            muxer: Muxer::new(guest_cid, Arc::clone(&epoll)),
            epoll,
            events: [EpollEvent::default(); EVENTS],
            listener,
            accepting: false,
            retry_accept: None,
            notifier: Notifier { kick: Arc::new(kick), ready: Arc::new(AtomicBool::new(false)) },
            wake,
            _stop: stop,
        };
        device.watch(ControlOperation::Add, device._stop.as_raw_fd(), EventSet::IN, STOP)?;
        let edge = EventSet::IN | EventSet::EDGE_TRIGGERED;
        device.watch(ControlOperation::Add, device.notifier.kick.as_raw_fd(), edge, KICK)?;
        device.watch(ControlOperation::Add, device.listener.as_raw_fd(), EventSet::empty(), LISTENER)?;
        Ok(device)
    }

    /// For the vCPU thread.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Says what becomes of connections in `file`, from now on. Before the jail closes.
    pub fn log_to(&mut self, file: OwnedFd) {
        self.muxer.log_to(Log::new(file));
    }

    /// The log, for what is to be said when all is over.
    pub fn take_log(&mut self) -> Log {
        self.muxer.take_log()
    }

    /// Ends the guest's sleep in `Doorbell::Idle`, if it is asleep.
    pub fn wake_guest(&self) {
        (self.wake)();
    }

    /// Moves packets until the stop descriptor is readable, or until the guest breaks a virtqueue.
    pub fn run(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let mut last_activity = started;
        self.silence()?;
        loop {
            let now = Instant::now();
            self.muxer.tick(now);
            let moved = self.move_packets(now)?;
            if moved {
                last_activity = now;
            }
            self.tend_listener(now)?;
            let spinning = now.duration_since(last_activity) < SPIN
                || (!self.accepting && now.duration_since(started) < BOOT);
            let timeout = if spinning { Some(Duration::ZERO) } else { self.prepare_sleep(now)? };
            let events = self.wait(timeout)?;
            if !spinning {
                self.silence()?;
            }
            if events > 0 {
                last_activity = Instant::now();
                if !self.dispatch(events, last_activity)? {
                    return Ok(());
                }
            } else if spinning && !moved {
                std::thread::yield_now();
            }
        }
    }

    /// Moves packets in both directions, a batch each. Returns whether there were any.
    pub(super) fn move_packets(&mut self, now: Instant) -> Result<bool, Error> {
        let received = self.receive_from_guest(now)?;
        let sent = self.send_to_guest(now)?;
        Ok(received || sent)
    }

    /// Handles what the guest has put in the tx queue.
    fn receive_from_guest(&mut self, now: Instant) -> Result<bool, Error> {
        let name = "tx";
        let mut any = false;
        for _ in 0..BATCH {
            let Some(mut chain) = self.tx.pop(&self.memory)? else {
                break;
            };
            any = true;
            match VsockPacket::from_tx_virtq_chain(&self.memory, &mut chain, MAX_DATA as u32) {
                Ok(packet) => {
                    let header = header_of(&packet);
                    self.muxer.on_packet(&header, packet.data_slice(), now);
                }
                // A header that promises more data than there is: the packet is dropped, the queue is sound.
                Err(
                    PacketError::InvalidHeaderLen(_)
                    | PacketError::DescriptorLengthTooSmall
                    | PacketError::DescriptorChainTooShort,
                ) => {}
                Err(source) => return Err(Error::Buffer { name, source }),
            }
            self.tx.put_used(&self.memory, chain.head_index(), 0)?;
        }
        if any && self.tx.wants_wake(&self.memory)? {
            (self.wake)();
        }
        Ok(any)
    }

    /// Fills the guest's rx buffers with what the connections have for it.
    fn send_to_guest(&mut self, now: Instant) -> Result<bool, Error> {
        let name = "rx";
        let mut any = false;
        for _ in 0..BATCH {
            if !self.muxer.has_turns() {
                break;
            }
            let Some(mut chain) = self.rx.pop(&self.memory)? else {
                break;
            };
            let mut packet = VsockPacket::from_rx_virtq_chain(&self.memory, &mut chain, MAX_DATA as u32)
                .map_err(|source| Error::Buffer { name, source })?;
            let Some(length) = self.muxer.fill(&mut packet, now) else {
                self.rx.undo_pop();
                break;
            };
            self.rx.put_used(&self.memory, chain.head_index(), length)?;
            // The first packet wakes the guest at once; it works while the rest of the batch is read.
            if !any && self.rx.wants_wake(&self.memory)? {
                (self.wake)();
            }
            any = true;
        }
        if any && self.rx.wants_wake(&self.memory)? {
            (self.wake)();
        }
        Ok(any)
    }

    fn silence(&mut self) -> Result<(), Error> {
        self.tx.silence(&self.memory)?;
        self.rx.silence(&self.memory)
    }

    /// Asks for notifications. Returns how long to sleep: not at all if something has come up meanwhile.
    fn prepare_sleep(&mut self, now: Instant) -> Result<Option<Duration>, Error> {
        let mut work = self.tx.listen(&self.memory)?;
        if self.muxer.has_turns() {
            work |= self.rx.listen(&self.memory)?;
        }
        if work {
            return Ok(Some(Duration::ZERO));
        }
        let deadline = self.muxer.tick(now);
        // The deadlines may have ended connections, and then the guest must be told before the thread sleeps.
        if self.muxer.has_turns() && self.rx.has_buffers(&self.memory) {
            return Ok(Some(Duration::ZERO));
        }
        let retry = self.retry_accept.map(|at| at.saturating_duration_since(now));
        Ok([deadline, retry].into_iter().flatten().min())
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<usize, Error> {
        // Rounded up: a millisecond late is better than spinning through the last one.
        let millis = timeout.map_or(-1, |timeout| timeout.as_micros().div_ceil(1000).min(60_000) as i32);
        match self.epoll.wait(millis, &mut self.events) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(source) => Err(Error::Host { action: "wait for events", source }),
        }
    }

    /// Handles events. Returns false once the device has to stop.
    pub(super) fn dispatch(&mut self, count: usize, now: Instant) -> Result<bool, Error> {
        for index in 0..count {
            let Some(event) = self.events.get(index).copied() else {
                break;
            };
            let set = event.event_set();
            match event.data() {
                STOP => return Ok(false),
                KICK => {}
                LISTENER => self.accept(now)?,
                port => {
                    let readable = set.intersects(EventSet::IN | EventSet::READ_HANG_UP);
                    let hung_up = set.intersects(EventSet::HANG_UP | EventSet::ERROR);
                    self.muxer.on_event(port as u32, readable, set.contains(EventSet::OUT), hung_up, now);
                }
            }
        }
        Ok(true)
    }

    /// Listens for clients exactly while the guest is ready and there is room for one more.
    pub(super) fn tend_listener(&mut self, now: Instant) -> Result<(), Error> {
        if self.retry_accept.is_some_and(|at| at <= now) {
            self.retry_accept = None;
        }
        let ready = self.notifier.ready.load(Ordering::Acquire);
        let wanted = ready && self.retry_accept.is_none() && self.muxer.has_room();
        if wanted != self.accepting {
            let set = if wanted { EventSet::IN } else { EventSet::empty() };
            self.watch(ControlOperation::Modify, self.listener.as_raw_fd(), set, LISTENER)?;
            self.accepting = wanted;
        }
        Ok(())
    }

    /// Takes the clients that are waiting, as far as there is room.
    fn accept(&mut self, now: Instant) -> Result<(), Error> {
        for _ in 0..BATCH {
            if !self.muxer.has_room() {
                break;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => self.muxer.add(UnixStream::from(socket), now),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(_) => {
                    // Out of descriptors or memory, most likely: the clients keep waiting, and so does this.
                    self.retry_accept = Some(now + TICK);
                    break;
                }
            }
        }
        Ok(())
    }

    fn watch(&self, operation: ControlOperation, fd: RawFd, set: EventSet, data: u64) -> Result<(), Error> {
        self.epoll
            .ctl(operation, fd, EpollEvent::new(set, data))
            .map_err(|source| Error::Host { action: "register a file descriptor for events", source })
    }
}

/// The header of a packet that the guest sent, from `virtio-vsock`'s private copy of it.
fn header_of(packet: &VsockPacket<'_, ()>) -> Header {
    Header {
        src_cid: packet.src_cid(),
        dst_cid: packet.dst_cid(),
        src_port: packet.src_port(),
        dst_port: packet.dst_port(),
        len: packet.len(),
        kind: packet.type_(),
        op: packet.op(),
        flags: packet.flags(),
        buf_alloc: packet.buf_alloc(),
        fwd_cnt: packet.fwd_cnt(),
    }
}
