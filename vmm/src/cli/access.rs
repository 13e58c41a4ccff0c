//! Which signer is meant, and on whose behalf it is asked.
//!
//! | | comes from, the first that is there |
//! | --- | --- |
//! | credentials | `--profile`; `AWS_ACCESS_KEY_ID` …; `AWS_PROFILE`; the profile `casemate`; none: the local owner of a signer that nobody has claimed |
//! | signer | `--guest`; `--endpoint-url`; `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL`; that of a profile that was named; the guest that runs here; that of the profile `casemate` |
//! | certificate | `--ca-bundle`; that of the profile; `AWS_CA_BUNDLE` |
//!
//! An endpoint is talked to only if it shows a certificate that is known. So is a guest of this host, through TLS in its own
//! socket, if one is known; and the profile `casemate`, which nobody named, is used only with the guest whose certificate
//! it holds. Without a known certificate a guest is talked to in the clear, through its socket, which is the VMM's.

use std::path::{Path, PathBuf};

use casemate_client::Client;
use casemate_client::attested::Place;
use casemate_client::endpoint::{Endpoint, Trust};
use casemate_client::sigv4::Credentials;
use zeroize::Zeroizing;

use super::error::{Code, Failure};
use super::profile::{Files, Profile, USUAL};
use super::registry::{Guest, Registry, Selector};
use super::text;

/// The region if nothing names one, as the signer has it.
const USUAL_REGION: &str = "us-east-1";

/// Which guest is meant.
#[derive(Debug, clap::Args)]
pub struct GuestArgs {
    /// Name or identifier of the guest; needed only if several are running
    #[arg(long, value_name = "NAME", global = true)]
    guest: Option<String>,
}

/// Which signer is meant, and on whose behalf it is asked.
#[derive(Debug, clap::Args)]
pub struct SignerArgs {
    #[command(flatten)]
    guest: GuestArgs,
    #[command(flatten)]
    login: LoginArgs,
}

/// On whose behalf, and where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Signer with an owner")]
struct LoginArgs {
    /// The AWS profile to sign requests with [default: casemate, if there is one]
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,
    /// Where the signer is served, instead of a guest of this host
    #[arg(long, value_name = "URL", global = true, conflicts_with = "guest")]
    endpoint_url: Option<String>,
    /// The signer's certificate, as `verify --tls` and `claim` write it
    #[arg(long, value_name = "FILE", global = true)]
    ca_bundle: Option<PathBuf>,
}

/// What arguments, environment and profiles say.
struct Login {
    credentials: Option<Credentials>,
    endpoint: Option<String>,
    ca_bundle: Option<PathBuf>,
    /// Somebody asked for this very certificate or profile.
    named: bool,
}

/// The signer that is asked.
enum Signer {
    Guest(Box<Guest>),
    Endpoint(String),
}

impl GuestArgs {
    /// The running guest that is meant.
    pub fn find(&self) -> Result<Guest, Failure> {
        let selector = self.guest.clone().map_or(Selector::Only, Selector::Either);
        Ok(Registry::open()?.find(&selector)?)
    }
}

impl SignerArgs {
    /// The running guest that is meant.
    pub fn find(&self) -> Result<Guest, Failure> {
        self.guest.find()
    }

    /// A connection to the signer, which signs requests where there are credentials.
    pub fn signer(&self) -> Result<Client, Failure> {
        let login = self.login.resolve()?;
        match self.which(&login)? {
            Signer::Guest(guest) => open_guest(&guest, login),
            Signer::Endpoint(url) => open_endpoint(&url, login),
        }
    }

    /// A connection to this guest, through its own socket.
    pub fn signer_of(&self, guest: &Guest) -> Result<Client, Failure> {
        if self.login.endpoint_url.is_some() {
            let message = "this is done on the guest's own host, through its own socket: --guest names it";
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        open_guest(guest, self.login.resolve()?)
    }

    /// Where others find the signer, for as long as it is served: an endpoint rather than a guest's own socket.
    pub fn place(&self) -> Result<Place, Failure> {
        match self.login.resolve()?.endpoint {
            Some(url) if self.guest.guest.is_none() => Ok(Place::Endpoint(Endpoint::parse(&url)?)),
            _ => Ok(self.find()?.place()),
        }
    }

    fn which(&self, login: &Login) -> Result<Signer, Failure> {
        match &login.endpoint {
            Some(url) if self.guest.guest.is_none() && login.named => Ok(Signer::Endpoint(url.clone())),
            Some(url) if self.guest.guest.is_none() && Registry::open()?.guests()?.is_empty() => {
                Ok(Signer::Endpoint(url.clone()))
            }
            _ => Ok(Signer::Guest(Box::new(self.find()?))),
        }
    }
}

impl LoginArgs {
    fn resolve(&self) -> Result<Login, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let from_environment = self.profile.is_none().then(|| environment_credentials(&variable)).flatten();
        let wanted = self.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let profile = match (&from_environment, &wanted) {
            (Some(_), _) => None,
            (None, Some(name)) => Some(Files::locate()?.find(name)?.ok_or_else(|| {
                Failure::new(Code::InvalidArgument, format!("there is no AWS profile `{name}`"))
            })?),
            // Nobody asked for it: whatever is wrong with it is no reason to fail.
            (None, None) => Files::locate().and_then(|files| files.find(USUAL)).unwrap_or(None),
        };
        let named_endpoint = self
            .endpoint_url
            .clone()
            .or_else(|| variable("AWS_ENDPOINT_URL_KMS"))
            .or_else(|| variable("AWS_ENDPOINT_URL"));
        let named_profile = wanted.is_some() && profile.is_some();
        let profile = profile.unwrap_or_default();
        let ca_of_profile = profile.ca_bundle.clone();
        let named = named_endpoint.is_some() || named_profile || self.ca_bundle.is_some();
        Ok(Login {
            endpoint: named_endpoint.or_else(|| profile.endpoint.clone()),
            ca_bundle: self
                .ca_bundle
                .clone()
                .or(ca_of_profile)
                .or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from)),
            credentials: from_environment.or_else(|| profile_credentials(profile, &variable)),
            named,
        })
    }
}

fn region(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))
}

fn environment_credentials(variable: &dyn Fn(&str) -> Option<String>) -> Option<Credentials> {
    Some(Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: Zeroizing::new(variable("AWS_SECRET_ACCESS_KEY")?),
        session_token: variable("AWS_SESSION_TOKEN").map(Zeroizing::new),
        region: region(variable).unwrap_or_else(|| USUAL_REGION.to_owned()),
    })
}

fn profile_credentials(profile: Profile, variable: &dyn Fn(&str) -> Option<String>) -> Option<Credentials> {
    Some(Credentials {
        access_key_id: profile.access_key_id?,
        secret_access_key: profile.secret_access_key?,
        session_token: profile.session_token,
        region: region(variable).or(profile.region).unwrap_or_else(|| USUAL_REGION.to_owned()),
    })
}

fn pins(path: &Path) -> Result<Trust, Failure> {
    Trust::from_pem(&text::read(path)?)
        .map_err(|error| Failure::new(Code::InvalidArgument, format!("{}: {error}", path.display())))
}

fn open_endpoint(url: &str, login: Login) -> Result<Client, Failure> {
    let path = login.ca_bundle.as_ref().ok_or_else(|| {
        let message = format!("is {url} the right signer? Give --ca-bundle, as `casemate verify --tls {url} --out FILE` writes it");
        Failure::new(Code::InvalidArgument, message)
    })?;
    let (client, _) = Client::open_endpoint(&Endpoint::parse(url)?, pins(path)?)?;
    Ok(client.signing_with(login.credentials))
}

fn open_guest(guest: &Guest, login: Login) -> Result<Client, Failure> {
    let socket = guest.vsock_path();
    let in_the_clear = |credentials| {
        let client = Client::open(&socket, casemate_abi::port::SIGNER)?;
        Ok::<_, Failure>(client.signing_with(credentials))
    };
    let Some(path) = &login.ca_bundle else {
        return in_the_clear(login.credentials);
    };
    let known = match pins(path) {
        Ok(known) => known,
        Err(failure) if login.named => return Err(failure),
        Err(_) => return in_the_clear(None),
    };
    match Client::open_tls(&socket, Trust::Later) {
        Ok((client, shown)) if known.accepts(&shown) => Ok(client.signing_with(login.credentials)),
        Ok(_) if login.named => Err(Failure::plain(format!(
            "{} shows another certificate than the one in {}: it is another signer",
            guest.record.name,
            path.display()
        ))),
        Err(error) if login.named => Err(error.into()),
        // The profile that nobody named is another signer's.
        _ => in_the_clear(None),
    }
}
