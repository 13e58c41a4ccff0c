//! `key`: the keys of the signer. Thin: what the guest answers is what is shown.

use casemate_client::field;
use serde_json::{Map, Value, json};

use super::access::SignerArgs;
use super::error::Failure;
use super::output::{print_json, print_line};

/// Most pages of a list that are fetched: a guest that answers "there is more" for ever is not followed for ever.
const PAGES_MAX: usize = 1000;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key; prints its identifier
    Create {
        /// SYMMETRIC_DEFAULT, RSA_2048/3072/4096, ECC_NIST_P256/P384/P521, ECC_SECG_P256K1, ECC_NIST_EDWARDS25519,
        /// HMAC_224/256/384/512, ML_DSA_44/65/87
        #[arg(long, default_value = "SYMMETRIC_DEFAULT")]
        spec: String,
        /// ENCRYPT_DECRYPT, SIGN_VERIFY or GENERATE_VERIFY_MAC; needed for RSA keys that encrypt
        #[arg(long)]
        usage: Option<String>,
        /// A note
        #[arg(long)]
        description: Option<String>,
        /// Print the whole answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        guest: SignerArgs,
    },
    /// List the keys
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        guest: SignerArgs,
    },
    /// Show a key, as JSON
    Describe {
        /// The key's identifier or ARN
        key: String,
        #[command(flatten)]
        guest: SignerArgs,
    },
    /// Delete a key, after a waiting period
    #[command(visible_alias = "schedule-deletion")]
    Delete {
        /// The key's identifier or ARN
        key: String,
        /// The waiting period, 7 to 30
        #[arg(long, default_value_t = 30)]
        days: u32,
        #[command(flatten)]
        guest: SignerArgs,
    },
}

/// RSA keys sign unless told otherwise; for every other kind of key the protocol leaves one choice.
fn usage_of(spec: &str) -> Option<&'static str> {
    match spec {
        "SYMMETRIC_DEFAULT" => None,
        _ if spec.starts_with("HMAC_") => Some("GENERATE_VERIFY_MAC"),
        _ => Some("SIGN_VERIFY"),
    }
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { spec, usage, description, json, guest } => {
            let mut request = Map::new();
            request.insert("KeySpec".to_owned(), spec.as_str().into());
            if let Some(usage) = usage.as_deref().or(usage_of(spec)) {
                request.insert("KeyUsage".to_owned(), usage.into());
            }
            if let Some(description) = description {
                request.insert("Description".to_owned(), description.as_str().into());
            }
            let answer = guest.signer()?.kms("CreateKey", &Value::Object(request))?;
            if *json {
                return print_json(&answer);
            }
            let metadata = answer.get("KeyMetadata").unwrap_or(&Value::Null);
            print_line(field(metadata, "CreateKey", "KeyId")?)
        }
        Command::List { json, guest } => list(guest, *json),
        Command::Describe { key, guest } => {
            print_json(&guest.signer()?.kms("DescribeKey", &json!({"KeyId": key}))?)
        }
        Command::Delete { key, days, guest } => {
            let request = json!({"KeyId": key, "PendingWindowInDays": days});
            print_json(&guest.signer()?.kms("ScheduleKeyDeletion", &request)?)
        }
    }
}

fn list(guest: &SignerArgs, json: bool) -> Result<(), Failure> {
    let mut client = guest.signer()?;
    let mut keys: Vec<Value> = Vec::new();
    let mut request = json!({});
    for _ in 0..PAGES_MAX {
        let mut answer = client.kms("ListKeys", &request)?;
        if let Some(Value::Array(page)) = answer.get_mut("Keys").map(Value::take) {
            keys.extend(page);
        }
        if answer.get("Truncated") != Some(&Value::Bool(true)) {
            break;
        }
        request = json!({"Marker": field(&answer, "ListKeys", "NextMarker")?});
    }
    if json {
        return print_json(&json!({"Keys": keys}));
    }
    for key in &keys {
        let id = field(key, "ListKeys", "KeyId")?;
        let answer = client.kms("DescribeKey", &json!({"KeyId": id}))?;
        let metadata = answer.get("KeyMetadata").unwrap_or(&Value::Null);
        let text = |name| metadata.get(name).and_then(Value::as_str).unwrap_or("-");
        let line = format!(
            "{id}  {:<22} {:<20} {:<16} {}",
            text("KeySpec"),
            text("KeyUsage"),
            text("KeyState"),
            text("Description")
        );
        print_line(line.trim_end())?;
    }
    Ok(())
}
