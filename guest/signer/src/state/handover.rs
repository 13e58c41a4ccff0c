//! A volume comes to a signer that runs, and leaves it, because its owner says so.
//!
//! | | |
//! | --- | --- |
//! | it comes | the owner lets one volume in ([`State::let_in`]): by its identity, or an empty one. That is good for one connection, and for [`PERMIT`] |
//! | who needs no permit | a signer that nobody owns; one that was launched for a volume; the volume that the signer has, when its connection comes back |
//! | it leaves | the owner lets it go ([`State::let_go`]). No operation begins after that; what has changed is committed; then the signer erases what it holds, and the host is told |
//! | afterwards | the signer is as a new one, in another [`Life`]: what was begun in the old one is not answered by the new one |

use std::time::{Duration, Instant};

use casemate_volume::{Header, VolumeId};

use crate::access::Caller;
use crate::audit::{Event, Outcome, Who};
use crate::errors::{ErrorKind, KmsError};
use crate::signer::{Holdings, Signer};

use super::ledger::Ledger;
use super::refusal::Refusal;
use super::{Phase, State, records, unavailable};

/// How long a permit is good.
const PERMIT: Duration = Duration::from_secs(30);

/// From one detached volume to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life(u64);

/// What a connection may bring.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and a ledger is moved once")]
pub(super) enum Awaited {
    /// The volume that the signer has.
    Own(Ledger),
    /// What the owner let in.
    Permitted(Permit),
    /// Any that fits.
    Any,
}

/// That the host may attach a volume.
pub(super) struct Permit {
    /// Which; none: an empty one.
    volume: Option<VolumeId>,
    until: Instant,
    /// The request that it was given in.
    request_id: String,
}

impl Permit {
    /// Whether it is for a volume with this header.
    pub(super) fn check(&self, header: Option<&[u8]>) -> Result<(), Refusal> {
        let offered = header.and_then(|header| Header::parse(header).ok()).map(|header| header.volume);
        match (offered == self.volume && offered.is_some() == header.is_some(), self.volume) {
            (true, _) => Ok(()),
            (false, Some(volume)) => Err(Refusal::AnotherIsPermitted(volume)),
            (false, None) => Err(Refusal::EmptyIsPermitted),
        }
    }

    /// Writes once more, into the log that came with the volume, who let it in: the signer's own log gave way to it.
    pub(super) fn log(&self, signer: &Signer) {
        let (Some(volume), identity) = (self.volume, signer.identity.borrow()) else { return };
        // A signer that takes a volume with records had no owner before.
        let changed = signer.audit.borrow_mut().write(&Event {
            service: "casemate",
            operation: "AttachVolume",
            who: Who::Proved(&Caller::LocalOwner),
            account: &identity.config.account,
            region: &identity.config.region,
            request_id: &self.request_id,
            user_agent: "",
            tls: false,
            request: format!("{{\"VolumeId\":\"{volume}\"}}").as_bytes(),
            key: None,
            outcome: Outcome::Answered,
            now: signer.now(),
        });
        changed.into_iter().for_each(|record| signer.state.touch(record));
    }
}

impl State {
    /// Which life this is.
    pub(crate) fn life(&self) -> Life {
        self.life.get()
    }

    /// Returns once that life is over.
    pub(crate) async fn over(&self, life: Life) {
        loop {
            let over = self.over.notified();
            if self.life.get() != life {
                return;
            }
            over.await;
        }
    }

    /// Waits until operations may run; an error if that is in another life.
    pub(super) async fn open_in(&self, life: Life) -> Result<(), KmsError> {
        self.open().await?;
        match self.life.get() == life {
            true => Ok(()),
            false => Err(unavailable("The signer's volume was detached, and everything with it.")),
        }
    }

    /// Takes the only place for a volume's connection, and says what may come on it.
    pub(super) fn occupy(&self, claimed: bool) -> Result<Awaited, Refusal> {
        if self.occupied.get() {
            return Err(Refusal::Occupied);
        }
        let awaited = match (self.ledger.borrow_mut().take(), &*self.phase.borrow()) {
            (Some(ledger), _) => Awaited::Own(ledger),
            (None, Phase::Expected(_)) => Awaited::Any,
            (None, _) => match self.permit.take().filter(|permit| Instant::now() <= permit.until) {
                Some(permit) => Awaited::Permitted(permit),
                None if claimed => return Err(Refusal::NotPermitted),
                None => Awaited::Any,
            },
        };
        self.occupied.set(true);
        if !matches!(awaited, Awaited::Own(_)) {
            self.durable.set(self.touched.get());
            self.enter(Phase::Loading);
        }
        Ok(awaited)
    }

    /// Erases what is known of the volume.
    fn erase(&self) {
        self.keys.take();
        self.ledger.take();
        self.grant.take();
        self.challenge.take();
        self.permit.take();
        self.dirty.take();
        self.lazy.take();
    }

    /// The next life begins.
    fn begin(&self) {
        self.life.set(Life(self.life.get().0.wrapping_add(1)));
        self.expected.set(false);
        self.leaving.set(false);
        self.occupied.set(false);
        self.durable.set(self.touched.get());
        self.enter(Phase::Without);
        self.over.notify_waiters();
    }
}

/// What the owner asks for.
impl Signer {
    /// Lets the host attach this volume, or an empty one: once, and soon. Until when, in seconds from now.
    pub(crate) fn let_in(&self, volume: Option<VolumeId>, request_id: &str) -> Result<u64, KmsError> {
        if !matches!(&*self.state.phase.borrow(), Phase::Without) {
            return Err(KmsError::unsupported("The signer has a volume: detach it first."));
        }
        if self.state.sealing.is_none() {
            return Err(KmsError::unsupported(Refusal::NoSealingKey.to_string()));
        }
        if volume.is_some() && !records::pristine(self) {
            return Err(KmsError::unsupported(
                "The signer holds keys or identities, which only an empty volume takes: attach this one to a fresh signer.",
            ));
        }
        let until =
            Instant::now().checked_add(PERMIT).ok_or_else(|| KmsError::internal("Reading the clock"))?;
        self.state.permit.replace(Some(Permit { volume, until, request_id: request_id.to_owned() }));
        Ok(PERMIT.as_secs())
    }

    /// Lets the volume go, which must be this one if one is named. When the answer comes it is gone.
    pub(crate) fn let_go(&self, named: Option<VolumeId>) -> Result<VolumeId, KmsError> {
        let state = &self.state;
        let volume = state.keys.borrow().as_ref().map(|keys| keys.volume);
        let (Some(volume), Phase::Attached) = (volume, &*state.phase.borrow()) else {
            return Err(KmsError::unsupported("The signer has no volume."));
        };
        if named.is_some_and(|named| named != volume) {
            return Err(KmsError::new(
                ErrorKind::NotFound,
                format!("The signer's volume is {volume}, and not that."),
            ));
        }
        state.leaving.set(true);
        state.touched.set(state.touched.get().saturating_add(1));
        state.wake.notify_one();
        Ok(volume)
    }

    /// Erases everything that was on the volume, before the host hears of it.
    pub(super) fn forget(&self) {
        drop(self.exchange(Holdings::default()));
        self.state.erase();
    }

    /// Is as a new one from now on.
    pub(super) fn begin_again(&self) {
        self.state.begin();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use super::*;
    use crate::platform::Nowhere;

    #[test]
    fn a_permit_is_good_for_a_while_and_once() {
        let state = State::new(&Nowhere);
        let permit = |until| Permit { volume: None, until, request_id: String::new() };
        state.permit.replace(Some(permit(Instant::now().checked_sub(Duration::from_millis(1)).unwrap())));
        assert!(matches!(state.occupy(true), Err(Refusal::NotPermitted)));
        state.permit.replace(Some(permit(Instant::now().checked_add(PERMIT).unwrap())));
        assert!(matches!(state.occupy(true), Ok(Awaited::Permitted(_))));
        assert!(matches!(state.occupy(true), Err(Refusal::Occupied)));
        state.leave(None, &Refusal::EmptyIsPermitted);
        assert!(matches!(state.occupy(true), Err(Refusal::NotPermitted)));
        assert!(matches!(state.occupy(false), Ok(Awaited::Any)));
    }
}
