//! The token itself, its sessions and its users.

use std::time::Instant;

use casemate_hsm::ck::*;
use casemate_hsm::message::{Token as Described, User as Listed, UserType};
use casemate_hsm::{Operation, Request, Response, limits};
use zeroize::Zeroizing;

use crate::access::{Call, Facts};
use crate::crypto;

use super::fault::{Fault, Rv, refuse};
use super::record::{self, Settings};
use super::users::{self, User};
use super::{Asked, Token, not_initialized};

/// The action that the signer's policies allow or deny.
const INITIALIZE: &str = "casemate:InitializeToken";

fn text<'a>(member: Option<&'a str>, what: &'static str) -> Result<&'a str, Fault> {
    member.map_or_else(|| refuse(Rv::CKR_ARGUMENTS_BAD, what), Ok)
}

fn user(request: &Request) -> Result<&str, Fault> {
    text(request.user.as_deref(), "The request lacks User.")
}

fn pin(pin: Option<&Zeroizing<String>>) -> Result<&str, Fault> {
    text(pin.map(|pin| pin.as_str()), "The request lacks Pin.")
}

/// DescribeToken.
pub(super) fn describe(token: &Token, call: &Call<'_>) -> Response {
    let now = call.now();
    let mut flags = CKF_RNG | CKF_LOGIN_REQUIRED;
    let Some(settings) = &token.settings else {
        let described = Described { flags, ..Described::default() };
        return Response { token: Some(described), ..Response::default() };
    };
    flags |= CKF_TOKEN_INITIALIZED;
    // About somebody of each kind: those whom a pin without a name means, or everybody of the kind together.
    let state = |user_type: UserType, name: &str| {
        let of_type = |user: &&User| user.user_type == user_type;
        let one = token.users.get(name).filter(of_type);
        let tries = |user: &User| if user.locked(now) { 0 } else { user.tries_left() };
        one.map(tries).or_else(|| token.users.values().filter(of_type).map(tries).max())
    };
    let users = state(UserType::CryptoUser, "user");
    flags |= match users {
        None => 0,
        Some(0) => CKF_USER_PIN_INITIALIZED | CKF_USER_PIN_LOCKED,
        Some(1) => CKF_USER_PIN_INITIALIZED | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW,
        Some(limits::FAILURES_MAX) => CKF_USER_PIN_INITIALIZED,
        Some(_) => CKF_USER_PIN_INITIALIZED | CKF_USER_PIN_COUNT_LOW,
    };
    flags |= match state(UserType::CryptoOfficer, "officer") {
        None | Some(limits::FAILURES_MAX) => 0,
        Some(0) => CKF_SO_PIN_LOCKED,
        Some(1) => CKF_SO_PIN_FINAL_TRY | CKF_SO_PIN_COUNT_LOW,
        Some(_) => CKF_SO_PIN_COUNT_LOW,
    };
    let described = Described {
        label: settings.label.clone(),
        serial: settings.serial.clone(),
        flags,
        objects: u64::try_from(token.objects.len()).unwrap_or(u64::MAX),
        sessions: u64::try_from(token.sessions.len()).unwrap_or(u64::MAX),
    };
    Response { token: Some(described), ..Response::default() }
}

/// InitializeToken, the signer's owner's.
pub(super) fn initialize(token: &mut Token, call: &Call<'_>, request: &Request) -> Result<Response, Fault> {
    call.allow(INITIALIZE, "*", &Facts::NONE)?;
    if token.settings.is_some() {
        return refuse(
            Rv::CKR_ACTION_PROHIBITED,
            "The token is initialised already; a crypto officer can erase it with ResetToken.",
        );
    }
    let label = label(request)?;
    let name = user(request)?;
    users::check_name(name)?;
    let officer = User::new(UserType::CryptoOfficer, pin(request.pin.as_ref())?)?;
    begin(token, call, label, name, officer)
}

fn label(request: &Request) -> Result<String, Fault> {
    let label = text(request.label.as_deref(), "The request lacks Label.")?.trim_end();
    if label.is_empty() || label.len() > limits::LABEL_LEN || label.chars().any(char::is_control) {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "A token's label has 1 to 32 bytes of text.");
    }
    Ok(label.to_owned())
}

fn begin(
    token: &mut Token,
    call: &Call<'_>,
    label: String,
    name: &str,
    officer: User,
) -> Result<Response, Fault> {
    let mut serial = [0; 8];
    crypto::random(&mut serial)?;
    let serial = base16ct::lower::encode_string(&serial);
    let reserved = token.next;
    token.settings = Some(Settings { label, serial, reserved, quorums: Default::default() });
    token.users.insert(name.to_owned(), officer);
    call.state.touch(record::TOKEN);
    call.state.touch(record::user_name(name));
    Ok(describe(token, call))
}

/// ResetToken: `C_InitToken` of an initialised token.
pub(super) fn reset(token: &mut Token, call: &Call<'_>, request: &Request) -> Result<Response, Fault> {
    if token.settings.is_none() {
        return not_initialized();
    }
    let label = label(request)?;
    let name = user(request)?.to_owned();
    prove(token, call, &name, pin(request.pin.as_ref())?, UserType::CryptoOfficer)?;
    let Some(officer) = token.users.get(&name).cloned() else { return not_initialized() };
    for gone in token.record_names() {
        call.state.touch(gone);
    }
    token.objects.clear();
    token.bytes = 0;
    token.users.clear();
    token.sessions.clear();
    token.pending.clear();
    begin(token, call, label, &name, officer)
}

/// OpenSession.
pub(super) fn open_session(token: &mut Token, now: Instant) -> Result<Response, Fault> {
    let (session, ended) = token.sessions.open(now)?;
    if let Some(ended) = ended {
        token.forget_session(ended);
    }
    Ok(Response { session_token: Some(session), ..Response::default() })
}

/// CloseSession.
pub(super) fn close_session(token: &mut Token, asked: &Asked<'_>) -> Response {
    token.sessions.close(asked.session);
    token.forget_session(asked.session);
    Response::default()
}

/// Whether the password is that of a user of that type.
fn prove(
    token: &mut Token,
    call: &Call<'_>,
    name: &str,
    password: &str,
    user_type: UserType,
) -> Result<(), Fault> {
    let Some(user) = token.users.get_mut(name) else {
        // A wrong password is written down; this takes as long.
        call.state.touch(record::TOKEN);
        return users::authenticate_nobody(password);
    };
    let (proved, changed) = user.authenticate(password, call.now());
    if changed {
        call.state.touch(record::user_name(name));
    }
    proved?;
    if user.user_type != user_type {
        return refuse(Rv::CKR_USER_TYPE_INVALID, "The user is of the other type: CO or CU.");
    }
    Ok(())
}

/// Login.
pub(super) fn login(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    if token.settings.is_none() {
        return not_initialized();
    }
    let (name, password) = (user(request)?, pin(request.pin.as_ref())?);
    let Some(user_type) = request.user_type else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks UserType.");
    };
    if let Some((already, its_type)) = &asked.user {
        return if *already == name && *its_type == user_type {
            refuse(Rv::CKR_USER_ALREADY_LOGGED_IN, "The user has logged in to this session already.")
        } else {
            refuse(Rv::CKR_USER_ANOTHER_ALREADY_LOGGED_IN, "Another user has logged in to this session.")
        };
    }
    prove(token, asked.call, name, password, user_type)?;
    token.sessions.log_in(asked.session, name.to_owned(), user_type);
    Ok(Response::default())
}

/// Logout.
pub(super) fn logout(token: &mut Token, asked: &Asked<'_>) -> Result<Response, Fault> {
    if asked.user.is_none() {
        return refuse(Rv::CKR_USER_NOT_LOGGED_IN, "Nobody has logged in to this session.");
    }
    token.sessions.log_out_of(asked.session);
    token.forget_private(asked.session);
    Ok(Response::default())
}

/// CreateUser.
pub(super) fn create_user(
    token: &mut Token,
    asked: &Asked<'_>,
    request: &Request,
) -> Result<Response, Fault> {
    asked.crypto_officer()?;
    let name = user(request)?;
    users::check_name(name)?;
    let Some(user_type) = request.user_type else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks UserType.");
    };
    if token.users.contains_key(name) {
        return refuse(Rv::CKR_FUNCTION_REJECTED, "There is a user of that name already.");
    }
    let new = User::new(user_type, pin(request.pin.as_ref())?)?;
    token.approve(asked, Operation::CreateUser, request)?;
    add(token, asked, name, new)
}

fn add(token: &mut Token, asked: &Asked<'_>, name: &str, user: User) -> Result<Response, Fault> {
    if token.users.len() >= limits::USERS_MAX {
        return refuse(Rv::CKR_TOKEN_RESOURCE_EXCEEDED, "The token has as many users as it may.");
    }
    token.users.insert(name.to_owned(), user);
    asked.call.state.touch(record::user_name(name));
    Ok(Response::default())
}

/// DeleteUser. Who has keys stays, and so does the last crypto officer.
pub(super) fn delete_user(
    token: &mut Token,
    asked: &Asked<'_>,
    request: &Request,
) -> Result<Response, Fault> {
    asked.crypto_officer()?;
    let name = user(request)?;
    let Some(found) = token.users.get(name) else { return no_such_user() };
    let officers = token.users.values().filter(|user| user.user_type == UserType::CryptoOfficer).count();
    if found.user_type == UserType::CryptoOfficer && officers <= 1 {
        return refuse(Rv::CKR_FUNCTION_REJECTED, "The token's last crypto officer cannot be deleted.");
    }
    if token.objects.values().any(|object| object.session.is_none() && object.owner == name) {
        return refuse(Rv::CKR_FUNCTION_REJECTED, "The user has objects on the token: they go first.");
    }
    token.approve(asked, Operation::DeleteUser, request)?;
    token.users.remove(name);
    asked.call.state.touch(record::user_name(name));
    // Another of that name later is somebody else.
    for (handle, object) in &mut token.objects {
        if object.shared.remove(name) && object.session.is_none() {
            asked.call.state.touch(record::object_name(*handle));
        }
    }
    end_logins(token, name);
    Ok(Response::default())
}

fn end_logins(token: &mut Token, name: &str) {
    for session in token.sessions.log_out(name) {
        token.forget_private(session);
    }
}

fn no_such_user<T>() -> Result<T, Fault> {
    refuse(Rv::CKR_ARGUMENTS_BAD, "There is no user of that name.")
}

/// ListUsers.
pub(super) fn list_users(token: &Token, asked: &Asked<'_>) -> Result<Response, Fault> {
    asked.crypto_officer()?;
    let now = asked.call.now();
    let listed = token.users.iter().map(|(name, user)| Listed {
        user: name.clone(),
        user_type: user.user_type,
        locked: user.locked(now),
        quorum_key: user.quorum_key.is_some(),
    });
    Ok(Response { users: Some(listed.collect()), ..Response::default() })
}

/// ChangePassword: one's own, or as a crypto officer anybody's.
pub(super) fn change_password(
    token: &mut Token,
    asked: &Asked<'_>,
    request: &Request,
) -> Result<Response, Fault> {
    let (name, new) = (user(request)?, pin(request.pin.as_ref())?);
    let Some((own, user_type)) = &asked.user else {
        return refuse(Rv::CKR_USER_NOT_LOGGED_IN, "This takes a user who has logged in.");
    };
    let is_own = own == name;
    if !is_own {
        asked.crypto_officer()?;
    }
    if is_own || request.old_pin.is_some() {
        // A session that somebody left open is not enough.
        let kind = token.users.get(name).map_or(*user_type, |user| user.user_type);
        prove(token, asked.call, name, pin(request.old_pin.as_ref())?, kind)?;
    }
    if !is_own {
        if !token.users.contains_key(name) {
            return no_such_user();
        }
        token.approve(asked, Operation::ChangePassword, request)?;
    }
    let Some(changed) = token.users.get_mut(name) else { return no_such_user() };
    changed.set_password(new)?;
    asked.call.state.touch(record::user_name(name));
    if !is_own {
        end_logins(token, name);
    }
    Ok(Response::default())
}

/// InitializePin: `C_InitPIN`.
pub(super) fn initialize_pin(
    token: &mut Token,
    asked: &Asked<'_>,
    request: &Request,
) -> Result<Response, Fault> {
    asked.crypto_officer()?;
    let (name, new) = (user(request)?, pin(request.pin.as_ref())?);
    users::check_name(name)?;
    token.approve(asked, Operation::InitializePin, request)?;
    match token.users.get_mut(name) {
        None => return add(token, asked, name, User::new(UserType::CryptoUser, new)?),
        Some(user) if user.user_type == UserType::CryptoUser => user.set_password(new)?,
        Some(_) => return refuse(Rv::CKR_USER_TYPE_INVALID, "The user is a crypto officer."),
    }
    asked.call.state.touch(record::user_name(name));
    end_logins(token, name);
    Ok(Response::default())
}
