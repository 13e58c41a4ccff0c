//! What survives a restart: records with names, written to a volume where one is attached.
//!
//! Whoever changes something that must survive names its record with [`State::touch`]; the door runs an operation through
//! [`Signer::durably`], which answers only once what the operation touched is on the disk. Records that have been touched
//! meanwhile go together in one commit.
//!
//! Start reading at [`attach`]: a volume comes as a connection that the host opens. What the host gets to see is in
//! [`keys`], what it cannot change unnoticed in [`root`] and [`ledger`]; when a volume may come and go in [`handover`].
//!
//! What it promises: nothing that was acknowledged is lost as long as the volume's file is not; what the file says is
//! believed only if this signer, or another of the same measurement on the same platform, wrote it, whole, and
//! last as far as the anchor knows. What it does not: an anchor is the host's word.

mod attach;
mod backup;
pub(crate) mod grant;
mod handover;
mod host;
mod keys;
mod ledger;
mod records;
mod refusal;
mod root;
pub(crate) mod update;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use casemate_volume::layout::Grant;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::audit;
use crate::errors::{ErrorKind, KmsError};
use crate::platform::Platform;
use crate::signer::Signer;

use handover::Permit;
use keys::{SealingKeys, Secret, VolumeKeys};
use ledger::Ledger;
use refusal::Refusal;

pub use attach::serve_volume;
pub(crate) use backup::BackupKey;
pub(crate) use handover::Life;

/// How long a request waits for the volume.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it stands with the volume.
enum Phase {
    /// There is none, and nothing survives.
    Without,
    /// One will come, says the host, and nothing happens before; why the last one was refused.
    Expected(Option<String>),
    /// One is being read or made.
    Loading,
    /// What changes is written.
    Attached,
    /// Its connection broke: nothing can change until it is back.
    Lost(String),
}

/// The records that have changed since they were last written, and who waits for that.
pub(crate) struct State {
    sealing: Option<Secret>,
    /// Whether the host said at the launch that a volume would come, and it has not been detached.
    expected: Cell<bool>,
    phase: RefCell<Phase>,
    /// The volume, while it is not connected.
    ledger: RefCell<Option<Ledger>>,
    /// The volume's keys, once the signer has one.
    keys: RefCell<Option<Rc<VolumeKeys>>>,
    /// A grant that the next commit brings.
    grant: RefCell<Option<Grant>>,
    /// The nonce that a document must have for a grant, and since when.
    challenge: Cell<Option<(grant::Nonce, SystemTime)>>,
    /// Until when each answer ends its connection, because another guest is about to take over.
    handing_over: Cell<Option<SystemTime>>,
    /// Whether a connection is being served.
    occupied: Cell<bool>,
    /// Whether operations wait for a large commit.
    held: Cell<bool>,
    /// What the owner let in.
    permit: RefCell<Option<Permit>>,
    /// Whether the owner lets the volume go: operations wait until it has gone.
    leaving: Cell<bool>,
    life: Cell<Life>,
    /// A life is over.
    over: Notify,
    dirty: RefCell<BTreeSet<String>>,
    /// Changed, and not worth a commit of their own.
    lazy: RefCell<BTreeSet<String>>,
    /// How often something was touched, and how much of that is durable.
    touched: Cell<u64>,
    durable: Cell<u64>,
    /// Something was touched.
    wake: Notify,
    /// Anything else has changed.
    changed: Notify,
}

/// What had been touched before an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// Operations wait until this is dropped.
struct Hold<'a>(&'a State);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.0.changed.notify_waiters();
    }
}

impl State {
    /// The state of a signer on this platform.
    pub(crate) fn new(platform: &dyn Platform) -> Self {
        let expected = platform.awaits_volume();
        let phase = if expected { Phase::Expected(None) } else { Phase::Without };
        Self {
            sealing: platform.sealing_key(),
            expected: Cell::new(expected),
            phase: RefCell::new(phase),
            ledger: RefCell::default(),
            keys: RefCell::default(),
            grant: RefCell::default(),
            challenge: Cell::default(),
            handing_over: Cell::default(),
            occupied: Cell::new(false),
            held: Cell::new(false),
            permit: RefCell::default(),
            leaving: Cell::new(false),
            life: Cell::default(),
            over: Notify::new(),
            dirty: RefCell::default(),
            lazy: RefCell::default(),
            touched: Cell::new(0),
            durable: Cell::new(0),
            wake: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// The record of that name has changed, is new, or is gone.
    pub(crate) fn touch(&self, name: impl Into<String>) {
        self.touched.set(self.touched.get().saturating_add(1));
        if !matches!(&*self.phase.borrow(), Phase::Without) {
            self.dirty.borrow_mut().insert(name.into());
            self.wake.notify_one();
        }
    }

    /// The same for a change that need not be durable when the request is answered: it is written with the next commit,
    /// or in a minute.
    pub(crate) fn touch_lazily(&self, name: impl Into<String>) {
        if !matches!(&*self.phase.borrow(), Phase::Without) {
            let mut lazy = self.lazy.borrow_mut();
            let first = lazy.is_empty();
            lazy.insert(name.into());
            if first {
                self.wake.notify_one();
            }
        }
    }

    /// How it stands with the volume, in a word.
    pub(crate) fn status(&self) -> &'static str {
        match &*self.phase.borrow() {
            Phase::Without => "none",
            Phase::Expected(_) => "expected",
            Phase::Loading => "loading",
            Phase::Attached => "attached",
            Phase::Lost(_) => "lost",
        }
    }

    /// Whether everything is here that there is, and may change now.
    pub(crate) fn is_open(&self) -> bool {
        !self.held.get()
            && !self.leaving.get()
            && !matches!(&*self.phase.borrow(), Phase::Expected(_) | Phase::Loading)
    }

    /// Waits while a volume is expected or read: before that nobody knows whose signer this is.
    pub(crate) async fn open(&self) -> Result<(), KmsError> {
        let opened = timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                if self.is_open() {
                    return;
                }
                changed.await;
            }
        });
        opened.await.map_err(|_| match &*self.phase.borrow() {
            Phase::Expected(Some(reason)) => unavailable(&format!(
                "The signer waits for its volume: the one that was offered was refused: {reason}."
            )),
            Phase::Expected(None) => {
                unavailable("The signer waits for its volume, which nobody has attached yet.")
            }
            _ => unavailable("The signer is busy with its volume."),
        })
    }

    /// Refuses what could change something while that could not be kept.
    fn admit(&self, operation: &str) -> Result<(), KmsError> {
        match &*self.phase.borrow() {
            Phase::Lost(reason) if !only_reads(operation) => Err(lost(reason)),
            _ => Ok(()),
        }
    }

    /// What has been touched so far.
    fn mark(&self) -> Mark {
        Mark(self.touched.get())
    }

    /// Returns once everything is durable that was touched since then; at once if there is nothing, or no volume.
    async fn settled(&self, since: Mark) -> Result<(), KmsError> {
        let target = self.touched.get();
        if target == since.0 {
            return Ok(());
        }
        let durable = timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                if self.durable.get() >= target {
                    return Ok(());
                }
                match &*self.phase.borrow() {
                    Phase::Without => return Ok(()),
                    Phase::Lost(reason) => return Err(lost(reason)),
                    Phase::Expected(_) | Phase::Loading | Phase::Attached => {}
                }
                changed.await;
            }
        });
        durable.await.unwrap_or_else(|_| Err(unavailable("The volume has not confirmed the change in time.")))
    }

    fn enter(&self, phase: Phase) {
        self.phase.replace(phase);
        self.changed.notify_waiters();
    }

    /// The volume's connection broke, or the volume that was offered was not taken.
    fn leave(&self, before: Option<Ledger>, refusal: &Refusal) {
        let phase = match &before {
            Some(_) => Phase::Lost(refusal.to_string()),
            None if self.expected.get() => Phase::Expected(Some(refusal.to_string())),
            None => Phase::Without,
        };
        if before.is_none() {
            self.dirty.borrow_mut().clear();
            self.lazy.borrow_mut().clear();
        }
        self.ledger.replace(before);
        self.leaving.set(false);
        self.occupied.set(false);
        self.enter(phase);
    }

    fn hold(&self) -> Hold<'_> {
        self.held.set(true);
        Hold(self)
    }

    /// Everything that has to be written.
    fn take_dirty(&self) -> (u64, BTreeSet<String>) {
        let mut names = self.dirty.take();
        names.append(&mut self.lazy.borrow_mut());
        (self.touched.get(), names)
    }

    /// It was not written after all.
    fn give_back(&self, mut names: BTreeSet<String>) {
        self.dirty.borrow_mut().append(&mut names);
    }

    /// Everything is durable that was touched up to there.
    fn reached(&self, touched: u64) {
        self.durable.set(touched);
        self.changed.notify_waiters();
    }
}

impl Signer {
    /// The keys that follow from the sealing key, if there is one.
    fn sealing_keys(&self) -> Option<SealingKeys> {
        Some(SealingKeys::new(self.state.sealing.as_ref()?, self.platform.measurement()))
    }

    /// Runs an operation such that what it changes is durable when this returns. Whose request it is has to be found out in
    /// `run`: before the volume is there, nobody knows whose signer this is. A request that came in another life is refused.
    pub(crate) async fn durably<T, E: From<KmsError>>(
        &self,
        life: Life,
        operation: &str,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.state.open_in(life).await?;
        self.state.admit(operation)?;
        // What is overdue is not this request's to wait for.
        self.expire();
        let mark = self.state.mark();
        let answer = run();
        self.state.settled(mark).await?;
        answer
    }
}

/// Whether an operation leaves everything as it is. One that is not known is not believed to.
fn only_reads(operation: &str) -> bool {
    let name = operation.rsplit_once('.').map_or(operation, |(_, name)| name);
    audit::read_only(name) || ["Assume", "Read"].iter().any(|verb| name.starts_with(verb))
}

fn lost(reason: &str) -> KmsError {
    let message = format!(
        "The signer's volume is not connected ({reason}): nothing can be changed until it is attached again."
    );
    KmsError::new(ErrorKind::Internal, message)
}

fn unavailable(message: &str) -> KmsError {
    KmsError::new(ErrorKind::DependencyTimeout, message)
}
