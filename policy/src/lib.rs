//! The AWS policy language: policies are parsed strictly and evaluated as AWS documents it. Pure: no I/O, no clock, no
//! state.
//!
//! Both what is parsed and what is asked come from attackers. So: no input makes this panic; nesting is limited; a
//! decision takes a limited number of steps, whatever wildcards are in the policies ([`effort`]); what is not understood
//! is an error when a policy is written, and a refusal when a request is decided.
//!
//! ```
//! use casemate_policy::{
//!     Context, Kind, Policies, PolicyDocument, Principal, Request, ResourcePolicy, Tags, Arn, evaluate,
//! };
//!
//! let key_policy = PolicyDocument::parse(
//!     r#"{
//!       "Version": "2012-10-17",
//!       "Statement": {
//!         "Sid": "Enclave only",
//!         "Effect": "Allow",
//!         "Principal": {"AWS": "arn:aws:iam::111122223333:user/ann"},
//!         "Action": "kms:Decrypt",
//!         "Resource": "*",
//!         "Condition": {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": "0df3fa80"}}
//!       }
//!     }"#,
//!     Kind::Resource,
//! )?;
//! let ann = Principal::User {
//!     arn: Arn::parse("arn:aws:iam::111122223333:user/ann")?,
//!     id: "AIDACKCEVSQ6C2EXAMPLE".into(),
//!     tags: Tags::default(),
//! };
//! let mut context = Context::new();
//! context.set("kms:RecipientAttestation:PCR0", "0df3fa80");
//! let request = Request {
//!     principal: &ann,
//!     action: "kms:Decrypt",
//!     resource: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
//!     context: &context,
//! };
//! let policies = Policies { resource: ResourcePolicy::RootOfTrust(&key_policy), ..Policies::default() };
//! assert!(evaluate(&request, &policies).is_allowed());
//!
//! let other = Request { action: "kms:Sign", ..request };
//! let refusal = evaluate(&other, &policies).refusal(other.action);
//! assert_eq!(refusal.as_deref(), Some("because no resource-based policy allows the kms:Sign action"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | do |
//! | --- | --- |
//! | check and keep a policy | [`PolicyDocument::parse`] with the [`Kind`] of what it is attached to; a [`PolicyError`] is AWS's `MalformedPolicyDocument` |
//! | keep a user's successor of the same name out | [`PolicyDocument::rename_principals`] to unique identifiers, [`PolicyDocument::to_json`] |
//! | say who asks | a [`Principal`]. It tells `aws:PrincipalArn`, `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:PrincipalTag/…`, `aws:userid` and `aws:username`, and no [`Context`] contradicts it |
//! | say what else is known | a [`Context`]: condition keys and values |
//! | decide on a key | [`evaluate()`] with [`ResourcePolicy::RootOfTrust`] |
//! | decide on AssumeRole | the same, with the role's trust policy; the request's resource is the role's ARN |
//! | decide on what has no policy of its own (`kms:CreateKey`, IAM) | the same, with [`ResourcePolicy::None`] |
//! | let a grant permit what policies do not | only if [`Decision::leaves_room_for_grants`] |
//! | keep a caller from locking itself out of a key | [`evaluate()`] its `kms:PutKeyPolicy` with the new policy |
//!
//! Start reading at [`evaluate`](mod@evaluate), then `condition`.

mod condition;
mod context;
mod document;
pub mod effort;
mod error;
pub mod evaluate;
mod json;
mod pattern;
mod principal;
mod resource;
mod values;
mod write;

pub use condition::Condition;
pub use context::Context;
pub use document::{Action, Effect, Element, Kind, PolicyDocument, Resources, Statement, Subject, Version};
pub use error::{PolicyError, Problem};
pub use evaluate::{Deciding, Decision, Layer, Policies, Request, ResourcePolicy, evaluate};
pub use pattern::Template;
pub use principal::{Arn, Named, NotAnArn, Principal, Tags};
