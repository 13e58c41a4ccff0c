//! One split virtqueue (virtio 1.2, 2.7) at its fixed place in the shared region, seen from the device.
//!
//! Promises: every access stays inside the shared region, because the memory handed in holds nothing else; a ring
//! that the guest has made inconsistent is an [`Error`], never a panic or an endless loop (`virtio-queue` refuses an
//! available index that runs more than a ring ahead, and bounds the length of a chain).
//! Trusts: nothing in the rings.

use std::sync::atomic::{Ordering, fence};

use casemate_abi::shared;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::{Error, Memory};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (virtio 1.2, 2.7.6): the driver is polling, do not wake it.
const NO_INTERRUPT: u16 = 1;
/// Size of `struct virtq_desc`.
const DESCRIPTOR_SIZE: u64 = 16;

/// The device's side of a virtqueue.
pub struct Ring {
    queue: Queue,
    name: &'static str,
    avail: u64,
}

impl Ring {
    /// The queue whose pages begin at `base`. The descriptor table ends where the available ring begins: that is
    /// the distance `virtio-drivers` puts between the two.
    pub fn new(name: &'static str, base: u64, memory: &Memory) -> Result<Self, Error> {
        let avail = base + shared::AVAIL_OFFSET;
        let table = avail - DESCRIPTOR_SIZE * u64::from(shared::QUEUE_SIZE);
        let bad = |source| Error::Ring { name, source };
        let mut queue = Queue::new(shared::QUEUE_SIZE).map_err(bad)?;
        queue.try_set_desc_table_address(GuestAddress(table)).map_err(bad)?;
        queue.try_set_avail_ring_address(GuestAddress(avail)).map_err(bad)?;
        queue.try_set_used_ring_address(GuestAddress(base + shared::USED_OFFSET)).map_err(bad)?;
        queue.set_ready(true);
        if !queue.is_valid(memory) {
            return Err(Error::Layout { name });
        }
        Ok(Self { queue, name, avail })
    }

    /// Takes the next buffer that the driver made available.
    pub fn pop<'m>(&mut self, memory: &'m Memory) -> Result<Option<DescriptorChain<&'m Memory>>, Error> {
        let name = self.name;
        let mut chains = self.queue.iter(memory).map_err(|source| Error::Ring { name, source })?;
        Ok(chains.next())
    }

    /// Gives the buffer of the last [`Ring::pop`] back untouched, so that the next one returns it again.
    pub fn undo_pop(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Whether the driver has made a buffer available that was not popped yet. Garbage counts as yes.
    pub fn has_buffers(&self, memory: &Memory) -> bool {
        self.queue
            .avail_idx(memory, Ordering::Acquire)
            .map_or(true, |index| index.0 != self.queue.next_avail())
    }

    /// Returns a buffer, with `len` bytes written, to the driver.
    pub fn put_used(&mut self, memory: &Memory, head: u16, len: u32) -> Result<(), Error> {
        let name = self.name;
        self.queue.add_used(memory, head, len).map_err(|source| Error::Ring { name, source })
    }

    /// Whether the driver wants to be woken after [`Ring::put_used`] (virtio 1.2, 2.7.7.2).
    pub fn wants_wake(&self, memory: &Memory) -> Result<bool, Error> {
        // The used index must be visible before the flags are read: the driver sets the flags, then looks at the
        // used index, and one of the two sides has to see the other's write.
        fence(Ordering::SeqCst);
        memory
            .load::<u16>(GuestAddress(self.avail), Ordering::Relaxed)
            .map(|flags| u16::from_le(flags) & NO_INTERRUPT == 0)
            .map_err(|source| Error::Memory { name: self.name, source })
    }

    /// Tells the driver that it need not ring the doorbell, because the device is polling.
    pub fn silence(&mut self, memory: &Memory) -> Result<(), Error> {
        let name = self.name;
        self.queue.disable_notification(memory).map_err(|source| Error::Ring { name, source })
    }

    /// Asks the driver to ring the doorbell from now on. Returns true if buffers arrived before it could know.
    pub fn listen(&mut self, memory: &Memory) -> Result<bool, Error> {
        let name = self.name;
        self.queue.enable_notification(memory).map_err(|source| Error::Ring { name, source })
    }
}
