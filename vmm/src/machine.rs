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
    ABI_VERSION, BOOT_BASE, BOOT_DEBUG, BOOT_MAGIC, BOOT_SIZE, BOOT_VOLUME, BootInfo, CHANNEL_KEY, DATA_BASE,
    DOORBELL, PAGE_SIZE, PAGE_TABLES_BASE, PAGE_TABLES_MAX, PRIVATE_BASE, PRIVATE_MAX, PRIVATE_MIN,
    SCRUB_BASE, SEALING_KEY, SEALING_KEY_LEN, SHARED_BASE, SHARED_SIZE, STACK_BOTTOM, STACK_TOP,
};
use casemate_attestation::pcr::ImageMeasurements;
use casemate_attestation::sealing::Sealing;
use vmm_sys_util::eventfd::EventFd;

use crate::backend::kvm::{IMAGE_PHYSICAL, SCRUB_CODE};
use crate::backend::{self, Backend, Cpu, SealedRange, SealedView};
use crate::beside;
use crate::image::{Image, Measurement};
use crate::memory::{self, SealedFile, SealedPrivateMemory, SharedMemory, UnsealedFile};
use crate::nsm::KEYS_LEN;
use crate::page_tables::{self, Access, PageTables};
use crate::vcpu::{Devices, End, Vcpu};

/// Where the scrub code lies in the file of page tables: behind the boot region.
const SCRUB_OFFSET: u64 = PAGE_TABLES_MAX + BOOT_SIZE;
/// Least heap in bytes: with less, a guest would run out of memory before `main`.
const HEAP_MIN: u64 = 1 << 20;

/// What the user decides about a guest's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of private memory, [`PRIVATE_MIN`] to [`PRIVATE_MAX`].
    pub memory: u64,
    /// Debug mode: zero PCRs, and the guest's log reaches the console.
    pub debug: bool,
    /// The guest's vsock context identifier.
    pub cid: u64,
    /// What runs the guest.
    pub backend: backend::Kind,
    /// Use ordinary memory even where the kernel has better: for comparisons and attack tests.
    pub anonymous_memory: bool,
    /// Tell the guest that a volume will be attached.
    pub volume: bool,
}

impl Config {
    /// Whether PCRs say what runs: not in debug mode, and not where nothing is sealed.
    pub fn shows_pcrs(&self) -> bool {
        !self.debug && self.backend == backend::Kind::Kvm
    }

    /// Which kind of sealing key the guest gets.
    pub fn sealing(&self) -> Sealing {
        match self.backend {
            backend::Kind::Process => Sealing::Process,
            backend::Kind::Kvm if self.debug => Sealing::Debug,
            backend::Kind::Kvm => Sealing::Production,
        }
    }
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
    /// The backend refused a step.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// Memory could not be set up.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The image does not fit the memory map.
    #[error("cannot map the image: {0}")]
    Map(#[from] page_tables::Error),
    /// What was measured is not what was loaded: a bug of the launch.
    #[error("the measurement belongs to another image than the one that was loaded")]
    OtherImage,
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
    backend: Box<dyn Backend>,
    shared: SharedMemory,
}

/// Image in memory.
pub struct Loaded {
    backend: Box<dyn Backend>,
    memory: Memory,
}

/// Image in memory, and its measurements known.
pub struct Measured {
    backend: Box<dyn Backend>,
    memory: Memory,
    measurements: ImageMeasurements,
}

/// Ready to run; nobody can look in any more.
pub struct Sealed {
    cpu: Box<dyn Cpu>,
    memory: Memory,
    private: SealedPrivateMemory,
    measurements: ImageMeasurements,
}

/// The memory that a backend refers to. In every stage it is declared, and so dropped, after the backend or CPU.
struct Memory {
    shared: SharedMemory,
    _tables: SealedFile,
    image: Arc<Image>,
}

impl<S> Machine<S> {
    /// What the user decided.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Machine<Empty> {
    /// A machine with memory and no content.
    pub fn new(config: Config) -> Result<Self, Error> {
        let size = config.memory;
        if !(PRIVATE_MIN..=PRIVATE_MAX).contains(&size) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(Error::MemorySize(size));
        }
        let shared = SharedMemory::new()?;
        let backend = backend::new(config.backend, size, config.anonymous_memory, &shared)?;
        Ok(Self { config, stage: Empty { backend, shared } })
    }

    /// The shared region, for the devices.
    pub fn shared(&self) -> &SharedMemory {
        &self.stage.shared
    }

    /// Copies the image's data into private memory and fixes the guest's view of memory for good. `kick` is
    /// signalled when the guest notifies a virtqueue.
    pub fn load(self, image: &Arc<Image>, kick: &EventFd) -> Result<Machine<Loaded>, Error> {
        let Empty { mut backend, shared } = self.stage;
        let needed = image.elf().data_end + HEAP_MIN - PRIVATE_BASE;
        if needed > self.config.memory {
            return Err(Error::TooSmall { needed, given: self.config.memory });
        }
        for (address, bytes) in image.data() {
            backend.load(address, bytes)?;
        }
        backend.start_at(image.elf().entry, kick)?;
        let boot = boot_info(&self.config, image, backend.time_stamp()?);
        let ranges = sealed_ranges(image);
        let tables = sealed_tables(&ranges, &boot, image.cmdline())?;
        backend.map_sealed(SealedView { tables: &tables, image: image.file(), ranges: &ranges })?;
        let memory = Memory { shared, _tables: tables, image: Arc::clone(image) };
        Ok(Machine { config: self.config, stage: Loaded { backend, memory } })
    }
}

fn boot_info(config: &Config, image: &Image, (tsc_at_boot, tsc_khz): (u64, u64)) -> BootInfo {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    BootInfo {
        magic: BOOT_MAGIC,
        abi_version: ABI_VERSION,
        flags: if config.debug { BOOT_DEBUG } else { 0 } | if config.volume { BOOT_VOLUME } else { 0 },
        heap_start: image.elf().data_end,
        heap_end: PRIVATE_BASE + config.memory,
        tsc_khz,
        tsc_at_boot,
        unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
        cmdline_len: image.cmdline().len() as u64,
        guest_cid: config.cid,
    }
}

/// What the guest sees of the sealed files: the boot region, the scrub code, text and read-only data.
fn sealed_ranges(image: &Image) -> Vec<SealedRange> {
    let boot = SealedRange {
        start: BOOT_BASE,
        len: BOOT_SIZE,
        in_image: false,
        offset: PAGE_TABLES_MAX,
        access: Access::Read,
    };
    let segments = image.elf().segments.iter().filter(|segment| segment.access != Access::Write);
    let segments = segments.map(|segment| SealedRange {
        start: segment.start,
        len: segment.len,
        in_image: true,
        offset: image.offset_in_file(segment),
        access: segment.access,
    });
    let scrub = SealedRange {
        start: SCRUB_BASE,
        len: PAGE_SIZE,
        in_image: false,
        offset: SCRUB_OFFSET,
        access: Access::Execute,
    };
    [boot, scrub].into_iter().chain(segments).collect()
}

/// Page tables and boot region in one sealed file.
fn sealed_tables(ranges: &[SealedRange], boot: &BootInfo, cmdline: &[u8]) -> Result<SealedFile, Error> {
    let mut tables = PageTables::default();
    for range in ranges {
        let file = if range.in_image { IMAGE_PHYSICAL } else { PAGE_TABLES_BASE };
        tables.map(range.start, file + range.offset, range.len, range.access)?;
    }
    for (start, end) in [
        (SHARED_BASE, SHARED_BASE + SHARED_SIZE),
        (DOORBELL, DOORBELL + PAGE_SIZE),
        (STACK_BOTTOM, STACK_TOP),
        (DATA_BASE, boot.heap_end),
    ] {
        tables.map(start, start, end - start, Access::Write)?;
    }
    let file = UnsealedFile::new("casemate-tables", SCRUB_OFFSET + PAGE_SIZE)?;
    file.write(0, &tables.to_bytes())?;
    file.write(PAGE_TABLES_MAX, &boot_bytes(boot))?;
    file.write(PAGE_TABLES_MAX + PAGE_SIZE, cmdline)?;
    file.write(SCRUB_OFFSET, &SCRUB_CODE)?;
    Ok(file.seal()?)
}

fn boot_bytes(boot: &BootInfo) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<BootInfo>());
    bytes.extend(boot.magic.to_le_bytes());
    bytes.extend(boot.abi_version.to_le_bytes());
    bytes.extend(boot.flags.to_le_bytes());
    let BootInfo { heap_start, heap_end, tsc_khz, tsc_at_boot, unix_ns, cmdline_len, guest_cid, .. } = *boot;
    for word in [heap_start, heap_end, tsc_khz, tsc_at_boot, unix_ns, cmdline_len, guest_cid] {
        bytes.extend(word.to_le_bytes());
    }
    debug_assert_eq!(bytes.len(), size_of::<BootInfo>());
    bytes
}

impl Machine<Loaded> {
    /// Takes note of what the loaded image measures.
    pub fn measured(self, measurement: &Measurement) -> Result<Machine<Measured>, Error> {
        let Loaded { backend, memory } = self.stage;
        if !measurement.is_of(&memory.image) {
            return Err(Error::OtherImage);
        }
        let measurements = *measurement.registers();
        Ok(Machine { config: self.config, stage: Measured { backend, memory, measurements } })
    }
}

const _: () = assert!(CHANNEL_KEY == SEALING_KEY + SEALING_KEY_LEN as u64);

impl Machine<Measured> {
    /// PCR0–2 and PCR8.
    pub fn measurements(&self) -> &ImageMeasurements {
        &self.stage.measurements
    }

    /// Puts the sealing key that belongs to these measurements, and the channel key behind it, into private memory. To be
    /// called on a stack in secret memory: the keys are copied to their place and nowhere else.
    pub fn put_keys(&mut self, keys: &[u8; KEYS_LEN]) -> Result<(), Error> {
        Ok(self.stage.backend.load(SEALING_KEY, keys)?)
    }

    /// Puts the private memory out of everybody's reach and lets go of the VM.
    pub fn seal(self) -> Result<Machine<Sealed>, Error> {
        let Measured { backend, memory, measurements } = self.stage;
        let (cpu, private) = backend.seal()?;
        Ok(Machine { config: self.config, stage: Sealed { cpu, memory, private, measurements } })
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
        let Sealed { cpu, memory, private, .. } = self.stage;
        let vcpu = Vcpu::new(devices)?;
        let thread = beside::spawn("vcpu", move || run(cpu, memory, vcpu, prepare))?;
        Ok(Running { thread, _private: private })
    }
}

/// What the virtual CPU's thread does. Takes the memory by value, whole, to keep it for as long as the CPU runs.
fn run(
    mut cpu: Box<dyn Cpu>,
    memory: Memory,
    vcpu: Vcpu,
    prepare: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<End> {
    match cpu.enter_thread().and_then(|()| prepare()) {
        Ok(()) => vcpu.run(cpu.as_mut(), &memory.shared),
        Err(error) => Ok(vcpu.fail(&error)),
    }
}

/// A guest that runs.
pub struct Running {
    thread: JoinHandle<std::io::Result<End>>,
    _private: SealedPrivateMemory,
}

impl Running {
    /// Waits for the end and says what it was.
    pub fn wait(self) -> std::io::Result<End> {
        self.thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the virtual CPU's thread panicked")))
    }
}
