//! The KVM backend: one VM, one virtual CPU, four memory slots, nothing else.
//!
//! No interrupt controller, no timer, no IDT, no GDT: the virtual CPU starts in long mode at privilege level 3
//! and can never leave it, because there is nothing to enter. An exception finds no handler and shuts the
//! virtual CPU down.
//!
//! The start state, register by register (AMD64 APM volume 2; Intel SDM volume 3):
//!
//! | register | value | why |
//! | --- | --- | --- |
//! | CR0 | PE MP ET NE WP AM PG | protected mode with paging; no FPU emulation |
//! | CR4 | PAE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE | SSE and AVX usable; the guest sets its own thread pointer |
//! | EFER | LME LMA NXE | long mode, no-execute; **no SCE**: `syscall` is an invalid instruction |
//! | XCR0 | what the processor has of x87 SSE AVX AVX-512 | full-speed cryptography |
//! | CPUID | a short list of instruction sets ([`cpuid`]) | what a guest may use, and nothing else |
//! | CS | 0x33, code, DPL 3, L | CPL 3 |
//! | SS DS ES FS GS | 0x2b, data, DPL 3 | flat |
//! | TR | busy TSS, present, limit 0 | VM entry demands one; no I/O bitmap: `in`/`out` fault |
//! | RFLAGS | reserved bit 1 | IOPL 0, interrupts off |

mod cpuid;

use std::io;

use casemate_abi::{
    DATA_BASE, DOORBELL, Doorbell, IMAGE_BASE, PAGE_TABLES_BASE, PRIVATE_BASE, SCRUB_BASE, SHARED_BASE,
    SHARED_SIZE, STACK_BOTTOM, STACK_TOP,
};
use kvm_bindings::{
    KVM_MEM_READONLY, Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region,
    kvm_xcrs,
};
use kvm_ioctls::{IoEventAddress, Kvm, SyncReg, VcpuExit, VcpuFd, VmFd};
use vmm_sys_util::eventfd::EventFd;

use super::{Backend, Cpu, Error, Exit, Fault, SealedView};
use crate::memory::{self, PrivateMemory, SealedPrivateMemory, SharedMemory};
use crate::page_tables::PageTables;

const CR0: u64 = 0x8005_0033;
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18;
const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;
const RFLAGS: u64 = 0x2;
const MSR_IA32_TSC: u32 = 0x10;
/// Guest-physical address of the sealed image file.
pub const IMAGE_PHYSICAL: u64 = IMAGE_BASE;

const SLOT_TABLES: u32 = 0;
const SLOT_IMAGE: u32 = 1;
const SLOT_SHARED: u32 = 2;
const SLOT_PRIVATE: u32 = 3;

fn kvm(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |source| Error::Kvm { what, source }
}

/// A VM that is being put together. The order of the fields is the order in which they are dropped: the CPU and the
/// VM before the memory they refer to.
pub struct KvmBackend {
    cpu: VcpuFd,
    vm: VmFd,
    kvm: Kvm,
    private: PrivateMemory,
    kick: Option<EventFd>,
}

impl KvmBackend {
    /// A VM with private memory (of the best kind this kernel has, or ordinary if `anonymous`) and the shared region.
    pub fn new(len: u64, anonymous: bool, shared: &SharedMemory) -> Result<Self, Error> {
        let kvm = Kvm::new().map_err(Error::Open)?;
        let vm = kvm.create_vm().map_err(self::kvm("create a VM"))?;
        let private = if anonymous {
            PrivateMemory::anonymous(&vm, SLOT_PRIVATE, len)?
        } else {
            PrivateMemory::new(&vm, SLOT_PRIVATE, len)?
        };
        let region = kvm_userspace_memory_region {
            slot: SLOT_SHARED,
            flags: 0,
            guest_phys_addr: SHARED_BASE,
            memory_size: SHARED_SIZE,
            userspace_addr: shared.host_address(),
        };
        // SAFETY: the caller keeps `shared` alive as long as the VM (`Machine` owns both).
        unsafe { vm.set_user_memory_region(region) }.map_err(self::kvm("map the shared region"))?;
        let cpu = create_cpu(&vm)?;
        Ok(Self { cpu, vm, kvm, private, kick: None })
    }
}

impl Backend for KvmBackend {
    fn load(&mut self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.private.load(address, bytes)?)
    }

    fn start_at(&mut self, entry: u64, kick: &EventFd) -> Result<(), Error> {
        self.kick = Some(
            kick.try_clone()
                .map_err(|error| memory::Error::System { what: "copy an eventfd", source: error })?,
        );
        let regs = kvm_regs { rip: entry, rsp: STACK_TOP, rflags: RFLAGS, ..Default::default() };
        self.cpu.set_regs(&regs).map_err(kvm("set the start registers"))
    }

    fn time_stamp(&self) -> Result<(u64, u64), Error> {
        let entry = kvm_msr_entry { index: MSR_IA32_TSC, ..Default::default() };
        let mut msrs = Msrs::from_entries(&[entry]).map_err(|_| Error::Processor("time-stamp counter"))?;
        self.cpu.get_msrs(&mut msrs).map_err(kvm("read the clock"))?;
        let counter = msrs.as_slice().first().map_or(0, |entry| entry.data);
        let khz = self.cpu.get_tsc_khz().map_err(kvm("read the clock's frequency"))?;
        Ok((counter, u64::from(khz)))
    }

    fn map_sealed(&mut self, view: SealedView<'_>) -> Result<(), Error> {
        // What the guest sees of the files is in the page tables; here they are put into physical memory, whole.
        for (slot, file, address) in
            [(SLOT_TABLES, view.tables, PAGE_TABLES_BASE), (SLOT_IMAGE, view.image, IMAGE_PHYSICAL)]
        {
            let region = kvm_userspace_memory_region {
                slot,
                flags: KVM_MEM_READONLY,
                guest_phys_addr: address,
                memory_size: file.mapping().len() as u64,
                userspace_addr: file.mapping().host_address(),
            };
            // SAFETY: the mapping is read-only and outlives the VM (`Machine` owns both).
            unsafe { self.vm.set_user_memory_region(region) }.map_err(kvm("map the sealed image"))?;
        }
        Ok(())
    }

    fn seal(self: Box<Self>) -> Result<(Box<dyn Cpu>, SealedPrivateMemory), Error> {
        let Self { cpu, vm, kvm, private, kick } = *self;
        // The kernel itself signals the event when the guest notifies a virtqueue: no exit to this process. Last, because
        // a memory slot that is set after this waits milliseconds for the kernel's readers of the doorbell.
        let address = IoEventAddress::Mmio(DOORBELL);
        if let Some(kick) = &kick {
            for request in [Doorbell::VsockRx, Doorbell::VsockTx] {
                vm.register_ioevent(kick, &address, request.value(0))
                    .map_err(self::kvm("register the doorbell"))?;
            }
        }
        let private_len = private.len();
        let private = private.seal()?;
        // Without their descriptors nobody can add memory or CPUs; the virtual CPU keeps the VM alive.
        drop((vm, kvm));
        let start = cpu.get_sregs().map_err(self::kvm("read the start state"))?;
        Ok((Box::new(KvmCpu { cpu, start, private_end: PRIVATE_BASE + private_len }), private))
    }
}

/// Zeroes two ranges of 8-byte words, (RDI, RCX) and (R8, R9), then stores R11 to R10.
pub const SCRUB_CODE: [u8; 24] = [
    0x31, 0xc0, //             xor eax, eax
    0xfc, //                   cld
    0xf3, 0x48, 0xab, //       rep stosq
    0x4c, 0x89, 0xc7, //       mov rdi, r8
    0x4c, 0x89, 0xc9, //       mov rcx, r9
    0xf3, 0x48, 0xab, //       rep stosq
    0x4c, 0x89, 0xd7, //       mov rdi, r10
    0x4c, 0x89, 0xd8, //       mov rax, r11
    0x48, 0x89, 0x07, //       mov [rdi], rax
];

/// The virtual CPU, in its start state but for the entry point.
fn create_cpu(vm: &VmFd) -> Result<VcpuFd, Error> {
    let mut cpu = vm.create_vcpu(0).map_err(self::kvm("create a virtual CPU"))?;
    cpu.set_cpuid2(&cpuid::of_guests()?).map_err(self::kvm("set CPU features"))?;
    set_start_state(&cpu)?;
    set_xcr0(&cpu)?;
    start_kernel_threads(&mut cpu);
    Ok(cpu)
}

/// The first `KVM_RUN` of a VM makes a kernel thread for it (kvm-nx-lpage-recovery), which takes longer than the guest
/// needs to its own first line. This one comes early, beside other work, and comes back before it enters the guest.
fn start_kernel_threads(cpu: &mut VcpuFd) {
    cpu.set_kvm_immediate_exit(1);
    // EINTR; whatever else it is, the guest's own first run would meet it again and report it.
    let _ = cpu.run();
    cpu.set_kvm_immediate_exit(0);
}

fn set_start_state(cpu: &VcpuFd) -> Result<(), Error> {
    let mut sregs = cpu.get_sregs().map_err(kvm("read the start state"))?;
    let flat = |selector: u16, type_: u8, long: u8| kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 3,
        db: 1 - long,
        s: 1,
        l: long,
        g: 1,
        ..Default::default()
    };
    let data = flat(0x2b, 3, 0);
    let busy_tss = kvm_segment { type_: 11, present: 1, ..Default::default() };
    let unusable = kvm_segment { unusable: 1, ..Default::default() };
    sregs = kvm_sregs {
        cs: flat(0x33, 11, 1),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: busy_tss,
        ldt: unusable,
        gdt: Default::default(),
        idt: Default::default(),
        cr0: CR0,
        cr3: PageTables::ROOT,
        cr4: CR4,
        efer: EFER,
        ..sregs
    };
    cpu.set_sregs(&sregs).map_err(kvm("set the start state"))
}

fn set_xcr0(cpu: &VcpuFd) -> Result<(), Error> {
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    if let Some(xcr0) = xcrs.xcrs.first_mut() {
        xcr0.value = cpuid::xcr0();
    }
    cpu.set_xcrs(&xcrs).map_err(kvm("enable vector registers"))
}

/// The virtual CPU of a sealed guest.
pub struct KvmCpu {
    cpu: VcpuFd,
    start: kvm_sregs,
    private_end: u64,
}

impl Cpu for KvmCpu {
    /// Puts the CPU back into its start state at the scrub code. The registers go in through the `kvm_run` page
    /// (KVM_CAP_SYNC_REGS), because `KVM_RUN` is the only ioctl left; nothing is read out.
    fn scrub(&mut self, top: u64) -> io::Result<()> {
        let top = if top == 0 { self.private_end } else { top.clamp(DATA_BASE, self.private_end) };
        let registers = kvm_regs {
            rip: SCRUB_BASE,
            rflags: RFLAGS,
            rdi: STACK_BOTTOM,
            rcx: (STACK_TOP - STACK_BOTTOM) / 8,
            r8: DATA_BASE,
            r9: (top - DATA_BASE) / 8,
            r10: DOORBELL,
            r11: Doorbell::Exit.value(0),
            ..Default::default()
        };
        let sync = self.cpu.sync_regs_mut();
        sync.regs = registers;
        sync.sregs = self.start;
        self.cpu.set_sync_dirty_reg(SyncReg::Register);
        self.cpu.set_sync_dirty_reg(SyncReg::SystemRegister);
        loop {
            return match self.run()? {
                Exit::Doorbell(value) if value == Doorbell::Exit.value(0) => Ok(()),
                Exit::Interrupted => continue,
                other => Err(io::Error::other(format!("zeroing the guest's memory stopped at {other:?}"))),
            };
        }
    }

    fn run(&mut self) -> std::io::Result<Exit> {
        Ok(match self.cpu.run() {
            Ok(VcpuExit::MmioWrite(DOORBELL, data)) => match <[u8; 8]>::try_from(data) {
                Ok(bytes) => Exit::Doorbell(u64::from_le_bytes(bytes)),
                Err(_) => Exit::Fault(Fault::BadAccess(DOORBELL)),
            },
            Ok(VcpuExit::MmioWrite(address, _) | VcpuExit::MmioRead(address, _)) => {
                Exit::Fault(Fault::BadAccess(address))
            }
            Ok(VcpuExit::Shutdown | VcpuExit::Hlt) => Exit::Fault(Fault::Exception),
            Ok(VcpuExit::MemoryFault { .. }) => Exit::Fault(Fault::MemoryGone),
            Ok(VcpuExit::InternalError) => {
                Exit::Fault(Fault::Other("an instruction that KVM cannot emulate".into()))
            }
            Ok(VcpuExit::Intr) => Exit::Interrupted,
            Ok(other) => Exit::Fault(Fault::Other(format!("an unexpected exit ({other:?})"))),
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => Exit::Interrupted,
            Err(error) if error.errno() == libc::EFAULT => Exit::Fault(Fault::MemoryGone),
            Err(error) => return Err(error.into()),
        })
    }
}
