//! Python programs from PyPI, each in a virtual environment of its own below the target folder, made when first wanted.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::workshop::output;

/// The folder with the programs of `requirement` (as in `name[extra]==version`), installed below `tools` if need be.
/// `step` hears about it.
pub fn programs(tools: &Path, requirement: &str, step: &dyn Fn(&str)) -> Result<PathBuf> {
    let name: String =
        requirement.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let folder = tools.join(&name);
    let programs = folder.join("bin");
    // Written last, so that what was interrupted is made again.
    let done = folder.join("installed");
    if !done.is_file() {
        step(&format!("installing {requirement} from PyPI into {}", folder.display()));
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        output(Command::new(programs.join("python")).args(["-m", "pip", "install", "--quiet", requirement]))?;
        std::fs::write(&done, requirement).map_err(Error::file("write", &done))?;
    }
    Ok(programs)
}
