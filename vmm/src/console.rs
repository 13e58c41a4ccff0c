//! The log of a debug guest: kept, and copied to whoever connects to the console socket. Debug mode only.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::jail::seccomp::Filter;

/// Bytes of the log that a client which connects late still gets.
const KEPT: usize = 64 << 10;

/// Takes the guest's log text.
#[derive(Clone)]
pub struct Console {
    state: Arc<Mutex<State>>,
    stdout: bool,
}

#[derive(Default)]
struct State {
    kept: VecDeque<u8>,
    clients: Vec<UnixStream>,
}

impl Console {
    /// A console that nobody can connect to yet. With `stdout`, text is written there too.
    pub fn new(stdout: bool) -> Self {
        Self { state: Arc::default(), stdout }
    }

    /// Serves `listener` on a thread of its own, inside the jail.
    pub fn serve(&self, listener: UnixListener, filter: Filter) -> io::Result<()> {
        let state = self.state.clone();
        std::thread::Builder::new()
            .name("console".into())
            .spawn(move || serve(&listener, &state, &filter))?;
        Ok(())
    }

    /// Keeps `text` and copies it to all clients. A client that does not read is dropped.
    pub fn write(&self, text: &[u8]) {
        if self.stdout {
            let _ = rustix::io::write(rustix::stdio::stdout(), text);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.extend(text);
        let surplus = state.kept.len().saturating_sub(KEPT);
        state.kept.drain(..surplus);
        state
            .clients
            .retain(|client| rustix::io::write(client, text).is_ok_and(|written| written == text.len()));
    }
}

fn serve(listener: &UnixListener, state: &Mutex<State>, filter: &Filter) -> io::Result<()> {
    filter.enter()?;
    loop {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let client = UnixStream::from(rustix::net::accept_with(listener, flags)?);
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<u8> = state.kept.iter().copied().collect();
        if rustix::io::write(&client, &kept).is_ok_and(|written| written == kept.len()) {
            state.clients.push(client);
        }
    }
}
