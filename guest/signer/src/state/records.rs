//! Which records there are, and who reads and writes them. **Whatever must survive a restart has a line in each function
//! here**, and a field in [`Holdings`](crate::signer::Holdings).
//!
//! | record | what | who |
//! | --- | --- | --- |
//! | `key/<id>` | a key: secrets, state, policy, tags | [`crate::store`] |
//! | `alias/<name>` | an alias | [`crate::store`] |
//! | `grant/<key>/<id>` | a grant | [`crate::store`] |
//! | `authority/<id>`, `certificate/<authority>/<serial>` | a certificate authority, and what it has issued | [`crate::pca`] |
//! | `audit/<n>` | lines of the audit log | [`crate::audit`] |
//! | `config`, `iam/…`, `identity/…` | the account, its identities, what seals their sessions | [`crate::identity`] |
//! | `hsm/…` | the PKCS#11 token, its users and objects | [`crate::hsm`] |
//! | `tls` | key and certificate of the HTTPS endpoint | [`crate::tls`] |
//! | `update-policy` | which later images may have the volume | [`super::update`] |

use zeroize::Zeroizing;

use crate::audit;
use crate::crypto::CryptoError;
use crate::hsm;
use crate::identity::record;
use crate::pca;
use crate::signer::Signer;
use crate::tls;

use super::update::{self, UpdatePolicy};

/// The content of a record.
type Content = Zeroizing<Vec<u8>>;

/// The names of all records there are.
pub(super) fn names(signer: &Signer) -> Vec<String> {
    let mut names = signer.store.borrow().record_names();
    names.extend(signer.pca.borrow().record_names());
    names.extend(record::names(&signer.identity.borrow()));
    names.extend(signer.hsm.borrow().record_names());
    names.extend(signer.audit.borrow().record_names());
    names.extend(signer.tls.encode().map(|_| tls::RECORD.to_owned()));
    names.extend(signer.update_policy.borrow().as_ref().map(|_| update::RECORD.to_owned()));
    names
}

/// Whether the signer holds nothing that a volume could contradict. (A TLS certificate that was made because somebody
/// connected gives way to the volume's.)
pub(super) fn pristine(signer: &Signer) -> bool {
    !signer.holds_keys() && !signer.identity.borrow().claimed()
}

/// A record; `None` if what it held is gone.
pub(super) fn encode(signer: &Signer, name: &str) -> Result<Option<Content>, CryptoError> {
    Ok(match family(name) {
        "key" | "alias" | "grant" => signer.store.borrow().encode(name)?,
        pca::authority::FAMILY | pca::issued::FAMILY => signer.pca.borrow().encode(name)?,
        record::CONFIG | "iam" | "identity" => signer.identity.borrow().encode(name),
        hsm::FAMILY => signer.hsm.borrow().encode(name),
        audit::FAMILY => signer.audit.borrow().encode(name),
        tls::RECORD => signer.tls.encode(),
        update::RECORD => {
            signer.update_policy.borrow().as_ref().and_then(UpdatePolicy::encode).map(Zeroizing::new)
        }
        _ => None,
    })
}

/// Takes a record from a volume; the error says what is wrong with it.
pub(super) fn restore(signer: &Signer, name: &str, content: &[u8]) -> Result<(), String> {
    match family(name) {
        "key" | "alias" | "grant" => {
            signer.store.borrow_mut().restore(name, content).map_err(|error| error.to_string())
        }
        record::CONFIG | "iam" | "identity" => {
            signer.identity.borrow_mut().restore(name, content).map_err(|error| error.to_string())
        }
        pca::authority::FAMILY | pca::issued::FAMILY => signer.pca.borrow_mut().restore(name, content),
        hsm::FAMILY => signer.hsm.borrow_mut().restore(name, content),
        audit::FAMILY => signer.audit.borrow_mut().restore(name, content),
        tls::RECORD => signer.tls.restore(content).map_err(|error| error.to_string()),
        update::RECORD => {
            let policy = UpdatePolicy::restore(content).ok_or("the record is malformed")?;
            signer.update_policy.replace(Some(policy));
            Ok(())
        }
        _ => Err("a later version of the signer wrote it".to_owned()),
    }
}

/// What comes before the slash.
fn family(name: &str) -> &str {
    name.split_once('/').map_or(name, |(family, _)| family)
}
