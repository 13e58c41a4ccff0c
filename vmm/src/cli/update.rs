//! `update`: another image in the place of the one that is served, with its state, its endpoint and its clients.
//!
//! ```text
//! old gateway   old signer        this process                  new signer
//!      │             │◄─ nonce? ────────┤                            │
//!      │             │                  ├─ launch, attest (nonce) ──►│   proves what it is, and ends again
//!      │             │◄─ GrantUpgrade ──┤                                it checks the document and the owner's update policy
//!      │◄── listener? ──────────────────┤                                from here on new connections wait
//!      ├─ requests on their way end ────┤
//!      └─ gone ────► ended              │
//!                                       ├─ launch with the volume ──►│   checks that the old one vouches for the grant
//!                                       ├═ is the gateway now ══════►│   connections that waited go on
//! ```
//!
//! Until the new image has written to the volume, the old one opens it still: if the new one does not start, the old one is
//! launched again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_client::field;
use serde_json::{Map, Value};

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::registry::{Guest, GuestRecord};
use super::run::{self, LaunchArgs};
use super::serve::{self, Served};
use super::state::{Image, statement};
use super::terminate;
use crate::gateway::{Gateway, handover};
use crate::stop::Stop;
use crate::volume::attachment::Attachment;

/// How long the old gateway may take: its last requests, and the end of its guest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of `update`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The running signer decides: it hands its state over if the new image is one that its owner's update policy admits (`casemate state
policy`: who signed it, and not older), or if --image-sha384 names it. Then this command is the endpoint's gateway, as `serve` is.")]
pub struct Args {
    /// The new image
    #[arg(long, visible_alias = "image", value_name = "FILE")]
    eif_path: PathBuf,
    /// The volume of the signer that runs [default: the one that is attached to it]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// PCR0 of the new image, from its owner: needed where there is no update policy
    #[arg(long, value_name = "PCR0")]
    image_sha384: Option<String>,
    /// Print JSON in place of the summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

/// Updates, and serves.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let old = args.signer.find()?;
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Failure::file("find", path, error));
    let new = absolute(&args.eif_path)?;
    let state = match &args.state {
        Some(file) => absolute(file)?,
        None => Attachment::of(&old.dir).map(|attachment| attachment.file).ok_or_else(|| {
            let message = format!("{} has no volume: there is no state to hand over", old.record.name);
            Failure::new(Code::InvalidArgument, message)
        })?,
    };
    if !state.is_file() {
        let message =
            format!("there is no volume {}: without one there is no state to hand over", state.display());
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let image = Image::parse(&new.to_string_lossy())?;
    if image.is_of(&old) {
        let message = format!("{} runs this very image already", old.record.name);
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    grant(args, &image)?;
    let (listeners, predecessor) = handover::take(&old.dir).map_err(|error| {
        let name = &old.record.name;
        Failure::plain(format!(
            "{name} is not served on this host ({error}): it has granted its volume; end it, then launch the new image with --state"
        ))
    })?;
    let held = Instant::now();
    let failed = |error: std::io::Error| Failure::plain(format!("cannot take the endpoint over: {error}"));
    // Signals are the gateway's from here on: what was begun is finished.
    let stop = Stop::new().map_err(failed)?;
    let gateway = Gateway::resume(listeners).map_err(failed)?;
    eprintln!("casemate: {} is held; requests on their way are finished first", gateway.address());
    if !predecessor.wait(PATIENCE).map_err(failed)? {
        eprintln!("casemate: the old gateway takes longer than {} s; ending its guest", PATIENCE.as_secs());
    }
    end(&old)?;
    let served = start(&old.record, &new, &state)?;
    eprintln!("casemate: the endpoint was held for {} ms", held.elapsed().as_millis());
    serve::serve(gateway, served, &stop, &[], args.json, None)
}

/// Has the signer grant its volume to the new image.
fn grant(args: &Args, image: &Image) -> Result<(), Failure> {
    // Before a second guest runs: the signer may be the one that needs no name.
    let mut signer = args.signer.signer()?;
    let answer = signer.operation("Casemate", "GetGrantNonce", &Value::Object(Map::new()))?;
    let document = statement(image, field(&answer, "GetGrantNonce", "Nonce")?)?;
    let mut request = Map::new();
    request.insert("Document".to_owned(), Value::String(document));
    request.insert("HandOver".to_owned(), Value::Bool(true));
    if let Some(pcr0) = &args.image_sha384 {
        request.insert("ImageSha384".to_owned(), Value::String(pcr0.clone()));
    }
    let granted = signer.operation("Casemate", "GrantUpgrade", &Value::Object(request))?;
    eprintln!(
        "casemate: the signer hands volume {} to version {}, PCR0 {}",
        field(&granted, "GrantUpgrade", "VolumeId")?,
        field(&granted, "GrantUpgrade", "ImageVersion")?,
        image.pcr0
    );
    Ok(())
}

/// Ends the old guest, if its gateway has not.
fn end(old: &Guest) -> Result<(), Failure> {
    match terminate::open_process(old)? {
        Some(_) => terminate::end(old.clone()),
        None => Ok(()),
    }
}

/// The new guest, with the state of the old; else the old again, and why.
fn start(old: &GuestRecord, new: &Path, state: &Path) -> Result<Served, Failure> {
    let launch = |image: &Path| {
        let launch = LaunchArgs::in_place_of(old, image, state);
        Served::launched(run::start(&launch, &launch.options()?, true)?)
    };
    launch(new).or_else(|failure| {
        eprintln!("casemate: the new image does not start: {failure}");
        eprintln!("casemate: launching the old one again ({})", old.image.display());
        launch(&old.image)
    })
}
