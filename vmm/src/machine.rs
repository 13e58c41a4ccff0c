//! A guest from nothing to running, as types: `Empty → Loaded → Measured → Sealed → Running`.
//!
//! Each stage has just the functions that make sense in it, and moving on consumes the stage before:
//!
//! | stage | what has happened | what can be done |
//! | --- | --- | --- |
//! | [`Empty`] | a VM with private and shared memory | load an image |
//! | [`Loaded`] | data copied in, page tables and boot page written and sealed | measure |
//! | [`Measured`] | PCR0–2 and PCR8 of the sealed bytes are known | seal |
//! | [`Sealed`] | private memory is out of reach for good, the VM's descriptor is closed | start |
//! | [`Running`] | the virtual CPU runs on a thread of its own | wait for its end |
//!
//! After `Sealed` no function exists that reads guest memory or registers, on any path.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use casemate_abi::{
    ABI_VERSION, BOOT_BASE, BOOT_DEBUG, BOOT_MAGIC, BOOT_SIZE, BootInfo, PAGE_SIZE, PAGE_TABLES_MAX,
    PRIVATE_BASE, PRIVATE_MAX, PRIVATE_MIN, SHARED_BASE, SHARED_SIZE, STACK_BOTTOM, STACK_TOP,
};
use vmm_sys_util::eventfd::EventFd;

use crate::backend::{self, Cpu, KvmCpu, KvmMemory};
use crate::image::{Image, Measuring};
use crate::memory::{self, PrivateMemory, SealedFile, SealedPrivateMemory, SharedMemory, UnsealedFile};
use crate::page_tables::{self, Access, PageTables};
use crate::vcpu::{Devices, End, Vcpu};
use casemate_attestation::pcr::ImageMeasurements;

/// Guest-physical address of the boot region: it follows the page tables in the same sealed file.
const BOOT_PHYSICAL: u64 = casemate_abi::PAGE_TABLES_BASE + PAGE_TABLES_MAX;
/// Guest-physical address of the sealed image file.
const IMAGE_PHYSICAL: u64 = casemate_abi::IMAGE_BASE;

/// What the user decides about a guest's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of private memory, [`PRIVATE_MIN`] to [`PRIVATE_MAX`].
    pub memory: u64,
    /// Debug mode: zero PCRs, and the guest's log reaches the console.
    pub debug: bool,
    /// The guest's vsock context identifier.
    pub cid: u64,
    /// Use ordinary memory even where the kernel has better: for comparisons and attack tests.
    pub anonymous_memory: bool,
}

/// Why a machine cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A memory size that no guest can have.
    #[error(
        "{0} bytes of memory: a guest has a whole number of pages from {PRIVATE_MIN} to {PRIVATE_MAX} bytes"
    )]
    MemorySize(u64),
    /// The image needs more memory than it is given.
    #[error("the image needs {needed} bytes of memory and is given {given}: ask for more with --memory")]
    TooSmall {
        /// Bytes that data and heap need at the least.
        needed: u64,
        /// Bytes of private memory.
        given: u64,
    },
    /// KVM refused a step.
    #[error(transparent)]
    Kvm(#[from] backend::kvm::Error),
    /// Memory could not be set up.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The image does not fit the memory map.
    #[error("cannot map the image: {0}")]
    Map(#[from] page_tables::Error),
    /// The image could not be measured.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// A thread or event could not be made.
    #[error("cannot start the virtual CPU: {0}")]
    System(#[from] std::io::Error),
}

/// A guest's machine in stage `S`.
pub struct Machine<S> {
    config: Config,
    stage: S,
}

/// Nothing loaded yet.
pub struct Empty {
    kvm: KvmMemory,
    private: PrivateMemory,
    shared: SharedMemory,
}

/// Image in memory.
pub struct Loaded {
    kvm: KvmMemory,
    parts: Parts,
    private: PrivateMemory,
    measuring: Measuring,
}

/// Image in memory, and its measurements known.
pub struct Measured {
    kvm: KvmMemory,
    parts: Parts,
    private: PrivateMemory,
    measurements: ImageMeasurements,
}

/// Ready to run; nobody can look in any more.
pub struct Sealed {
    parts: Parts,
    private: SealedPrivateMemory,
    measurements: ImageMeasurements,
}

/// What the virtual CPU needs to run. The order of the fields is the order in which they are dropped: the CPU
/// (and with it the VM) before the memory it refers to.
struct Parts {
    cpu: KvmCpu,
    shared: SharedMemory,
    _tables: SealedFile,
    _image: Arc<SealedFile>,
}

impl Parts {
    /// By value: a closure that used just some fields would drop the others, and the memory with them.
    fn run(mut self, vcpu: Vcpu) -> std::io::Result<End> {
        vcpu.run(&mut self.cpu as &mut dyn Cpu, &self.shared)
    }
}

impl<S> Machine<S> {
    /// What the user decided.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Machine<Empty> {
    /// A VM with memory and no content.
    pub fn new(config: Config) -> Result<Self, Error> {
        let size = config.memory;
        if !(PRIVATE_MIN..=PRIVATE_MAX).contains(&size) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(Error::MemorySize(size));
        }
        let kvm = KvmMemory::new()?;
        let private = kvm.private(size, config.anonymous_memory)?;
        let shared = SharedMemory::new()?;
        kvm.share(&shared)?;
        Ok(Self {
            config,
            stage: Empty { kvm, private, shared },
        })
    }

    /// The shared region, for the devices.
    pub fn shared(&self) -> &SharedMemory {
        &self.stage.shared
    }

    /// Copies the image's data into private memory and fixes the guest's view of memory for good. `kick` is
    /// signalled when the guest notifies a virtqueue.
    pub fn load(self, image: Image, kick: &EventFd) -> Result<Machine<Loaded>, Error> {
        let Empty { kvm, private, shared } = self.stage;
        let private_end = PRIVATE_BASE + self.config.memory;
        // Heap of at least 1 MiB: less would end in an allocation failure before main.
        let needed = image.elf().data_end + (1 << 20) - PRIVATE_BASE;
        if needed > self.config.memory {
            return Err(Error::TooSmall {
                needed,
                given: self.config.memory,
            });
        }
        for (address, bytes) in image.data() {
            private.load(address, bytes)?;
        }
        let cpu = kvm.cpu(image.elf().entry, kick)?;
        let (tsc_at_boot, tsc_khz) = cpu.time_stamp()?;
        let boot = BootInfo {
            magic: BOOT_MAGIC,
            abi_version: ABI_VERSION,
            flags: if self.config.debug { BOOT_DEBUG } else { 0 },
            heap_start: image.elf().data_end,
            heap_end: private_end,
            tsc_khz,
            tsc_at_boot,
            unix_ns: unix_ns(),
            cmdline_len: image.cmdline().len() as u64,
            guest_cid: self.config.cid,
        };
        let tables = sealed_tables(&image, private_end, &boot)?;
        let (file, measuring) = image.measure()?;
        kvm.map_sealed(tables.mapping(), file.mapping(), IMAGE_PHYSICAL)?;
        let parts = Parts {
            cpu,
            shared,
            _tables: tables,
            _image: file,
        };
        Ok(Machine {
            config: self.config,
            stage: Loaded {
                kvm,
                parts,
                private,
                measuring,
            },
        })
    }
}

/// Page tables and boot region in one sealed file.
fn sealed_tables(image: &Image, private_end: u64, boot: &BootInfo) -> Result<SealedFile, Error> {
    let mut tables = PageTables::default();
    tables.map(BOOT_BASE, BOOT_PHYSICAL, BOOT_SIZE, Access::Read)?;
    for segment in image
        .elf()
        .segments
        .iter()
        .filter(|segment| segment.access != Access::Write)
    {
        let physical = IMAGE_PHYSICAL + image.offset_in_file(segment);
        tables.map(segment.start, physical, segment.len, segment.access)?;
    }
    tables.map(SHARED_BASE, SHARED_BASE, SHARED_SIZE, Access::Write)?;
    tables.map(
        casemate_abi::DOORBELL,
        casemate_abi::DOORBELL,
        PAGE_SIZE,
        Access::Write,
    )?;
    tables.map(
        STACK_BOTTOM,
        STACK_BOTTOM,
        STACK_TOP - STACK_BOTTOM,
        Access::Write,
    )?;
    let data = casemate_abi::DATA_BASE;
    tables.map(data, data, private_end - data, Access::Write)?;
    let file = UnsealedFile::new("casemate-tables", PAGE_TABLES_MAX + BOOT_SIZE)?;
    file.write(0, &tables.to_bytes())?;
    file.write(PAGE_TABLES_MAX, &boot_bytes(boot))?;
    file.write(PAGE_TABLES_MAX + PAGE_SIZE, image.cmdline())?;
    Ok(file.seal()?)
}

fn boot_bytes(boot: &BootInfo) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<BootInfo>());
    bytes.extend(boot.magic.to_le_bytes());
    bytes.extend(boot.abi_version.to_le_bytes());
    bytes.extend(boot.flags.to_le_bytes());
    for word in [
        boot.heap_start,
        boot.heap_end,
        boot.tsc_khz,
        boot.tsc_at_boot,
        boot.unix_ns,
        boot.cmdline_len,
        boot.guest_cid,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    debug_assert_eq!(bytes.len(), size_of::<BootInfo>());
    bytes
}

fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Machine<Loaded> {
    /// Waits for the digests of the sealed image, which were computed beside the loading.
    pub fn measure(self) -> Result<Machine<Measured>, Error> {
        let Loaded {
            kvm,
            parts,
            private,
            measuring,
        } = self.stage;
        let measurements = measuring.wait()?;
        Ok(Machine {
            config: self.config,
            stage: Measured {
                kvm,
                parts,
                private,
                measurements,
            },
        })
    }
}

impl Machine<Measured> {
    /// Puts the private memory out of everybody's reach and lets go of the VM.
    pub fn seal(self) -> Result<Machine<Sealed>, Error> {
        let Measured {
            kvm,
            parts,
            private,
            measurements,
        } = self.stage;
        let private = private.seal()?;
        // Without its descriptor nobody can add memory or CPUs to the VM; the CPU keeps it alive.
        drop(kvm);
        Ok(Machine {
            config: self.config,
            stage: Sealed {
                parts,
                private,
                measurements,
            },
        })
    }
}

impl Machine<Sealed> {
    /// PCR0–2 and PCR8.
    pub fn measurements(&self) -> &ImageMeasurements {
        &self.stage.measurements
    }

    /// How the memory is sealed, for the posture.
    pub fn private(&self) -> &SealedPrivateMemory {
        &self.stage.private
    }

    /// Starts the virtual CPU on a thread of its own. `prepare` runs on that thread first (its seccomp filter).
    pub fn start(
        self,
        devices: Devices,
        prepare: impl FnOnce() -> std::io::Result<()> + Send + 'static,
    ) -> Result<Running, Error> {
        let Sealed { parts, private, .. } = self.stage;
        let vcpu = Vcpu::new(devices)?;
        let thread = std::thread::Builder::new().name("vcpu".into()).spawn(move || {
            prepare()?;
            parts.run(vcpu)
        })?;
        Ok(Running {
            thread,
            _private: private,
        })
    }
}

/// A guest that runs.
pub struct Running {
    thread: JoinHandle<std::io::Result<End>>,
    _private: SealedPrivateMemory,
}

impl Running {
    /// Whether the virtual CPU has stopped for good.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end and says what it was.
    pub fn wait(self) -> std::io::Result<End> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the virtual CPU's thread panicked")))
    }
}
