//! A connection from the host on which a volume is offered: look at it, take it or refuse it, and keep it up to date.
//!
//! Whether it may come at all is [`super::handover`]'s business.
//!
//! | the signer | the volume | |
//! | --- | --- | --- |
//! | has none, and holds anything or nothing | empty | it is made, with everything that the signer holds |
//! | has none, and holds nothing | has records | they are read, and checked against the root and the anchor |
//! | has none, and holds something | has records | refused |
//! | had one until the connection broke | the same, as it was left | goes on |
//! | had one | anything else | refused |

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use casemate_volume::layout::{LayoutError, digest};
use casemate_volume::message::{Changes, Record};
use casemate_volume::{
    Anchor, BATCH_BYTES, BATCH_RECORDS, FORMAT, Header, Name, RECORDS_MAX, Request, Response,
};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::signer::{Holdings, Signer};

use super::grant;
use super::handover::Awaited;
use super::host::Host;
use super::keys::VolumeKeys;
use super::ledger::Ledger;
use super::refusal::Refusal;
use super::root::Root;
use super::{Phase, records};

/// After so long, records that were not worth waiting for are written too.
const LAZINESS: Duration = Duration::from_secs(60);
/// How long the host may take to hear that its volume is detached.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves a connection on which the host offers a volume, for as long as it lasts.
pub async fn serve_volume<IO: AsyncRead + AsyncWrite + Unpin>(io: IO, signer: Rc<Signer>) {
    let mut host = Host::new(io);
    let claimed = signer.identity.borrow().claimed();
    let awaited = match signer.state.occupy(claimed) {
        Ok(awaited) => awaited,
        Err(refusal) => return refuse(&mut host, &refusal).await,
    };
    match attach(&mut host, &signer, awaited).await {
        Ok(mut ledger) => {
            signer.state.keys.replace(Some(Rc::clone(&ledger.keys)));
            signer.state.enter(Phase::Attached);
            let (records, counter) = (ledger.records(), ledger.counter());
            let end = match host.ask(&Request::Attached { records, counter }).await {
                Ok(_) => keep(&mut host, &signer, &mut ledger).await,
                Err(refusal) => End::Lost(refusal),
            };
            match end {
                End::Lost(refusal) => signer.state.leave(Some(ledger), &refusal),
                End::LetGo => {
                    drop(ledger);
                    signer.forget();
                    // Whoever keeps the file lets go of it. If they do not answer, that is their affair.
                    let _ = timeout(GOODBYE, host.ask(&Request::Detached)).await;
                    signer.begin_again();
                }
            }
        }
        Err((before, refusal)) => {
            signer.state.leave(before, &refusal);
            refuse(&mut host, &refusal).await;
        }
    }
}

/// Tells the host why. It may be gone.
async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<IO>, refusal: &Refusal) {
    let reason = refusal.to_string().chars().take(1000).collect();
    let _ = host.ask(&Request::Refused { reason }).await;
}

/// Why a connection on which a volume was used is over.
enum End {
    /// It broke.
    Lost(Refusal),
    /// The owner let the volume go, and everything is on it.
    LetGo,
}

/// What the host has.
struct Offer {
    header: Option<Vec<u8>>,
    root: Option<Vec<u8>>,
    anchor: Option<Anchor>,
}

/// The volume, once it is taken; or why it is not, and the volume that the signer keeps waiting for.
async fn attach<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
    awaited: Awaited,
) -> Result<Ledger, (Option<Ledger>, Refusal)> {
    let offer = offer(host).await;
    match awaited {
        Awaited::Own(mut ledger) => match offer.map(|offer| ledger.recognise(offer.root.as_deref())) {
            Ok(true) => Ok(ledger),
            Ok(false) => Err((Some(ledger), Refusal::NotTheSame)),
            Err(refusal) => Err((Some(ledger), refusal)),
        },
        Awaited::Permitted(permit) => {
            let offer = offer.and_then(|offer| permit.check(offer.header.as_deref()).map(|()| offer));
            let ledger = take(host, signer, offer.map_err(|refusal| (None, refusal))?).await?;
            permit.log(signer);
            Ok(ledger)
        }
        Awaited::Any => take(host, signer, offer.map_err(|refusal| (None, refusal))?).await,
    }
}

async fn offer<IO: AsyncRead + AsyncWrite + Unpin>(host: &mut Host<IO>) -> Result<Offer, Refusal> {
    match host.ask(&Request::Hello { format: FORMAT }).await? {
        Response::Volume { header, root, anchor } => {
            Ok(Offer { header: header.map(ByteBuf::into_vec), root: root.map(ByteBuf::into_vec), anchor })
        }
        _ => Err(Refusal::Host("an answer that does not fit the question")),
    }
}

/// Takes a volume for the first time.
async fn take<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
    offer: Offer,
) -> Result<Ledger, (Option<Ledger>, Refusal)> {
    match (offer.header, offer.root) {
        (None, None) => make(host, signer).await,
        (Some(header), Some(root)) => {
            let opened = open(signer, header, &root, offer.anchor).map_err(|refusal| (None, refusal))?;
            // A pristine signer holds a certificate and a log at most.
            let before = signer.exchange(Holdings::default());
            let mut ledger = match load(host, signer, opened).await {
                Ok(ledger) => ledger,
                Err(refusal) => {
                    signer.exchange(before);
                    return Err((None, refusal));
                }
            };
            if ledger.has_new_header()
                && let Err(refusal) = commit(host, signer, &mut ledger, &BTreeSet::new()).await
            {
                return Err((Some(ledger), refusal));
            }
            Ok(ledger)
        }
        (Some(_), None) => Err((None, Refusal::Root)),
        (None, Some(_)) => Err((None, Refusal::Header)),
    }
}

/// Makes a volume of everything that the signer holds.
async fn make<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
) -> Result<Ledger, (Option<Ledger>, Refusal)> {
    let new = || {
        let keys = VolumeKeys::generate()?;
        let sealed = signer.sealing_keys().ok_or(Refusal::NoSealingKey)?.wrap(keys.volume, &keys.key)?;
        let header = Header { format: FORMAT, volume: keys.volume, sealed, grant: None };
        Ok(Ledger::new(keys, header.to_bytes()))
    };
    let mut ledger = new().map_err(|refusal| (None, refusal))?;
    let names = records::names(signer).into_iter().collect();
    match commit(host, signer, &mut ledger, &names).await {
        Ok(()) => Ok(ledger),
        Err(refusal) if ledger.uncertain() => {
            signer.state.give_back(names);
            Err((Some(ledger), refusal))
        }
        Err(refusal) => Err((None, refusal)),
    }
}

/// Header and root: is it ours, and new enough?
fn open(signer: &Signer, header: Vec<u8>, root: &[u8], anchor: Option<Anchor>) -> Result<Ledger, Refusal> {
    if !records::pristine(signer) {
        return Err(Refusal::NotPristine);
    }
    let sealing = signer.sealing_keys().ok_or(Refusal::NoSealingKey)?;
    let parsed = Header::parse(&header).map_err(|error| match error {
        LayoutError::Damaged => Refusal::Header,
        LayoutError::Format(_) => Refusal::Format(error),
    })?;
    let (key, upgraded) = match sealing.unwrap(parsed.volume, &parsed.sealed) {
        Err(other @ Refusal::OtherGuest { .. }) => {
            let grant = parsed.grant.as_ref().ok_or(other)?;
            let key = grant::accept(&sealing, parsed.volume, grant)?;
            grant::check_proof(signer, &parsed, grant, None)?;
            (key, true)
        }
        key => (key?, false),
    };
    let keys = VolumeKeys::new(parsed.volume, key)?;
    let root = Root::open(&keys, root, &header)?;
    if let Some(anchor) = anchor {
        let (found, known) = (root.counter, anchor.counter);
        if found < known {
            return Err(Refusal::RolledBack { found, known });
        }
        if found == known && digest(&root.bytes) != anchor.root {
            return Err(Refusal::Forked(found));
        }
    }
    let header = match upgraded {
        // The volume is this guest's from the next commit on, and nobody else's.
        true => Header { sealed: sealing.wrap(keys.volume, &keys.key)?, grant: None, ..parsed }.to_bytes(),
        false => header,
    };
    Ok(Ledger::opened(keys, header, root))
}

/// Reads every record into the signer, and checks that they are those of the root.
async fn load<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
    mut ledger: Ledger,
) -> Result<Ledger, Refusal> {
    let mut after: Option<Name> = None;
    loop {
        let Response::Records { records, more } = host.ask(&Request::Page { after }).await? else {
            return Err(Refusal::Host("an answer that does not fit the question"));
        };
        if records.is_empty() && more {
            return Err(Refusal::Host("it promises records and sends none"));
        }
        for Record { name, value } in records {
            if after.is_some_and(|after| name <= after) {
                return Err(Refusal::Host("records are not in order"));
            }
            after = Some(name);
            if ledger.records() >= RECORDS_MAX {
                return Err(Refusal::Host("it has more records than a volume may have"));
            }
            let opened = ledger.keys.open_record(name, &value)?;
            if opened.version > ledger.counter() {
                return Err(Refusal::Replayed);
            }
            ledger.read(name, &value);
            records::restore(signer, &opened.name, &opened.content)
                .map_err(|fault| Refusal::Content { name: opened.name, fault })?;
        }
        if !more {
            ledger.check()?;
            return Ok(ledger);
        }
    }
}

/// Writes what changes, until the connection breaks or the owner lets the volume go.
async fn keep<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
    ledger: &mut Ledger,
) -> End {
    let state = &signer.state;
    loop {
        let due = tokio::time::sleep(LAZINESS);
        let waiting = !state.lazy.borrow().is_empty();
        if state.dirty.borrow().is_empty() && state.grant.borrow().is_none() && !state.leaving.get() {
            tokio::select! {
                () = state.wake.notified() => continue,
                () = due, if waiting => {}
                lost = host.closed() => return End::Lost(lost),
            }
        }
        // Before the names are taken: nothing is added to them once the volume is leaving.
        let leaving = state.leaving.get();
        let (touched, names) = state.take_dirty();
        state.place_grant(ledger);
        match commit(host, signer, ledger, &names).await {
            Ok(()) if leaving => return End::LetGo,
            Ok(()) => state.reached(touched),
            Err(refusal) => {
                state.give_back(names);
                return End::Lost(refusal);
            }
        }
    }
}

/// Commits the records of these names as they are now.
///
/// What does not fit in one message goes ahead in several, during which no operation runs: the records of a commit are
/// all of one moment.
async fn commit<IO: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<IO>,
    signer: &Signer,
    ledger: &mut Ledger,
    names: &BTreeSet<String>,
) -> Result<(), Refusal> {
    let mut draft = ledger.draft();
    let mut changes = Changes::default();
    let mut held = None;
    let mut weight = 0_usize;
    for name in names {
        match records::encode(signer, name)? {
            Some(content) => {
                let record = ledger.put(&mut draft, name, &content)?;
                weight = weight.saturating_add(record.weight());
                changes.puts.push(record);
            }
            None => changes.deletes.extend(ledger.delete(&mut draft, name)),
        }
        let count = changes.puts.len().saturating_add(changes.deletes.len());
        if weight >= BATCH_BYTES || count >= BATCH_RECORDS {
            held.get_or_insert_with(|| signer.state.hold());
            let batch = Request::Stage(std::mem::take(&mut changes));
            weight = 0;
            if host.ask(&batch).await? != Response::Staged {
                return Err(Refusal::Host("an answer that does not fit the question"));
            }
        }
    }
    drop(held);
    let expected = ledger.root().map(ByteBuf::from);
    let (root, header) = ledger.close(draft)?;
    let (root, header) = (ByteBuf::from(root), header.map(ByteBuf::from));
    match host.ask(&Request::Commit { expected, root, header, changes }).await? {
        Response::Committed => {
            ledger.confirmed();
            Ok(())
        }
        Response::Conflict => Err(Refusal::NotTheSame),
        _ => Err(Refusal::Host("an answer that does not fit the question")),
    }
}
