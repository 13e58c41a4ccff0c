//! The security module as a sealed guest. It ends by itself when no guest has needed it for a while.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use casemate_abi::port;
use casemate_attestation::pcr::{ImageMeasurements, Pcr};
use casemate_guest::nsm;
use casemate_guest::vsock::VsockListener;
use casemate_module::Module;
use tokio::task::{LocalSet, spawn_local};

/// How long it stays when it has no session.
const IDLE: Duration = Duration::from_secs(10);
/// What [`Module::prepare`] waits for: a launch has more to ask.
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match casemate_guest::block_on(LocalSet::new().run_until(serve())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("module: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let authority =
        casemate_guest::sealing_key().ok_or("launched without the secret of platform and module")?;
    let module = Module::new(authority, measurements()?);
    let mut listener = VsockListener::bind(port::MODULE)?;
    let sessions = Rc::new(Cell::new(0_usize));
    loop {
        let accepted = tokio::time::timeout(IDLE, listener.accept()).await;
        let Ok(accepted) = accepted else {
            if sessions.get() == 0 {
                return Ok(());
            }
            continue;
        };
        let (stream, _) = accepted?;
        let (module, sessions) = (Rc::clone(&module), Rc::clone(&sessions));
        spawn_local(async move {
            sessions.set(sessions.get().saturating_add(1));
            let ahead = Rc::clone(&module);
            spawn_local(async move {
                tokio::time::sleep(PAUSE).await;
                // Whoever needs a key and finds none makes one, and says so if that fails.
                let _ = ahead.prepare();
            });
            if let Err(error) = module.serve(stream).await {
                eprintln!("module: a session ended: {error}");
            }
            sessions.set(sessions.get().saturating_sub(1));
        });
    }
}

/// What this image measures, by its own VMM's word: if that is not true, nobody believes the module.
fn measurements() -> Result<ImageMeasurements, Box<dyn std::error::Error>> {
    let register = |index| -> Result<Pcr, Box<dyn std::error::Error>> {
        let value: [u8; casemate_attestation::pcr::LEN] =
            nsm::describe_pcr(index)?.value.try_into().map_err(|_| "a register of another length")?;
        Ok(Pcr::new(value))
    };
    let pcr8 = Some(register(8)?).filter(|pcr| !pcr.is_zero());
    Ok(ImageMeasurements { pcr0: register(0)?, pcr1: register(1)?, pcr2: register(2)?, pcr8 })
}
