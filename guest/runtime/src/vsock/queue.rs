//! The two virtqueues, on `virtio-drivers`' `VirtQueue`, at the places the ABI gives them.
//!
//! Promises: a used ring that names a buffer the device does not have is an [`Error::Corrupt`], never a panic; each
//! packet buffer is either with the device or with the driver.
//! Trusts: nothing in shared memory. `VirtQueue` keeps its own copy of the descriptors, and the token that it is
//! asked to retire is one this file has checked to be outstanding.

use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

use casemate_abi::{Doorbell, PAGE_SIZE, shared};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PhysAddr};

use super::Error;
use super::region::Region;

/// Descriptors, and packet buffers, of a queue.
pub const SIZE: usize = shared::QUEUE_SIZE as usize;
/// Bytes in a packet buffer.
pub const BUFFER_SIZE: usize = shared::BUFFER_SIZE as usize;
/// Size of `struct virtq_desc`.
const DESCRIPTOR_SIZE: u64 = 16;

/// Where the shared region lies: [`FixedHal`] has no `self` to keep it in. Set by [`Queue::new`].
static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// The queue that [`FixedHal::dma_alloc`] is asked for. Set by [`Queue::new`].
static QUEUE_BASE: AtomicU64 = AtomicU64::new(0);

/// Which of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Queue 0: host to guest.
    Rx,
    /// Queue 1: guest to host.
    Tx,
}

impl Direction {
    fn index(self) -> u16 {
        match self {
            Self::Rx => 0,
            Self::Tx => 1,
        }
    }

    fn queue_base(self) -> u64 {
        match self {
            Self::Rx => shared::RX_QUEUE,
            Self::Tx => shared::TX_QUEUE,
        }
    }

    fn buffer_address(self, buffer: u16) -> u64 {
        let base = match self {
            Self::Rx => shared::RX_BUFFERS,
            Self::Tx => shared::TX_BUFFERS,
        };
        base + u64::from(buffer) * shared::BUFFER_SIZE
    }
}

/// One virtqueue and its packet buffers.
pub struct Queue {
    direction: Direction,
    region: Region,
    inner: VirtQueue<FixedHal, SIZE>,
    transport: FixedTransport,
    /// Which buffer the device holds under each descriptor.
    held: [Option<u16>; SIZE],
    free: Vec<u16>,
    listening: bool,
}

impl Queue {
    /// The queue at its place in `region`, with all buffers on this side.
    pub fn new(direction: Direction, region: Region, doorbell: fn(u64)) -> Result<Self, Error> {
        BASE.store(region.base().as_ptr(), Ordering::Relaxed);
        QUEUE_BASE.store(direction.queue_base(), Ordering::Relaxed);
        let mut transport = FixedTransport { doorbell };
        let inner = VirtQueue::new(&mut transport, direction.index(), false, false)?;
        let free = (0..shared::QUEUE_SIZE).rev().collect();
        let mut queue =
            Self { direction, region, inner, transport, held: [None; SIZE], free, listening: true };
        queue.set_listening(false);
        Ok(queue)
    }

    /// A buffer that is on this side, with its guest-physical address.
    pub fn take_free(&mut self) -> Option<(u16, u64)> {
        let buffer = self.free.pop()?;
        Some((buffer, self.direction.buffer_address(buffer)))
    }

    /// Whether [`Queue::take_free`] would find one.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many buffers are on this side.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Gives the first `len` bytes of a buffer to the device: all of it to write into, or a packet to read.
    pub fn give(&mut self, buffer: u16, len: usize) -> Result<(), Error> {
        let data = self.buffer(buffer, len)?;
        // SAFETY: the buffer lies in the shared region, where the device may touch it at any time anyway and nothing
        // here reads through references; it is not used again before `retire` got its token back.
        let token = unsafe {
            match self.direction {
                Direction::Rx => self.inner.add(&[], &mut [data]),
                Direction::Tx => self.inner.add(&[data], &mut []),
            }
        }?;
        let held = self.held.get_mut(usize::from(token)).ok_or(Error::Corrupt { queue: self.direction })?;
        *held = Some(buffer);
        Ok(())
    }

    /// Takes back the next buffer that the device is done with: which, where, and how many bytes the device claims
    /// to have written, at most the size of the buffer.
    pub fn retire(&mut self) -> Result<Option<(u16, u64, usize)>, Error> {
        let corrupt = Error::Corrupt { queue: self.direction };
        let Some(token) = self.inner.peek_used() else {
            return Ok(None);
        };
        let Some(buffer) = self.held.get_mut(usize::from(token)).and_then(Option::take) else {
            return Err(corrupt);
        };
        let data = self.buffer(buffer, BUFFER_SIZE)?;
        // SAFETY: `token` is outstanding (it was in `held`) and was returned by `add` for this buffer in this
        // direction; `VirtQueue` uses only the number of buffers and hands them to `FixedHal::unshare`, which does
        // nothing.
        let written = unsafe {
            match self.direction {
                Direction::Rx => self.inner.pop_used(token, &[], &mut [data]),
                Direction::Tx => self.inner.pop_used(token, &[data], &mut []),
            }
        };
        let written = written.map_err(|_| corrupt)? as usize;
        Ok(Some((buffer, self.direction.buffer_address(buffer), written.min(BUFFER_SIZE))))
    }

    /// Puts a buffer that came from [`Queue::retire`] or [`Queue::take_free`] among the free ones.
    pub fn put_free(&mut self, buffer: u16) {
        self.free.push(buffer);
    }

    /// Rings the doorbell if the device asked for it.
    pub fn notify(&mut self) {
        // The available index must be visible before the flags are read: the device sets the flags, then looks at
        // the index, and one of the two sides has to see the other's write (virtio 1.2, 2.7.13.3).
        fence(Ordering::SeqCst);
        if self.inner.should_notify() {
            self.transport.notify(self.direction.index());
        }
    }

    /// Whether the device has returned buffers.
    pub fn has_used(&self) -> bool {
        self.inner.can_pop()
    }

    /// Asks the device to wake this guest when it returns buffers, or not to.
    pub fn set_listening(&mut self, listening: bool) {
        if self.listening != listening {
            self.listening = listening;
            self.inner.set_dev_notify(listening);
        }
    }

    fn buffer<'a>(&self, buffer: u16, len: usize) -> Result<&'a mut [u8], Error> {
        let address = self.direction.buffer_address(buffer);
        let pointer = self.region.pointer(address, len).ok_or(Error::Corrupt { queue: self.direction })?;
        // SAFETY: the bytes are mapped (`Region`), and the slice only carries the address through `VirtQueue` to
        // `FixedHal`: neither reads or writes through it.
        Ok(unsafe { slice::from_raw_parts_mut(pointer.as_ptr(), len) })
    }
}

fn region() -> Option<Region> {
    // SAFETY: `BASE` is null or the base of a region that `Queue::new` was given, and the driver keeps that region.
    NonNull::new(BASE.load(Ordering::Relaxed)).map(|base| unsafe { Region::new(base) })
}

/// Memory for `virtio-drivers`: exactly the pages that the ABI set aside.
struct FixedHal;

// SAFETY: `dma_alloc` hands out the queue's own pages of the shared region, zeroed, each once per queue, because it
// is only called from `VirtQueue::new`; buffers are never moved (`share` is the identity), so their addresses are
// valid for as long as the region is mapped.
unsafe impl Hal for FixedHal {
    fn dma_alloc(pages: usize, direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let Some(region) = region() else {
            return (0, NonNull::dangling());
        };
        let queue_base = QUEUE_BASE.load(Ordering::Relaxed);
        // The used ring has a page of its own. The descriptor table and the available ring share an area, the
        // second right behind the first, and the ABI says where that second one begins.
        let (address, len) = match direction {
            BufferDirection::DeviceToDriver => (queue_base + shared::USED_OFFSET, PAGE_SIZE),
            _ => {
                let table = DESCRIPTOR_SIZE * u64::from(shared::QUEUE_SIZE);
                let available = 6 + 2 * u64::from(shared::QUEUE_SIZE);
                (queue_base + shared::AVAIL_OFFSET - table, table + available)
            }
        };
        match region.pointer(address, len as usize) {
            Some(pointer) if pages == 1 && region.write(address, &vec![0; len as usize]) => {
                (address, pointer)
            }
            _ => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        // Asked for by PCI transports only, and there is none.
        NonNull::dangling()
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        // An address outside the region becomes 0, which the device refuses.
        region().and_then(|region| region.address(buffer.cast())).unwrap_or(0)
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// A transport without a device to talk to: everything is agreed in advance but the doorbell.
struct FixedTransport {
    doorbell: fn(u64),
}

impl Transport for FixedTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::Socket
    }

    fn read_device_features(&mut self) -> u64 {
        0
    }

    fn write_driver_features(&mut self, _driver_features: u64) {}

    fn max_queue_size(&mut self, _queue: u16) -> u32 {
        u32::from(shared::QUEUE_SIZE)
    }

    fn notify(&mut self, queue: u16) {
        let request = if queue == 0 { Doorbell::VsockRx } else { Doorbell::VsockTx };
        (self.doorbell)(request.value(0));
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }

    fn set_status(&mut self, _status: DeviceStatus) {}

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, table: PhysAddr, available: PhysAddr, used: PhysAddr) {
        let base = if queue == 0 { shared::RX_QUEUE } else { shared::TX_QUEUE };
        assert_eq!(size, u32::from(shared::QUEUE_SIZE), "queue size differs from the ABI");
        assert_eq!(available, base + shared::AVAIL_OFFSET, "available ring lies elsewhere than the ABI says");
        assert_eq!(table + DESCRIPTOR_SIZE * u64::from(size), available, "descriptor table lies elsewhere");
        assert_eq!(used, base + shared::USED_OFFSET, "used ring lies elsewhere than the ABI says");
    }

    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, _queue: u16) -> bool {
        false
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T>(&self, _offset: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::Unsupported)
    }

    fn write_config_space<T>(&mut self, _offset: usize, _value: T) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}
