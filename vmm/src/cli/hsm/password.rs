//! Passwords: asked for on the terminal without echo, or read from a file or stdin; never from the command line, which
//! every process on the host can read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::super::error::{Code, Failure};

/// Longest line that is taken for a password, in bytes.
const LINE_MAX: u64 = 4096;

/// Whoever logs in.
#[derive(Debug, clap::Args)]
pub struct LoginPassword {
    /// Where the password is to log in with: a file's first line; `-` for the next line of stdin [default: ask]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Somebody who gets a password.
#[derive(Debug, clap::Args)]
pub struct NewPassword {
    /// Where the new password is: a file's first line; `-` for the next line of stdin [default: ask, twice]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

impl LoginPassword {
    /// The password.
    pub fn read(&self, user: &str) -> Result<Zeroizing<String>, Failure> {
        match &self.password_file {
            Some(path) => from_file(path),
            None => ask(&format!("Password of {user}: ")),
        }
    }
}

impl NewPassword {
    /// The password.
    pub fn read(&self, user: &str) -> Result<Zeroizing<String>, Failure> {
        if let Some(path) = &self.new_password_file {
            return from_file(path);
        }
        let password = ask(&format!("New password of {user}: "))?;
        if ask("The same again: ")? != password {
            return Err(Failure::new(Code::InvalidArgument, "the two passwords differ: nothing was done"));
        }
        Ok(password)
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let line = if path == Path::new("-") {
        line(&mut io::stdin().lock())
    } else {
        File::open(path).and_then(|file| line(&mut BufReader::new(file)))
    };
    line.map_err(|error| Failure::file("read", path, error))
}

/// A line without its end.
fn line(reader: &mut impl io::BufRead) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(128));
    reader.take(LINE_MAX).read_until(b'\n', &mut bytes)?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::other("a password is UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A terminal that does not show what is typed, until this value is dropped.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let answer = || {
        let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        terminal.write_all(prompt.as_bytes())?;
        let silent = Silent::new(&terminal)?;
        let mut line = Zeroizing::new(String::with_capacity(128));
        BufReader::new(&terminal).take(LINE_MAX).read_line(&mut line)?;
        drop(silent);
        terminal.write_all(b"\n")?;
        Ok::<_, io::Error>(line)
    };
    let line = answer().map_err(|error| {
        let message =
            format!("cannot ask for a password on the terminal ({error}): name a file, or - for stdin");
        Failure::new(Code::InvalidArgument, message)
    })?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_password_is_a_line() {
        let mut two: &[u8] = b"first\r\n second \nrest";
        assert_eq!(line(&mut two).unwrap().as_str(), "first");
        assert_eq!(line(&mut two).unwrap().as_str(), " second ");
        assert_eq!(line(&mut two).unwrap().as_str(), "rest");
        assert_eq!(line(&mut two).unwrap().as_str(), "");
        assert!(line(&mut [0xff].as_slice()).is_err());
    }
}
