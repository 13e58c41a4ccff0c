//! What a claim settles for good.

use serde::{Deserialize, Serialize};

/// The account and the region in every ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// The ARN of a resource of a service that has no regions: `iam`, and the sessions of `sts`.
    pub fn global_arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}::{}:{resource}", self.account)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { account: "000000000000".to_owned(), region: "us-east-1".to_owned() }
    }
}
