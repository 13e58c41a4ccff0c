//! `doctor --fix`: offers changes to the host one by one, and writes those that are agreed to.
//!
//! It writes two files at the most, and puts nothing in force: it says how that is done. Without a word of agreement it
//! changes nothing.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::Failure;
use super::output::print_line;
use crate::host::doctor::{Finding, examine};
use crate::host::fix::{self, Change, Offer, SYSCTL, UNIT};

/// Flags of `doctor` that go with `--fix`.
#[derive(Clone, Debug, clap::Args)]
pub struct FixArgs {
    /// Offer each change that would make this host stronger, and write those that are agreed to
    #[arg(long, conflicts_with = "json")]
    pub(super) fix: bool,
    /// Agree to all of them
    #[arg(long, requires = "fix", conflicts_with = "dry_run")]
    yes: bool,
    /// Print what would be written, and write nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// Write below this folder, for review, and not below /
    #[arg(long, requires = "fix", conflicts_with = "dry_run", value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Offers, asks, writes.
pub fn run(args: &FixArgs) -> Result<(), Failure> {
    let offers = fix::offers(examine(), &|path| path.exists());
    offer(args, &offers, io::stdin().lock(), print_line)
}

/// The same for these offers, with answers from `answers` and the lines for the user going to `say`.
fn offer(
    args: &FixArgs,
    offers: &[Offer],
    mut answers: impl BufRead,
    mut say: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if offers.is_empty() {
        return say("There is nothing to change.");
    }
    let mut agreed = Vec::new();
    for Offer { finding, change } in offers {
        say(&lines(finding, *change))?;
        if let Some(change) = change.filter(|change| change.file().is_some())
            && (args.yes || args.dry_run || agrees(&mut answers)?)
        {
            agreed.push(change);
        }
    }
    let below = args.output.clone().unwrap_or_else(|| PathBuf::from("/"));
    let files = fix::files(&agreed, &|file| fs::read_to_string(below.join(file)).ok()).map_err(|file| {
        let problem = "it is not by casemate: move it away first";
        Failure::file("replace", &below.join(file), problem)
    })?;
    if files.is_empty() {
        return say("\nNothing was changed.");
    }
    for (file, text) in &files {
        if args.dry_run {
            say(&format!("\n/{file} would be:\n{text}"))?;
        } else {
            let path = below.join(file);
            write(&path, text).map_err(|error| Failure::file("write", &path, error))?;
            say(&format!("\nwrote {}", path.display()))?;
        }
    }
    match args.dry_run {
        true => say("Nothing was changed."),
        false => say(&next_steps(&files)),
    }
}

fn lines(finding: &Finding, change: Option<Change>) -> String {
    let head = format!("\n{}: {}\n  why    {}", finding.name, finding.value, finding.meaning);
    match change {
        Some(change) => {
            let by_hand =
                if change.file().is_none() { "  (by hand: no setting of a running host)" } else { "" };
            format!("{head}\n  how    {}{by_hand}\n  costs  {}", change.describe(), change.costs)
        }
        None => format!("{head}\n  how    {}  (by hand)", finding.advice.unwrap_or("there is no way")),
    }
}

/// Asks. No answer is a no.
fn agrees(answers: &mut impl BufRead) -> Result<bool, Failure> {
    let failed = |error: io::Error| Failure::plain(format!("cannot ask: {error}"));
    if io::stdin().is_terminal() {
        let mut out = io::stdout().lock();
        out.write_all(b"  write it? [y/N] ").and_then(|()| out.flush()).map_err(failed)?;
    }
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes a file whole or not at all, readable for everybody.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("casemate-new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn next_steps(files: &[(&'static str, String)]) -> String {
    let mut text = String::from("They are in force after the next start, or now, with");
    for (file, _) in files {
        text.push_str(match *file {
            SYSCTL => "\n  sysctl --load /etc/sysctl.d/60-casemate.conf",
            UNIT => "\n  systemctl daemon-reload && systemctl enable --now casemate-host.service",
            _ => "",
        });
    }
    if files.iter().any(|(file, _)| *file == UNIT) {
        text.push_str("\nThe unit does nothing before it is enabled.");
    }
    text
}

#[cfg(test)]
#[path = "doctor_fix_tests.rs"]
mod tests;
