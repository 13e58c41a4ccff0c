//! `casemate-control`: AWS CloudHSM's API (2017-04-28, JSON 1.1) for the HSMs of this host, for AWS's own clients.
//!
//! It is the host's operator: it creates and deletes HSMs, by the commands `casemate hsm create` and `delete`, and looks after the
//! backups in the store ([`casemate::cluster`]). It holds no key and sees no secret of a token: what it handles is sealed. It answers
//! whoever signs with the store's one access key, on a loopback address. `casemate hsm control` starts it, with the listening
//! socket as stdin.
//!
//! | to see | read |
//! | --- | --- |
//! | how a request becomes an operation | [`http`] |
//! | what a request must look like | [`model`]: the service's own model, as data |
//! | what operations do | [`operations`] |
//! | what may be wrong | [`fault`] |

mod fault;
mod http;
mod model;
mod operations;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use casemate::cluster::{Access, Store, now_ms};
use clap::Parser;

/// How often backups are looked at whose days may be over.
const PRUNE: Duration = Duration::from_secs(3600);

/// Serves AWS CloudHSM's API for the HSMs of this host. `casemate hsm control` starts it.
#[derive(Debug, Parser)]
#[command(name = "casemate-control", version)]
struct Args {
    /// The `casemate` that creates and deletes HSMs
    #[arg(long, value_name = "FILE")]
    casemate: PathBuf,
    /// The folder of clusters and backups
    #[arg(long, value_name = "DIRECTORY")]
    store: PathBuf,
    /// What its region is called
    #[arg(long, value_name = "REGION")]
    region: String,
    /// A further region and its store
    #[arg(long, value_name = "REGION=DIRECTORY")]
    other_region: Vec<String>,
    /// The image of HSMs in new clusters
    #[arg(long, value_name = "FILE")]
    eif_path: Option<PathBuf>,
}

/// What all requests share.
struct Control {
    casemate: PathBuf,
    image: Option<PathBuf>,
    access: Access,
    model: model::Model,
    regions: BTreeMap<String, Store>,
}

fn main() -> ExitCode {
    match Args::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-control: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        let listener = std::net::TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        let address =
            listener.local_addr().map_err(|_| "stdin is no socket: start it as `casemate hsm control`")?;
        if !address.ip().is_loopback() {
            return Err(format!("{address} can be reached from elsewhere").into());
        }
        listener.set_nonblocking(true)?;
        let control = Arc::new(self.control()?);
        println!("CloudHSM's API is at http://{address}, in {}", control.names());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::spawn(prune(Arc::clone(&control)));
            http::serve(tokio::net::TcpListener::from_std(listener)?, control).await
        })?;
        Ok(())
    }

    fn control(self) -> Result<Control, Box<dyn std::error::Error>> {
        let model = model::Model::load()?;
        let home = Store::at(&self.store)?;
        let access = Access::load(&home)?;
        let mut regions = BTreeMap::from([(self.region, home)]);
        for other in &self.other_region {
            let (name, dir) = other.split_once('=').ok_or("--other-region takes REGION=DIRECTORY")?;
            regions.insert(name.to_owned(), Store::at(dir.as_ref())?);
        }
        if let Some(bad) = regions.keys().find(|name| !model.fits("Region", name)) {
            return Err(format!("`{bad}` is no name of a region: us-east-1 is one").into());
        }
        Ok(Control { casemate: self.casemate, image: self.eif_path, access, model, regions })
    }
}

impl Control {
    fn names(&self) -> String {
        self.regions.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Deletes what has expired, for as long as the endpoint runs.
async fn prune(control: Arc<Control>) {
    loop {
        let control = Arc::clone(&control);
        let pruned = tokio::task::spawn_blocking(move || {
            for store in control.regions.values() {
                let pruned = store.lock().and_then(|lock| store.prune(&lock, now_ms()));
                match pruned {
                    Ok((expired, gone)) => {
                        expired.iter().for_each(|id| eprintln!("casemate-control: {id} has expired"));
                        gone.iter().for_each(|id| eprintln!("casemate-control: {id} is gone"));
                    }
                    Err(error) => eprintln!("casemate-control: {error}"),
                }
            }
        });
        let _ = pruned.await;
        tokio::time::sleep(PRUNE).await;
    }
}
