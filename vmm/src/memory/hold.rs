//! Keeping a file alive without keeping a descriptor that could be stolen.
//!
//! Somebody must hold a reference to the guest_memfd, or its memory is freed. A descriptor is such a
//! reference, but root can copy it out of this process (`pidfd_getfd`, `/proc/PID/fd`) and map the file. A file
//! *registered* with an io_uring is held by the ring and has no descriptor. The ring is created disabled, its
//! allow list of operations is left empty, and it is enabled with that list for good (io_uring_register(2),
//! IORING_REGISTER_RESTRICTIONS): nothing can be done through it, so having its descriptor is of no use.

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::IoUring;

/// A reference that keeps a file alive.
pub enum FileReference {
    /// In a ring that allows nothing: nobody can get the file back.
    Locked(Box<IoUring>),
    /// A descriptor, because io_uring is not available here: root can take a copy of it.
    Descriptor(OwnedFd),
}

impl std::fmt::Debug for FileReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Locked(_) => "Locked",
            Self::Descriptor(_) => "Descriptor",
        })
    }
}

/// A ring that is ready to take a file, made ahead: that takes longer than the rest.
pub struct Hold(Option<Box<IoUring>>);

impl Hold {
    /// Without a ring where io_uring is off.
    pub fn new() -> Self {
        let ring = IoUring::builder().setup_r_disabled().build(1);
        if let Err(error) = &ring {
            tracing::debug!(%error, "no io_uring, keeping the descriptor of the private memory");
        }
        Self(ring.ok().map(Box::new))
    }

    /// Moves `file` into the ring, which allows nothing from here on; keeps the descriptor where that cannot be done.
    pub fn lock_away(self, file: OwnedFd) -> FileReference {
        match self.0.map(|ring| restrict(ring, &file)) {
            Some(Ok(ring)) => FileReference::Locked(ring),
            Some(Err(error)) => {
                tracing::debug!(%error, "no restricted io_uring, keeping the descriptor of the private memory");
                FileReference::Descriptor(file)
            }
            None => FileReference::Descriptor(file),
        }
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Hold" } else { "Hold(without a ring)" })
    }
}

fn restrict(ring: Box<IoUring>, file: &OwnedFd) -> std::io::Result<Box<IoUring>> {
    let submitter = ring.submitter();
    submitter.register_files(&[file.as_raw_fd()])?;
    submitter.register_restrictions(&mut [])?;
    submitter.register_enable_rings()?;
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::FromRawFd;

    use io_uring::{opcode, types};

    use super::*;

    fn pipe() -> (std::fs::File, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        (reader.into(), writer)
    }

    /// Takes the file out of `ring`, as somebody who stole the ring's descriptor would.
    fn take(ring: &mut IoUring) -> i32 {
        let entry = opcode::FixedFdInstall::new(types::Fixed(0), 0).build();
        // SAFETY: the operation refers to no memory.
        unsafe { ring.submission().push(&entry) }.expect("push");
        if ring.submit_and_wait(1).is_err() {
            return -1;
        }
        ring.completion().next().map_or(-1, |entry| entry.result())
    }

    #[test]
    fn the_file_lives_and_cannot_be_taken_out() {
        let (mut reader, writer) = pipe();
        let FileReference::Locked(mut ring) = Hold::new().lock_away(writer) else {
            panic!("io_uring is not available here: this test covers nothing");
        };
        assert!(take(&mut ring) < 0, "the file came out of the restricted ring");
        assert!(ring.submitter().unregister_files().is_err());
        assert!(ring.submitter().register_files_update(0, &[-1]).is_err());
        // The write end is still open: the reader would block instead of reading the end of the file.
        rustix::io::ioctl_fionbio(&reader, true).expect("nonblocking");
        let error = reader.read(&mut [0; 1]).expect_err("the write end was closed");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        drop(ring);
    }

    #[test]
    fn the_same_attempt_succeeds_on_an_unrestricted_ring() {
        let (_reader, writer) = pipe();
        let mut ring = IoUring::new(1).expect("ring");
        ring.submitter().register_files(&[writer.as_raw_fd()]).expect("register");
        let fd = take(&mut ring);
        assert!(fd >= 0, "the control must be able to take the file");
        // SAFETY: the kernel just installed this descriptor for us.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}
