//! What all operations that begin a session have in common.

use std::collections::BTreeMap;

use casemate_policy::Kind as PolicyKind;
use zeroize::Zeroizing;

use crate::access::Call;
use crate::identity::fault::{Code, Fault};
use crate::identity::form::Form;
use crate::identity::iam;
use crate::identity::id::{self, prefix};
use crate::identity::session::{Of, Session};
use crate::identity::time;
use crate::identity::xml::Xml;

/// Managed policies that can be passed to a session.
const POLICY_ARNS_MAX: usize = 10;
/// Tags that can be passed to a session.
const TAGS_MAX: usize = 50;

/// Policies and tags as a request passes them.
pub(super) struct Passed<'a> {
    pub(super) tags: Vec<(&'a str, &'a str)>,
    pub(super) policy: Option<&'a str>,
    pub(super) policy_arns: Vec<&'a str>,
}

impl<'a> Passed<'a> {
    /// Reads `Policy`, `PolicyArns` and `Tags`.
    pub(super) fn read(form: &mut Form<'a>) -> Self {
        let policy = form.optional("Policy", 1, 131_072).map(|_| form.document("Policy"));
        let policy_arns = form.list_of("PolicyArns", ".arn");
        Self { tags: form.tags(TAGS_MAX), policy, policy_arns }
    }

    /// Refuses what cannot limit a session.
    pub(super) fn check(&self, call: &Call<'_>) -> Result<(), Fault> {
        iam::distinct(&self.tags)?;
        if let Some(policy) = self.policy {
            iam::policy(policy, PolicyKind::Session)?;
        }
        if self.policy_arns.len() > POLICY_ARNS_MAX {
            let message = format!("A session takes {POLICY_ARNS_MAX} managed policies at most.");
            return Err(Fault::new(Code::ValidationError, message));
        }
        let directory = call.identity.borrow();
        self.policy_arns.iter().try_for_each(|arn| directory.policy(arn).map(drop))
    }
}

/// A session that is about to begin.
pub(super) struct Begin<'a> {
    pub(super) of: Of,
    pub(super) duration: u64,
    pub(super) passed: Passed<'a>,
    /// Tags that come from the session that begins this one.
    pub(super) inherited: BTreeMap<String, String>,
    pub(super) transitive: Vec<String>,
    pub(super) source_identity: Option<String>,
}

impl Begin<'_> {
    /// Makes the session's credentials and writes them.
    pub(super) fn issue(self, call: &Call<'_>, xml: &mut Xml) -> Result<Session, Fault> {
        let directory = call.identity.borrow();
        let key = directory.session_key.as_ref();
        let key = key.ok_or_else(|| {
            let message =
                "Nobody has claimed this signer yet, so it has no identities: see `casemate claim`.";
            Fault::new(Code::AccessDenied, message)
        })?;
        let now = time::seconds(call.now());
        let mut tags = self.inherited;
        tags.extend(self.passed.tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let session = Session {
            access_key_id: id::access_key(prefix::TEMPORARY, &directory.config.account)?,
            secret: id::secret()?,
            issued: now,
            expires: now.saturating_add(self.duration),
            of: self.of,
            policy: self.passed.policy.map(str::to_owned),
            policy_arns: self.passed.policy_arns.iter().map(|arn| (*arn).to_owned()).collect(),
            tags,
            transitive: self.transitive,
            source_identity: self.source_identity,
        };
        let packed = session.packed();
        if packed > 100 {
            let message =
                format!("Packed policy consumes {packed}% of allotted space, please use smaller policy.");
            return Err(Fault::new(Code::PackedPolicyTooLarge, message));
        }
        let token = Zeroizing::new(key.seal(&session)?);
        xml.element("Credentials", |xml| {
            xml.text("AccessKeyId", &session.access_key_id);
            xml.text("SecretAccessKey", &session.secret);
            xml.text("SessionToken", &token);
            xml.time("Expiration", session.expires);
        });
        if packed > 0 {
            xml.number("PackedPolicySize", packed);
        }
        Ok(session)
    }
}
