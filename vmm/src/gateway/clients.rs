//! The clients that are connected, and which of them is let go when there are too many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// All clients, by a number that grows with each.
#[derive(Default)]
pub(super) struct Clients {
    table: RefCell<BTreeMap<u64, Rc<Client>>>,
    /// The number of the next client.
    next: Cell<u64>,
    /// Grows whenever any client sends or is sent something: cheaper than a clock, and all that is compared.
    activity: Cell<u64>,
}

/// How long a client must have been silent after an answer to count as one that waits for nothing. Longer than a round
/// trip: an answer may come in pieces.
const SILENCE: Duration = Duration::from_millis(400);

/// Who sent the last bytes of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Side {
    /// The client: it waits for an answer.
    Client,
    /// The guest, or nobody yet: nothing is on its way.
    #[default]
    Guest,
}

/// What is known about a client.
#[derive(Default)]
struct Client {
    /// [`Clients::activity`] as of the last byte of this one.
    last: Cell<u64>,
    /// Whose byte that was.
    by: Cell<Side>,
    /// Tells it to go.
    leave: Notify,
}

/// A client's place among them; given up when dropped.
pub(super) struct Place {
    clients: Rc<Clients>,
    number: u64,
    client: Rc<Client>,
}

impl Clients {
    /// A place for one more. If there are `limit` already, the one that has been silent the longest is told to go.
    pub(super) fn enter(self: &Rc<Self>, limit: usize) -> Place {
        let mut table = self.table.borrow_mut();
        while table.len() >= limit.max(1) {
            let silent = table.iter().min_by_key(|(_, client)| client.last.get()).map(|(number, _)| *number);
            let Some(client) = silent.and_then(|number| table.remove(&number)) else { break };
            client.leave.notify_one();
        }
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let client = Rc::new(Client::default());
        table.insert(number, Rc::clone(&client));
        drop(table);
        let place = Place { clients: Rc::clone(self), number, client };
        place.touch(Side::Guest);
        place
    }

    /// Lets clients go as soon as nothing is on its way for them. Returns when all are gone, or after `patience`.
    pub(super) async fn drain(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut seen = self.activity.get();
        loop {
            sleep(SILENCE).await;
            let silent = |client: &Client| client.last.get() <= seen && client.by.get() == Side::Guest;
            let table = self.table.borrow();
            if table.is_empty() || Instant::now() >= end {
                return;
            }
            table.values().filter(|client| silent(client)).for_each(|client| client.leave.notify_one());
            seen = self.activity.get();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.borrow().len()
    }
}

impl Place {
    /// This side has sent something.
    pub(super) fn touch(&self, by: Side) {
        let activity = self.clients.activity.get().wrapping_add(1);
        self.clients.activity.set(activity);
        self.client.last.set(activity);
        self.client.by.set(by);
    }

    /// Returns when the client has to go.
    pub(super) async fn told_to_leave(&self) {
        self.client.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.table.borrow_mut().remove(&self.number);
    }
}
