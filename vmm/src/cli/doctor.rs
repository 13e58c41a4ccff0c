//! `doctor`: what this host offers to sealed guests, and with `--fix`, what would make it stronger.

use casemate_attestation::platform::KEY_FILE;
use casemate_tpm::chip;
use serde_json::json;

use super::error::Failure;
use super::output::{print_json, print_line};
use super::registry::state_dir;
use crate::host::doctor::{Finding, Grade, examine};

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fix: super::doctor_fix::FixArgs,
}

/// Prints the findings. Fails only if sealed guests do not run here at all.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.fix.fix {
        return super::doctor_fix::run(&args.fix);
    }
    let mut findings = examine();
    findings.push(platform_key());
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Good);
    if args.json {
        print_json(&json!({"usable": worst != Grade::Missing, "findings": findings}))?;
    } else {
        for finding in &findings {
            print_line(&lines(finding))?;
        }
        let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
        print_line(&format!(
            "\n{} good, {} weak, {} missing",
            count(Grade::Good),
            count(Grade::Weak),
            count(Grade::Missing)
        ))?;
    }
    match worst {
        Grade::Missing => {
            Err(Failure::plain("sealed guests do not run on this host: see what is missing above"))
        }
        _ => Ok(()),
    }
}

/// Where the platform key is.
fn platform_key() -> Finding {
    let folder = state_dir();
    let in_tpm = chip::is_in(&folder);
    let value = match (in_tpm, folder.join(KEY_FILE).exists()) {
        (true, _) => "tpm",
        (false, true) => "file",
        (false, false) => "none yet",
    };
    Finding {
        name: "platform key",
        grade: if in_tpm { Grade::Good } else { Grade::Note },
        value: value.to_owned(),
        meaning: "signs for all guests of this host; whoever reads one that is a file can forge documents and open volumes",
        advice: None,
    }
}

fn lines(finding: &Finding) -> String {
    let mark = match finding.grade {
        Grade::Good => "good",
        Grade::Note => "note",
        Grade::Weak => "WEAK",
        Grade::Missing => "MISSING",
    };
    let head = format!("{mark:<8}{:<20} {}", finding.name, finding.value);
    let meaning = format!("\n{:29}{}", "", finding.meaning);
    let advice = finding.advice.map(|advice| format!("\n{:29}→ {advice}", "")).unwrap_or_default();
    head + &meaning + &advice
}
