//! Stealing the descriptors of another process: pidfd_getfd(2), `/proc/PID/fd`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use crate::process::{Haul, descriptors};

/// Where a file may have something to map: at its beginning, and the three rings of an io_uring.
const OFFSETS: [i64; 4] = [0, 0x800_0000, 0x1000_0000, 0x8000_0000];
/// How much to ask for where a file does not say how long it is: a guest's memory, the shared region, a page.
const LENGTHS: [usize; 5] = [64 << 20, 2 << 20, 12288, 4096, 4096];

/// A copy of a descriptor of another process.
pub fn steal(pid: i32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open and pidfd_getfd take numbers and return a new descriptor or an error.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if process < 0 {
            return Err(io::Error::last_os_error());
        }
        let process = OwnedFd::from_raw_fd(process as i32);
        let copy = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(copy as i32))
    }
}

/// Maps, reads and reopens every descriptor.
pub fn all(secret: &[u8], pid: i32) -> io::Result<Haul> {
    let mut haul = Haul::default();
    for (number, target) in descriptors(pid)? {
        let place = format!("descriptor {number} ({})", target.display());
        let stolen = match steal(pid, number) {
            Ok(stolen) => stolen,
            // A client's connection that has ended since the list was made.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{place}: {error}"))),
        };
        haul.add(mapped(secret, &stolen, &format!("{place}, mapped")));
        // An eventfd or signalfd holds a number, no memory; reading it would take a wake-up from the VMM.
        let name = target.to_string_lossy();
        if name.contains("eventfd") || name.contains("signalfd") {
            continue;
        }
        haul.add(read(secret, &File::from(stolen), &format!("{place}, read")));
        let reopened = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(format!("/proc/{pid}/fd/{number}"));
        if let Ok(file) = reopened {
            haul.add(read(secret, &file, &format!("{place}, reopened")));
            haul.add(mapped(secret, &file.into(), &format!("{place}, reopened and mapped")));
        }
    }
    Ok(haul)
}

fn read(secret: &[u8], file: &File, place: &str) -> Haul {
    let mut haul = Haul::default();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    // pread fails on pipes and sockets; files like /dev/zero would never end.
    while at < 256 << 20 {
        match file.read_at(&mut buffer, at) {
            Ok(got) if got > 0 => {
                haul.look(secret, place, &buffer[..got]);
                at += got as u64;
            }
            _ => break,
        }
    }
    haul
}

/// What can be read through a mapping of `fd`.
pub fn mapped(secret: &[u8], fd: &OwnedFd, place: &str) -> Haul {
    let mut haul = Haul::default();
    let size = rustix::fs::fstat(fd).map_or(0, |status| status.st_size);
    let size = usize::try_from(size).unwrap_or(0);
    for offset in OFFSETS {
        for length in std::iter::once(size).chain(LENGTHS).filter(|length| *length > 0) {
            let Some(bytes) = read_mapping(fd, length, offset) else {
                continue;
            };
            haul.look(secret, place, &bytes);
            break;
        }
    }
    haul
}

/// The bytes of a mapping of `fd`, as far as they can be read; `None` if it cannot be mapped.
fn read_mapping(fd: &OwnedFd, length: usize, offset: i64) -> Option<Vec<u8>> {
    // SAFETY: the kernel chooses an address where nothing is; what is there is only read by the kernel, below.
    let address = unsafe {
        let shared = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            offset,
        );
        if shared == libc::MAP_FAILED {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                fd.as_raw_fd(),
                offset,
            )
        } else {
            shared
        }
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    // Through the kernel: a page that is not there is an error then, not a signal.
    let mut bytes = vec![0; length];
    let memory = File::open("/proc/self/mem");
    let got = memory.and_then(|memory| memory.read_at(&mut bytes, address as u64)).unwrap_or(0);
    bytes.truncate(got);
    // SAFETY: the mapping made above, of which no reference exists.
    unsafe { libc::munmap(address, length) };
    Some(bytes)
}

/// Asks a stolen io_uring to hand out the file that is registered with it: what came out, or why nothing did.
pub fn take_from_ring(ring: &OwnedFd) -> io::Result<OwnedFd> {
    const SQ_TAIL: usize = 4;
    const CQ_TAIL: usize = 12;
    const CQES: usize = 64;
    const FIXED_FD_INSTALL: u8 = 54;
    const FIXED_FILE: u8 = 1;
    let map = |offset| {
        // SAFETY: the kernel chooses an address where nothing is.
        let address = unsafe {
            let flags = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 4096, flags, libc::MAP_SHARED, ring.as_raw_fd(), offset)
        };
        if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address.cast::<u8>()) }
    };
    let (rings, entries) = (map(0)?, map(0x1000_0000)?);
    // SAFETY: both are mapped pages of the ring (struct io_rings and the first submission entry, in the layout of Linux
    // 6.x), which the kernel reads and writes as plain numbers. io_uring_enter takes numbers.
    let result = unsafe {
        entries.write(FIXED_FD_INSTALL);
        entries.add(1).write(FIXED_FILE);
        entries.add(4).cast::<i32>().write(0);
        let tail = rings.add(SQ_TAIL).cast::<u32>();
        let before = rings.add(CQ_TAIL).cast::<u32>().read_volatile();
        tail.write_volatile(tail.read_volatile() + 1);
        let none = std::ptr::null::<libc::c_void>();
        if libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 1, 1, 1, none, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        if rings.add(CQ_TAIL).cast::<u32>().read_volatile() == before {
            return Err(io::Error::other("the ring did nothing"));
        }
        rings.add(CQES + 8).cast::<i32>().read_volatile()
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just installed this descriptor in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// What io_uring_register(2) with this operation says about a stolen ring.
pub fn register(ring: &OwnedFd, operation: u32) -> io::Result<()> {
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: without arguments the operations used here (unregistering) touch no memory.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, ring.as_raw_fd(), operation, none, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a KVM request says that is made on a stolen descriptor.
pub fn kvm(fd: &OwnedFd, request: u64) -> io::Result<()> {
    let mut argument = [0_u8; 8192];
    // SAFETY: the requests used here read or write at most 8192 bytes at their argument.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, argument.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
