//! A place for the VMM's own secret: memory that no other process can read, with its own stack.
//!
//! The pages come from memfd_secret(2): they are taken out of the kernel's direct map, `/proc/PID/mem`,
//! process_vm_readv(2), ptrace and core dumps cannot reach them, and they are never swapped. The descriptor is
//! closed once they are mapped, so there is nothing to steal.
//!
//! A secret is only as safe as the copies that are made of it, and computing makes many, on the stack. So code that
//! touches the secret runs on a stack *inside* the secret pages ([`SecretMemory::run`]).
//!
//! ```text
//! start                                                          start + SIZE
//! | value (one page) |            stack, growing down             |
//! ```

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use super::{Error, Mapping};

/// Bytes in all. Signing with P-384 takes some 20 KiB of stack, ten times that in an unoptimised build.
const SIZE: usize = 512 << 10;
/// Bytes for the value.
const VALUE_SIZE: usize = 4096;

/// What the secret pages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// memfd_secret(2).
    MemfdSecret,
    /// Locked anonymous memory, on kernels without memfd_secret: root can read it.
    Anonymous,
}

/// Secret pages that hold one value of type `T`.
pub struct SecretMemory<T> {
    mapping: Mapping,
    kind: SecretKind,
    value: std::marker::PhantomData<T>,
}

impl<T: Send> SecretMemory<T> {
    /// Makes the value with `make`, which runs on the secret stack.
    pub fn new<E: From<Error>>(make: impl FnOnce() -> Result<T, E>) -> Result<Self, E> {
        const { assert!(size_of::<T>() <= VALUE_SIZE && align_of::<T>() <= VALUE_SIZE) };
        let (mapping, kind) = match secret_mapping() {
            Ok(mapping) => (mapping, SecretKind::MemfdSecret),
            Err(error) => {
                tracing::debug!(%error, "no memfd_secret, using locked memory");
                (locked_mapping()?, SecretKind::Anonymous)
            }
        };
        let place = mapping.host_address() as *mut T;
        on_stack_of(&mapping, || {
            let value = make()?;
            // SAFETY: the value's page is mapped, aligned, large enough (asserted above), and nothing else uses it.
            unsafe { place.write(value) };
            Ok::<(), E>(())
        })?;
        Ok(Self { mapping, kind, value: std::marker::PhantomData })
    }

    /// What the pages are made of.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// Runs `f` on the secret stack. What `f` returns leaves the secret memory: it must not be secret.
    pub fn run<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        let place = self.mapping.host_address() as *mut T;
        // SAFETY: `new` put a value there; `&mut self` makes this the only reference to it.
        on_stack_of(&self.mapping, || f(unsafe { &mut *place }))
    }
}

impl<T> Drop for SecretMemory<T> {
    fn drop(&mut self) {
        let place = self.mapping.host_address() as *mut T;
        on_stack_of(&self.mapping, || {
            // SAFETY: `new` put a value there and nothing uses it after this.
            unsafe { place.drop_in_place() };
        });
        // The stack holds copies that nobody dropped. The kernel itself erases secret pages when it takes them back
        // (secretmem_free_folio in mm/secretmem.c), and to write to those that were never used would first make them.
        if self.kind == SecretKind::MemfdSecret {
            return;
        }
        let zeros = [0; VALUE_SIZE];
        for offset in (0..SIZE).step_by(VALUE_SIZE) {
            let _ = self.mapping.write(offset, &zeros);
        }
    }
}

fn on_stack_of<R>(mapping: &Mapping, f: impl FnOnce() -> R) -> R {
    let base = (mapping.host_address() as usize + VALUE_SIZE) as *mut u8;
    // SAFETY: the range from `base` to the mapping's end is mapped writable memory that nothing else uses, page
    // aligned, and stays mapped during the call. A panic ends the process (release) or is caught here (tests), so
    // no unwinding crosses the switch.
    let outcome = unsafe {
        psm::on_stack(base, SIZE - VALUE_SIZE, || std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)))
    };
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn secret_mapping() -> Result<Mapping, Error> {
    // SAFETY: memfd_secret takes a flag word and returns a descriptor or -1; it touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Some(fd) = i32::try_from(fd).ok().filter(|fd| *fd >= 0) else {
        return Err(Error::System { what: "create a memfd_secret", source: std::io::Error::last_os_error() });
    };
    // SAFETY: the kernel just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::ftruncate(&fd, SIZE as u64).map_err(Error::system("size a memfd_secret"))?;
    Mapping::writable(fd.as_fd(), 0, SIZE)
}

fn locked_mapping() -> Result<Mapping, Error> {
    let mapping = Mapping::anonymous(SIZE)?;
    mapping.advise(rustix::mm::Advice::LinuxDontDump)?;
    mapping.lock()?;
    Ok(mapping)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_value_and_the_stack_are_unreadable_from_outside() {
        let mut secret = SecretMemory::new(|| Ok::<_, Error>([0x5a_u8; 64])).expect("secret memory");
        assert_eq!(
            secret.kind(),
            SecretKind::MemfdSecret,
            "memfd_secret is not available: this covers nothing"
        );
        let memory = File::open("/proc/self/mem").expect("mem");
        let mut byte = [0];
        let (value, local) = secret.run(|value| (value.as_ptr() as u64, &raw const byte as u64));
        assert!(memory.read_at(&mut byte, value).is_err());
        assert!(secret.run(|_| memory.read_at(&mut [0], (&raw const value) as u64)).is_ok(), "control");
        let on_stack = secret.run(|_| {
            let probe = 0_u8;
            memory.read_at(&mut [0], (&raw const probe) as u64).is_err()
        });
        assert!(on_stack, "the secret stack can be read");
        assert!(memory.read_at(&mut byte, local).is_ok(), "the scan works on ordinary memory");
        assert!(secret.run(|value| value.iter().all(|byte| *byte == 0x5a)));
    }
}
