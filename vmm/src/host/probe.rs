//! One function for each fact. `None`: this kernel does not tell. Nothing is guessed and nothing is changed.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use kvm_bindings::{KVM_API_VERSION, KVM_CAP_GUEST_MEMFD, KVM_CAP_READONLY_MEM, KVM_CAP_USER_MEMORY2};
use rustix::io::Errno;
use rustix::thread::CoreSchedulingScope;

/// `KVM_CAP_GUEST_MEMFD_FLAGS` (linux/kvm.h, since 6.18): which flags KVM_CREATE_GUEST_MEMFD takes.
const KVM_CAP_GUEST_MEMFD_FLAGS: u32 = 244;

/// The beginning of a file, in one read: that is all of it, or a list whose first lines tell enough. A launch reads some
/// thirty of them.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let mut beginning = [0; 4096];
    let length = fs::File::open(path).and_then(|mut file| file.read(&mut beginning)).ok()?;
    let text = String::from_utf8_lossy(beginning.get(..length)?);
    Some(text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Kernel lockdown: `none`, `integrity` or `confidentiality`. A kernel that has securityfs but no such file has no
/// lockdown.
pub fn lockdown() -> Option<String> {
    match text("/sys/kernel/security/lockdown") {
        Some(modes) => {
            let (_, rest) = modes.split_once('[')?;
            rest.split_once(']').map(|(mode, _)| mode.to_owned())
        }
        // securityfs is mounted (it then lists the active modules) and lockdown is not among them.
        None => text("/sys/kernel/security/lsm").map(|_| "none".to_owned()),
    }
}

/// Yama's ptrace scope: 0 classic, 1 children, 2 administrators, 3 nobody.
pub fn yama_ptrace_scope() -> Option<u64> {
    number("/proc/sys/kernel/yama/ptrace_scope")
}

/// Whether loading another kernel (kexec) is off until the next boot. A kernel without kexec has no such file.
pub fn kexec_load_disabled() -> Option<bool> {
    number("/proc/sys/kernel/kexec_load_disabled").map(|value| value != 0)
}

/// Whether loading kernel modules is off until the next boot. A kernel without modules has no such file.
pub fn modules_disabled() -> Option<bool> {
    number("/proc/sys/kernel/modules_disabled").map(|value| value != 0)
}

/// Whether any swap is in use. The first line of the file is a heading.
pub fn swap() -> Option<bool> {
    text("/proc/swaps").map(|swaps| swaps.lines().count() > 1)
}

/// Whether kernel same-page merging runs.
pub fn ksm() -> Option<bool> {
    number("/sys/kernel/mm/ksm/run").map(|run| run == 1)
}

/// Whether a core runs several threads at once.
pub fn smt() -> Option<bool> {
    number("/sys/devices/system/cpu/smt/active").map(|active| active != 0)
}

/// Whether the host can write its memory to disk and switch off.
pub fn hibernation() -> Option<bool> {
    let states = text("/sys/power/state")?;
    Some(states.split_whitespace().any(|state| state == "disk"))
}

/// What the kernel says about each processor vulnerability that it knows: name and state, by name.
pub fn vulnerabilities() -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return Vec::new();
    };
    let mut list: Vec<(String, String)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name, text(entry.path())?))
        })
        .collect();
    list.sort_unstable();
    list
}

/// Whether a process may tie its threads to cores that it shares with nobody (prctl PR_SCHED_CORE).
pub fn core_scheduling() -> bool {
    let own = rustix::process::getpid();
    rustix::thread::core_scheduling_cookie(own, CoreSchedulingScope::Thread).is_ok()
}

/// What KVM says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kvm {
    /// Can regions be read-only to the guest?
    pub readonly_memory: bool,
    /// Can regions be backed by a guest_memfd?
    pub guest_memfd: bool,
    /// Which flags guest_memfd takes: 1 mappable, 2 shared from the start. Zero on kernels before 6.18.
    pub guest_memfd_flags: u64,
}

impl Kvm {
    /// Whether private memory can be loaded through a mapping and then be without one.
    pub fn seals_memory(&self) -> bool {
        self.guest_memfd && self.guest_memfd_flags & 3 == 3
    }
}

/// Why there is no KVM.
#[derive(Debug, thiserror::Error)]
pub enum NoKvm {
    /// No device.
    #[error("there is no /dev/kvm: no hardware virtualisation, or the kvm module is not loaded")]
    Absent,
    /// The user may not.
    #[error("this user may not open /dev/kvm: {owner}")]
    Forbidden {
        /// Who may.
        owner: String,
    },
    /// Something else.
    #[error("/dev/kvm: {0}")]
    Other(Errno),
}

/// Asks KVM what it can do.
pub fn kvm() -> Result<Kvm, NoKvm> {
    let device = kvm_ioctls::Kvm::new().map_err(|error| match Errno::from_raw_os_error(error.errno()) {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => NoKvm::Absent,
        Errno::ACCESS | Errno::PERM => NoKvm::Forbidden { owner: kvm_owner() },
        errno => NoKvm::Other(errno),
    })?;
    if u32::try_from(device.get_api_version()) != Ok(KVM_API_VERSION) {
        return Err(NoKvm::Other(Errno::NOSYS));
    }
    let capability = |number: u32| device.check_extension_raw(number.into()).max(0);
    Ok(Kvm {
        readonly_memory: capability(KVM_CAP_READONLY_MEM) > 0,
        guest_memfd: capability(KVM_CAP_GUEST_MEMFD) > 0 && capability(KVM_CAP_USER_MEMORY2) > 0,
        guest_memfd_flags: u64::try_from(capability(KVM_CAP_GUEST_MEMFD_FLAGS)).unwrap_or(0),
    })
}

fn kvm_owner() -> String {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata("/dev/kvm") {
        Ok(metadata) => format!(
            "it belongs to user {} and group {}, mode {:04o}",
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777
        ),
        Err(error) => error.to_string(),
    }
}

/// Whether an io_uring can be made that nobody can use: it keeps the sealed memory alive.
pub fn io_uring() -> Result<(), Errno> {
    let ring = io_uring::IoUring::<io_uring::squeue::Entry>::builder().setup_r_disabled().build(1);
    ring.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Whether pages can be taken out of the kernel's own map (memfd_secret): the attestation key lies there.
pub fn memfd_secret() -> bool {
    // SAFETY: memfd_secret takes a flag word by value and returns a descriptor or -1; no memory is touched.
    let result = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Ok(descriptor) = i32::try_from(result) else {
        return false;
    };
    if descriptor < 0 {
        return false;
    }
    // SAFETY: the kernel has just returned this descriptor, and nothing else in this process knows it.
    drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
    true
}

/// A TPM 2.0, by the device through which the kernel shares it.
pub fn tpm() -> Option<&'static str> {
    ["/dev/tpmrm0", "/dev/tpm0"].into_iter().find(|path| Path::new(path).exists())
}

/// Whether this host is itself a virtual machine (CPUID.1:ECX[31]).
pub fn is_virtual() -> bool {
    std::arch::x86_64::__cpuid(1).ecx & (1 << 31) != 0
}

/// Whether the processor has what guests draw randomness from (CPUID.1:ECX[30] RDRAND, CPUID.7.0:EBX[18] RDSEED).
pub fn hardware_random() -> (bool, bool) {
    let rdrand = std::arch::x86_64::__cpuid(1).ecx & (1 << 30) != 0;
    let rdseed = std::arch::x86_64::__cpuid_count(7, 0).ebx & (1 << 18) != 0;
    (rdrand, rdseed)
}

/// The kernel's release.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
