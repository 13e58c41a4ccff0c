//! The PKCS#11 token: users, sessions, objects, and what is computed with them. The protocol is [`casemate_hsm`]'s.
//!
//! | file | subject |
//! | --- | --- |
//! | [`users`], [`session`] | who there is, and who has logged in |
//! | [`object`], [`material`] | what an object is; keys between structures and attributes |
//! | [`attributes`] | which attributes there are, and when each may be given |
//! | [`create`], [`find`], [`change`] | making, finding, reading, changing, sharing objects |
//! | [`mechanism`], [`wrap`], [`derive`] | computing |
//! | [`quorum`] | what more than one person must want |
//! | [`backup`] | everything, encrypted, for another guest |
//! | [`record`] | what survives a restart |
//!
//! Whoever asks gets an [`Asked`]; an object is reached only through [`Token::seen`] and its like, which know who sees what:
//!
//! | | private objects | public keys, certificates, data | other public objects |
//! | --- | --- | --- | --- |
//! | nobody logged in | – | all, and what they are for | – |
//! | a crypto officer | those that wrap, to trust them | all | all, to see |
//! | a crypto user | their own and shared ones | all | all |
//!
//! Session objects are seen in their own session only. Only an object's owner changes it. Who has not logged in can make
//! objects that are neither private nor on the token, a few small ones, and compute with them: PKCS#11 has it so.

mod admin;
mod attributes;
mod backup;
mod change;
mod create;
mod derive;
mod fault;
mod find;
mod material;
mod mechanism;
mod object;
mod quorum;
mod record;
mod session;
mod users;
mod wrap;

use std::collections::BTreeMap;
use std::time::Instant;

use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Operation, Request, Response, limits};

use crate::access::Call;

pub(crate) use fault::Fault;
use fault::{Rv, refuse};
use object::{Handle, Object};
pub(crate) use record::FAMILY;
use session::Sessions;
use users::User;

/// Handles that are set aside at once: see [`Token::insert`].
const RESERVE: Handle = 4096;
/// Most bytes that all objects take together.
const BYTES_MAX: usize = 16 << 20;
/// Most bytes of one object.
const OBJECT_BYTES_MAX: usize = 96 << 10;

/// Most objects that were made without a login, in all sessions together, and most bytes of one: together no more than a
/// quarter of what there is room for.
const STRANGERS_OBJECTS_MAX: usize = 512;
const STRANGERS_BYTES_MAX: usize = 8 << 10;

/// The token.
#[derive(Default)]
pub(crate) struct Token {
    /// What it is called; `None` before it is initialised.
    settings: Option<record::Settings>,
    users: BTreeMap<String, User>,
    objects: BTreeMap<Handle, Object>,
    /// What the objects take.
    bytes: usize,
    sessions: Sessions,
    /// Quorum tokens that have not been used.
    pending: Vec<quorum::Pending>,
    /// A backup that is being read, and one that is being restored.
    snapshot: Option<backup::Snapshot>,
    restoring: Option<backup::Restoring>,
    /// The next handle.
    next: Handle,
}

/// Who asks, in which session.
pub(crate) struct Asked<'a> {
    call: &'a Call<'a>,
    session: u64,
    user: Option<(String, UserType)>,
}

impl Asked<'_> {
    /// The crypto user who has logged in.
    fn crypto_user(&self) -> Result<&str, Fault> {
        match &self.user {
            Some((name, UserType::CryptoUser)) => Ok(name),
            _ => refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a crypto user who has logged in."),
        }
    }

    /// Who an object belongs to that is made now. What is neither private nor on the token takes no login (PKCS#11 3.1, 5.6): it
    /// is nobody's but its session's.
    fn maker(&self, private: bool, on_token: bool) -> Result<String, Fault> {
        match &self.user {
            Some((_, UserType::CryptoUser)) => self.crypto_user().map(str::to_owned),
            _ if private || on_token => self.crypto_user().map(str::to_owned),
            _ => Ok(String::new()),
        }
    }

    /// Whether an object that is seen is this user's, or the session's alone.
    fn owns(&self, object: &Object) -> bool {
        object.owner.is_empty() || self.crypto_user().is_ok_and(|user| user == object.owner)
    }

    /// The crypto officer who has logged in.
    fn crypto_officer(&self) -> Result<&str, Fault> {
        match &self.user {
            Some((name, UserType::CryptoOfficer)) => Ok(name),
            _ => refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a crypto officer who has logged in."),
        }
    }
}

/// How a request ended, and who had logged in.
pub(crate) struct Answer {
    /// The user, as `NAME (CO)`; `None` if nobody had logged in.
    pub(crate) user: Option<String>,
    /// The answer.
    pub(crate) result: Result<Response, Fault>,
}

/// Answers an operation. Those that are the [owner's](Operation::is_owners) are authorised on behalf of the call's caller;
/// for the others it does not matter who that is. So are those that [may be](Operation::may_be_owners), where there is no
/// session.
pub(crate) fn answer(call: &Call<'_>, operation: Operation, request: Request) -> Answer {
    let mut token = call.hsm.borrow_mut();
    let now = Instant::now();
    for ended in token.sessions.expire(now) {
        token.forget_session(ended);
    }
    let alone = match operation {
        Operation::DescribeToken => Some(Ok(admin::describe(&token, call))),
        Operation::InitializeToken => Some(admin::initialize(&mut token, call, &request)),
        Operation::ResetToken => Some(admin::reset(&mut token, call, &request)),
        Operation::OpenSession => Some(admin::open_session(&mut token, now)),
        Operation::Mechanisms => Some(Ok(mechanism::list())),
        Operation::RestoreBackup => Some(backup::restore(&mut token, call, &request)),
        _ if operation.may_be_owners() && request.session_token.is_none() => {
            let asked = Asked { call, session: 0, user: None };
            Some(in_session(&mut token, &asked, operation, request.clone()))
        }
        _ => None,
    };
    if let Some(result) = alone {
        let officer = request.user.filter(|_| operation == Operation::ResetToken && result.is_ok());
        return Answer { user: officer.map(|name| format!("{name} (CO)")), result };
    }
    let session = match token.sessions.find(request.session_token.as_ref().map(|token| token.as_str()), now) {
        Ok(session) => session,
        Err(fault) => return Answer { user: None, result: Err(fault) },
    };
    let asked = Asked { call, session: session.id, user: session.user.clone() };
    let mut result = in_session(&mut token, &asked, operation, request);
    let user = match (&asked.user, &mut result) {
        (Some(user), _) => Some(user),
        // Who has just logged in is known from now on.
        (None, Ok(_)) => token.sessions.user_of(asked.session),
        (None, Err(_)) => None,
    };
    let user = user.map(|(name, user_type)| match user_type {
        UserType::CryptoOfficer => format!("{name} (CO)"),
        UserType::CryptoUser => format!("{name} (CU)"),
    });
    Answer { user, result }
}

fn in_session(
    token: &mut Token,
    asked: &Asked<'_>,
    operation: Operation,
    request: Request,
) -> Result<Response, Fault> {
    match operation {
        Operation::CloseSession => Ok(admin::close_session(token, asked)),
        Operation::Login => admin::login(token, asked, &request),
        Operation::Logout => admin::logout(token, asked),
        Operation::CreateUser => admin::create_user(token, asked, &request),
        Operation::DeleteUser => admin::delete_user(token, asked, &request),
        Operation::ListUsers => admin::list_users(token, asked),
        Operation::ChangePassword => admin::change_password(token, asked, &request),
        Operation::InitializePin => admin::initialize_pin(token, asked, &request),
        Operation::GenerateKey => create::generate_key(token, asked, request),
        Operation::GenerateKeyPair => create::generate_key_pair(token, asked, request),
        Operation::CreateObject => create::create_object(token, asked, request),
        Operation::CopyObject => create::copy_object(token, asked, request),
        Operation::DestroyObject => change::destroy(token, asked, &request),
        Operation::SetAttributes => change::set_attributes(token, asked, request),
        Operation::ShareObject => change::share(token, asked, &request, true),
        Operation::UnshareObject => change::share(token, asked, &request, false),
        Operation::GetAttributes => find::get_attributes(token, asked, &request),
        Operation::FindObjects => find::find_objects(token, asked, request),
        Operation::Sign => mechanism::sign(token, asked, &request),
        Operation::Verify => mechanism::verify(token, asked, &request),
        Operation::Encrypt => mechanism::encrypt(token, asked, &request),
        Operation::Decrypt => mechanism::decrypt(token, asked, &request),
        Operation::WrapKey => wrap::wrap_key(token, asked, &request),
        Operation::UnwrapKey => wrap::unwrap_key(token, asked, request),
        Operation::DeriveKey => derive::derive_key(token, asked, request),
        Operation::Random => mechanism::random(&request),
        Operation::RegisterQuorumKey => quorum::register(token, asked, &request),
        Operation::SetQuorum => quorum::set(token, asked, &request),
        Operation::GetQuorum => Ok(quorum::get(token, asked)),
        Operation::GetQuorumToken => quorum::get_token(token, asked, &request),
        Operation::ApproveQuorumToken => quorum::approve(token, asked, &request),
        Operation::GetBackupNonce => backup::nonce(asked),
        Operation::CreateBackup => backup::create(token, asked, &request),
        Operation::ReadBackup => backup::read(token, asked, &request),
        Operation::ShareBackup => backup::share(token, asked, &request),
        Operation::DescribeToken
        | Operation::InitializeToken
        | Operation::ResetToken
        | Operation::OpenSession
        | Operation::Mechanisms
        | Operation::RestoreBackup => refuse(Rv::CKR_ARGUMENTS_BAD, "The operation takes no session."),
    }
}

/// Whether an operation leaves everything that is on the volume as it is.
pub(crate) const fn only_reads(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::DescribeToken
            | Operation::OpenSession
            | Operation::CloseSession
            | Operation::Logout
            | Operation::ListUsers
            | Operation::GetQuorum
            | Operation::GetBackupNonce
            | Operation::CreateBackup
            | Operation::ReadBackup
            | Operation::ShareBackup
            | Operation::GetQuorumToken
            | Operation::ApproveQuorumToken
            | Operation::GetAttributes
            | Operation::FindObjects
            | Operation::Sign
            | Operation::Verify
            | Operation::Encrypt
            | Operation::Decrypt
            | Operation::Random
            | Operation::Mechanisms
    )
}

impl Token {
    /// Whether there is nothing on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_none()
    }

    /// An object that whoever asks can see.
    fn seen(&self, asked: &Asked<'_>, handle: Option<Handle>, rv: Rv) -> Result<(Handle, &Object), Fault> {
        let object = handle.and_then(|handle| Some((handle, self.objects.get(&handle)?)));
        match object.filter(|(_, object)| sees(asked, object)) {
            Some(found) => Ok(found),
            None => refuse(rv, "There is no such object, or it is another user's."),
        }
    }

    /// A key that whoever asks can compute with.
    fn usable(&self, asked: &Asked<'_>, handle: Option<Handle>, rv: Rv) -> Result<&Object, Fault> {
        let (_, object) = self.seen(asked, handle, rv)?;
        if object.class() != CKO_PUBLIC_KEY && !object.owner.is_empty() {
            asked.crypto_user()?;
        }
        if object.key_type().is_none() {
            return refuse(rv, "The object is not a key.");
        }
        Ok(object)
    }

    /// An object that whoever asks may change.
    fn owned(&mut self, asked: &Asked<'_>, handle: Option<Handle>) -> Result<(Handle, &mut Object), Fault> {
        let (handle, _) = self.seen(asked, handle, Rv::CKR_OBJECT_HANDLE_INVALID)?;
        match self.objects.get_mut(&handle).filter(|object| asked.owns(object)) {
            Some(object) => Ok((handle, object)),
            None => refuse(Rv::CKR_ACTION_PROHIBITED, "Only its owner changes an object."),
        }
    }

    /// Takes an object; its handle. Handles are never used again: as many as are set aside in the token's record are lost
    /// with a restart.
    fn insert(&mut self, asked: &Asked<'_>, object: Object) -> Result<Handle, Fault> {
        let size = object.size();
        let of_session = |other: &&Object| other.session.is_some() && other.session == object.session;
        if self.objects.len() >= limits::OBJECTS_MAX
            || size > OBJECT_BYTES_MAX
            || self.bytes.saturating_add(size) > BYTES_MAX
            || self.objects.values().filter(of_session).count() >= limits::SESSION_OBJECTS_MAX
            || object.owner.is_empty() && !self.has_room_for_a_strangers(size)
        {
            return refuse(Rv::CKR_TOKEN_RESOURCE_EXCEEDED, "The token holds as many objects as it may.");
        }
        let Some(settings) = &mut self.settings else { return not_initialized() };
        let handle = self.next.max(1);
        self.next = handle.saturating_add(1);
        if self.next > settings.reserved {
            settings.reserved = handle.saturating_add(RESERVE);
            asked.call.state.touch(record::TOKEN);
        }
        if object.session.is_none() {
            asked.call.state.touch(record::object_name(handle));
        }
        self.bytes = self.bytes.saturating_add(size);
        self.objects.insert(handle, object);
        Ok(handle)
    }

    /// Whether there is room for one more object that is nobody's.
    fn has_room_for_a_strangers(&self, size: usize) -> bool {
        let all = self.objects.values().filter(|object| object.owner.is_empty()).count();
        size <= STRANGERS_BYTES_MAX && all < STRANGERS_OBJECTS_MAX
    }

    fn remove(&mut self, handle: Handle) -> Option<Object> {
        let object = self.objects.remove(&handle)?;
        self.bytes = self.bytes.saturating_sub(object.size());
        Some(object)
    }

    /// Erases what lived in a session that is over.
    fn forget_session(&mut self, session: u64) {
        self.erase(|object| object.session == Some(session));
    }

    /// Erases the private objects of a session that nobody is logged in to any more.
    fn forget_private(&mut self, session: u64) {
        self.erase(|object| object.session == Some(session) && object.flag(CKA_PRIVATE));
    }

    fn erase(&mut self, which: impl Fn(&Object) -> bool) {
        let gone = self.objects.iter().filter(|(_, object)| which(object)).map(|(handle, _)| *handle);
        for handle in gone.collect::<Vec<_>>() {
            self.remove(handle);
        }
    }
}

fn not_initialized<T>() -> Result<T, Fault> {
    refuse(
        Rv::CKR_TOKEN_NOT_INITIALIZED,
        "The token is not initialised: its owner does that with InitializeToken (casemate hsm init).",
    )
}

/// Who sees what; the table is [above](self).
fn sees(asked: &Asked<'_>, object: &Object) -> bool {
    if object.session.is_some_and(|session| session != asked.session) {
        return false;
    }
    let private = object.flag(CKA_PRIVATE);
    match &asked.user {
        Some((user, UserType::CryptoUser)) => {
            !private || object.owner == *user || object.shared.contains(user)
        }
        Some((_, UserType::CryptoOfficer)) => !private || object.flag(CKA_WRAP),
        None => {
            let public = !matches!(object.class(), CKO_PRIVATE_KEY | CKO_SECRET_KEY);
            !private && (public || object.session.is_some())
        }
    }
}
