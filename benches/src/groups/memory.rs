//! What an idle signer's VMM process occupies, mapping by mapping.
//!
//! The sum is of proportional shares (PSS, /proc/PID/smaps). The guest's own is left out: the shared region, and the
//! sealed files with its code and page tables. Private memory is not in any process's mappings, so not in the sum
//! either; with everything else (the kernel's part too) it shows in the fleet's bytes per guest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::http::{Client, request};
use crate::report::{Row, Target, Unit};
use crate::workshop::Workshop;

const GROUP: &str = "memory";
/// How the VMM names the memory that is the guest's.
const GUESTS: [&str; 3] = ["casemate-image", "casemate-tables", "casemate-shared"];

/// Proportional shares in bytes: the VMM's, by kind, and the guest's mappings.
#[derive(Debug, Default)]
pub struct Shares {
    /// The VMM's own.
    pub vmm: BTreeMap<String, f64>,
    /// Image, page tables and shared region.
    pub guest: f64,
}

/// One idle signer that has answered once.
pub fn measure(workshop: &Workshop, _: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let guest = Guest::launch(workshop, &workshop.signer)?;
    let mut client = Client::open(&guest.socket(), casemate_abi::port::SIGNER)?;
    client.exchange(&request("GET", "/health", None, ""))?;
    drop(client);
    std::thread::sleep(Duration::from_millis(300));
    progress(0.5);
    let path = format!("/proc/{}/smaps", guest.pid());
    let smaps = std::fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
    let shares = shares(&smaps);
    let total: f64 = shares.vmm.values().sum();
    let mut rows = vec![
        Row::new(GROUP, "VMM, beyond the guest's", total, Unit::Bytes)
            .target(Target::AtMost(3.0 * 1048576.0))
            .note("PSS without the guest's mappings: see the next lines"),
    ];
    for (kind, bytes) in &shares.vmm {
        rows.push(Row::new(GROUP, format!("  of it: {kind}"), *bytes, Unit::Bytes));
    }
    rows.push(Row::new(GROUP, "guest's image, tables, shared region", shares.guest, Unit::Bytes));
    let path = format!("/proc/{}/smaps", workshop.security_module_pid()?);
    let smaps = std::fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
    let module = self::shares(&smaps);
    let total = module.vmm.values().sum::<f64>() + module.guest;
    rows.push(Row::new(GROUP, "security module, all of it", total, Unit::Bytes).note(
        "one for all guests: PSS of its VMM, image, tables and shared region; private memory is not in it",
    ));
    progress(1.0);
    Ok(rows)
}

/// Sums up a process's mappings.
pub fn shares(smaps: &str) -> Shares {
    let mut shares = Shares::default();
    let mut mapping = String::new();
    for line in smaps.lines() {
        if let Some(pss) = line.strip_prefix("Pss:") {
            let kib: f64 = pss.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
            let bytes = kib * 1024.0;
            if GUESTS.iter().any(|name| mapping.contains(name)) {
                shares.guest += bytes;
            } else if bytes > 0.0 {
                *shares.vmm.entry(kind(&mapping)).or_default() += bytes;
            }
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            mapping = line.split_whitespace().skip(5).collect::<Vec<_>>().join(" ");
        }
    }
    shares
}

fn kind(mapping: &str) -> String {
    let name = match mapping {
        "" => "anonymous memory, thread stacks",
        "[heap]" => "heap",
        "[stack]" => "stack",
        path if path.ends_with("/casemate") => "the casemate program",
        path if path.contains(".so") => "shared libraries",
        path if path.contains("secretmem") => "secret memory",
        path => path,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_mappings_are_told_from_the_vmms() {
        let smaps = "\
7f00-7f10 r--s 00000000 00:01 1    /memfd:casemate-image (deleted)
Size:                 16 kB
Pss:                  12 kB
Pss_Dirty:             0 kB
7f10-7f20 rw-p 00000000 00:00 0    [heap]
Pss:                   8 kB
7f20-7f30 rw-p 00000000 00:00 0
Pss:                   4 kB
";
        let shares = shares(smaps);
        assert_eq!(shares.guest, 12.0 * 1024.0);
        assert_eq!(shares.vmm.get("heap"), Some(&(8.0 * 1024.0)));
        assert_eq!(shares.vmm.values().sum::<f64>(), 12.0 * 1024.0);
    }
}
