//! Identities: the account that the signer belongs to, and who has credentials.

/// What a claim settles for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The account in ARNs: twelve digits.
    pub account: String,
    /// The region in ARNs.
    pub region: String,
}

impl Config {
    /// The ARN of a regional resource of this account.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { account: "000000000000".to_owned(), region: "us-east-1".to_owned() }
    }
}

/// The directory of users, roles and credentials.
#[derive(Debug, Default)]
pub struct Directory {
    /// Account and region; the defaults until the signer is claimed.
    pub config: Config,
    claimed: bool,
}

impl Directory {
    /// Whether the signer has an owner: if so, every request must be signed.
    pub fn claimed(&self) -> bool {
        self.claimed
    }
}
