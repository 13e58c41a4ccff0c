//! `volume attach` and `volume detach`: the guest decides, on its owner's behalf; the host starts the volume's service, or
//! waits for its end.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::serve;
use super::shelf::{ShelfArgs, attachments};
use crate::cli::access::SignerArgs;
use crate::cli::error::{Code, Failure};
use crate::cli::output::{print_json, print_line};
use crate::cli::registry::Guest;
use crate::volume::attachment::{Attachment, is_in_use};

/// How long the service of a detached volume may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `volume attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A guest with an owner takes a volume only if its owner says so (action casemate:AttachVolume), and then only an empty one: it
holds something already. A guest that nobody owns and that holds nothing takes any volume of its own image and platform,
and is its owner's from then on.")]
pub struct AttachArgs {
    /// The volume's name, or its file (with a `/`)
    #[arg(value_name = "NAME|FILE")]
    volume: String,
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

/// Flags of `volume detach`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The guest writes what has changed, and then erases everything that is on the volume: keys, identities, its log, its TLS
certificate. It is as a new one, and belongs to nobody. Its owner has to ask for it (action casemate:DetachVolume).")]
pub struct DetachArgs {
    /// The volume's name, or its file (with a `/`); needed unless --guest names the guest that has it
    #[arg(value_name = "NAME|FILE")]
    volume: Option<String>,
    #[command(flatten)]
    shelf: ShelfArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

fn refuse<T>(message: String) -> Result<T, Failure> {
    Err(Failure::new(Code::InvalidArgument, message))
}

/// Attaches a volume, and returns once the guest has it.
pub(super) fn attach(args: &AttachArgs) -> Result<(), Failure> {
    let volume = args.shelf.find(&args.volume)?;
    let guest = args.signer.find()?;
    let (name, all) = (&guest.record.name, attachments()?);
    let in_use = volume.is_in_use()?;
    match volume.holder(&all) {
        Some((holder, _)) if in_use => {
            return refuse(format!(
                "volume {0} is attached to {1}: `casemate volume detach {0}` first",
                volume.name, holder.record.name
            ));
        }
        Some((holder, _)) if holder.record.id != guest.record.id => {
            return refuse(format!(
                "{1} has volume {0}, though its service has died: attach it to {1} again, or terminate {1}",
                volume.name, holder.record.name
            ));
        }
        // The guest knows its own volume: nobody has to ask for it again.
        Some(_) => {}
        None if in_use => return refuse(format!("volume {} is in use by another process", volume.name)),
        None => {
            if let Some(other) = Attachment::of(&guest.dir) {
                return refuse(format!(
                    "{name} has the volume in {}: `casemate volume detach --guest {name}` first",
                    other.file.display()
                ));
            }
            let id = volume.header()?.map(|header| header.volume.to_string());
            let mut signer = args.signer.signer_of(&guest)?;
            signer.operation("Casemate", "AttachVolume", &json!({"VolumeId": id}))?;
        }
    }
    serve::start(&volume.file, &guest)?;
    let attached = Attachment::of(&guest.dir).unwrap_or_default();
    if args.json {
        return print_json(&json!({
            "Name": volume.name, "File": volume.file, "VolumeId": attached.volume, "AttachedTo": name,
            "SealedFor": attached.sealed_for, "Records": attached.records, "Commits": attached.commits,
        }));
    }
    print_line(&format!(
        "volume {} is attached to {name} ({} records, {} commits)",
        volume.name, attached.records, attached.commits
    ))
}

/// Detaches a volume, and returns once its file is free.
pub(super) fn detach(args: &DetachArgs) -> Result<(), Failure> {
    let (guest, attachment) = find(args)?;
    let name = &guest.record.name;
    let mut signer = args.signer.signer_of(&guest)?;
    signer.operation("Casemate", "DetachVolume", &json!({"VolumeId": attachment.volume}))?;
    wait_for_release(&attachment.file, attachment.pid)?;
    if args.json {
        return print_json(&json!({
            "File": attachment.file, "VolumeId": attachment.volume, "DetachedFrom": name,
        }));
    }
    print_line(&format!(
        "the volume in {} is detached from {name}, which keeps nothing of it",
        attachment.file.display()
    ))
}

/// The guest, and the volume that it has.
fn find(args: &DetachArgs) -> Result<(Guest, Attachment), Failure> {
    let Some(name) = &args.volume else {
        let guest = args.signer.find()?;
        return match Attachment::of(&guest.dir) {
            Some(attachment) => Ok((guest, attachment)),
            None => refuse(format!("{} has no volume", guest.record.name)),
        };
    };
    let volume = args.shelf.find(name)?;
    match volume.holder(&attachments()?) {
        Some(found) => Ok(found.clone()),
        None => refuse(format!("volume {name} is not attached to any guest that runs")),
    }
}

fn wait_for_release(file: &Path, service: u32) -> Result<(), Failure> {
    let start = Instant::now();
    while is_in_use(file).unwrap_or(false) {
        if start.elapsed() > PATIENCE {
            let message = format!(
                "the guest has let go of the volume, but its service (process {service}) has not ended: {} is still locked",
                file.display()
            );
            return Err(Failure::plain(message));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
