//! How the program is linked: its code in the order of `order.ld`, and statically, still position-independent, where the C
//! library is there as an archive.
//!
//! A launch is timed from exec, and loading shared libraries would be a tenth of it. The target feature `crt-static` does
//! the same, but only for everything that is built, and only if cargo is told to cross-compile. So the libraries that Rust
//! asks for by name are given a second meaning for this one program: a folder of linker scripts (ld(1), "Implicit Linker
//! Scripts") that name the archives.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The program.
const PROGRAM: &str = "casemate";
/// Libraries as Rust's standard library and its dependencies name them, and the archives that hold the same. Since glibc
/// 2.34 the others are parts of `libc`.
const LIBRARIES: [(&str, &[&str]); 7] = [
    ("gcc_s", &["gcc_eh"]),
    ("c", &["c", "gcc_eh"]),
    ("m", &["m"]),
    ("rt", &[]),
    ("pthread", &[]),
    ("util", &[]),
    ("dl", &[]),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=order.ld");
    if let Some(source) = std::env::var_os("CARGO_MANIFEST_DIR") {
        let script = Path::new(&source).join("order.ld");
        println!("cargo:rustc-link-arg-bin={PROGRAM}=-Wl,-T,{}", script.display());
    }
    let Some(folder) = std::env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    // Where an archive is missing, the program is linked with shared libraries as ever.
    if write_scripts(&folder).is_some() {
        for argument in [format!("-L{}", folder.display()), "-static-pie".to_owned()] {
            println!("cargo:rustc-link-arg-bin={PROGRAM}={argument}");
        }
    }
}

fn write_scripts(folder: &Path) -> Option<()> {
    for (library, archives) in LIBRARIES {
        let paths: Option<Vec<PathBuf>> = archives.iter().map(|name| archive(name)).collect();
        let names: Vec<String> = paths?.iter().map(|path| format!("\"{}\"", path.display())).collect();
        std::fs::write(folder.join(format!("lib{library}.so")), format!("GROUP({})\n", names.join(" ")))
            .ok()?;
    }
    Some(())
}

/// Where the C compiler has an archive.
fn archive(library: &str) -> Option<PathBuf> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(compiler).arg(format!("-print-file-name=lib{library}.a")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path).filter(|path| path.is_file())
}
