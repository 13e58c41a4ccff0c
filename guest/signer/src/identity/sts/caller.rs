//! GetCallerIdentity: nobody needs a permission to learn who they are.

use crate::access::{Call, Caller};
use crate::identity::fault::Fault;
use crate::identity::form::Form;
use crate::identity::xml::Xml;

pub(super) fn identity(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    form.done()?;
    let account = call.identity.borrow().config.account.clone();
    match call.caller {
        Caller::LocalOwner => {
            xml.text("Arn", &format!("arn:aws:iam::{account}:root"));
            xml.text("UserId", &account);
        }
        Caller::Principal(principal) => {
            xml.text("Arn", &principal.arn());
            xml.text("UserId", &principal.who.user_id().unwrap_or_default());
        }
    }
    xml.text("Account", &account);
    Ok(())
}
