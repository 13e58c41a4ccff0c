//! Runs cargo for a guest: what to build, with which flags, and what to say when it fails.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::flags::{Flags, PROFILE, TARGET};
use super::link;
use super::progress::Progress;

/// Why cargo gave no guest.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// cargo could not be started.
    #[error("cannot run {}: {source}; `casemate build` needs a Rust toolchain (https://rustup.rs)", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its output ended unexpectedly.
    #[error("cannot read what cargo says: {0}")]
    Read(#[from] io::Error),
    /// `cargo metadata` failed: no manifest, or not a valid one.
    #[error("{}", first_error(.0))]
    Metadata(String),
    /// `cargo metadata` printed what we do not understand.
    #[error("cannot understand `cargo metadata`: {0}")]
    MetadataFormat(#[from] serde_json::Error),
    /// No package there.
    #[error("{} is a workspace without a package: name the guest's own Cargo.toml", .0.display())]
    NoPackage(PathBuf),
    /// No binary, or not the one that was asked for.
    #[error("package `{package}` has no binary {}; it has: {}", wanted.as_deref().unwrap_or("target"), names(binaries))]
    NoBinary {
        /// The package.
        package: String,
        /// Which was asked for.
        wanted: Option<String>,
        /// Which it has.
        binaries: Vec<String>,
    },
    /// Several binaries and no choice.
    #[error("package `{package}` has several binaries ({}): choose one with --bin", names(binaries))]
    ManyBinaries {
        /// The package.
        package: String,
        /// Which it has.
        binaries: Vec<String>,
    },
    /// Symbols were missing.
    #[error("the guest does not link\n{0}")]
    Link(String),
    /// The compiler refused.
    #[error("the guest does not compile\n{0}")]
    Compile(String),
    /// cargo said that it succeeded but named no executable.
    #[error("cargo built no executable for binary `{0}`")]
    NoExecutable(String),
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// cargo's first `error:` line with its causes, on one line.
fn first_error(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|l| !l.is_empty() && *l != "Caused by:");
    let text: Vec<&str> = lines.skip_while(|line| !line.starts_with("error")).take(4).collect();
    if text.is_empty() { stderr.trim().to_owned() } else { text.join(": ").replacen("error: ", "", 1) }
}

/// A binary target of a package.
#[derive(Clone, Debug)]
pub struct Target {
    /// The manifest.
    pub manifest: PathBuf,
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The binary's name.
    pub binary: String,
    /// The root of its workspace.
    pub workspace: PathBuf,
    /// Where cargo would build it for the host.
    pub target_dir: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<PackageTarget>,
    default_run: Option<String>,
}

#[derive(Deserialize)]
struct PackageTarget {
    name: String,
    kind: Vec<String>,
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// A cargo command that does not see the flags of the build that may be going on around it, nor the user's: the same
/// source is to give the same image.
fn command(manifest: &Path) -> Command {
    let mut command = Command::new(cargo());
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let is_flag = text.starts_with("CARGO_PROFILE_")
            || text.starts_with("CARGO_BUILD_")
            || text.starts_with("CARGO_TARGET_")
            || text.starts_with("AWS_LC_")
            || [
                "RUSTFLAGS",
                "CARGO_ENCODED_RUSTFLAGS",
                "CFLAGS",
                "CXXFLAGS",
                "CPPFLAGS",
                "LDFLAGS",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "MAKEFLAGS",
                "CARGO_MAKEFLAGS",
            ]
            .contains(&text)
            || text.starts_with("CFLAGS_")
            || text.starts_with("CXXFLAGS_");
        if is_flag {
            command.env_remove(name);
        }
    }
    // rust-toolchain.toml is looked for from the current folder upwards.
    if let Some(dir) = manifest.parent().filter(|dir| dir.is_dir()) {
        command.current_dir(dir);
    }
    command.stdin(Stdio::null());
    command
}

fn start_error(source: io::Error) -> CargoError {
    CargoError::Start { program: PathBuf::from(cargo()), source }
}

/// Finds the binary to build.
pub fn target(manifest: &Path, binary: Option<&str>) -> Result<Target, CargoError> {
    let manifest = std::path::absolute(manifest)?;
    let mut command = command(&manifest);
    // The target folder is the one piece of the environment that is respected.
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        command.env("CARGO_TARGET_DIR", std::path::absolute(dir)?);
    }
    let output = command
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .map_err(start_error)?;
    if !output.status.success() {
        return Err(CargoError::Metadata(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let canonical = manifest.canonicalize().unwrap_or_else(|_| manifest.clone());
    let package = metadata
        .packages
        .into_iter()
        .find(|p| p.manifest_path == manifest || p.manifest_path == canonical)
        .ok_or(CargoError::NoPackage(manifest))?;
    Ok(Target {
        binary: choose_binary(&package, binary)?,
        manifest: package.manifest_path,
        package: package.name,
        version: package.version,
        workspace: metadata.workspace_root,
        target_dir: metadata.target_directory,
    })
}

fn choose_binary(package: &Package, wanted: Option<&str>) -> Result<String, CargoError> {
    let is_binary = |target: &&PackageTarget| target.kind.iter().any(|kind| kind == "bin");
    let binaries: Vec<String> =
        package.targets.iter().filter(is_binary).map(|target| target.name.clone()).collect();
    let package_name = package.name.clone();
    match (wanted.or(package.default_run.as_deref()), binaries.as_slice()) {
        (Some(wanted), _) if binaries.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, [_, ..]) => Err(CargoError::ManyBinaries { package: package_name, binaries }),
        (wanted, _) => Err(CargoError::NoBinary {
            package: package_name,
            wanted: wanted.map(|name| format!("`{name}`")),
            binaries,
        }),
    }
}

/// Builds the binary and returns the path of the ELF file.
pub fn build(
    target: &Target,
    flags: &Flags,
    extra: &[String],
    progress: &Progress,
) -> Result<PathBuf, CargoError> {
    let mut command = command(&target.manifest);
    command
        .args([
            "build",
            "--message-format=json",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--bin",
            &target.binary,
        ])
        .arg("--manifest-path")
        .arg(&target.manifest)
        .arg("--target-dir")
        .arg(&flags.target_dir)
        .args(flags.cargo_config.iter().flat_map(|setting| ["--config", setting.as_str()]))
        .args(extra)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.rustflags.join("\u{1f}"))
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "120")
        .env("CARGO_TERM_COLOR", "never")
        .envs(flags.env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(start_error)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (report, chatter) = std::thread::scope(|scope| {
        let chatter = scope.spawn(|| stderr.map(|stream| follow(stream, progress)).unwrap_or_default());
        let report = stdout.map(|stream| read_messages(stream, &target.binary)).transpose();
        (report, chatter.join().unwrap_or_default())
    });
    let status = child.wait()?;
    let report = report?.unwrap_or_default();
    if status.success() {
        for warning in &report.warnings {
            progress.println(warning.trim_end());
        }
        return report.executable.ok_or_else(|| CargoError::NoExecutable(target.binary.clone()));
    }
    let errors = report.errors.join("\n");
    let missing = link::missing_symbols(&errors);
    if !missing.is_empty() {
        return Err(CargoError::Link(link::explain(&missing)));
    }
    Err(CargoError::Compile(if errors.is_empty() { chatter } else { errors }))
}

#[derive(Default)]
struct Report {
    executable: Option<PathBuf>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Reads cargo's messages (The Cargo Book, "External tools": JSON messages).
fn read_messages(stream: impl Read, binary: &str) -> io::Result<Report> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<PackageTarget>,
        executable: Option<PathBuf>,
        message: Option<Diagnostic>,
    }
    #[derive(Deserialize)]
    struct Diagnostic {
        rendered: Option<String>,
        level: String,
    }
    let mut report = Report::default();
    for line in BufReader::new(stream).lines() {
        // A build script may print a line of its own: it is not a message.
        let Ok(message) = serde_json::from_str::<Message>(&line?) else {
            continue;
        };
        let is_ours =
            message.target.is_some_and(|t| t.name == binary && t.kind.iter().any(|kind| kind == "bin"));
        match (message.reason.as_str(), message.message) {
            ("compiler-artifact", _) if is_ours => {
                report.executable = message.executable.or(report.executable)
            }
            ("compiler-message", Some(diagnostic)) => {
                let text = diagnostic.rendered.unwrap_or_default();
                if diagnostic.level.starts_with("error") { &mut report.errors } else { &mut report.warnings }
                    .push(text);
            }
            _ => {}
        }
    }
    Ok(report)
}

/// Follows cargo's own output: its progress bar drives ours, the rest is kept for the error message.
fn follow(stream: impl Read, progress: &Progress) -> String {
    let mut kept = String::new();
    let mut line = Vec::new();
    for byte in BufReader::new(stream).bytes().map_while(Result::ok) {
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line).trim().trim_start_matches("\u{1b}[K").to_owned();
        line.clear();
        if let Some((done, total)) = bar(&text) {
            progress.position(done, total);
        } else if let Some(what) =
            text.strip_prefix("Compiling ").or_else(|| text.strip_prefix("Downloaded "))
        {
            progress.message(what.split(" (").next().unwrap_or(what));
        } else if !text.is_empty() {
            kept.push_str(&text);
            kept.push('\n');
        }
    }
    kept
}

/// `Building [====>    ] 45/120: hyper, …`
fn bar(text: &str) -> Option<(u64, u64)> {
    let (_, counts) = text.strip_prefix("Building [")?.split_once("] ")?;
    let (done, total) = counts.split(':').next()?.split_once('/')?;
    Some((done.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn cargos_progress_bar_is_read() {
        assert_eq!(bar("Building [=====>          ] 45/120: hyper, tokio"), Some((45, 120)));
        assert_eq!(bar("Building [=>   ] x/y: a"), None);
        assert_eq!(bar("Compiling hyper v1.0.0"), None);
    }

    #[test]
    fn messages_give_executable_and_errors() {
        let text = r#"
not json
{"reason":"compiler-artifact","target":{"name":"app","kind":["bin"]},"executable":"/t/app"}
{"reason":"compiler-artifact","target":{"name":"other","kind":["bin"]},"executable":"/t/other"}
{"reason":"compiler-message","target":{"name":"app","kind":["bin"]},"message":{"rendered":"bad","level":"error"}}
{"reason":"compiler-message","target":{"name":"app","kind":["bin"]},"message":{"rendered":"hm","level":"warning"}}
"#;
        let report = read_messages(text.as_bytes(), "app").unwrap();
        assert_eq!(report.executable.as_deref(), Some(Path::new("/t/app")));
        assert_eq!((report.errors, report.warnings), (vec!["bad".to_owned()], vec!["hm".to_owned()]));
    }

    #[test]
    fn a_missing_manifest_is_named_on_one_line() {
        let error = target(Path::new("/nonexistent/Cargo.toml"), None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/Cargo.toml") && !error.contains('\n'), "{error}");
    }
}
