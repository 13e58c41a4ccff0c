//! The account: its other name, and how much is in it.

use crate::access::Call;
use crate::identity::Edit;
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::xml::Xml;

use super::{ATTACHED_MAX, GROUPS_MAX, POLICIES_MAX, ROLES_MAX, USERS_MAX, allowed_on_all};

pub(super) fn create_alias(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let alias = alias(form)?;
    allowed_on_all(call, "CreateAccountAlias", "*")?;
    Edit::of(call).set_alias(Some(alias.to_owned()));
    Ok(())
}

pub(super) fn delete_alias(call: &Call<'_>, form: &mut Form<'_>) -> Result<(), Fault> {
    let alias = alias(form)?;
    allowed_on_all(call, "DeleteAccountAlias", "*")?;
    if call.identity.borrow().alias() != Some(alias) {
        let message = format!("The account alias {alias} cannot be found.");
        return Err(Fault::new(Code::NoSuchEntity, message));
    }
    Edit::of(call).set_alias(None);
    Ok(())
}

pub(super) fn list_aliases(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    let paging = form.paging();
    form.done()?;
    allowed_on_all(call, "ListAccountAliases", "*")?;
    let directory = call.identity.borrow();
    let (page, next) = paging.page(directory.alias().into_iter().map(|alias| (alias.to_owned(), alias)));
    xml.texts("AccountAliases", page);
    xml.paged(next);
    Ok(())
}

pub(super) fn summary(call: &Call<'_>, form: &mut Form<'_>, xml: &mut Xml) -> Result<(), Fault> {
    form.done()?;
    allowed_on_all(call, "GetAccountSummary", "*")?;
    let directory = call.identity.borrow();
    let versions = directory.policies().values().map(|policy| policy.versions.len()).sum();
    let entries: [(&str, usize); 18] = [
        ("AccessKeysPerUserQuota", 2),
        ("AccountAccessKeysPresent", 0),
        ("AccountMFAEnabled", 0),
        ("AttachedPoliciesPerGroupQuota", ATTACHED_MAX),
        ("AttachedPoliciesPerRoleQuota", ATTACHED_MAX),
        ("AttachedPoliciesPerUserQuota", ATTACHED_MAX),
        ("Groups", directory.groups().len()),
        ("GroupsPerUserQuota", 10),
        ("GroupsQuota", GROUPS_MAX),
        ("MFADevices", 0),
        ("Policies", directory.policies().len()),
        ("PoliciesQuota", POLICIES_MAX),
        ("PolicyVersionsInUse", versions),
        ("Roles", directory.roles().len()),
        ("RolesQuota", ROLES_MAX),
        ("Users", directory.users().len()),
        ("UsersQuota", USERS_MAX),
        ("VersionsPerPolicyQuota", 5),
    ];
    xml.element("SummaryMap", |xml| {
        for (name, value) in entries {
            xml.element("entry", |xml| {
                xml.text("key", name);
                xml.number("value", value);
            });
        }
    });
    Ok(())
}

/// `^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$`
fn alias<'a>(form: &mut Form<'a>) -> Result<&'a str, Fault> {
    let alias = form.text("AccountAlias", 3, 63);
    form.done()?;
    let letters =
        alias.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !letters || alias.starts_with('-') || alias.ends_with('-') || alias.contains("--") {
        let message =
            "The account alias must be lower-case letters, digits, and single hyphens between them.";
        return Err(Fault::new(Code::ValidationError, message));
    }
    Ok(alias)
}
