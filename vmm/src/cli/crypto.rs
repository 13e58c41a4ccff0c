//! `sign`, `encrypt`, `decrypt`, `public-key`, and the signature half of `verify`.
//!
//! The guest does the work. The only cryptography here is the digest of a message that is too long to be sent whole,
//! as with AWS.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use casemate_client::{Client, field};
use serde_json::{Map, Value, json};

use super::access::SignerArgs;
use super::error::{Code, Failure};
use super::output::print_line;
use super::text;

/// KMS: longest message that is sent as it is.
const RAW_MAX: usize = 4096;

/// Which message, and how it is signed.
#[derive(Debug, clap::Args)]
pub struct MessageArgs {
    /// The message, `-` for stdin. Beyond 4096 bytes its digest is sent, where the algorithm allows that
    #[arg(long, value_name = "FILE", help_heading = "Signature", conflicts_with = "digest")]
    message: Option<PathBuf>,
    /// The message's digest instead
    #[arg(long, value_name = "FILE", help_heading = "Signature")]
    digest: Option<PathBuf>,
    /// The algorithm, as AWS names it; else the key's usual one
    #[arg(long, value_name = "ALGORITHM", help_heading = "Signature")]
    algorithm: Option<String>,
}

/// Flags of `sign`.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The key's identifier or ARN
    #[arg(long, value_name = "KEY")]
    key: String,
    #[command(flatten)]
    message: MessageArgs,
    /// Where to write the signature; else it is printed in base64
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    guest: SignerArgs,
}

/// Flags of `encrypt`.
#[derive(Debug, clap::Args)]
pub struct EncryptArgs {
    /// The key's identifier or ARN
    #[arg(long, value_name = "KEY")]
    key: String,
    #[command(flatten)]
    cipher: CipherArgs,
    #[command(flatten)]
    guest: SignerArgs,
}

/// Flags of `decrypt`.
#[derive(Debug, clap::Args)]
pub struct DecryptArgs {
    /// The key's identifier or ARN; a symmetric ciphertext names its own
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    cipher: CipherArgs,
    #[command(flatten)]
    guest: SignerArgs,
}

#[derive(Debug, clap::Args)]
struct CipherArgs {
    /// What to encrypt or decrypt, `-` for stdin
    #[arg(long = "in", value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Where to write the result; else it is printed in base64
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The algorithm, as AWS names it; else RSAES_OAEP_SHA_256 for RSA keys
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    /// A pair of the encryption context; the same ones decrypt again
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<String>,
}

/// Flags of `public-key`.
#[derive(Debug, clap::Args)]
pub struct PublicKeyArgs {
    /// The key's identifier or ARN
    #[arg(value_name = "KEY")]
    key: String,
    /// Where to write it; else it is printed
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// DER instead of PEM
    #[arg(long)]
    der: bool,
    #[command(flatten)]
    guest: SignerArgs,
}

/// A key, as far as commands need to know it.
struct Key {
    usage: String,
    algorithms: Vec<String>,
}

fn describe(client: &mut Client, key: &str) -> Result<Key, Failure> {
    let answer = client.kms("DescribeKey", &json!({"KeyId": key}))?;
    let metadata = answer.get("KeyMetadata").unwrap_or(&Value::Null);
    let lists = ["SigningAlgorithms", "MacAlgorithms", "EncryptionAlgorithms"];
    let algorithms =
        lists.iter().filter_map(|name| metadata.get(*name)).filter_map(Value::as_array).flatten();
    Ok(Key {
        usage: field(metadata, "DescribeKey", "KeyUsage")?.to_owned(),
        algorithms: algorithms.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// The algorithm that was asked for, or the key's usual one: PSS and OAEP with SHA-256 before older padding.
fn choose(key: &Key, wanted: Option<&String>) -> Result<String, Failure> {
    if let Some(wanted) = wanted {
        return Ok(wanted.clone());
    }
    let usual = ["RSASSA_PSS_SHA_256", "RSAES_OAEP_SHA_256"];
    let usual = key.algorithms.iter().find(|name| usual.contains(&name.as_str()));
    usual.or(key.algorithms.first()).cloned().ok_or_else(|| {
        Failure::new(Code::InvalidArgument, "the guest names no algorithm for this key: give --algorithm")
    })
}

/// The operation's request for a message: the message itself, or its digest if it is long or that is all there is.
fn message_request(key_id: &str, key: &Key, args: &MessageArgs) -> Result<Map<String, Value>, Failure> {
    let algorithm = choose(key, args.algorithm.as_ref())?;
    let is_mac = key.usage == "GENERATE_VERIFY_MAC";
    let (kind, bytes) = match (&args.message, &args.digest) {
        (Some(path), _) => {
            let message = text::read(path)?;
            if message.len() <= RAW_MAX {
                ("RAW", message)
            } else {
                ("DIGEST", digest_for(&algorithm, is_mac, &message)?)
            }
        }
        (None, Some(path)) => ("DIGEST", text::read(path)?),
        (None, None) => {
            return Err(Failure::new(
                Code::InvalidArgument,
                "say what the message is with --message or --digest",
            ));
        }
    };
    let mut request = Map::new();
    request.insert("KeyId".to_owned(), key_id.into());
    request.insert("Message".to_owned(), text::encode(&bytes).into());
    if is_mac {
        request.insert("MacAlgorithm".to_owned(), algorithm.into());
    } else {
        request.insert("SigningAlgorithm".to_owned(), algorithm.into());
        request.insert("MessageType".to_owned(), kind.into());
    }
    Ok(request)
}

fn digest_for(algorithm: &str, is_mac: bool, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let digests = [("SHA_256", &digest::SHA256), ("SHA_384", &digest::SHA384), ("SHA_512", &digest::SHA512)];
    let prehashed = algorithm.starts_with("RSASSA_") || algorithm.starts_with("ECDSA_");
    let found = digests.iter().find(|(name, _)| algorithm.ends_with(name));
    match found.filter(|_| prehashed && !is_mac) {
        Some((_, function)) => Ok(digest::digest(function, message).as_ref().to_vec()),
        None => Err(Failure::new(
            Code::InvalidArgument,
            format!(
                "{algorithm} signs messages of up to {RAW_MAX} bytes as they are; this one has {}",
                message.len()
            ),
        )),
    }
}

/// Signs, or for an HMAC key computes the MAC.
pub fn sign(args: &SignArgs) -> Result<(), Failure> {
    let mut client = args.guest.signer()?;
    let key = describe(&mut client, &args.key)?;
    let request = message_request(&args.key, &key, &args.message)?;
    let (operation, name) =
        if request.contains_key("MacAlgorithm") { ("GenerateMac", "Mac") } else { ("Sign", "Signature") };
    let answer = client.kms(operation, &Value::Object(request))?;
    text::deliver(args.out.as_ref(), &text::decode(name, field(&answer, operation, name)?)?)
}

/// Whether a signature or MAC is right; the guest says so.
pub fn verify(
    guest: &SignerArgs,
    key_id: &str,
    message: &MessageArgs,
    signature: &Path,
) -> Result<bool, Failure> {
    let mut client = guest.signer()?;
    let key = describe(&mut client, key_id)?;
    let mut request = message_request(key_id, &key, message)?;
    let signature = text::encode(&text::read(signature)?);
    let (operation, name, valid) = if request.contains_key("MacAlgorithm") {
        ("VerifyMac", "Mac", "MacValid")
    } else {
        ("Verify", "Signature", "SignatureValid")
    };
    request.insert(name.to_owned(), signature.into());
    match client.kms(operation, &Value::Object(request)) {
        Ok(answer) => Ok(answer.get(valid) == Some(&Value::Bool(true))),
        // AWS answers with an error, not with `false`.
        Err(casemate_client::ClientError::Service { kind, .. })
            if matches!(kind.as_str(), "KMSInvalidSignatureException" | "KMSInvalidMacException") =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

impl CipherArgs {
    fn request(&self, blob: &str, key: Option<&String>, algorithm: Option<String>) -> Result<Value, Failure> {
        let mut request = Map::new();
        request.insert(blob.to_owned(), text::encode(&text::read(&self.input)?).into());
        if let Some(key) = key {
            request.insert("KeyId".to_owned(), key.as_str().into());
        }
        if let Some(algorithm) = algorithm {
            request.insert("EncryptionAlgorithm".to_owned(), algorithm.into());
        }
        let mut context = Map::new();
        for pair in &self.context {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::new(Code::InvalidArgument, format!("`{pair}` is not NAME=VALUE")))?;
            context.insert(name.to_owned(), value.into());
        }
        if !context.is_empty() {
            request.insert("EncryptionContext".to_owned(), Value::Object(context));
        }
        Ok(Value::Object(request))
    }

    /// The algorithm to name in the request: none for symmetric keys, the protocol's default.
    fn algorithm(&self, client: &mut Client, key: Option<&String>) -> Result<Option<String>, Failure> {
        match (&self.algorithm, key) {
            (Some(algorithm), _) => Ok(Some(algorithm.clone())),
            (None, Some(key)) => choose(&describe(client, key)?, None).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// Encrypts.
pub fn encrypt(args: &EncryptArgs) -> Result<(), Failure> {
    let mut client = args.guest.signer()?;
    let algorithm = args.cipher.algorithm(&mut client, Some(&args.key))?;
    let request = args.cipher.request("Plaintext", Some(&args.key), algorithm)?;
    let answer = client.kms("Encrypt", &request)?;
    let ciphertext = text::decode("CiphertextBlob", field(&answer, "Encrypt", "CiphertextBlob")?)?;
    text::deliver(args.cipher.out.as_ref(), &ciphertext)
}

/// Decrypts. A file that is written is the user's alone.
pub fn decrypt(args: &DecryptArgs) -> Result<(), Failure> {
    let mut client = args.guest.signer()?;
    let algorithm = args.cipher.algorithm(&mut client, args.key.as_ref())?;
    let request = args.cipher.request("CiphertextBlob", args.key.as_ref(), algorithm)?;
    let answer = client.kms("Decrypt", &request)?;
    let plaintext = text::decode("Plaintext", field(&answer, "Decrypt", "Plaintext")?)?;
    match &args.cipher.out {
        Some(path) => text::write_private(path, &plaintext),
        None => print_line(&text::encode(&plaintext)),
    }
}

/// Fetches a public key.
pub fn public_key(args: &PublicKeyArgs) -> Result<(), Failure> {
    let answer = args.guest.signer()?.kms("GetPublicKey", &json!({"KeyId": args.key}))?;
    let der = text::decode("PublicKey", field(&answer, "GetPublicKey", "PublicKey")?)?;
    if args.der {
        return text::write(&args.out, &der);
    }
    text::write(&args.out, pem(&der).as_bytes())
}

/// RFC 7468: 64 characters a line.
fn pem(der: &[u8]) -> String {
    let encoded = text::encode(der);
    let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END PUBLIC KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn pem_has_lines_of_64() {
        let text = pem(&[0; 49]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[1].len(), lines[2].len(), lines.len()), (64, 4, 4));
    }

    #[test]
    fn only_prehashed_algorithms_take_long_messages() {
        let long = vec![0; RAW_MAX + 1];
        assert_eq!(digest_for("ECDSA_SHA_384", false, &long).unwrap().len(), 48);
        assert_eq!(digest_for("RSASSA_PSS_SHA_512", false, &long).unwrap().len(), 64);
        for name in ["ED25519_SHA_512", "ML_DSA_SHAKE_256", "HMAC_SHA_256"] {
            assert!(digest_for(name, name.starts_with("HMAC"), &long).is_err(), "{name}");
        }
    }

    #[test]
    fn modern_padding_comes_first() {
        let algorithms = ["RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"].map(str::to_owned).to_vec();
        let key = Key { usage: "SIGN_VERIFY".to_owned(), algorithms };
        assert_eq!(choose(&key, None).unwrap(), "RSASSA_PSS_SHA_256");
        assert_eq!(choose(&key, Some(&"X".to_owned())).unwrap(), "X");
        assert!(choose(&Key { usage: String::new(), algorithms: vec![] }, None).is_err());
    }
}
