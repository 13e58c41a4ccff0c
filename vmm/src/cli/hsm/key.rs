//! `hsm key`: keys that leave the token wrapped, and enter it; and how many must approve that one leaves.

use std::path::{Path, PathBuf};

use casemate_hsm::mechanism::Oaep;
use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Parameter, Request, Template, attribute, ck};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::super::access::SignerArgs;
use super::super::error::{Code, Failure};
use super::super::output::print_line;
use super::super::text;
use super::password::LoginPassword;
use super::quorum::{AskArgs, read_public};
use super::users::OfficerArgs;
use super::{Door, Session, lacks};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write a key, encrypted under another, into a file; only an extractable key's owner can
    Wrap {
        /// The key: its label, or id:HEX
        key: String,
        #[command(flatten)]
        how: HowArgs,
        /// The wrapped key
        #[arg(long, value_name = "FILE", required_unless_present = "ask_quorum")]
        out: Option<PathBuf>,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: UserArgs,
    },
    /// Bring a wrapped key into the token; a private key with its public key beside it
    Unwrap {
        /// The wrapped key
        file: PathBuf,
        #[command(flatten)]
        how: HowArgs,
        #[command(flatten)]
        names: NamesArgs,
        /// What it is
        #[arg(long = "type", value_name = "TYPE")]
        kind: Kind,
        /// It can leave again, wrapped
        #[arg(long)]
        extractable: bool,
        #[command(flatten)]
        by: UserArgs,
    },
    /// Bring another HSM's public RSA key into the token, to wrap with
    Import {
        /// The public key, PEM or DER
        file: PathBuf,
        #[command(flatten)]
        names: NamesArgs,
        #[command(flatten)]
        by: UserArgs,
    },
    /// Have a key count as trusted, as a crypto officer: keys with CKA_WRAP_WITH_TRUSTED leave under such ones alone
    Trust {
        /// The key that wraps: its label, or id:HEX
        key: String,
        #[command(flatten)]
        by: OfficerArgs,
    },
    /// Have a key leave the token only if so many others approve; the number only goes up
    Quorum {
        /// The key: its label, or id:HEX
        key: String,
        /// How many, beside its owner
        count: u64,
        #[command(flatten)]
        by: UserArgs,
    },
}

/// What a new key is called.
#[derive(Debug, clap::Args)]
pub struct NamesArgs {
    /// Its label from now on
    #[arg(long)]
    label: String,
    /// Its id from now on, in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "")]
    id: String,
}

/// Under which key, and how.
#[derive(Debug, clap::Args)]
pub struct HowArgs {
    /// The key that it is wrapped with: its label, or id:HEX
    #[arg(long, value_name = "KEY")]
    with: String,
    /// How it is wrapped
    #[arg(long)]
    mechanism: How,
}

/// How a key is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// CKM_RSA_AES_KEY_WRAP under an RSA key: AES-256, OAEP with SHA-256
    RsaAes,
    /// CKM_AES_KEY_WRAP_KWP under an AES key: RFC 5649
    AesKwp,
    /// CKM_AES_KEY_WRAP_PAD: the same by the number that SoftHSM2 and others have for it
    AesPad,
}

/// What kind of key.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// A private key on a NIST curve or secp256k1
    Ec,
    /// A private RSA key
    Rsa,
    /// A private Ed25519 key
    Edwards,
    /// An AES key
    Aes,
}

/// The crypto user who does it.
#[derive(Debug, clap::Args)]
pub struct UserArgs {
    /// The crypto user who does it
    #[arg(long, value_name = "NAME", default_value = "user")]
    user: String,
    #[command(flatten)]
    login: LoginPassword,
    #[command(flatten)]
    signer: SignerArgs,
}

impl UserArgs {
    fn log_in(&self) -> Result<Session, Failure> {
        let password = self.login.read(&self.user)?;
        Door(self.signer.signer()?).log_in(&self.user, UserType::CryptoUser, password)
    }
}

impl How {
    fn mechanism(self) -> Mechanism {
        match self {
            Self::AesKwp => Mechanism::plain(ck::CKM_AES_KEY_WRAP_KWP),
            Self::AesPad => Mechanism::plain(ck::CKM_AES_KEY_WRAP_PAD),
            Self::RsaAes => {
                let oaep = Oaep { hash: ck::CKM_SHA256, mgf: ck::CKG_MGF1_SHA256, label: Bytes::default() };
                Mechanism {
                    kind: ck::CKM_RSA_AES_KEY_WRAP,
                    parameter: Parameter::RsaAes { aes_bits: 256, oaep },
                }
            }
        }
    }

    /// The class of the key that wraps, and of the one that unwraps.
    const fn classes(self) -> (u64, u64) {
        match self {
            Self::AesKwp | Self::AesPad => (ck::CKO_SECRET_KEY, ck::CKO_SECRET_KEY),
            Self::RsaAes => (ck::CKO_PUBLIC_KEY, ck::CKO_PRIVATE_KEY),
        }
    }
}

impl Kind {
    const fn class_and_type(self) -> (u64, u64) {
        match self {
            Self::Ec => (ck::CKO_PRIVATE_KEY, ck::CKK_EC),
            Self::Rsa => (ck::CKO_PRIVATE_KEY, ck::CKK_RSA),
            Self::Edwards => (ck::CKO_PRIVATE_KEY, ck::CKK_EC_EDWARDS),
            Self::Aes => (ck::CKO_SECRET_KEY, ck::CKK_AES),
        }
    }
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Wrap { key, how, out, ask, by } => {
            let mut session = by.log_in()?;
            let request = Request {
                mechanism: Some(how.mechanism.mechanism()),
                wrapping_object: Some(find(&mut session, &how.with, &[how.mechanism.classes().0])?),
                object: Some(find(&mut session, key, &[ck::CKO_PRIVATE_KEY, ck::CKO_SECRET_KEY])?),
                ..Request::default()
            };
            let answer = ask.call(&mut session, Operation::WrapKey, request)?;
            let (Some(answer), Some(out)) = (answer, out) else { return Ok(()) };
            let wrapped = answer.data.ok_or_else(|| lacks(Operation::WrapKey, "Data"))?;
            text::write(out, &wrapped)
        }
        Command::Unwrap { file, how, names, kind, extractable, by } => {
            let wrapped = text::read(file)?.into();
            let (label, names) = (&names.label, names.template()?);
            let mut session = by.log_in()?;
            let unwrapping = find(&mut session, &how.with, &[how.mechanism.classes().1])?;
            let (class, key_type) = kind.class_and_type();
            let mut template = vec![
                Attribute::number(ck::CKA_CLASS, class),
                Attribute::number(ck::CKA_KEY_TYPE, key_type),
                Attribute::flag(ck::CKA_TOKEN, true),
                Attribute::flag(ck::CKA_EXTRACTABLE, *extractable),
            ];
            template.extend(names.iter().cloned());
            let request = Request {
                mechanism: Some(how.mechanism.mechanism()),
                wrapping_object: Some(unwrapping),
                data: Some(wrapped),
                template: Some(template),
                ..Request::default()
            };
            let answer = session.call(Operation::UnwrapKey, request)?;
            let object = answer.object.ok_or_else(|| lacks(Operation::UnwrapKey, "Object"))?;
            if class == ck::CKO_PRIVATE_KEY {
                publish(&mut session, object, key_type, names)?;
            }
            print_line(&format!("{label}: handle {object}"))
        }
        Command::Import { file, names, by } => {
            let mut template = names.template()?;
            template.extend(rsa_public(file)?);
            let flags = [
                (ck::CKA_TOKEN, true),
                (ck::CKA_WRAP, true),
                (ck::CKA_ENCRYPT, false),
                (ck::CKA_VERIFY, false),
            ];
            template.extend(flags.map(|(kind, value)| Attribute::flag(kind, value)));
            let request = Request { template: Some(template), ..Request::default() };
            by.log_in()?.call(Operation::CreateObject, request).map(|_| ())
        }
        Command::Trust { key, by } => {
            let mut session = by.log_in()?;
            let object = find(&mut session, key, &[ck::CKO_PUBLIC_KEY, ck::CKO_SECRET_KEY])?;
            set(&mut session, object, Attribute::flag(ck::CKA_TRUSTED, true))
        }
        Command::Quorum { key, count, by } => {
            let mut session = by.log_in()?;
            let object = find(&mut session, key, &[ck::CKO_PRIVATE_KEY, ck::CKO_SECRET_KEY])?;
            set(&mut session, object, Attribute::number(attribute::CKA_CASEMATE_QUORUM, *count))
        }
    }
}

impl NamesArgs {
    fn template(&self) -> Result<Template, Failure> {
        Ok(vec![
            Attribute::bytes(ck::CKA_LABEL, self.label.as_bytes()),
            Attribute::bytes(ck::CKA_ID, &hexadecimal(&self.id)?),
        ])
    }
}

fn hexadecimal(id: &str) -> Result<Vec<u8>, Failure> {
    hex::decode(id)
        .map_err(|error| Failure::new(Code::InvalidArgument, format!("`{id}` is not hexadecimal: {error}")))
}

/// The attributes of a public RSA key in a file.
fn rsa_public(path: &Path) -> Result<Template, Failure> {
    let spki = read_public(path)?;
    let numbers = SubjectPublicKeyInfoRef::try_from(spki.as_slice()).and_then(|info| {
        info.algorithm.assert_algorithm_oid(RSA_ENCRYPTION)?;
        let key = info.subject_public_key.as_bytes().unwrap_or_default();
        let mut reader = SliceReader::new(key)?;
        let (n, e) = reader.sequence(|reader| {
            Ok::<_, x509_cert::spki::Error>((UintRef::decode(reader)?, UintRef::decode(reader)?))
        })?;
        Ok((n, e))
    });
    let (n, e) = numbers.map_err(|error| {
        Failure::new(Code::InvalidArgument, format!("{} is no public RSA key: {error}", path.display()))
    })?;
    Ok(vec![
        Attribute::number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::number(ck::CKA_KEY_TYPE, ck::CKK_RSA),
        Attribute::bytes(ck::CKA_MODULUS, n.as_bytes()),
        Attribute::bytes(ck::CKA_PUBLIC_EXPONENT, e.as_bytes()),
    ])
}

fn set(session: &mut Session, object: u64, attribute: Attribute) -> Result<(), Failure> {
    let request = Request { object: Some(object), template: Some(vec![attribute]), ..Request::default() };
    session.call(Operation::SetAttributes, request).map(|_| ())
}

/// The one key of these classes that is called so.
fn find(session: &mut Session, name: &str, classes: &[u64]) -> Result<u64, Failure> {
    let named = match name.strip_prefix("id:") {
        Some(id) => Attribute::bytes(ck::CKA_ID, &hexadecimal(id)?),
        None => Attribute::bytes(ck::CKA_LABEL, name.as_bytes()),
    };
    let mut found = Vec::new();
    for class in classes {
        let template = vec![Attribute::number(ck::CKA_CLASS, *class), named.clone()];
        let request = Request { template: Some(template), max_results: Some(2), ..Request::default() };
        found.extend(session.call(Operation::FindObjects, request)?.objects.unwrap_or_default());
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Failure::new(Code::InvalidArgument, format!("there is no such key as `{name}`"))),
        _ => Err(Failure::new(
            Code::InvalidArgument,
            format!("several keys are called `{name}`: name one by id:HEX (casemate hsm objects lists them)"),
        )),
    }
}

/// Puts a private key's public key beside it, where programs look for it.
fn publish(session: &mut Session, private: u64, key_type: u64, names: Template) -> Result<(), Failure> {
    let types: &[u64] = match key_type {
        ck::CKK_RSA => &[ck::CKA_MODULUS, ck::CKA_PUBLIC_EXPONENT],
        _ => &[ck::CKA_EC_PARAMS, ck::CKA_EC_POINT],
    };
    let request = Request { objects: Some(vec![private]), types: Some(types.to_vec()), ..Request::default() };
    let told = session.call(Operation::GetAttributes, request)?.attributes.and_then(|mut told| told.pop());
    let mut template = told.ok_or_else(|| lacks(Operation::GetAttributes, "Attributes"))?.template;
    template.extend(names);
    template.extend([
        Attribute::number(ck::CKA_CLASS, ck::CKO_PUBLIC_KEY),
        Attribute::number(ck::CKA_KEY_TYPE, key_type),
        Attribute::flag(ck::CKA_TOKEN, true),
    ]);
    let request = Request { template: Some(template), ..Request::default() };
    session.call(Operation::CreateObject, request).map(|_| ())
}
