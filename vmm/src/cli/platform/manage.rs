//! Commands about the key itself: `init`, `describe`, `update`, `lock`, and the TPM service.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use casemate_attestation::platform::{KEY_FILE, PlatformKey, ROOT_FILE};
use casemate_attestation::statement::fingerprint;
use casemate_tpm::chip::{self, Chip, Wish};
use casemate_tpm::device;
use casemate_tpm::pcr::{self, Value, Values};
use serde_json::json;

use crate::cli::error::{Code, Failure};
use crate::cli::output::{print_json, print_line};
use crate::cli::registry::{now_ms, state_dir};
use crate::platform::{Role, service};

/// The program that this process runs (proc(5)).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Flags of `platform init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --tpm the key is made in the TPM, cannot leave it, and is used only while the boot registers hold what they hold now and
this VMM alone has been measured since the host's start. Without, it is a file that its owner protects.")]
pub struct InitArgs {
    /// Make it in this TPM: a device, or the socket of swtpm
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, default_missing_value = device::DEFAULT)]
    tpm: Option<PathBuf>,
    /// The boot registers that must keep their values
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "tpm", default_values_t = pcr::BOOT)]
    pcrs: Vec<u8>,
    /// The register for the VMM's measurement, which must be empty
    #[arg(long, value_name = "NUMBER", requires = "tpm", default_value_t = pcr::VMM)]
    vmm_pcr: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `platform describe`.
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Flags of `platform update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To be run with the VMM that has the key now. What is sealed under the platform's secret, volumes above all, can be opened by
the new VMM from then on and no longer by this one. The platform key itself cannot move: the new VMM has another, and so
another root certificate. Restart the host, then launch with the new one.")]
pub struct UpdateArgs {
    /// The program of the new VMM [default: this one]
    #[arg(long, value_name = "FILE")]
    vmm: Option<PathBuf>,
    /// A boot register that will hold another value; may be given several times
    #[arg(long, value_name = "PCR=SHA256", value_parser = register)]
    pcr: Vec<(u8, Value)>,
}

/// Flags of `platform serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long, value_name = "DIRECTORY")]
    folder: PathBuf,
}

/// A register and its value, as in `7=0123…`.
pub(super) fn register(text: &str) -> Result<(u8, Value), String> {
    let form = || "write NUMBER=VALUE, the value with 64 hexadecimal digits".to_owned();
    let (number, value) = text.split_once('=').ok_or_else(form)?;
    let number = number.parse().ok().filter(|number| *number < pcr::COUNT).ok_or_else(form)?;
    Ok((number, value.parse().map_err(|_| form())?))
}

/// The platform key's TPM.
pub(super) fn chip() -> Result<Chip, Failure> {
    let folder = state_dir();
    if !chip::is_in(&folder) {
        let message = format!(
            "the platform key of {} is not in a TPM: see `casemate platform describe`",
            folder.display()
        );
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    Ok(Chip::open(&folder)?)
}

pub(super) fn now() -> u64 {
    now_ms() / 1000
}

fn own_digest() -> Result<[u8; chip::DIGEST_LEN], Failure> {
    program_digest(Path::new(OWN_PROGRAM))
}

fn program_digest(path: &Path) -> Result<[u8; chip::DIGEST_LEN], Failure> {
    chip::measure_program(path).map_err(|error| Failure::file("read", path, error))
}

/// Makes the key.
pub(super) fn init(args: &InitArgs) -> Result<(), Failure> {
    let folder = state_dir();
    match &args.tpm {
        Some(device) => {
            let wish = Wish {
                device: device.clone(),
                registers: args.pcrs.clone(),
                vmm_register: args.vmm_pcr,
                vmm_sha384: own_digest()?,
            };
            Chip::init(&folder, &wish, now())?;
        }
        None if chip::is_in(&folder) => return Err(chip::Error::Exists(folder).into()),
        None if folder.join(KEY_FILE).exists() => return Err(chip::Error::Exists(folder).into()),
        None => {
            PlatformKey::load_or_create(&folder, now()).map_err(Failure::plain)?;
        }
    }
    describe(&DescribeArgs { json: args.json })
}

/// Says where the key is.
pub(super) fn describe(args: &DescribeArgs) -> Result<(), Failure> {
    let folder = state_dir();
    if chip::is_in(&folder) {
        return describe_chip(&Chip::open(&folder)?, args.json);
    }
    let key = folder.join(KEY_FILE);
    if !key.exists() {
        let message = "there is no platform key yet: `casemate platform init --tpm` makes one in a TPM; the first launch makes one in a file";
        return Err(Failure::plain(message));
    }
    let root = PlatformKey::load(&folder).map_err(Failure::plain)?.root().to_vec();
    if args.json {
        return print_json(&json!({
            "RootOfTrust": "file", "KeyFile": key, "RootCertificate": folder.join(ROOT_FILE), "RootSha256": fingerprint(&root),
        }));
    }
    print_line(&format!(
        "The platform key is a file (root_of_trust = file): whoever reads it can forge documents and open every volume.\n  \
        key               {}\n  root certificate  {}\n  its SHA-256       {}",
        key.display(),
        folder.join(ROOT_FILE).display(),
        fingerprint(&root)
    ))
}

fn describe_chip(chip: &Chip, json: bool) -> Result<(), Failure> {
    let difference = chip.difference()?;
    let vmm = hex::encode(chip.vmm_sha384());
    let same_vmm = own_digest()? == *chip.vmm_sha384();
    // After an update the next launch makes it.
    let root = chip.root().ok().map(|root| fingerprint(&root));
    if json {
        return print_json(&json!({
            "RootOfTrust": "tpm", "Device": chip.device(), "RootCertificate": state_dir().join(ROOT_FILE), "RootSha256": root,
            "VmmSha384": vmm, "VmmPcr": chip.vmm_register(), "ThisVmm": same_vmm, "Pcrs": chip.registers(),
            "Usable": same_vmm && difference.is_none(), "Difference": difference,
        }));
    }
    let mut text = format!(
        "The platform key is in the TPM {} (root_of_trust = tpm).\n  root certificate  {}\n  its SHA-256       {}\n  \
        VMM               SHA-384 {vmm} (PCR {}){}\n",
        chip.device().display(),
        state_dir().join(ROOT_FILE).display(),
        root.as_deref().unwrap_or("made at the next launch"),
        chip.vmm_register(),
        if same_vmm { "" } else { ": not this one" }
    );
    for (register, value) in chip.registers() {
        text.push_str(&format!("  PCR {register:<2}            {value}\n"));
    }
    text.push_str(&match difference {
        None => "  usable            now".to_owned(),
        Some(difference) => format!("  usable            not as it is: {difference}"),
    });
    print_line(&text)
}

/// Hands the secret on.
pub(super) fn update(args: &UpdateArgs) -> Result<(), Failure> {
    let chip = chip()?;
    let own = own_digest()?;
    let next = args.vmm.as_deref().map(program_digest).transpose()?.unwrap_or(own);
    let registers: Values = args.pcr.iter().copied().collect();
    if next == own && registers.is_empty() {
        let message =
            "nothing would change: name the new VMM (--vmm) or a register that will be another (--pcr)";
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    chip.admit(&own)?;
    chip.update(next, &registers)?;
    print_line(&format!(
        "the VMM with SHA-384 {} has the platform's secret once the host has been restarted; it will have a root certificate of its own",
        hex::encode(next)
    ))
}

/// Closes the key until the next start.
pub(super) fn lock() -> Result<(), Failure> {
    chip()?.lock()?;
    print_line("nothing more is launched on this host before it is restarted; what runs goes on")
}

/// Serves the process whose socket is this one's stdin.
pub(super) fn serve(args: &ServeArgs) -> Result<(), Failure> {
    crate::jail::close_inherited();
    // Ctrl-C is for whom it works.
    let _ = rustix::process::setsid();
    let socket = rustix::io::dup(rustix::stdio::stdin())
        .map_err(|error| Failure::plain(format!("the TPM service has no client: {error}")))?;
    service::run(UnixStream::from(socket), &args.folder, args.role, now()).map_err(Failure::plain)
}
