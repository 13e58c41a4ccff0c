//! What is measured: one file for each subject.

pub mod exits;
pub mod figures;
pub mod fleet;
pub mod launch;
pub mod memory;
pub mod operations;
pub mod primitives;
pub mod requests;
pub mod vsock;

use crate::error::Result;
use crate::report::Row;
use crate::workshop::Workshop;

/// How a group is measured: it hears whether to be quick, and says how far it is (0 to 1).
pub type Measure = fn(&Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>>;

/// A subject.
pub struct Group {
    /// Its name on the command line and in JSON.
    pub name: &'static str,
    /// Its title in the table: says what is compared, and which way round.
    pub title: &'static str,
    /// Measures it.
    pub measure: Measure,
}

/// Every subject, in the order of the report.
pub const GROUPS: &[Group] = &[
    Group { name: "launch", title: "Launch of the signer, image loading included", measure: launch::measure },
    Group { name: "exits", title: "Leaving the guest and coming back", measure: exits::measure },
    Group {
        name: "vsock",
        title: "vsock, beside a Unix socket between two processes (ratio: time; at throughput, speed)",
        measure: vsock::measure,
    },
    Group {
        name: "operations",
        title: "Key operations, JSON in and JSON out: sealed, beside the same code in a process (ratio: processor time)",
        measure: operations::measure,
    },
    Group {
        name: "requests",
        title: "Requests over HTTP on kept connections: sealed, beside the same code as a process (ratio: time; in flight, speed)",
        measure: requests::measure,
    },
    Group {
        name: "primitives",
        title: "Cryptography alone: sealed, beside the same code as a process (ratio: time) and OpenSSL (ratio: speed)",
        measure: primitives::measure,
    },
    Group { name: "memory", title: "Memory of an idle signer", measure: memory::measure },
    Group { name: "fleet", title: "Many idle signers at once", measure: fleet::measure },
    Group { name: "figures", title: "Sizes", measure: figures::measure },
];

/// The title of the group of this name.
pub fn title(name: &str) -> &'static str {
    GROUPS.iter().find(|group| group.name == name).map_or("", |group| group.title)
}
