//! `hsm user`: the token's users, managed by a crypto officer.

use casemate_hsm::message::{Pin, UserType};
use casemate_hsm::{Operation, Request};
use serde_json::json;

use super::super::access::SignerArgs;
use super::super::error::Failure;
use super::super::output::{print_json, print_line};
use super::password::{LoginPassword, NewPassword};
use super::quorum::AskArgs;
use super::{Door, Session};

/// What to do with users.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a user; a crypto user unless told otherwise
    Add {
        /// The user's name: letters, digits and . _ - @
        name: String,
        /// Add a crypto officer
        #[arg(long)]
        crypto_officer: bool,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: OfficerArgs,
    },
    /// Remove a user who has no objects
    Remove {
        /// The user's name
        name: String,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: OfficerArgs,
    },
    /// List the users
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        by: OfficerArgs,
    },
    /// Let a user in again who is locked out or has forgotten the password: a new one is set
    #[command(visible_alias = "reset-password")]
    Unlock {
        /// The user's name
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        ask: AskArgs,
        #[command(flatten)]
        by: OfficerArgs,
    },
}

/// Who does it.
#[derive(Debug, clap::Args)]
pub struct OfficerArgs {
    /// The crypto officer who does it
    #[arg(long, value_name = "NAME", default_value = "officer")]
    officer: String,
    #[command(flatten)]
    login: LoginPassword,
    #[command(flatten)]
    signer: SignerArgs,
}

impl OfficerArgs {
    /// Logs in.
    pub(super) fn log_in(&self) -> Result<Session, Failure> {
        let password = self.login.read(&self.officer)?;
        Door(self.signer.signer()?).log_in(&self.officer, UserType::CryptoOfficer, password)
    }
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add { name, crypto_officer, password, ask, by } => {
            let mut session = by.log_in()?;
            let user_type = if *crypto_officer { UserType::CryptoOfficer } else { UserType::CryptoUser };
            let request = Request {
                user: Some(name.clone()),
                pin: new_password(password, name, ask)?,
                user_type: Some(user_type),
                ..Request::default()
            };
            ask.call(&mut session, Operation::CreateUser, request).map(|_| ())
        }
        Command::Remove { name, ask, by } => {
            let request = Request { user: Some(name.clone()), ..Request::default() };
            ask.call(&mut by.log_in()?, Operation::DeleteUser, request).map(|_| ())
        }
        Command::List { json, by } => list(*json, by),
        Command::Unlock { name, password, ask, by } => {
            let mut session = by.log_in()?;
            let pin = new_password(password, name, ask)?;
            let request = Request { user: Some(name.clone()), pin, ..Request::default() };
            ask.call(&mut session, Operation::ChangePassword, request).map(|_| ())
        }
    }
}

/// The new password; it is no part of what others approve.
fn new_password(password: &NewPassword, name: &str, ask: &AskArgs) -> Result<Option<Pin>, Failure> {
    if ask.is_asked() { Ok(None) } else { password.read(name).map(Some) }
}

fn list(json: bool, by: &OfficerArgs) -> Result<(), Failure> {
    let users = by.log_in()?.call(Operation::ListUsers, Request::default())?.users.unwrap_or_default();
    if json {
        return print_json(&json!({"Users": users}));
    }
    for user in users {
        let part = match user.user_type {
            UserType::CryptoOfficer => "CO",
            UserType::CryptoUser => "CU",
        };
        let approves = if user.quorum_key { "can approve" } else { "" };
        let locked = if user.locked { "locked out" } else { "" };
        print_line(format!("{part}  {:<32} {approves:<12} {locked}", user.user).trim_end())?;
    }
    Ok(())
}
