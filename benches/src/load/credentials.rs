//! Requests as they go over the wire, signed by AWS's own signer where the other side asks for it.

use std::process::Command;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::error::{Error, Result};
use crate::http;
use crate::kms::Request;

const REGION: &str = "us-east-1";

/// An access key.
#[derive(Clone, Debug)]
pub struct AccessKey(Credentials);

impl AccessKey {
    /// From its two halves.
    pub fn new(id: &str, secret: &str) -> Self {
        Self(Credentials::from_keys(id, secret, None))
    }

    /// Gives it to a program, in AWS's variables.
    pub fn environment(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", self.0.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", self.0.secret_access_key())
            .env("AWS_REGION", REGION);
    }

    /// `request` with its signature (Signature Version 4), for `host`. It is good for some minutes.
    pub fn sign(&self, request: &Request, host: &str) -> Result<Vec<u8>> {
        let request = &request.first();
        let Request::Operation { name, body } = request else {
            return Ok(request.bytes());
        };
        let failed =
            |error: &dyn std::fmt::Display| Error::answer("the request's signature", error.to_string());
        let target = http::target(name);
        let service = if target.starts_with("ACMPrivateCA.") { "acm-pca" } else { "kms" };
        let identity = self.0.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let headers = [("host", host), ("content-type", http::AWS_JSON), ("x-amz-target", target.as_str())];
        let uri = format!("https://{host}/");
        let signable =
            SignableRequest::new("POST", uri, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| failed(&error))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|error| failed(&error))?.into_parts();
        let signed: Vec<_> = instructions.headers().collect();
        Ok(http::message("POST", "/", &[&headers[..], &signed[..]].concat(), body))
    }
}
