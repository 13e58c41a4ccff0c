//! moto's server, the API's imitation for tests: what people run today where there is no AWS.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::credentials::AccessKey;
use super::door::Door;
use super::http::Server;
use super::venv;
use crate::error::{Error, Result};

/// What is installed.
pub const REQUIREMENT: &str = "moto[server]==5.2.5";
/// It imports much of the world first.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, ended when dropped.
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Installs it below `tools` if need be, and starts it.
    pub fn start(tools: &Path, step: &dyn Fn(&str)) -> Result<Self> {
        let program = venv::programs(tools, REQUIREMENT, step)?.join("moto_server");
        step("starting moto's server");
        let address = free_port()?;
        let child = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::file("run", &program))?;
        let mut moto = Self { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > PATIENCE || matches!(moto.child.try_wait(), Ok(Some(_))) {
                return Err(Error::answer("moto's server", "it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(moto)
    }

    /// As a side. It looks at a request's signature only to see which service is meant.
    pub fn side(&self) -> Result<Server> {
        let key = AccessKey::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        Ok(Server::new("moto", Door::Tcp(self.address))?.signed_with(key).may_refuse())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Error::io("find a free port"))
}
