//! `hsm objects`: what a crypto user sees on the token.

use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Operation, Request, attribute, ck, limits};
use serde_json::{Value, json};

use super::super::access::SignerArgs;
use super::super::error::Failure;
use super::super::output::{print_json, print_line};
use super::Door;
use super::password::LoginPassword;

/// Flags of `hsm objects`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The crypto user who looks
    #[arg(long, value_name = "NAME", default_value = "user")]
    user: String,
    #[command(flatten)]
    login: LoginPassword,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    signer: SignerArgs,
}

const TYPES: [u64; 6] = [
    ck::CKA_CLASS,
    ck::CKA_KEY_TYPE,
    ck::CKA_LABEL,
    ck::CKA_ID,
    ck::CKA_EXTRACTABLE,
    ck::CKA_NEVER_EXTRACTABLE,
];

/// An object as it is shown.
struct Shown {
    handle: u64,
    class: &'static str,
    kind: String,
    label: String,
    id: String,
    extractable: &'static str,
}

/// Lists.
pub fn run(args: &Args) -> Result<(), Failure> {
    let password = args.login.read(&args.user)?;
    let mut session = Door(args.signer.signer()?).log_in(&args.user, UserType::CryptoUser, password)?;
    let mut objects = Vec::new();
    let mut marker = None;
    // What the token says is bounded here as well.
    while objects.len() <= limits::OBJECTS_MAX {
        let request = Request {
            template: Some(Vec::new()),
            max_results: Some(limits::FIND_MAX),
            marker,
            ..Request::default()
        };
        let page = session.call(Operation::FindObjects, request)?;
        objects.extend(page.objects.unwrap_or_default());
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    let mut shown = Vec::new();
    for some in objects.chunks(limits::GET_MAX) {
        let request =
            Request { objects: Some(some.to_vec()), types: Some(TYPES.to_vec()), ..Request::default() };
        let told = session.call(Operation::GetAttributes, request)?.attributes.unwrap_or_default();
        // One that was destroyed meanwhile has nothing to show.
        let told = some.iter().zip(told).filter(|(_, told)| told.rv != ck::CKR_OBJECT_HANDLE_INVALID);
        shown.extend(told.map(|(handle, told)| show(*handle, &told.template)));
    }
    if args.json {
        let objects: Vec<Value> = shown
            .iter()
            .map(|object| {
                json!({"Handle": object.handle, "Class": object.class, "KeyType": object.kind,
                    "Label": object.label, "Id": object.id, "Extractable": object.extractable})
            })
            .collect();
        return print_json(&json!({"Objects": objects}));
    }
    for object in &shown {
        let Shown { handle, class, kind, label, id, extractable } = object;
        let line = format!("{handle:<8} {class:<12} {kind:<16} {extractable:<18} {id:<16} {label}");
        print_line(line.trim_end())?;
    }
    Ok(())
}

fn show(handle: u64, attributes: &[Attribute]) -> Shown {
    let value = |kind| attributes.iter().find(|attribute| attribute.kind == kind)?.value.as_ref();
    let number = |kind| value(kind).and_then(|value| attribute::number(value));
    let flag = |kind| value(kind).and_then(|value| attribute::flag(value));
    Shown {
        handle,
        class: match number(ck::CKA_CLASS) {
            Some(ck::CKO_DATA) => "data",
            Some(ck::CKO_CERTIFICATE) => "certificate",
            Some(ck::CKO_PUBLIC_KEY) => "public key",
            Some(ck::CKO_PRIVATE_KEY) => "private key",
            Some(ck::CKO_SECRET_KEY) => "secret key",
            _ => "object",
        },
        kind: match number(ck::CKA_KEY_TYPE) {
            Some(ck::CKK_RSA) => "RSA".to_owned(),
            Some(ck::CKK_EC) => "EC".to_owned(),
            Some(ck::CKK_EC_EDWARDS) => "Edwards".to_owned(),
            Some(ck::CKK_EC_MONTGOMERY) => "Montgomery".to_owned(),
            Some(ck::CKK_ML_DSA) => "ML-DSA".to_owned(),
            Some(ck::CKK_AES) => "AES".to_owned(),
            Some(ck::CKK_DES3) => "triple DES".to_owned(),
            Some(ck::CKK_GENERIC_SECRET) => "generic secret".to_owned(),
            Some(other) => format!("{other:#x}"),
            None => String::new(),
        },
        // Escaped, because it goes to a terminal and anybody may have chosen it.
        label: String::from_utf8_lossy(value(ck::CKA_LABEL).map_or(&[][..], |value| value.as_slice()))
            .escape_debug()
            .to_string(),
        id: value(ck::CKA_ID).map_or_else(String::new, |id| hex::encode(id.as_slice())),
        extractable: match (flag(ck::CKA_EXTRACTABLE), flag(ck::CKA_NEVER_EXTRACTABLE)) {
            (Some(true), _) => "extractable",
            (_, Some(true)) => "never extractable",
            (Some(false), _) => "not extractable",
            (None, _) => "",
        },
    }
}
