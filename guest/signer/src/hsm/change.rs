//! Changing, sharing and erasing objects.
//!
//! | attribute | goes |
//! | --- | --- |
//! | `CKA_SENSITIVE`, `CKA_WRAP_WITH_TRUSTED`, `CKA_PRIVATE` (in a copy) | from false to true |
//! | `CKA_EXTRACTABLE`, `CKA_COPYABLE`, `CKA_DESTROYABLE` | from true to false |
//! | `CKA_CASEMATE_QUORUM` | up |
//! | `CKA_TRUSTED` | as a crypto officer says; its owner can only give it up |
//!
//! While a key is trusted, its owner changes its names alone: what it may be used for is what the officer saw. A copy is not
//! trusted.

use casemate_hsm::attribute::{self, CKA_CASEMATE_QUORUM};
use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Request, Response, limits};

use super::attributes::{Given, Use};
use super::fault::{Fault, Rv, refuse};
use super::object::Object;
use super::{Asked, Token, record};

/// Gives an object the attributes of a template that has been checked against the rules of its class.
pub(super) fn apply(object: &mut Object, given: &Given, by: Option<(UserType, Use)>) -> Result<(), Fault> {
    for (kind, value) in given.iter() {
        let flag = attribute::flag(value);
        let allowed = match kind {
            CKA_SENSITIVE | CKA_WRAP_WITH_TRUSTED | CKA_PRIVATE => flag == Some(true) || !object.flag(kind),
            CKA_EXTRACTABLE | CKA_COPYABLE | CKA_DESTROYABLE => flag == Some(false) || object.flag(kind),
            CKA_CASEMATE_QUORUM => {
                let count = attribute::number(value).unwrap_or(u64::MAX);
                count >= object.number(kind).unwrap_or(0) && count <= limits::QUORUM_MAX as u64
            }
            CKA_TRUSTED => flag == Some(false) || by == Some((UserType::CryptoOfficer, Use::Set)),
            _ => true,
        };
        if !allowed {
            return refuse(Rv::CKR_ATTRIBUTE_READ_ONLY, "The attribute does not change in that direction.");
        }
    }
    for (kind, value) in given.iter() {
        object.set(kind, value);
    }
    Ok(())
}

/// SetAttributes: as the owner, or as a crypto officer who trusts a key or no longer does.
pub(super) fn set_attributes(
    token: &mut Token,
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Fault> {
    let given = Given::new(request.template)?;
    let trusts = given.iter().all(|(kind, _)| kind == CKA_TRUSTED) && given.get(CKA_TRUSTED).is_some();
    let (handle, by) = match asked.crypto_officer() {
        Ok(_) if trusts => {
            let (handle, _) = token.seen(asked, request.object, Rv::CKR_OBJECT_HANDLE_INVALID)?;
            (handle, UserType::CryptoOfficer)
        }
        _ => (token.owned(asked, request.object)?.0, UserType::CryptoUser),
    };
    let Some(object) = token.objects.get_mut(&handle) else {
        return refuse(Rv::CKR_OBJECT_HANDLE_INVALID, "There is no such object.");
    };
    given.check(object.class(), Use::Set)?;
    if !object.flag(CKA_MODIFIABLE) {
        return refuse(Rv::CKR_ACTION_PROHIBITED, "The object cannot be modified.");
    }
    let named = |kind| matches!(kind, CKA_LABEL | CKA_ID | CKA_SUBJECT | CKA_TRUSTED);
    if object.flag(CKA_TRUSTED) && by == UserType::CryptoUser && !given.iter().all(|(kind, _)| named(kind)) {
        return refuse(Rv::CKR_ATTRIBUTE_READ_ONLY, "While a key is trusted, only its names change.");
    }
    let before = object.size();
    let added: usize = given.iter().map(|(_, value)| value.len()).sum();
    if token.bytes.saturating_add(added) > super::BYTES_MAX
        || before.saturating_add(added) > super::OBJECT_BYTES_MAX
    {
        return refuse(Rv::CKR_TOKEN_RESOURCE_EXCEEDED, "The token holds as much as it may.");
    }
    apply(object, &given, Some((by, Use::Set)))?;
    token.bytes = token.bytes.saturating_sub(before).saturating_add(object.size());
    if object.session.is_none() {
        asked.call.state.touch(record::object_name(handle));
    }
    Ok(Response::default())
}

/// DestroyObject.
pub(super) fn destroy(token: &mut Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (handle, object) = token.owned(asked, request.object)?;
    if !object.flag(CKA_DESTROYABLE) {
        return refuse(Rv::CKR_ACTION_PROHIBITED, "The object cannot be destroyed.");
    }
    if object.session.is_none() {
        asked.call.state.touch(record::object_name(handle));
    }
    token.remove(handle);
    Ok(Response::default())
}

/// ShareObject, UnshareObject: another crypto user may use a token object, and not change it.
pub(super) fn share(
    token: &mut Token,
    asked: &Asked<'_>,
    request: &Request,
    shared: bool,
) -> Result<Response, Fault> {
    let Some(user) = &request.user else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks User.");
    };
    let known = token.users.get(user).is_some_and(|user| user.user_type == UserType::CryptoUser);
    let (handle, object) = token.owned(asked, request.object)?;
    if !known {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "There is no crypto user of that name.");
    }
    if object.session.is_some() {
        return refuse(Rv::CKR_OBJECT_HANDLE_INVALID, "Only objects on the token can be shared.");
    }
    match shared {
        true => object.shared.insert(user.clone()),
        false => object.shared.remove(user),
    };
    asked.call.state.touch(record::object_name(handle));
    Ok(Response::default())
}
