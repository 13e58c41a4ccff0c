//! What makes a cargo build a guest build: compiler flags, linker script, C defines, and paths that leave no trace.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cargo::Target;
use super::signer::checkout;

/// The one target that guests are compiled for. It is named even on such a host: then cargo keeps our flags from build
/// scripts and procedural macros, which run here and need an ordinary libc.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The cargo profile that guests are compiled with.
pub const PROFILE: &str = "guest";

/// The linker script, as the guest runtime has it.
const LINKER_SCRIPT: &str = include_str!("../../../guest/runtime/guest.ld");
/// The flags, as the guest runtime has them.
const BUILD_FLAGS: &str = include_str!("../../../guest/runtime/build-flags.toml");

/// An archive without members (ar(5)). rustc asks for some C libraries by name; in a guest the runtime takes their
/// place, and a symbol that it does not have must be an error, not be found in glibc.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Why the flags could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum FlagsError {
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime's file of flags is wrong.
    #[error("guest/runtime/build-flags.toml: {0}")]
    File(String),
    /// The compiler did not say where it lives.
    #[error("cannot ask rustc for its folder: {0}")]
    Rustc(String),
}

/// Everything that cargo is told beside what to build.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Where cargo builds guests.
    pub target_dir: PathBuf,
    /// Flags for rustc.
    pub rustflags: Vec<String>,
    /// Cargo settings, `key=value`.
    pub cargo_config: Vec<String>,
    /// The environment of build scripts.
    pub env: Vec<(String, String)>,
}

/// The runtime's `build-flags.toml`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FlagsFile {
    target: String,
    profile: String,
    /// `{stubs}` stands for the folder with the empty archives.
    rustflags: Vec<String>,
    /// `{script}` stands for the path of the linker script.
    link_args: Vec<String>,
    /// The libraries that rustc asks for and that are empty in a guest.
    empty_libraries: Vec<String>,
    /// The environment of build scripts.
    env: BTreeMap<String, String>,
}

impl FlagsFile {
    fn parse() -> Result<Self, FlagsError> {
        let file: Self = toml::from_str(BUILD_FLAGS).map_err(|error| FlagsError::File(error.to_string()))?;
        if file.target != TARGET || file.profile != PROFILE {
            return Err(FlagsError::File(format!("guests are built for {TARGET} with profile {PROFILE}")));
        }
        Ok(file)
    }
}

impl Flags {
    /// Puts the flags for this target together and writes the files that they name.
    pub fn new(target: &Target) -> Result<Self, FlagsError> {
        let file = FlagsFile::parse()?;
        let target_dir = target.target_dir.join("guest");
        let stubs = target_dir.join("casemate");
        let script = stubs.join("guest.ld");
        write_link_files(&stubs, &script, &file.empty_libraries)?;

        let fill = |flag: &String| {
            flag.replace("{stubs}", &stubs.display().to_string())
                .replace("{script}", &script.display().to_string())
        };
        let maps = path_maps(target, &target_dir)?;
        let map = |option: &str| -> Vec<String> {
            maps.iter().map(|(from, to)| format!("{option}={}={to}", from.display())).collect()
        };
        let mut rustflags: Vec<String> = file.rustflags.iter().map(fill).collect();
        rustflags.extend(file.link_args.iter().map(|flag| format!("-Clink-arg={}", fill(flag))));
        rustflags.extend(map("--remap-path-prefix"));
        let c_maps = map("-ffile-prefix-map").join(" ");
        let env = file.env.into_iter().map(|(name, value)| {
            let value = if name.contains("CFLAGS") { format!("{value} {c_maps}") } else { value };
            (name, value)
        });
        Ok(Self { target_dir, rustflags, cargo_config: profile(), env: env.collect() })
    }
}

/// The profile `guest`. How much to optimise is for the `Cargo.toml` of the workspace to say, if it does. Symbols stay: the
/// check needs them, and [`super::strip`] removes them afterwards.
fn profile() -> Vec<String> {
    [
        "inherits=\"release\"",
        "lto=\"fat\"",
        "codegen-units=1",
        "panic=\"abort\"",
        "strip=\"debuginfo\"",
        "debug=false",
        "incremental=false",
        "overflow-checks=false",
        "debug-assertions=false",
    ]
    .map(|setting| format!("profile.guest.{setting}"))
    .to_vec()
}

/// Which folders are called what in the image: paths get into panic messages and C assertions. Where two match, rustc
/// and the C compiler take the last.
fn path_maps(target: &Target, target_dir: &Path) -> Result<Vec<(PathBuf, &'static str)>, FlagsError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let maps = [
        (checkout(), "/casemate"),
        (target.workspace.clone(), "/src"),
        (cargo_home, "/cargo"),
        (sysroot(target)?, "/rust"),
        (target_dir.to_owned(), "/target"),
    ];
    let with_real = maps.into_iter().flat_map(|(path, name)| {
        let real = path.canonicalize().ok().filter(|real| *real != path);
        [Some((path, name)), real.map(|real| (real, name))]
    });
    Ok(with_real.flatten().filter(|(path, _)| path.is_absolute()).collect())
}

/// Where the toolchain lives that will compile the guest: the one of the guest's folder.
fn sysroot(target: &Target) -> Result<PathBuf, FlagsError> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    if let Some(dir) = target.manifest.parent() {
        command.current_dir(dir);
    }
    let output = command
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| FlagsError::Rustc(error.to_string()))?;
    if !output.status.success() {
        return Err(FlagsError::Rustc(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Writes the linker script and the empty archives, if they are not there already: cargo would link again for a newer
/// file.
fn write_link_files(dir: &Path, script: &Path, libraries: &[String]) -> Result<(), FlagsError> {
    let write = |path: PathBuf, bytes: &[u8]| {
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        // Renamed into place: another build may be linking.
        let new = path.with_extension(format!("{}.new", std::process::id()));
        fs::write(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| FlagsError::Write { path, source })
    };
    fs::create_dir_all(dir).map_err(|source| FlagsError::Write { path: dir.to_owned(), source })?;
    write(script.to_owned(), LINKER_SCRIPT.as_bytes())?;
    for library in libraries {
        write(dir.join(format!("lib{library}.a")), EMPTY_ARCHIVE)?;
    }
    Ok(())
}
