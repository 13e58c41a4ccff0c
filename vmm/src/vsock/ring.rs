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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use casemate_abi::{SHARED_BASE, SHARED_SIZE};

    use super::*;

    /// Each of the 65,536 values that an index can have, and beyond its overflow; at each, available indices so far ahead.
    ///
    /// A ring has buffers if the driver is ahead, and only then; what is more than a ring ahead is an error, which moves
    /// nothing; buffers come in the order in which they were offered.
    #[test]
    fn every_index_and_every_kind_of_distance() {
        let memory = Memory::from_ranges(&[(GuestAddress(SHARED_BASE), SHARED_SIZE as usize)]).unwrap();
        let size = shared::QUEUE_SIZE;
        let mut ring = Ring::new("rx", shared::RX_QUEUE, &memory).unwrap();
        let avail = GuestAddress(shared::RX_QUEUE + shared::AVAIL_OFFSET + 2);
        let used = GuestAddress(shared::RX_QUEUE + shared::USED_OFFSET + 2);
        for slot in 0..size {
            let entry = GuestAddress(avail.0 + 2 + 2 * u64::from(slot));
            memory.write_obj(slot, entry).unwrap();
        }
        for position in 0..=u32::from(u16::MAX) + 2 * u32::from(size) {
            let next = position as u16;
            for ahead in [0, 1, 2, size - 1, size, size + 1, 0x7fff, 0x8000, 0xffff] {
                memory.write_obj(next.wrapping_add(ahead), avail).unwrap();
                assert_eq!(ring.has_buffers(&memory), ahead != 0, "{next} + {ahead}");
                let popped = ring.pop(&memory).map(|chain| chain.map(|chain| chain.head_index()));
                match popped {
                    Ok(None) => assert_eq!(ahead, 0),
                    Ok(Some(head)) => {
                        assert!((1..=size).contains(&ahead), "{next} + {ahead}");
                        assert_eq!(head, next % size);
                        ring.undo_pop();
                    }
                    Err(error) => assert!(ahead > size, "{next} + {ahead}: {error}"),
                }
            }
            memory.write_obj(next.wrapping_add(1), avail).unwrap();
            let head = ring.pop(&memory).unwrap().unwrap().head_index();
            ring.put_used(&memory, head, 0).unwrap();
            assert_eq!(memory.read_obj::<u16>(used).unwrap(), next.wrapping_add(1));
        }
        // A buffer that does not exist cannot be returned.
        assert!(ring.put_used(&memory, size, 0).is_err());
    }
}
