//! Somebody who logs in, user or officer.

use casemate_hsm::message::UserType;

use super::super::access::SignerArgs;
use super::super::error::Failure;
use super::password::LoginPassword;
use super::{Door, Session};

/// Whoever logs in.
#[derive(Debug, clap::Args)]
pub struct WhoArgs {
    /// The crypto user who does it
    #[arg(long, value_name = "NAME", required_unless_present = "officer")]
    user: Option<String>,
    /// The crypto officer who does it
    #[arg(long, value_name = "NAME", conflicts_with = "user")]
    officer: Option<String>,
    #[command(flatten)]
    login: LoginPassword,
    #[command(flatten)]
    signer: SignerArgs,
}

impl WhoArgs {
    /// Logs in.
    pub(super) fn log_in(&self) -> Result<Session, Failure> {
        let (name, user_type) = match (&self.officer, &self.user) {
            (Some(officer), _) => (officer.as_str(), UserType::CryptoOfficer),
            (None, user) => (user.as_deref().unwrap_or_default(), UserType::CryptoUser),
        };
        let password = self.login.read(name)?;
        Door(self.signer.signer()?).log_in(name, user_type, password)
    }
}
