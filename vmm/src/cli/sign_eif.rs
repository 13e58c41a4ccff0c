//! `sign-eif`: signs an image, in place.

use std::path::{Path, PathBuf};

use casemate_attestation::eif::{self, Eif};
use casemate_attestation::signing::SigningScalar;
use p384::SecretKey;
use p384::pkcs8::DecodePrivateKey as _;
use zeroize::Zeroizing;

use super::error::{Code, Failure};
use super::output::{BuildInfo, measurements, print_json};
use super::text;

/// The key that signs images.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The signing certificate (PEM, P-384); its measurement becomes PCR8
    #[arg(long, value_name = "FILE", requires = "private_key")]
    signing_certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "signing_certificate")]
    private_key: Option<PathBuf>,
}

/// Flags of `sign-eif`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image
    #[arg(long, value_name = "FILE")]
    eif_path: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
}

/// A certificate and its key.
pub struct Keys {
    certificate: Vec<u8>,
    key: SigningScalar,
}

impl KeyArgs {
    /// Reads the files, if they are named.
    pub fn read(&self) -> Result<Option<Keys>, Failure> {
        let (Some(certificate), Some(key)) = (&self.signing_certificate, &self.private_key) else {
            return Ok(None);
        };
        Ok(Some(Keys { certificate: text::read(certificate)?, key: read_key(key)? }))
    }
}

/// Reads a P-384 key: PKCS #8, or RFC 5915 as `openssl ecparam -genkey` writes it.
fn read_key(path: &Path) -> Result<SigningScalar, Failure> {
    let bad = |what: &str| {
        Failure::new(
            Code::EifSigningError,
            format!("{} is {what}; make one with `openssl ecparam -name secp384r1 -genkey`", path.display()),
        )
    };
    let bytes = Zeroizing::new(text::read(path)?);
    let pem = std::str::from_utf8(&bytes).map_err(|_| bad("not a PEM file"))?;
    // Behind the parameters that openssl puts in front.
    let pem = pem.find("-----BEGIN EC PRIVATE KEY").and_then(|at| pem.get(at..)).unwrap_or(pem);
    let key = if pem.contains("BEGIN EC PRIVATE KEY") {
        SecretKey::from_sec1_pem(pem).map_err(|_| bad("not a P-384 private key"))?
    } else {
        SecretKey::from_pkcs8_pem(pem).map_err(|_| bad("not an unencrypted P-384 private key"))?
    };
    let scalar: Zeroizing<[u8; 48]> = Zeroizing::new(key.to_bytes().into());
    SigningScalar::from_bytes(&scalar).map_err(|error| Failure::new(Code::EifSigningError, error))
}

/// The image with a new signature.
pub fn signed(image: &[u8], keys: &Keys) -> Result<Vec<u8>, Failure> {
    let parsed = Eif::parse(image).map_err(|error| Failure::new(Code::EifParsingError, error))?;
    eif::sign(&parsed, &keys.certificate, &keys.key)
        .map_err(|error| Failure::new(Code::EifSigningError, error))
}

/// Signs in place and prints nitro-cli's JSON.
pub fn run(args: &Args) -> Result<(), Failure> {
    let keys = args.keys.read()?.ok_or_else(|| {
        Failure::new(Code::EifSigningError, "say who signs with --signing-certificate and --private-key")
    })?;
    let image = text::read(&args.eif_path)?;
    let signed = signed(&image, &keys)
        .map_err(|e| Failure::new(Code::EifSigningError, format!("{}: {e}", args.eif_path.display())))?;
    replace(&args.eif_path, &signed)?;
    eprintln!("Enclave Image successfully signed.");
    let parsed = Eif::parse(&signed).map_err(|error| Failure::new(Code::EifParsingError, error))?;
    let pcrs = parsed.measure().map_err(|error| Failure::new(Code::EifSigningError, error))?;
    print_json(&BuildInfo { measurements: measurements(&pcrs) })
}

/// All of the new content or all of the old, whatever happens in between.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    text::write(&new, bytes)?;
    std::fs::rename(&new, path).map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Failure::file("replace", path, error)
    })
}
