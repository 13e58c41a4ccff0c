//! A token: its guest, the session of this application with it, and who is logged in.
//!
//! PKCS#11's login is the application's, for all its sessions with a token. So is the guest's session token, made when it is
//! first needed. If the guest has lost it (relaunched, or idle for too long), it is made anew, and whoever was logged in
//! is logged in again: for that the password is kept, until C_Logout, and goes only to a guest that is believed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use casemate_hsm::message::{MechanismInfo, Token as Description, UserType};
use casemate_hsm::{Operation, Request, Response, ck};
use zeroize::Zeroizing;

use crate::config::TokenConfig;
use crate::digest;
use crate::key::Facts;
use crate::log;
use crate::pin::Pin;
use crate::remote::Remote;
use crate::rv::{Result, Rv, ensure};
use crate::sync::lock;

/// A token.
pub struct Token {
    remote: Remote,
    application: Mutex<Application>,
    /// What the token can do: asked for once in each session of the application.
    mechanisms: Mutex<Option<Arc<[MechanismInfo]>>>,
    /// What is known of keys. Handles are not used again, so that it stays right but for the usage flags.
    facts: Mutex<HashMap<u64, Arc<Facts>>>,
}

#[derive(Default)]
struct Application {
    /// The guest's name for this application.
    session: Option<Zeroizing<String>>,
    /// How often it was made.
    generation: u64,
    login: Option<Login>,
}

struct Login {
    user_type: UserType,
    pin: Pin,
}

impl Token {
    /// A token that nobody has asked for anything yet.
    pub fn new(config: TokenConfig) -> Self {
        Self {
            remote: Remote::new(config),
            application: Mutex::default(),
            mechanisms: Mutex::default(),
            facts: Mutex::default(),
        }
    }

    /// Its guest.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// What it is. Fails if it cannot be reached, or is not what the configuration demands.
    pub fn describe(&self) -> Result<Description> {
        let response = self.remote.call(Operation::DescribeToken, &Request::default());
        response
            .map_err(|Rv(rv)| Rv(if rv == ck::CKR_DEVICE_REMOVED { ck::CKR_TOKEN_NOT_PRESENT } else { rv }))?
            .token
            .ok_or(Rv(ck::CKR_DEVICE_ERROR))
    }

    /// Sends a request in this application's session.
    pub fn call(&self, operation: Operation, mut request: Request) -> Result<Response> {
        let (session, generation) = self.enter(None)?;
        request.session_token = Some(session);
        match self.remote.call(operation, &request) {
            Err(Rv(ck::CKR_SESSION_HANDLE_INVALID)) => {
                let (session, _) = self.enter(Some(generation))?;
                request.session_token = Some(session);
                self.remote.call(operation, &request)
            }
            other => other,
        }
    }

    /// The application's session; a new one if there is none, or if this one is no longer good.
    fn enter(&self, lost: Option<u64>) -> Result<(Zeroizing<String>, u64)> {
        let mut application = lock(&self.application);
        match &application.session {
            Some(session) if lost != Some(application.generation) => {
                return Ok((session.clone(), application.generation));
            }
            _ => application.session = None,
        }
        self.forget();
        let response = self.remote.call(Operation::OpenSession, &Request::default())?;
        let session = response.session_token.ok_or(Rv(ck::CKR_DEVICE_ERROR))?;
        application.generation = application.generation.wrapping_add(1);
        application.session = Some(session.clone());
        if let Some(login) = &application.login
            && let Err(Rv(rv)) = self.send_login(&session, login)
        {
            log::note(format_args!("{}: logging in again failed: {rv:#x}", self.remote.label()));
            application.login = None;
        }
        Ok((session, application.generation))
    }

    /// Whose part the application plays.
    pub fn user_type(&self) -> Option<UserType> {
        lock(&self.application).login.as_ref().map(|login| login.user_type)
    }

    /// The user who is logged in.
    pub fn user(&self) -> Option<String> {
        lock(&self.application).login.as_ref().map(|login| login.pin.user.clone())
    }

    /// C_Login.
    pub fn login(&self, user_type: UserType, pin: Pin) -> Result<()> {
        match self.user_type() {
            Some(now) if now == user_type => return Err(Rv(ck::CKR_USER_ALREADY_LOGGED_IN)),
            Some(_) => return Err(Rv(ck::CKR_USER_ANOTHER_ALREADY_LOGGED_IN)),
            None => {}
        }
        let login = Login { user_type, pin };
        let (session, generation) = self.enter(None)?;
        match self.send_login(&session, &login) {
            Err(Rv(ck::CKR_SESSION_HANDLE_INVALID)) => {
                let (session, _) = self.enter(Some(generation))?;
                self.send_login(&session, &login)?;
            }
            other => other?,
        }
        self.forget();
        lock(&self.application).login = Some(login);
        Ok(())
    }

    fn send_login(&self, session: &Zeroizing<String>, login: &Login) -> Result<()> {
        let request = Request {
            session_token: Some(session.clone()),
            user: Some(login.pin.user.clone()),
            user_type: Some(login.user_type),
            pin: Some(login.pin.password.clone()),
            ..Request::default()
        };
        self.remote.call(Operation::Login, &request).map(|_| ())
    }

    /// C_Logout.
    pub fn logout(&self) -> Result<()> {
        ensure(lock(&self.application).login.take().is_some(), ck::CKR_USER_NOT_LOGGED_IN)?;
        self.forget();
        self.call(Operation::Logout, Request::default()).map(|_| ())
    }

    /// Ends the application's session: nobody is logged in any more. Whether the guest hears of it or not.
    pub fn leave(&self) {
        let application = std::mem::take(&mut *lock(&self.application));
        self.forget();
        if application.session.is_some() {
            let request = Request { session_token: application.session, ..Request::default() };
            let _ = self.remote.call(Operation::CloseSession, &request);
        }
    }

    /// The password of the user who is logged in has changed.
    pub fn password_changed(&self, pin: Pin) {
        if let Some(login) = &mut lock(&self.application).login
            && login.pin.user == pin.user
        {
            login.pin = pin;
        }
    }

    /// Forgets what may have changed: somebody else is logged in, or the guest is another.
    fn forget(&self) {
        *lock(&self.mechanisms) = None;
        lock(&self.facts).clear();
    }

    /// What the token can do, the module's digests included.
    pub fn mechanisms(&self) -> Result<Arc<[MechanismInfo]>> {
        if let Some(known) = &*lock(&self.mechanisms) {
            return Ok(Arc::clone(known));
        }
        let told = self.remote.call(Operation::Mechanisms, &Request::default())?.mechanisms;
        let told = told.unwrap_or_default().into_iter();
        let all: Arc<[MechanismInfo]> =
            told.filter(|info| info.flags & ck::CKF_DIGEST == 0).chain(digest::mechanisms()).collect();
        *lock(&self.mechanisms) = Some(Arc::clone(&all));
        Ok(all)
    }

    /// The mechanism of this type, if the token has it and it can do that (`CKF_`…; 0 for anything).
    pub fn mechanism(&self, kind: u64, flag: u64) -> Result<MechanismInfo> {
        let found = self.mechanisms()?.iter().find(|info| info.kind == kind).copied();
        found.filter(|info| flag == 0 || info.flags & flag != 0).ok_or(Rv(ck::CKR_MECHANISM_INVALID))
    }

    /// What is known of a key.
    pub fn facts(&self, key: u64) -> Result<Arc<Facts>> {
        if let Some(known) = lock(&self.facts).get(&key) {
            return Ok(Arc::clone(known));
        }
        let facts = Arc::new(Facts::ask(self, key)?);
        lock(&self.facts).insert(key, Arc::clone(&facts));
        Ok(facts)
    }

    /// An object changed.
    pub fn changed(&self, object: u64) {
        lock(&self.facts).remove(&object);
    }
}
