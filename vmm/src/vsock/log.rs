//! What the VMM says about connections, on stderr: a line when the guest takes one, a line at its end.
//!
//! Promises: saying it never waits for whoever reads it, and costs at most [`LINES_PER_SECOND`] lines a second; what is not
//! said is counted, and the count is said. Nothing that a client or the guest has written is in a line but a port's number.

use std::fmt::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, SystemTime};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use x509_cert::der::DateTime;

/// Lines in one second of the clock. A flood of connections must not become one of lines.
pub const LINES_PER_SECOND: u32 = 20;

/// Who has connected: the process that sent the CONNECT line, in the kernel's word (unix(7), SCM_CREDENTIALS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// 0 for one that this process cannot see.
    pub process: i32,
    pub user: u32,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of user {}", self.process, self.user)
    }
}

/// Where the running VMM's lines go.
#[derive(Default)]
pub struct Log {
    output: Option<Output>,
    second: Duration,
    left: u32,
    withheld: u64,
}

struct Output {
    file: OwnedFd,
    /// Knows whether a write would have to wait; none for what always takes one, as files do.
    room: Option<Epoll>,
}

impl Log {
    /// Lines go to `file`.
    pub fn new(file: OwnedFd) -> Self {
        let room = Epoll::new().ok().filter(|epoll| {
            let event = EpollEvent::new(EventSet::OUT, 0);
            epoll.ctl(ControlOperation::Add, file.as_raw_fd(), event).is_ok()
        });
        Self { output: Some(Output { file, room }), ..Self::default() }
    }

    /// Says that this happened to the connection with that host port.
    pub fn say(&mut self, host_port: u32, what: fmt::Arguments<'_>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = Duration::from_secs(now.as_secs());
        if second != self.second {
            (self.second, self.left) = (second, LINES_PER_SECOND);
            self.own_up();
        }
        let Ok(at) = DateTime::from_unix_duration(second) else { return };
        let said = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.write(format_args!("casemate: connection {host_port} at {at}: {what}\n"))
            }
            None => false,
        };
        if !said {
            self.withheld = self.withheld.saturating_add(1);
        }
    }

    /// Says the last line of all, unless whoever should read it does not.
    pub fn end(&mut self, what: fmt::Arguments<'_>) {
        self.own_up();
        self.write(format_args!("casemate: {what}\n"));
    }

    /// Says how many lines were left out.
    fn own_up(&mut self) {
        if self.withheld > 0
            && self.write(format_args!("casemate: connections: {} lines left out\n", self.withheld))
        {
            self.withheld = 0;
        }
    }

    fn write(&self, line: fmt::Arguments<'_>) -> bool {
        let Some(Output { file, room }) = &self.output else { return true };
        let takes_it = |epoll: &Epoll| matches!(epoll.wait(0, &mut [EpollEvent::default()]), Ok(1));
        let mut text = String::new();
        room.as_ref().is_none_or(takes_it)
            && text.write_fmt(line).is_ok()
            && rustix::io::write(file, text.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_PER_SECOND, Log};
    use std::io::Read as _;
    use std::time::{Duration, Instant};

    fn pipe() -> (std::io::PipeReader, Log) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (reader, Log::new(writer.into()))
    }

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let (mut reader, mut log) = pipe();
        const FLOOD: u32 = 100_000;
        for port in 0..FLOOD {
            log.say(port, format_args!("closed"));
        }
        std::thread::sleep(Duration::from_millis(1001));
        log.say(7, format_args!("the next second"));
        drop(log);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        let (said, left_out): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("casemate: connection "));
        let counted: u32 = left_out
            .iter()
            .map(|line| line.split(' ').nth(2).and_then(|count| count.parse::<u32>().ok()).expect("a count"))
            .sum();
        assert_eq!(said.len() as u32 + counted, FLOOD + 1, "{text}");
        assert!(said.len() <= 5 * LINES_PER_SECOND as usize, "{} lines", said.len());
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up() {
        let (mut reader, mut log) = pipe();
        let started = Instant::now();
        let mut filled = 0;
        // Until the pipe is full, and on.
        for port in 0..4000 {
            log.left = LINES_PER_SECOND;
            log.say(port, format_args!("closed after a time that is said in more words than need be"));
            filled += u32::from(log.withheld == 0);
        }
        assert!(log.withheld > 100 && filled > 100, "{} withheld, {filled} written", log.withheld);
        assert!(started.elapsed() < Duration::from_secs(5));
        // Once somebody reads, what was left out is said.
        let mut buffer = vec![0; 1 << 20];
        let _ = reader.read(&mut buffer).expect("lines");
        log.own_up();
        assert_eq!(log.withheld, 0);
    }
}
