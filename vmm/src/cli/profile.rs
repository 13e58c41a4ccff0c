//! AWS profiles: two INI files that every AWS client reads, `credentials` and `config`.
//!
//! They are the user's, and hold more than ours: a section is added or, if the user insists, replaced, and every other
//! line stays as it is. A file is replaced as a whole or not at all. Only its owner may read one with credentials.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::{Code, Failure};

/// The profile that `claim` writes and that commands look for if none is named.
pub(super) const USUAL: &str = "casemate";

/// Where the two files are.
pub(super) struct Files {
    credentials: PathBuf,
    config: PathBuf,
}

/// What is written into a profile.
pub(super) struct Entry<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) secret_access_key: &'a str,
    pub(super) region: &'a str,
    /// Where clients find the signer; `None`: not on a TCP port yet.
    pub(super) endpoint: Option<&'a str>,
    /// The endpoint's certificate; `None`: it needs none.
    pub(super) ca_bundle: Option<&'a Path>,
}

/// What a profile says, as far as it concerns a signer.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<Zeroizing<String>>,
    pub(super) session_token: Option<Zeroizing<String>>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) ca_bundle: Option<PathBuf>,
}

impl Files {
    /// Where AWS's clients look: `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE`, else in `~/.aws`.
    pub(super) fn locate() -> Result<Self, Failure> {
        let file = |variable: &str, name: &str| match std::env::var_os(variable) {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => match std::env::var_os("HOME") {
                Some(home) if !home.is_empty() => Ok(Path::new(&home).join(".aws").join(name)),
                _ => Err(Failure::new(
                    Code::InvalidArgument,
                    format!("where are the AWS profiles? Set HOME, or {variable}"),
                )),
            },
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
        Ok(Self { credentials, config: file("AWS_CONFIG_FILE", "config")? })
    }

    /// The profile of this name; `None` if neither file has it.
    pub(super) fn find(&self, name: &str) -> Result<Option<Profile>, Failure> {
        let credentials = read(&self.credentials)?;
        let config = read(&self.config)?;
        let (secret, plain) = (section(&credentials, name), section(&config, &config_section(name)));
        if secret.is_none() && plain.is_none() {
            return Ok(None);
        }
        let value = |key: &str| lookup(secret.as_deref(), key).or_else(|| lookup(plain.as_deref(), key));
        let secret_value = |key: &str| value(key).map(|value| Zeroizing::new(value.to_owned()));
        Ok(Some(Profile {
            access_key_id: value("aws_access_key_id").map(str::to_owned),
            secret_access_key: secret_value("aws_secret_access_key"),
            session_token: secret_value("aws_session_token"),
            region: value("region").map(str::to_owned),
            endpoint: value("endpoint_url").map(str::to_owned),
            ca_bundle: value("ca_bundle").map(PathBuf::from),
        }))
    }

    /// Where the CA file of a profile is kept: beside its configuration.
    pub(super) fn ca_bundle(&self, name: &str) -> PathBuf {
        self.config.with_file_name(format!("casemate-{name}.pem"))
    }

    /// Makes sure that a profile of this name can be written: the name is usable, nothing is overwritten unless `force`,
    /// and the folders can be written to. To be called before there is something to lose.
    pub(super) fn prepare(&self, name: &str, force: bool) -> Result<(), Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            let message =
                format!("`{name}` cannot be a profile: use 1 to 64 letters, digits, `-`, `_` and `.`");
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        if !force && self.find(name)?.is_some() {
            let message =
                format!("there is a profile `{name}` already: choose another --profile, or --force");
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        for path in [&self.credentials, &self.config] {
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let failed = |error: io::Error| Failure::file("write in", folder, error);
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
            let probe = new_name(path);
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&probe)
                .map_err(failed)?;
            fs::remove_file(&probe).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the profile in the place of any of the same name.
    pub(super) fn write(&self, name: &str, entry: &Entry<'_>) -> Result<(), Failure> {
        let credentials = Zeroizing::new(format!(
            "[{name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            entry.access_key_id, entry.secret_access_key
        ));
        let mut config = format!("[{}]\nregion = {}\n", config_section(name), entry.region);
        if let Some(endpoint) = entry.endpoint {
            config.push_str(&format!("endpoint_url = {endpoint}\n"));
        }
        if let Some(ca_bundle) = entry.ca_bundle {
            config.push_str(&format!("ca_bundle = {}\n", ca_bundle.display()));
        }
        replace_section(&self.config, &config_section(name), &config)?;
        replace_section(&self.credentials, name, &credentials)
    }
}

/// In `config`, every section but the default one says that it is a profile.
fn config_section(name: &str) -> String {
    if name == "default" { name.to_owned() } else { format!("profile {name}") }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zeroizing::default()),
        Err(error) => Err(Failure::file("read", path, error)),
    }
}

/// The name of a section that begins with this line.
fn header(line: &str) -> Option<&str> {
    let line = line.trim();
    Some(line.strip_prefix('[')?.split(']').next()?.trim())
}

/// The lines of a section, without its first; `None` if there is no such section.
fn section<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut found = None::<Vec<&str>>;
    let mut inside = false;
    for line in text.lines() {
        match header(line) {
            Some(other) => {
                inside = other == name;
                if inside {
                    found.get_or_insert_default();
                }
            }
            None if inside => found.get_or_insert_default().push(line),
            None => {}
        }
    }
    found
}

/// The value of a setting, if the line is that setting. Indented lines belong to a nested one.
fn setting<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    if line.starts_with([' ', '\t', '#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    (name.trim().eq_ignore_ascii_case(key)).then(|| value.trim())
}

/// The value of a setting in a section, the last one if there are several.
fn lookup<'a>(section: Option<&[&'a str]>, key: &str) -> Option<&'a str> {
    section?.iter().rev().find_map(|line| setting(line, key))
}

/// The file with this section in the place of any of that name, at its end.
fn with_section(text: &str, name: &str, section: &str) -> Zeroizing<String> {
    let mut result =
        Zeroizing::new(String::with_capacity(text.len().saturating_add(section.len()).saturating_add(2)));
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        if let Some(other) = header(line) {
            inside = other == name;
        }
        if !inside {
            result.push_str(line);
        }
    }
    if !result.is_empty() {
        if !result.ends_with('\n') {
            result.push('\n');
        }
        if !result.ends_with("\n\n") {
            result.push('\n');
        }
    }
    result.push_str(section);
    result
}

fn replace_section(path: &Path, name: &str, section: &str) -> Result<(), Failure> {
    // A link stays a link: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = with_section(&read(&path)?, name, section);
    // What others could read before they need not have been able to; what nobody could stays so.
    let mode = fs::metadata(&path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o600);
    let new = new_name(&path);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| Failure::file("write", &path, error))
}

fn new_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    const FILE: &str = "# mine\n[default]\nregion=eu-west-1\n\n[profile work]\nregion = us-west-2\ns3 =\n  endpoint_url = http://s3\noutput=json";

    #[test]
    fn sections_and_settings_are_found() {
        let work = section(FILE, "profile work").unwrap();
        let value = |key| work.iter().find_map(|line| setting(line, key));
        assert_eq!(value("region"), Some("us-west-2"));
        assert_eq!(value("endpoint_url"), None, "that is S3's");
        assert_eq!(section(FILE, "default").unwrap()[0], "region=eu-west-1");
        assert!(section(FILE, "work").is_none() && section(FILE, "").is_none());
        assert_eq!(section("[a]\n[b]\n", "a").unwrap().len(), 0);
    }

    #[test]
    fn a_section_is_added_or_replaced_and_the_rest_stays() {
        let added = with_section(FILE, "profile casemate", "[profile casemate]\nregion = x\n");
        assert_eq!(added.as_str(), format!("{FILE}\n\n[profile casemate]\nregion = x\n"));
        let replaced = with_section(&added, "profile work", "[profile work]\nregion = y\n");
        assert!(replaced.starts_with("# mine\n[default]\nregion=eu-west-1\n\n[profile casemate]\n"));
        assert!(replaced.ends_with("\n\n[profile work]\nregion = y\n") && !replaced.contains("us-west-2"));
        assert_eq!(with_section("", "a", "[a]\n").as_str(), "[a]\n");
    }
}
