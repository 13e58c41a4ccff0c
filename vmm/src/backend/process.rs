//! The process backend: the same image in a child process, for machines without KVM. **It seals nothing.**
//!
//! The guest's segments are mapped at their addresses in a child; the doorbell's page is left unmapped, so that a store
//! to it faults, and the fault is caught by ptrace(2) and handled as the exit. The child may make no system call at all
//! (seccomp): like under KVM, a `syscall` instruction ends the guest. It dies with its tracer.
//!
//! What it does not do: keep root, or the user, from reading the guest's memory. Its PCRs are therefore zero, and
//! whoever chooses it is told so.

use std::arch::x86_64::_rdtsc;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use casemate_abi::{DATA_BASE, DOORBELL, PRIVATE_BASE, SHARED_BASE, SHARED_SIZE, STACK_BOTTOM, STACK_TOP};
use rustix::fs::MemfdFlags;
use vmm_sys_util::eventfd::EventFd;

use super::{Backend, Cpu, Error, Exit, Fault, SealedView};
use crate::memory::{self, Mapping, SealedPrivateMemory, SharedMemory};
use crate::page_tables::Access;

/// `mov [rdi], rax`: the one instruction that may ring the doorbell (see `casemate_abi::Doorbell`).
const DOORBELL_STORE: [u8; 3] = [0x48, 0x89, 0x07];
/// `HWCAP2_FSGSBASE` (asm/hwcap2.h): the kernel lets programs set the base of FS.
const HWCAP2_FSGSBASE: u64 = 1 << 1;
/// How long the time-stamp counter is watched to learn its frequency.
const CALIBRATION: Duration = Duration::from_millis(5);

/// One `mmap` that the child makes.
#[derive(Clone, Debug)]
struct Range {
    start: u64,
    len: u64,
    fd: i32,
    offset: u64,
    access: Access,
}

/// A child process that is being prepared.
pub struct ProcessBackend {
    private: OwnedFd,
    loading: Mapping,
    kept: Vec<OwnedFd>,
    ranges: Vec<Range>,
    text: Vec<(u64, Vec<u8>)>,
    entry: u64,
}

impl ProcessBackend {
    /// A guest with `len` bytes of (not so) private memory and the shared region.
    pub fn new(len: u64, shared: &SharedMemory) -> Result<Self, Error> {
        // SAFETY: getauxval takes a number and returns one.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
            return Err(Error::Processor("FSGSBASE"));
        }
        let system =
            |what| move |errno: rustix::io::Errno| memory::Error::System { what, source: errno.into() };
        let private = rustix::fs::memfd_create("casemate-private", MemfdFlags::CLOEXEC)
            .map_err(system("create a memfd"))?;
        rustix::fs::ftruncate(&private, len).map_err(system("size a memfd"))?;
        let size = usize::try_from(len).map_err(|_| Error::Processor("address space of that size"))?;
        let loading = Mapping::writable(private.as_fd(), 0, size)?;
        let shared = shared.file().ok_or(Error::Processor("shared region"))?;
        let shared = rustix::io::fcntl_dupfd_cloexec(shared, 0).map_err(system("copy a descriptor"))?;
        let range = |start, end, fd: BorrowedFd<'_>, offset| Range {
            start,
            len: end - start,
            fd: fd.as_raw_fd(),
            offset,
            access: Access::Write,
        };
        let ranges = vec![
            range(SHARED_BASE, SHARED_BASE + SHARED_SIZE, shared.as_fd(), 0),
            range(STACK_BOTTOM, STACK_TOP, private.as_fd(), STACK_BOTTOM - PRIVATE_BASE),
            range(DATA_BASE, PRIVATE_BASE + len, private.as_fd(), DATA_BASE - PRIVATE_BASE),
        ];
        Ok(Self { private, loading, kept: vec![shared], ranges, text: Vec::new(), entry: 0 })
    }
}

impl Backend for ProcessBackend {
    fn load(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.loading.write(address.wrapping_sub(PRIVATE_BASE) as usize, bytes)?)
    }

    fn start_at(&mut self, entry: u64, _kick: &EventFd) -> Result<(), Error> {
        self.entry = entry;
        Ok(())
    }

    fn time_stamp(&self) -> Result<(u64, u64), Error> {
        let (begin, start) = (tsc(), Instant::now());
        std::thread::sleep(CALIBRATION);
        let (end, elapsed) = (tsc(), start.elapsed());
        let khz = u128::from(end.saturating_sub(begin)) * 1_000_000 / elapsed.as_nanos().max(1);
        Ok((end, u64::try_from(khz).unwrap_or(u64::MAX)))
    }

    fn map_sealed(&mut self, view: SealedView<'_>) -> Result<(), Error> {
        for range in view.ranges {
            let file = if range.in_image { view.image } else { view.tables };
            let fd = rustix::io::fcntl_dupfd_cloexec(file, 0)
                .map_err(|errno| memory::Error::System { what: "copy a descriptor", source: errno.into() })?;
            let (start, len, offset) = (range.start, range.len, range.offset);
            self.ranges.push(Range { start, len, fd: fd.as_raw_fd(), offset, access: range.access });
            self.kept.push(fd);
            if range.access == Access::Execute {
                let bytes = file.bytes().get(offset as usize..(offset + len) as usize).unwrap_or_default();
                self.text.push((start, bytes.to_vec()));
            }
        }
        Ok(())
    }

    fn seal(self: Box<Self>) -> Result<(Box<dyn Cpu>, SealedPrivateMemory), Error> {
        let Self { private, mut kept, ranges, text, entry, .. } = *self;
        kept.push(private);
        Ok((Box::new(ProcessCpu { kept, ranges, text, entry, child: 0 }), SealedPrivateMemory::unsealed()))
    }
}

fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC; Linux does not forbid it.
    unsafe { _rdtsc() }
}

/// The child process, run step by step.
pub struct ProcessCpu {
    kept: Vec<OwnedFd>,
    ranges: Vec<Range>,
    text: Vec<(u64, Vec<u8>)>,
    entry: u64,
    child: libc::pid_t,
}

impl Cpu for ProcessCpu {
    /// Starts the child. ptrace(2) obeys only the thread that did.
    fn enter_thread(&mut self) -> io::Result<()> {
        let filter = no_system_calls();
        // SAFETY: the child of this fork makes only system calls, as `become_guest` promises; it uses no lock and no
        // allocator, which another thread of the parent might have held.
        let child = unsafe { libc::fork() };
        if child < 0 {
            return Err(io::Error::last_os_error());
        }
        if child == 0 {
            // SAFETY: this is the child, alone in its copy of the address space.
            unsafe { become_guest(&self.ranges, &filter) }
        }
        self.child = child;
        self.kept.clear();
        match self.wait()? {
            Stop::Signal(libc::SIGILL) => {}
            _ => {
                return Err(io::Error::other(
                    "the child process could not be prepared (is ptrace forbidden here?)",
                ));
            }
        }
        self.ptrace(libc::PTRACE_SETOPTIONS, 0, libc::PTRACE_O_EXITKILL as u64)?;
        let mut registers = self.registers()?;
        registers.rip = self.entry;
        registers.rsp = STACK_TOP;
        self.set_registers(&registers)
    }

    fn run(&mut self) -> io::Result<Exit> {
        self.ptrace(libc::PTRACE_CONT, 0, 0)?;
        match self.wait()? {
            Stop::Signal(libc::SIGSEGV) => self.fault(),
            Stop::Signal(libc::SIGILL | libc::SIGFPE | libc::SIGBUS | libc::SIGTRAP | libc::SIGSYS) => {
                Ok(Exit::Fault(Fault::Exception))
            }
            Stop::Signal(_) => Ok(Exit::Interrupted),
            Stop::Gone(libc::SIGSYS) => Ok(Exit::Fault(Fault::Exception)),
            Stop::Gone(signal) => {
                Ok(Exit::Fault(Fault::Other(format!("the child process ended (signal {signal})"))))
            }
        }
    }
}

enum Stop {
    Signal(i32),
    Gone(i32),
}

impl ProcessCpu {
    fn wait(&self) -> io::Result<Stop> {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        if unsafe { libc::waitpid(self.child, &raw mut status, libc::__WALL) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(if libc::WIFSTOPPED(status) {
            Stop::Signal(libc::WSTOPSIG(status))
        } else if libc::WIFSIGNALED(status) {
            Stop::Gone(libc::WTERMSIG(status))
        } else {
            Stop::Gone(0)
        })
    }

    /// A segmentation fault: the doorbell if it is its address and its instruction, else the end.
    fn fault(&mut self) -> io::Result<Exit> {
        // SAFETY: all-zero bytes are a valid siginfo_t; the kernel fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        self.ptrace(libc::PTRACE_GETSIGINFO, 0, &raw mut info as u64)?;
        // SAFETY: for SIGSEGV the kernel sets the address.
        let address = unsafe { info.si_addr() } as u64;
        let page = DOORBELL..DOORBELL + casemate_abi::PAGE_SIZE;
        if !page.contains(&address) {
            return Ok(Exit::Fault(Fault::Exception));
        }
        let mut registers = self.registers()?;
        if address != DOORBELL || registers.rdi != DOORBELL || !self.is_doorbell_store(registers.rip) {
            return Ok(Exit::Fault(Fault::BadAccess(address)));
        }
        registers.rip += DOORBELL_STORE.len() as u64;
        self.set_registers(&registers)?;
        Ok(Exit::Doorbell(registers.rax))
    }

    /// Looks into the sealed image, not into the child: its memory is nobody's business here either.
    fn is_doorbell_store(&self, address: u64) -> bool {
        self.text.iter().any(|(start, bytes)| {
            let offset = address.wrapping_sub(*start) as usize;
            offset.checked_add(3).and_then(|end| bytes.get(offset..end)) == Some(&DOORBELL_STORE)
        })
    }

    fn registers(&self) -> io::Result<libc::user_regs_struct> {
        // SAFETY: all-zero bytes are a valid user_regs_struct; the kernel fills it.
        let mut registers = unsafe { std::mem::zeroed() };
        self.ptrace(libc::PTRACE_GETREGS, 0, &raw mut registers as u64)?;
        Ok(registers)
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) -> io::Result<()> {
        self.ptrace(libc::PTRACE_SETREGS, 0, std::ptr::from_ref(registers) as u64)
    }

    fn ptrace(&self, request: libc::c_uint, address: u64, data: u64) -> io::Result<()> {
        // SAFETY: the requests used here take numbers, or a pointer to a structure of the request's type that the
        // caller holds.
        if unsafe { libc::ptrace(request, self.child, address, data) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for ProcessCpu {
    fn drop(&mut self) {
        if self.child > 0 {
            // SAFETY: kill takes numbers; the child has not been reaped before its end, so the number is still its own.
            unsafe { libc::kill(self.child, libc::SIGKILL) };
        }
    }
}

/// A BPF program that kills the process at any system call.
fn no_system_calls() -> [libc::sock_filter; 1] {
    [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_KILL_PROCESS,
    }]
}

/// Turns the calling process into a guest that waits for its first instruction. Makes system calls only.
///
/// # Safety
/// To be called in a child of fork, which has one thread and runs nothing else.
unsafe fn become_guest(ranges: &[Range], filter: &[libc::sock_filter]) -> ! {
    // SAFETY: every call takes numbers, or pointers to values that live until the end of the process. MAP_FIXED_NOREPLACE
    // never replaces a mapping that this code itself runs from.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for range in ranges {
            let protection = match range.access {
                Access::Execute => libc::PROT_READ | libc::PROT_EXEC,
                Access::Read => libc::PROT_READ,
                Access::Write => libc::PROT_READ | libc::PROT_WRITE,
            };
            let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
            let start = range.start as *mut libc::c_void;
            if libc::mmap(start, range.len as usize, protection, flags, range.fd, range.offset as i64)
                != start
            {
                libc::_exit(1);
            }
        }
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
        {
            libc::_exit(1);
        }
        // The tracer sees SIGILL, and sets the registers for the guest.
        std::arch::asm!("ud2", options(noreturn));
    }
}
