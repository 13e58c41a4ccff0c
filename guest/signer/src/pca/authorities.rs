//! All authorities and all certificates that they have issued: in memory, and in the records of [`crate::state`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::crypto::CryptoError;
use crate::store::KeyId;
use crate::types::Timestamp;

use super::authority::{self, Authority};
use super::issued::{self, Issued};
use super::x509::Serial;

/// Authorities by id, certificates by authority and serial number.
#[derive(Default)]
pub(crate) struct Authorities {
    authorities: BTreeMap<KeyId, Rc<Authority>>,
    certificates: BTreeMap<(KeyId, Serial), Rc<Issued>>,
    /// How long all certificates are together.
    bytes: usize,
}

impl Authorities {
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.authorities.len()
    }

    pub(super) fn insert(&mut self, authority: Authority) -> Rc<Authority> {
        let authority = Rc::new(authority);
        self.authorities.insert(authority.id, Rc::clone(&authority));
        authority
    }

    pub(super) fn find(&self, id: KeyId) -> Option<Rc<Authority>> {
        self.authorities.get(&id).cloned()
    }

    /// Those whose id follows `after`, in order.
    pub(super) fn after(&self, after: Option<KeyId>) -> impl Iterator<Item = &Rc<Authority>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.authorities.range((from, Bound::Unbounded)).map(|(_, authority)| authority)
    }

    pub(super) fn keep(&mut self, authority: KeyId, serial: Serial, issued: Issued) {
        self.bytes = self.bytes.saturating_add(issued.size());
        let before = self.certificates.insert((authority, serial), Rc::new(issued));
        self.forget(before);
    }

    /// A certificate is no longer kept.
    fn forget(&mut self, gone: Option<Rc<Issued>>) {
        self.bytes = self.bytes.saturating_sub(gone.map_or(0, |gone| gone.size()));
    }

    pub(super) fn certificate(&self, authority: KeyId, serial: Serial) -> Option<Rc<Issued>> {
        self.certificates.get(&(authority, serial)).cloned()
    }

    /// The certificates of an authority, by serial number.
    pub(super) fn issued_by(&self, authority: KeyId) -> impl Iterator<Item = (Serial, &Rc<Issued>)> {
        let least = Serial::LEAST;
        self.certificates
            .range((authority, least)..)
            .take_while(move |((by, _), _)| *by == authority)
            .map(|((_, serial), issued)| (*serial, issued))
    }

    /// Makes room for a certificate of so many bytes, if need be by forgetting those that are over the longest; the names of the records
    /// that are gone, or `None` if there is no room.
    pub(super) fn make_room(&mut self, bytes: usize, limit: usize, now: u64) -> Option<Vec<String>> {
        let mut gone = Vec::new();
        while self.bytes.saturating_add(bytes) > limit {
            let over = self.certificates.iter().filter(|(_, issued)| issued.not_after < now);
            let (name, _) = over.min_by_key(|(_, issued)| issued.not_after)?;
            let (authority, serial) = *name;
            let old = self.certificates.remove(&(authority, serial));
            self.forget(old);
            gone.push(issued::record_name(authority, serial));
        }
        Some(gone)
    }

    /// Erases the authorities that can no longer be restored; the names of the records that are gone.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<String> {
        let over = |authority: &Authority| authority.meta().deleted.is_some_and(|until| until.0 <= now.0);
        let erased: Vec<KeyId> =
            self.authorities.values().filter(|authority| over(authority)).map(|gone| gone.id).collect();
        let mut touched = Vec::new();
        for id in erased {
            touched.extend(self.authorities.remove(&id).map(|authority| authority.record_name()));
            let serials: Vec<Serial> = self.issued_by(id).map(|(serial, _)| serial).collect();
            for serial in serials {
                let old = self.certificates.remove(&(id, serial));
                self.forget(old);
                touched.push(issued::record_name(id, serial));
            }
        }
        touched
    }

    /// The names of all records.
    pub(crate) fn record_names(&self) -> Vec<String> {
        let authorities = self.authorities.values().map(|authority| authority.record_name());
        let certificates = self.certificates.keys();
        authorities.chain(certificates.map(|(by, serial)| issued::record_name(*by, *serial))).collect()
    }

    /// The record of that name; `None` if what it held is gone.
    pub(crate) fn encode(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, CryptoError> {
        if let Some((by, serial)) = issued::parse_name(name) {
            let json = |issued: Rc<Issued>| serde_json::to_vec(&*issued).map(Zeroizing::new);
            let failed = |_| CryptoError::Library("encoding a record");
            return self.certificate(by, serial).map(json).transpose().map_err(failed);
        }
        authority_of(name).and_then(|id| self.find(id)).map(|authority| authority.encode()).transpose()
    }

    /// Takes a record from a volume.
    pub(crate) fn restore(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        if let Some((by, serial)) = issued::parse_name(name) {
            self.keep(by, serial, serde_json::from_slice(content).map_err(|error| error.to_string())?);
            return Ok(());
        }
        let id = authority_of(name).ok_or("its name does not fit it")?;
        self.insert(Authority::restore(id, content)?);
        Ok(())
    }
}

/// The authority in the name of its record.
fn authority_of(name: &str) -> Option<KeyId> {
    KeyId::parse(name.strip_prefix(authority::FAMILY)?.strip_prefix('/')?)
}
