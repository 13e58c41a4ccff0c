//! `claim`: makes a signer that belongs to nobody the caller's, once, and keeps the administrator's access key as an AWS
//! profile.
//!
//! The order is what counts: first it is made sure that the profile can be written, then the signer is verified, and only
//! then, on the connection on which that was done, is the claim sent. Its answer is the only copy of the secret.

use std::path::PathBuf;

use casemate_attestation::statement::fingerprint;
use casemate_client::attested::{Attested, Place};
use casemate_client::endpoint::Endpoint;
use casemate_client::field;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::attested::{self, Refusal};
use super::error::{Code, Failure};
use super::output::{print_json, print_line};
use super::owner::OwnerKey;
use super::profile::{Entry, Files, USUAL};
use super::registry::{Registry, Selector};
use super::text;
use super::verify::DemandArgs;

/// Flags of `claim`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "casemate claim [--endpoint URL | --guest NAME] --root FILE --policy FILE [OPTIONS]"
)]
pub struct Args {
    /// Where the signer is served, as `serve` prints it
    #[arg(long, visible_alias = "endpoint-url", value_name = "URL", conflicts_with = "guest")]
    endpoint: Option<String>,
    /// Claim this guest of this host through its own socket
    #[arg(long, value_name = "NAME")]
    guest: Option<String>,
    #[command(flatten)]
    demands: DemandArgs,
    /// The account in ARNs, 12 digits [default: a random one]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// The region in ARNs
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,
    /// The AWS profile to write
    #[arg(long, value_name = "NAME", default_value = USUAL)]
    profile: String,
    /// Replace a profile of that name
    #[arg(long)]
    force: bool,
    /// Print the access key as JSON, as `credential_process` wants it, and write no profile
    #[arg(long, conflicts_with_all = ["profile", "force", "json"])]
    print: bool,
    /// The private key of the owner that the image's command line names (PKCS#8 PEM: P-256, P-384 or Ed25519)
    #[arg(long, value_name = "FILE")]
    owner_key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the signer answers.
struct Claimed {
    account: String,
    region: String,
    user_arn: String,
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
}

/// Claims.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.demands.has_anchor() || !args.demands.has_policy() {
        let message = "a claim needs --root and --policy: it goes to a signer that has proved what it is, and to no other";
        return Err(Failure::new(Code::InvalidArgument, message));
    }
    let owner = args.owner_key.as_deref().map(OwnerKey::read).transpose()?;
    let files = if args.print { None } else { Some(Files::locate()?) };
    if let Some(files) = &files {
        files.prepare(&args.profile, args.force)?;
    }
    let place = args.place()?;
    let mut attested = attested::connect(&place, &args.demands).map_err(|refusal| match refusal {
        Refusal::Failed(failure) => failure,
        Refusal::Unproved(reason) => {
            Failure::plain(format!("{place} does not verify, so it was not claimed: {reason}"))
        }
    })?;
    let claimed = send(args, &mut attested, owner.as_ref())?;
    let Some(files) = files else {
        return print_key(&claimed);
    };
    match keep(args, &files, &place, &attested, &claimed) {
        Ok(ca_bundle) => tell(args, &place, &attested, &claimed, &ca_bundle),
        Err(failure) => {
            // There is no other copy, and there will be none.
            eprintln!(
                "casemate: the signer is claimed, but the profile was not written; its access key is on stdout"
            );
            print_key(&claimed)?;
            Err(failure)
        }
    }
}

impl Args {
    fn place(&self) -> Result<Place, Failure> {
        match &self.endpoint {
            Some(url) => Ok(Place::Endpoint(Endpoint::parse(url)?)),
            None => {
                let selector = self.guest.clone().map_or(Selector::Only, Selector::Either);
                Ok(Registry::open()?.find(&selector)?.place())
            }
        }
    }
}

/// Sends the claim on the verified connection.
fn send(args: &Args, attested: &mut Attested, owner: Option<&OwnerKey>) -> Result<Claimed, Failure> {
    let mut request = Map::new();
    request.insert("region".to_owned(), args.region.as_str().into());
    if let Some(account) = &args.account {
        request.insert("account".to_owned(), account.as_str().into());
    }
    if let Some(owner) = owner {
        request.insert("proof".to_owned(), owner.prove(&attested.certificate)?);
    }
    let headers = [("content-type", "application/json")];
    let answer = attested.client.post_json("/claim", &headers, &Value::Object(request))?;
    let text = |name| field(&answer, "the claim", name).map(str::to_owned);
    Ok(Claimed {
        account: text("account")?,
        region: text("region")?,
        user_arn: text("user_arn")?,
        access_key_id: text("access_key_id")?,
        secret_access_key: Zeroizing::new(text("secret_access_key")?),
    })
}

/// Writes CA file and profile, and returns where the CA file is.
fn keep(
    args: &Args,
    files: &Files,
    place: &Place,
    attested: &Attested,
    claimed: &Claimed,
) -> Result<PathBuf, Failure> {
    let ca_bundle = std::path::absolute(files.ca_bundle(&args.profile)).map_err(Failure::plain)?;
    text::write(&ca_bundle, attested::ca_file(attested)?.as_bytes())?;
    let endpoint = match place {
        Place::Endpoint(_) => Some(place.to_string()),
        Place::Guest { .. } => None,
    };
    let entry = Entry {
        access_key_id: &claimed.access_key_id,
        secret_access_key: &claimed.secret_access_key,
        region: &claimed.region,
        endpoint: endpoint.as_deref(),
        ca_bundle: Some(&ca_bundle),
    };
    files.write(&args.profile, &entry)?;
    Ok(ca_bundle)
}

fn tell(
    args: &Args,
    place: &Place,
    attested: &Attested,
    claimed: &Claimed,
    ca_bundle: &std::path::Path,
) -> Result<(), Failure> {
    let certificate = fingerprint(&attested.certificate);
    if args.json {
        return print_json(&json!({
            "Account": claimed.account,
            "Region": claimed.region,
            "UserArn": claimed.user_arn,
            "AccessKeyId": claimed.access_key_id,
            "Profile": args.profile,
            "CaBundle": ca_bundle,
            "CertificateSha256": certificate,
        }));
    }
    let next = match place {
        Place::Endpoint(_) => {
            format!("  export AWS_PROFILE={0}\n  aws sts get-caller-identity", args.profile)
        }
        Place::Guest { .. } => format!(
            "  casemate key list --profile {0} --guest {place}\nand for AWS's clients, once it is served (casemate serve --guest {place}):\n  export AWS_PROFILE={0} AWS_ENDPOINT_URL=https://127.0.0.1:8443",
            args.profile
        ),
    };
    print_line(&format!(
        "{place} is yours. It has proved what the policy demands, and gave this key once:\n  administrator  {}\n  access key     {}  (profile `{}`)\n  certificate    SHA-256 {certificate}, in {}\nGo on with\n{next}",
        claimed.user_arn,
        claimed.access_key_id,
        args.profile,
        ca_bundle.display(),
    ))
}

/// The form of `credential_process`.
fn print_key(claimed: &Claimed) -> Result<(), Failure> {
    let key = json!({
        "Version": 1,
        "AccessKeyId": claimed.access_key_id,
        "SecretAccessKey": claimed.secret_access_key.as_str(),
    });
    print_json(&key)
}
