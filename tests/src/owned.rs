//! A signer that is served and claimed: what its owner has afterwards.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::{Image, Lab, Running, python_programs};

/// A signer that belongs to somebody.
pub struct Owned {
    /// `casemate serve`.
    pub served: Running,
    /// Where.
    pub endpoint: String,
    /// The administrator's access key.
    pub access_key_id: String,
    /// Its other half.
    pub secret_access_key: String,
}

impl Lab {
    /// Writes `policy.json`, which demands this image, sealed and fresh, and `root.pem`, the platform's root.
    pub fn demand(&self, image: Image) {
        let info = self.json(&["describe-eif", "--eif-path", image.path().to_str().unwrap()]);
        let policy = json!({"pcrs": {"0": info["Measurements"]["PCR0"]}, "nonce_required": true,
            "max_age_seconds": 60, "posture": {"sealed_memory": ["guest_memfd", "anonymous"]}});
        self.write("policy.json", policy.to_string().as_bytes());
        std::fs::copy(self.path("home/root.pem"), self.path("root.pem")).unwrap();
    }

    /// Serves a new signer, verifies it, and claims it. `ca.pem` is for its clients.
    #[track_caller]
    pub fn serve_claimed(&self, arguments: &[&str]) -> Owned {
        let served = self.serve(arguments);
        self.demand(Image::Signer);
        self.claim(served)
    }

    /// Verifies a signer that is served, against `policy.json`, and claims it. `ca.pem` is for its clients.
    #[track_caller]
    pub fn claim(&self, served: Running) -> Owned {
        let endpoint = served.info["Endpoint"].as_str().unwrap().to_owned();
        let demands = ["--root", "root.pem", "--policy", "policy.json"];
        self.ok(&[&["verify", "--tls", &endpoint, "--out", "ca.pem"], &demands[..]].concat());
        let claimed = self.json(&[&["claim", "--endpoint", &endpoint, "--print"], &demands[..]].concat());
        let text = |name: &str| claimed[name].as_str().unwrap().to_owned();
        Owned {
            served,
            endpoint,
            access_key_id: text("AccessKeyId"),
            secret_access_key: text("SecretAccessKey"),
        }
    }

    /// A program that talks to `owned` as its administrator, with AWS's own variables.
    pub fn as_administrator(&self, owned: &Owned, program: &Path) -> Command {
        let mut command = self.command(program);
        command
            .env("AWS_ENDPOINT_URL", &owned.endpoint)
            .env("AWS_CA_BUNDLE", self.path("ca.pem"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &owned.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &owned.secret_access_key)
            .env("AWS_CLI", python_programs().join("aws"));
        command
    }
}
