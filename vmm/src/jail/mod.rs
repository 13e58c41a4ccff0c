//! What the VMM gives up before the guest runs.
//!
//! In this order, because each step takes away what an earlier one needed: descriptors it did not open, resource limits,
//! its user and group (when started as root) and every capability, core dumps and being traced, the file system and the
//! network (landlock), and all but a handful of system calls (seccomp, per thread).

pub mod passive;
pub mod seccomp;
pub(crate) mod steps;

use std::os::unix::fs::chown;
use std::path::Path;

use landlock::{ABI, Access as _, AccessFs, PathFd, RulesetStatus, Scope};
use rustix::process::Resource;

pub use steps::Error;
use steps::failed;

/// Users for guests of a VMM that root started: one each, this plus the process identifier. Nobody is registered there.
const UID_BASE: u32 = 2_000_000_000;
/// Descriptors: 1023 connections (vsock), and what the VMM itself has open.
const OPEN_FILES: u64 = 1100;

/// Closes every descriptor that was open before this process opened its own: nothing of the caller's leaks in.
pub fn close_inherited() {
    // SAFETY: close_range with CLOEXEC unset closes descriptors from 3 on; it is called before this process has opened
    // any, so no owner of a descriptor exists that could be surprised.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Ends a process that is in the jail. The standard library's way out unmaps memory, which seccomp forbids.
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit takes a number and does not return; nothing is buffered (stderr never is, stdout was flushed before
    // the jail closed).
    unsafe { libc::_exit(i32::from(code)) }
}

/// What was reached, for the posture.
#[derive(Clone, Copy, Debug)]
pub struct Jailed {
    /// The landlock ABI in force; 0 where the kernel has none.
    pub landlock: u64,
}

/// The landlock ABI that this kernel offers and this VMM uses, 0 for none.
pub fn landlock_abi() -> u64 {
    // SAFETY: with no attributes and this flag the call only returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0,
            1, /* VERSION */
        )
    };
    u64::try_from(abi).unwrap_or(0)
}

/// Gives up everything that one process can give up for all its threads. `directory` is the guest's own, whose entries
/// stay removable through an open descriptor.
pub fn enter(directory: &Path) -> Result<Jailed, Error> {
    // Before the user changes: the directory above is closed to the guest's own user.
    let own = PathFd::new(directory)
        .map_err(|error| failed("open the guest's directory")(std::io::Error::other(error)))?;
    limit_resources()?;
    drop_privileges(directory)?;
    deny_inspection()?;
    let landlock = enter_landlock(own)?;
    Ok(Jailed { landlock })
}

fn limit_resources() -> Result<(), Error> {
    for (resource, limit) in [(Resource::Core, 0), (Resource::Nofile, OPEN_FILES)] {
        steps::limit(resource, limit).map_err(failed("limit the VMM's resources"))?;
    }
    Ok(())
}

/// Makes the C library's allocator grow by brk(2) only, in one arena: mmap(2) is not among the calls that remain. To be
/// called before there is a second thread.
pub fn keep_memory_on_brk() {
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_MAX, 0),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_TOP_PAD, 256 << 10),
    ] {
        // SAFETY: mallopt takes two numbers and changes only the allocator's parameters.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Unmaps the pages of code and constants that the launch needed: the running VMM needs few of them, and reads those
/// back from the page cache.
pub fn let_go_of_code() {
    // SAFETY: `unmap_unmodified` keeps to what dl_iterate_phdr(3) promises it.
    unsafe { libc::dl_iterate_phdr(Some(unmap_unmodified), std::ptr::null_mut()) };
}

/// Unmaps the segments of one program or library that are never written.
unsafe extern "C" fn unmap_unmodified(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes a valid description, with `dlpi_phnum` program headers and a name that ends in zero.
    let (base, headers, name) = unsafe {
        let object = &*object;
        let headers = std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum));
        (object.dlpi_addr, headers, std::ffi::CStr::from_ptr(object.dlpi_name))
    };
    // The program has no name here, a library a path; what has another name comes from no file.
    if !name.is_empty() && !name.to_bytes().starts_with(b"/") {
        return 0;
    }
    // What is relocated, even if it is read-only afterwards, has a segment that can be written.
    for header in
        headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
    {
        let start = base.saturating_add(header.p_vaddr);
        let first = start & !(casemate_abi::PAGE_SIZE - 1);
        let length = start.saturating_add(header.p_memsz).saturating_sub(first);
        // SAFETY: the pages are private, were never written and belong to a file: what is dropped is read again from
        // there at the next access.
        unsafe { libc::madvise(first as *mut libc::c_void, length as usize, libc::MADV_DONTNEED) };
    }
    0
}

fn drop_privileges(directory: &Path) -> Result<(), Error> {
    if rustix::process::geteuid().is_root() {
        let id = UID_BASE + std::process::id();
        for entry in std::fs::read_dir(directory).map_err(failed("list the guest's directory"))?.flatten() {
            chown(entry.path(), Some(id), Some(id)).map_err(failed("give the guest's files to its user"))?;
        }
        chown(directory, Some(id), Some(id)).map_err(failed("give the guest's directory to its user"))?;
        steps::become_user(id, id).map_err(failed("change to the guest's own user"))?;
    }
    steps::drop_capabilities().map_err(failed("drop capabilities"))
}

fn deny_inspection() -> Result<(), Error> {
    steps::deny_inspection().map_err(failed("forbid core dumps and tracing"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up new privileges"))
}

/// Denies every file and the network but removing the guest's own sockets.
fn enter_landlock(own: PathFd) -> Result<u64, Error> {
    let offered = landlock_abi();
    if offered == 0 {
        tracing::debug!("no landlock on this kernel");
        return Ok(0);
    }
    let allowed = [(own, AccessFs::RemoveFile.into())];
    let status =
        steps::enter_landlock(Scope::from_all(ABI::V6), allowed).map_err(failed("enter landlock"))?;
    Ok(if status == RulesetStatus::NotEnforced { 0 } else { offered })
}
