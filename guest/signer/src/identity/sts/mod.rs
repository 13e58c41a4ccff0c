//! STS, API version 2011-06-15: who somebody is, and credentials for a while.

mod assume;
mod caller;
mod federation;
mod issue;

use super::fault::{Code, Fault};
use super::form::Form;
use super::id;
use super::query::Operation;
use super::xml::Xml;
use crate::access::{Call, Facts};

/// The namespace of responses.
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The version that requests name.
pub(super) const VERSION: &str = "2011-06-15";

/// Every operation, sorted by name.
pub(super) const OPERATIONS: &[(&str, Operation)] = &[
    ("AssumeRole", Operation::Answers(assume::assume_role)),
    ("DecodeAuthorizationMessage", Operation::Answers(decode)),
    ("GetAccessKeyInfo", Operation::Answers(access_key_info)),
    ("GetCallerIdentity", Operation::Answers(caller::identity)),
    ("GetFederationToken", Operation::Answers(federation::federation_token)),
    ("GetSessionToken", Operation::Answers(federation::session_token)),
];

/// This signer's messages say everything in the clear, so there is never one to decode.
fn decode(call: &Call<'_>, form: &mut Form<'_>, _: &mut Xml) -> Result<(), Fault> {
    form.text("EncodedMessage", 1, 10_240);
    form.done()?;
    call.allow("sts:DecodeAuthorizationMessage", "*", &Facts::NONE)?;
    Err(Fault::new(Code::InvalidAuthorizationMessage, "Message is invalid"))
}

fn access_key_info(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let id = form.name("AccessKeyId", 128);
    form.done()?;
    call.allow("sts:GetAccessKeyInfo", "*", &Facts::NONE)?;
    let account = id::account_of(id)
        .ok_or_else(|| Fault::new(Code::ValidationError, "The access key ID is not one of an account."))?;
    xml.text("Account", &account);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use casemate_policy::Principal as Who;

    use super::*;
    use crate::access::{Caller, Principal};
    use crate::identity::Parameters;
    use crate::identity::entity::{Entity, Role};
    use crate::identity::query::Asked;
    use crate::identity::sigv4::Query;

    #[test]
    fn operations_are_sorted_so_that_they_are_found() {
        assert!(OPERATIONS.is_sorted_by(|(low, _), (high, _)| low < high));
    }
    #[test]
    fn roles_are_not_assumed_by_the_account_itself() {
        let signer = crate::access::tests::signer();
        let (account, role) = ("000000000000", "arn:aws:iam::000000000000:role/ops");
        let trust = format!(
            "{{\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"{account}\"}},\"Action\":\"sts:AssumeRole\"}}]}}"
        );
        let entity = Entity { name: "ops".to_owned(), path: "/".to_owned(), ..Entity::default() };
        let ops = Role { entity, trust, max_session: 3600, ..Role::default() };
        signer.identity.borrow_mut().roles.insert("ops".to_owned(), ops);
        let body = format!("Action=AssumeRole&Version={VERSION}&RoleArn={role}&RoleSessionName=me");
        let parameters = Parameters::read(&Query::parse(""), body.as_bytes()).expect("a form");
        let root = Caller::Principal(Rc::new(Principal {
            who: Who::Root { account: account.to_owned() },
            access_key_id: "AKIAEXAMPLE".to_owned(),
            identity: Vec::new(),
            boundary: None,
            session: Vec::new(),
            issued: None,
        }));
        for caller in [root, Caller::LocalOwner] {
            let facts = Facts::NONE;
            let call = Call::new(&signer, &caller, &facts);
            let asked = Asked::find(&parameters).expect("an operation");
            let fault = asked.answer(&call, "id").expect_err("the account assumes a role");
            let words = "Roles may not be assumed by root accounts.";
            assert_eq!(fault, Fault::new(Code::AccessDenied, words));
        }
    }
}
