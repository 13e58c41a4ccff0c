//! The module between C_Initialize and C_Finalize: tokens, one in each slot, and sessions.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};

use casemate_hsm::message::{Token as Description, UserType};
use casemate_hsm::{Operation, Request, ck};
use cryptoki_sys as sys;
use zeroize::Zeroizing;

use crate::config::{self, ConfigError};
use crate::pin::Pin;
use crate::rv::{Result, Rv, ensure};
use crate::session::Session;
use crate::sync::{lock, read, write};
use crate::token::Token;

/// The module.
pub struct Module {
    tokens: Vec<Arc<Token>>,
    sessions: RwLock<HashMap<u64, Arc<Session>>>,
    /// The last session's handle: none is used twice.
    last: AtomicU64,
    slots: Mutex<Slots>,
    event: Condvar,
}

/// Who came and went.
#[derive(Default)]
struct Slots {
    present: BTreeSet<u64>,
    events: BTreeSet<u64>,
    finalized: bool,
}

impl Module {
    /// The module as it is configured.
    pub fn load() -> std::result::Result<Self, ConfigError> {
        let tokens = config::load()?.into_iter().map(|config| Arc::new(Token::new(config))).collect();
        Ok(Self {
            tokens,
            sessions: RwLock::default(),
            last: AtomicU64::new(0),
            slots: Mutex::default(),
            event: Condvar::new(),
        })
    }

    /// C_Finalize: whoever waits for an event hears of it, and the guests, as far as they can be reached.
    pub fn finalize(&self) {
        lock(&self.slots).finalized = true;
        self.event.notify_all();
        write(&self.sessions).clear();
        self.tokens.iter().for_each(|token| token.leave());
    }

    /// The token in a slot.
    pub fn token(&self, slot: u64) -> Result<&Arc<Token>> {
        let slot = usize::try_from(slot).ok().and_then(|slot| self.tokens.get(slot));
        slot.ok_or(Rv(ck::CKR_SLOT_ID_INVALID))
    }

    /// What the token in a slot is.
    pub fn describe(&self, slot: u64) -> Result<Description> {
        let description = self.token(slot)?.describe();
        let mut slots = lock(&self.slots);
        let changed =
            if description.is_ok() { slots.present.insert(slot) } else { slots.present.remove(&slot) };
        if changed {
            slots.events.insert(slot);
            self.event.notify_all();
        }
        description
    }

    /// C_GetSlotList.
    pub fn slots(&self, present: bool) -> Vec<u64> {
        let all = (0..).take(self.tokens.len());
        let slots = all.filter(|slot| !present || self.describe(*slot).is_ok()).collect();
        // Whoever has the list knows of everything that happened before.
        lock(&self.slots).events.clear();
        slots
    }

    /// C_WaitForSlotEvent. What happens to a guest is noticed when it is used.
    pub fn wait_for_event(&self, block: bool) -> Result<u64> {
        let mut slots = lock(&self.slots);
        loop {
            ensure(!slots.finalized, ck::CKR_CRYPTOKI_NOT_INITIALIZED)?;
            if let Some(slot) = slots.events.pop_first() {
                return Ok(slot);
            }
            ensure(block, sys::CKR_NO_EVENT)?;
            slots = self.event.wait(slots).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A session.
    pub fn session(&self, handle: u64) -> Result<Arc<Session>> {
        read(&self.sessions).get(&handle).cloned().ok_or(Rv(ck::CKR_SESSION_HANDLE_INVALID))
    }

    /// How many sessions there are with a token: all, and those that may change it.
    pub fn count(&self, slot: u64) -> (usize, usize) {
        let sessions = read(&self.sessions);
        let of_slot = sessions.values().filter(|session| session.slot == slot);
        of_slot.fold((0, 0), |(all, write), session| (all + 1, write + usize::from(session.read_write)))
    }

    /// C_OpenSession.
    pub fn open_session(&self, slot: u64, flags: u64) -> Result<u64> {
        let token = Arc::clone(self.token(slot)?);
        ensure(flags & sys::CKF_SERIAL_SESSION != 0, sys::CKR_SESSION_PARALLEL_NOT_SUPPORTED)?;
        let read_write = flags & sys::CKF_RW_SESSION != 0;
        let by_officer = token.user_type() == Some(UserType::CryptoOfficer);
        ensure(read_write || !by_officer, ck::CKR_SESSION_READ_WRITE_SO_EXISTS)?;
        let description = self.describe(slot)?;
        ensure(description.flags & ck::CKF_TOKEN_INITIALIZED != 0, sys::CKR_TOKEN_NOT_RECOGNIZED)?;
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        write(&self.sessions).insert(handle, Arc::new(Session::new(slot, token, read_write)));
        Ok(handle)
    }

    /// C_CloseSession. With its last session the application is logged out.
    pub fn close_session(&self, handle: u64) -> Result<()> {
        let (session, last) = {
            let mut sessions = write(&self.sessions);
            let session = sessions.remove(&handle).ok_or(Rv(ck::CKR_SESSION_HANDLE_INVALID))?;
            let last = !sessions.values().any(|other| other.slot == session.slot);
            (session, last)
        };
        // With the application's session the guest forgets its session objects.
        if last {
            session.token.leave()
        } else {
            session.close()
        }
        Ok(())
    }

    /// C_CloseAllSessions.
    pub fn close_all(&self, slot: u64) -> Result<()> {
        let token = self.token(slot)?;
        write(&self.sessions).retain(|_, session| session.slot != slot);
        token.leave();
        Ok(())
    }

    /// C_Login; `user` is C_LoginUser's.
    pub fn login(&self, handle: u64, user_type: u64, pin: &[u8], user: Option<&[u8]>) -> Result<()> {
        let session = self.session(handle)?;
        let user_type = match user_type {
            ck::CKU_SO => UserType::CryptoOfficer,
            ck::CKU_USER => UserType::CryptoUser,
            // No key asks for it.
            ck::CKU_CONTEXT_SPECIFIC => return Err(Rv(ck::CKR_OPERATION_NOT_INITIALIZED)),
            _ => return Err(Rv(ck::CKR_USER_TYPE_INVALID)),
        };
        if user_type == UserType::CryptoOfficer {
            let (all, read_write) = self.count(session.slot);
            ensure(all == read_write, ck::CKR_SESSION_READ_ONLY_EXISTS)?;
        }
        let pin = match user {
            None => Pin::parse(pin, Pin::unnamed(user_type))?,
            Some(user) => {
                let text = |bytes: &[u8], rv| String::from_utf8(bytes.to_vec()).map_err(|_| Rv(rv));
                let password = Zeroizing::new(text(pin, ck::CKR_PIN_INVALID)?);
                Pin { user: text(user, ck::CKR_PIN_INCORRECT)?, password }
            }
        };
        session.token.login(user_type, pin)
    }

    /// C_InitToken: by a crypto officer, who stays; everybody and everything else on the token is erased.
    pub fn init_token(&self, slot: u64, pin: &[u8], label: &[u8]) -> Result<()> {
        let token = self.token(slot)?;
        ensure(self.count(slot).0 == 0, ck::CKR_SESSION_EXISTS)?;
        let officer = Pin::parse(pin, Pin::unnamed(UserType::CryptoOfficer))?;
        let label = String::from_utf8(label.to_vec()).map_err(|_| Rv(ck::CKR_ARGUMENTS_BAD))?;
        let request = Request {
            label: Some(label.trim_end_matches(' ').to_owned()),
            user: Some(officer.user),
            pin: Some(officer.password),
            ..Request::default()
        };
        token.remote().call(Operation::ResetToken, &request)?;
        token.leave();
        Ok(())
    }

    /// C_InitPIN: sets a crypto user's password; makes the user if there is none.
    pub fn init_pin(&self, handle: u64, pin: &[u8]) -> Result<()> {
        let session = self.session(handle)?;
        ensure(session.state() == sys::CKS_RW_SO_FUNCTIONS, ck::CKR_USER_NOT_LOGGED_IN)?;
        let Pin { user, password } = Pin::parse(pin, Pin::unnamed(UserType::CryptoUser))?;
        let request = Request { user: Some(user), pin: Some(password), ..Request::default() };
        session.token.call(Operation::InitializePin, request).map(|_| ())
    }

    /// C_SetPIN: changes the password of whoever is logged in, or of the user whom the old pin names.
    pub fn set_pin(&self, handle: u64, old: &[u8], new: &[u8]) -> Result<()> {
        let session = self.session(handle)?;
        ensure(session.read_write, ck::CKR_SESSION_READ_ONLY)?;
        let unnamed = session.token.user();
        let unnamed = unnamed.as_deref().unwrap_or(Pin::unnamed(UserType::CryptoUser));
        let old = Pin::parse(old, unnamed)?;
        // The new pin may repeat the name, and name nobody else.
        let text = std::str::from_utf8(new).map_err(|_| Rv(ck::CKR_PIN_INVALID))?;
        let named = text.strip_prefix(old.user.as_str()).and_then(|rest| rest.strip_prefix(':'));
        let password = Zeroizing::new(named.unwrap_or(text).to_owned());
        ensure(named.is_some() || !text.contains(':'), ck::CKR_PIN_INVALID)?;
        let request = Request {
            user: Some(old.user.clone()),
            pin: Some(password.clone()),
            old_pin: Some(old.password),
            ..Request::default()
        };
        session.token.call(Operation::ChangePassword, request)?;
        session.token.password_changed(Pin { user: old.user, password });
        Ok(())
    }
}
