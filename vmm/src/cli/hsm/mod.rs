//! `hsm`: the signer's PKCS#11 token: making it, its users, its objects, quorums and backups, and the configuration of the module
//! that programs use it with.

mod backup;
mod cluster;
mod config;
mod control;
mod key;
mod objects;
mod password;
mod quorum;
mod shelf;
mod users;
mod who;

use casemate_client::{Client, ClientError};
use casemate_hsm::message::{Pin, TARGET, Token, UserType};
use casemate_hsm::{Operation, Request, Response};
use zeroize::Zeroizing;

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::output::print_line;
use password::{LoginPassword, NewPassword};

/// Commands about the token.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the token, once: the owner gives it a label and its first crypto officer
    Init {
        /// The token's label, at most 32 bytes
        #[arg(long)]
        label: String,
        /// The first crypto officer's name; a pin without a name is `officer`'s
        #[arg(long, value_name = "NAME", default_value = "officer")]
        officer: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// Add, remove, list and unlock users, as a crypto officer
    #[command(subcommand)]
    User(users::Command),
    /// Change one's own password
    Password {
        /// Who one is
        user: String,
        #[command(flatten)]
        login: LoginPassword,
        #[command(flatten)]
        password: NewPassword,
        /// One is a crypto officer
        #[arg(long)]
        officer: bool,
        #[command(flatten)]
        signer: SignerArgs,
    },
    /// List the objects that somebody sees
    Objects(objects::Args),
    /// Write everything that is on the token into a file, encrypted, and bring it back
    #[command(subcommand)]
    Backup(backup::Command),
    /// Keys that leave the token, encrypted under another, and enter it
    #[command(subcommand)]
    Key(key::Command),
    /// M of N: what takes more than one person
    #[command(subcommand)]
    Quorum(quorum::Command),
    /// Write the module's configuration, for a guest that meets a policy
    Config(config::Args),
    /// Create an HSM: a signer that is served in the background, new or as a backup has it
    Create(cluster::CreateArgs),
    /// Delete an HSM: it becomes a backup, and nothing of it runs any more
    Delete(cluster::DeleteArgs),
    /// List clusters and their HSMs
    List(cluster::ListArgs),
    /// Serve AWS CloudHSM's API for the HSMs of this host, to AWS's clients
    Control(control::Args),
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Init { label, officer, password, signer } => {
            let request = Request {
                label: Some(label.clone()),
                user: Some(officer.clone()),
                pin: Some(password.read(officer)?),
                ..Request::default()
            };
            let mut door = Door(signer.signer()?);
            let token = door.call(Operation::InitializeToken, &request)?.token.unwrap_or_default();
            print_line(&format!(
                "token `{}`, serial {}, with the crypto officer {officer}. Go on with\n  casemate hsm user add NAME --officer {officer}\n  casemate hsm config --root FILE --policy FILE",
                token.label, token.serial
            ))
        }
        Command::User(command) => users::run(command),
        Command::Password { user, login, password, officer, signer } => {
            let user_type = if *officer { UserType::CryptoOfficer } else { UserType::CryptoUser };
            let old = login.read(user)?;
            let new = password.read(user)?;
            let mut session = Door(signer.signer()?).log_in(user, user_type, old.clone())?;
            let request = Request {
                user: Some(user.clone()),
                pin: Some(new),
                old_pin: Some(old),
                ..Request::default()
            };
            session.call(Operation::ChangePassword, request).map(|_| ())
        }
        Command::Objects(args) => objects::run(args),
        Command::Backup(command) => backup::run(command),
        Command::Key(command) => key::run(command),
        Command::Quorum(command) => quorum::run(command),
        Command::Config(args) => config::run(args),
        Command::Create(args) => cluster::create(args),
        Command::Delete(args) => cluster::delete(args),
        Command::List(args) => cluster::list(args),
        Command::Control(args) => control::run(args),
    }
}

/// A connection to a signer, as far as the token is concerned.
struct Door(Client);

/// A session of the token with somebody logged in. Ends with this value.
struct Session {
    door: Door,
    token: Zeroizing<String>,
}

impl Door {
    fn call(&mut self, operation: Operation, request: &Request) -> Result<Response, Failure> {
        let json = |error| Failure::new(Code::SerdeError, format!("{}: {error}", operation.name()));
        let body = serde_json::to_vec(request).map_err(json)?;
        let answer = self.0.post_operation(&format!("{TARGET}{}", operation.name()), body)?;
        let answer = Zeroizing::new(Vec::from(answer));
        if answer.is_empty() {
            return Ok(Response::default());
        }
        serde_json::from_slice(&answer).map_err(json)
    }

    fn describe(&mut self) -> Result<Token, Failure> {
        let response = self.call(Operation::DescribeToken, &Request::default())?;
        response.token.ok_or_else(|| lacks(Operation::DescribeToken, "Token"))
    }

    fn log_in(mut self, user: &str, user_type: UserType, pin: Pin) -> Result<Session, Failure> {
        let opened = self.call(Operation::OpenSession, &Request::default())?;
        let token = opened.session_token.ok_or_else(|| lacks(Operation::OpenSession, "SessionToken"))?;
        let mut session = Session { door: self, token };
        let request = Request {
            user: Some(user.to_owned()),
            user_type: Some(user_type),
            pin: Some(pin),
            ..Request::default()
        };
        session.call(Operation::Login, request)?;
        Ok(session)
    }
}

impl Session {
    fn call(&mut self, operation: Operation, mut request: Request) -> Result<Response, Failure> {
        request.session_token = Some(self.token.clone());
        self.door.call(operation, &request)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It would end by itself, later.
        let _ = self.call(Operation::CloseSession, Request::default());
    }
}

fn lacks(operation: Operation, field: &'static str) -> Failure {
    ClientError::Field { operation: operation.name().to_owned(), field }.into()
}
