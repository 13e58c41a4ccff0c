//! Finding objects, and reading their attributes.

use std::ops::Bound;

use casemate_hsm::ck::*;
use casemate_hsm::{Attributes, Request, Response, limits};

use super::attributes::Given;
use super::fault::{Fault, Rv, refuse};
use super::{Asked, Token, sees};

/// FindObjects. The marker is the last handle that was returned: what is made or erased meanwhile disturbs nothing.
pub(super) fn find_objects(token: &Token, asked: &Asked<'_>, request: Request) -> Result<Response, Fault> {
    let wanted = Given::new(request.template)?;
    let most = request.max_results.unwrap_or(limits::FIND_MAX).clamp(1, limits::FIND_MAX);
    let most = usize::try_from(most).unwrap_or(1);
    let from = request.marker.map_or(Bound::Unbounded, Bound::Excluded);
    let mut found = token
        .objects
        .range((from, Bound::Unbounded))
        .filter(|(handle, object)| sees(asked, object) && object.matches(**handle, &wanted))
        .map(|(handle, _)| *handle);
    let objects: Vec<u64> = found.by_ref().take(most).collect();
    let next_marker = found.next().and_then(|_| objects.last().copied());
    Ok(Response { objects: Some(objects), next_marker, ..Response::default() })
}

/// GetAttributes.
pub(super) fn get_attributes(token: &Token, asked: &Asked<'_>, request: &Request) -> Result<Response, Fault> {
    let (Some(objects), Some(types)) = (&request.objects, &request.types) else {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "The request lacks Objects or Types.");
    };
    if objects.len() > limits::GET_MAX || types.len() > limits::GET_MAX {
        return refuse(Rv::CKR_ARGUMENTS_BAD, "At most 64 objects and 64 types at once.");
    }
    let tell = |handle: &u64| match token.seen(asked, Some(*handle), Rv::CKR_OBJECT_HANDLE_INVALID) {
        Ok((handle, object)) => object.tell_all(handle, types),
        Err(_) => Attributes { rv: CKR_OBJECT_HANDLE_INVALID, template: Vec::new() },
    };
    Ok(Response { attributes: Some(objects.iter().map(tell).collect()), ..Response::default() })
}
