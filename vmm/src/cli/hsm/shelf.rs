//! `hsm backup list`, `copy`, `keep`, `delete`, `undelete` and `prune`: the backups that HSMs leave ([`crate::cluster`]).

use std::path::PathBuf;

use super::super::error::Failure;
use super::super::output::{print_json, print_line};
use super::cluster::StoreArgs;
use crate::cluster::{Backup, Place, Store, now_ms};

/// What to do with backups of HSMs.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the backups that HSMs have left
    List {
        /// Of this cluster alone
        #[arg(long, value_name = "CLUSTER")]
        cluster: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Copy a backup to another store, of this host or mounted from another
    Copy {
        /// The backup's identifier
        backup: String,
        /// The folder of the other store; made if it is not there
        #[arg(long, value_name = "DIRECTORY")]
        to: PathBuf,
        /// What the copy says about where it comes from
        #[arg(long, value_name = "REGION", default_value = "us-east-1")]
        source_region: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Keep a backup for ever
    Keep {
        /// The backup's identifier
        backup: String,
        /// Let it expire again
        #[arg(long)]
        no: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a backup: it is gone in seven days
    Delete {
        /// The backup's identifier
        backup: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Bring a backup back that was deleted within the last seven days
    Undelete {
        /// The backup's identifier
        backup: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete backups whose days are over, but for each cluster's newest, and remove those deleted seven days ago
    Prune {
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List { cluster, json, store } => {
            let mut backups = store.open()?.backups()?;
            backups.retain(|backup| {
                cluster.as_ref().is_none_or(|wanted| [&backup.cluster, &backup.name].contains(&wanted))
            });
            if *json {
                return print_json(&backups);
            }
            backups.iter().try_for_each(|backup| print_line(&words(backup)))
        }
        Command::Copy { backup, to, source_region, store } => {
            let other = Store::at(to)?;
            let place = Place { store: &other, from: source_region.clone() };
            let _lock = other.lock()?;
            told(&store.open()?.copy_backup(backup, &place, now_ms())?)
        }
        Command::Keep { backup, no, store } => {
            let store = store.open()?;
            told(&store.keep_backup(&store.lock()?, backup, !no)?)
        }
        Command::Delete { backup, store } => {
            let store = store.open()?;
            told(&store.delete_backup(&store.lock()?, backup, now_ms())?)
        }
        Command::Undelete { backup, store } => {
            let store = store.open()?;
            told(&store.undelete_backup(&store.lock()?, backup)?)
        }
        Command::Prune { store } => {
            let store = store.open()?;
            let (expired, gone) = store.prune(&store.lock()?, now_ms())?;
            expired
                .iter()
                .try_for_each(|id| print_line(&format!("{id} has expired, and is gone in seven days")))?;
            gone.iter().try_for_each(|id| print_line(&format!("{id} is gone")))
        }
    }
}

fn told(backup: &Backup) -> Result<(), Failure> {
    print_line(&words(backup))
}

fn words(backup: &Backup) -> String {
    let kept = match (backup.delete_at, backup.never_expires) {
        (Some(at), _) => format!("is gone {}", date(at)),
        (None, true) => "never expires".to_owned(),
        (None, false) => format!("kept for {} days", backup.retention),
    };
    let image = backup.sealed.image.get(..16).unwrap_or_default();
    format!("{}  {}  of {}  {kept}  sealed for {image}…", backup.id, date(backup.created), backup.cluster)
}

/// UTC, to the second.
fn date(ms: u64) -> String {
    let since = std::time::Duration::from_secs(ms / 1000);
    x509_cert::der::DateTime::from_unix_duration(since)
        .map_or_else(|_| "?".to_owned(), |date| date.to_string())
}
