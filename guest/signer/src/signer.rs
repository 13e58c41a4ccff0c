//! The signer: its keys, its clock, and the way in.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::access::{Call, Caller, Facts};
use crate::audit::{Log, Strangers};
use crate::crypto::{RsaStock, SymmetricKey};
use crate::errors::{ErrorKind, KmsError};
use crate::hsm::Token;
use crate::identity::Directory;
use crate::ops;
use crate::pca::Authorities;
use crate::platform::Platform;
use crate::recipient::Own;
use crate::state::State;
use crate::state::update::UpdatePolicy;
use crate::store::Store;
use crate::tls::{self, Tls};
use crate::types::Timestamp;

/// How much the signer takes on. All clients together share these.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The keys it holds.
    pub keys: usize,
    /// The aliases of all keys together.
    pub aliases: usize,
    /// The grants on all keys together.
    pub grants: usize,
    /// The certificate authorities it holds.
    pub authorities: usize,
    /// The bytes of certificates that all authorities together have issued and that are still valid.
    pub certificate_bytes: usize,
    /// The longest request body.
    pub body_bytes: usize,
    /// The bytes of request bodies that are being received at once.
    pub bodies_in_flight: usize,
    /// How long a client may take for the head of a request, idle time between two requests included.
    pub head_timeout: Duration,
    /// How long it may take for the body, and how long it may leave a response unread.
    pub body_timeout: Duration,
    /// The TLS connections that are open at once.
    pub tls_connections: usize,
    /// How long a client may take for its TLS handshake.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: 10_000,
            aliases: 10_000,
            grants: 10_000,
            authorities: 100,
            certificate_bytes: 16 << 20,
            // The largest member of any operation is an attestation document, 256 KiB before base64.
            body_bytes: 512 * 1024,
            bodies_in_flight: 8 * 1024 * 1024,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            tls_connections: 512,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// The AWS KMS API over keys of its own.
pub struct Signer {
    pub(crate) store: RefCell<Store>,
    pub(crate) pca: RefCell<Authorities>,
    pub(crate) identity: RefCell<Directory>,
    /// The PKCS#11 token.
    pub(crate) hsm: RefCell<Token>,
    pub(crate) state: State,
    pub(crate) audit: RefCell<Log>,
    pub(crate) strangers: RefCell<Strangers>,
    pub(crate) platform: Box<dyn Platform>,
    pub(crate) own: Own,
    pub(crate) rsa_keys: RsaStock,
    pub(crate) limits: Limits,
    pub(crate) tls: Tls,
    /// What the host says about itself, for verifiers: not believed here.
    pub(crate) posture: RefCell<Option<Vec<u8>>>,
    /// What import tokens are encrypted under, once there is one.
    import_secret: RefCell<Option<Rc<SymmetricKey>>>,
    /// Which later images may have the volume.
    pub(crate) update_policy: RefCell<Option<UpdatePolicy>>,
    /// Bytes of request bodies held at this moment.
    pub(crate) in_flight: Cell<usize>,
}

/// Everything that a signer holds for its owner: what is on its volume, if it has one, and what goes with that.
#[derive(Default)]
pub(crate) struct Holdings {
    store: Store,
    pca: Authorities,
    identity: Directory,
    hsm: Token,
    audit: Log,
    certificate: Option<Rc<tls::Identity>>,
    import_secret: Option<Rc<SymmetricKey>>,
    update_policy: Option<UpdatePolicy>,
}

impl Signer {
    /// Puts these holdings in the place of the present ones: [`Holdings::default`] makes the signer as good as new.
    ///
    /// Every field of the signer is named here, so that one that is added does not compile before somebody has decided
    /// whether it is the owner's, and then belongs in [`Holdings`], or the guest's own.
    pub(crate) fn exchange(&self, new: Holdings) -> Holdings {
        let Self {
            store,
            pca,
            identity,
            hsm,
            audit,
            tls,
            import_secret,
            update_policy,
            // It knows by itself when its volume comes and goes.
            state: _,
            // Counts of requests.
            strangers: _,
            in_flight: _,
            // The guest, its host, and keys that are nobody's yet.
            platform: _,
            own: _,
            posture: _,
            limits: _,
            rsa_keys: _,
        } = self;
        Holdings {
            store: store.replace(new.store),
            pca: pca.replace(new.pca),
            identity: identity.replace(new.identity),
            hsm: hsm.replace(new.hsm),
            audit: audit.replace(new.audit),
            certificate: tls.replace(new.certificate),
            import_secret: import_secret.replace(new.import_secret),
            update_policy: update_policy.replace(new.update_policy),
        }
    }

    /// Whether it holds anything that somebody has made: keys, certificate authorities, a token.
    pub(crate) fn holds_keys(&self) -> bool {
        !(self.store.borrow().is_empty() && self.pca.borrow().is_empty() && self.hsm.borrow().is_empty())
    }

    /// A signer without keys.
    pub fn new(platform: Box<dyn Platform>) -> Rc<Self> {
        Self::with_limits(platform, Limits::default())
    }

    /// A signer without keys and with limits of one's own.
    pub fn with_limits(platform: Box<dyn Platform>, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            store: RefCell::default(),
            pca: RefCell::default(),
            identity: RefCell::default(),
            hsm: RefCell::default(),
            state: State::new(&*platform),
            audit: RefCell::default(),
            strangers: RefCell::default(),
            platform,
            own: Own::default(),
            rsa_keys: RsaStock::default(),
            limits,
            tls: Tls::default(),
            posture: RefCell::default(),
            import_secret: RefCell::default(),
            update_policy: RefCell::default(),
            in_flight: Cell::new(0),
        })
    }

    /// Answers one operation: its name as in `X-Amz-Target` after the dot, the request and the response in JSON.
    ///
    /// This is the whole API without HTTP, on behalf of the local owner. The response is erased when dropped, for it may
    /// hold a plaintext.
    pub fn call(&self, operation: &str, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.answer(&Call::new(self, &Caller::LocalOwner, &Facts::NONE), operation, request)
    }

    /// The same, and what it changed is durable, if a volume is attached. Waits while a volume is expected or read.
    pub async fn call_durably(
        &self,
        operation: &str,
        request: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.durably(self.state.life(), operation, || self.call(operation, request)).await
    }

    /// The same on somebody's behalf.
    pub(crate) fn answer(
        &self,
        call: &Call<'_>,
        operation: &str,
        request: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let run = ops::find(operation).ok_or_else(|| {
            KmsError::new(ErrorKind::UnknownOperation, format!("The signer has no operation {operation:?}."))
        })?;
        self.expire();
        let answer = run(call, request)?;
        for (key, operation) in call.used.take() {
            key.note_usage(operation, Timestamp(self.now()));
            self.state.touch_lazily(key.record_name());
        }
        Ok(answer)
    }

    /// What import tokens are encrypted under: made when it is first needed, and never written.
    pub(crate) fn import_secret(&self) -> Result<Rc<SymmetricKey>, KmsError> {
        let mut secret = self.import_secret.borrow_mut();
        if let Some(secret) = &*secret {
            return Ok(Rc::clone(secret));
        }
        Ok(Rc::clone(secret.insert(Rc::new(SymmetricKey::generate()?))))
    }

    /// Does what is due by date: erases keys and imported material, rotates.
    pub(crate) fn expire(&self) {
        let mut touched = self.store.borrow_mut().expire(self.now());
        touched.append(&mut self.pca.borrow_mut().expire(Timestamp(self.now())));
        touched.into_iter().for_each(|name| self.state.touch(name));
    }

    /// The time, as the host tells it: good for dates, not for decisions about keys' secrecy.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
