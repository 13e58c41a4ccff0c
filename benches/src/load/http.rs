//! A side that speaks the API: the signer, sealed or as a process, or a peer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;

use super::credentials::AccessKey;
use super::door::{Client, Door};
use super::drive::{Asked, drive};
use super::{Side, Tally};
use crate::error::{Error, Result};
use crate::guest::cpu_time;
use crate::kms::{Kms, Request, Work, parse};

/// A server behind a door.
pub struct Server {
    name: &'static str,
    door: Rc<Door>,
    key: Option<AccessKey>,
    /// The `schedstat` of the thread that answers, if it is one.
    thread: Option<PathBuf>,
    /// What it lacks is left out; elsewhere a refusal is a failure.
    may_refuse: bool,
    requests: HashMap<&'static str, Request>,
    runtime: Runtime,
}

impl Server {
    /// A server that everybody may ask.
    pub fn new(name: &'static str, door: Door) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start the load generator"))?;
        Ok(Self {
            name,
            door: Rc::new(door),
            key: None,
            thread: None,
            may_refuse: false,
            requests: HashMap::new(),
            runtime,
        })
    }

    /// Requests are signed with `key`.
    pub fn signed_with(mut self, key: AccessKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Whose processor time counts.
    pub fn on_thread(mut self, schedstat: PathBuf) -> Self {
        self.thread = Some(schedstat);
        self
    }

    /// What it does not offer is left out.
    pub fn may_refuse(mut self) -> Self {
        self.may_refuse = true;
        self
    }

    fn bytes(&self, request: &Request) -> Result<Vec<u8>> {
        bytes(self.key.as_ref(), &self.door.host(), request)
    }
}

fn bytes(key: Option<&AccessKey>, host: &str, request: &Request) -> Result<Vec<u8>> {
    key.map_or_else(|| Ok(request.bytes()), |key| key.sign(request, host))
}

/// Preparations: each operation on a connection of its own.
struct Preparations<'a>(&'a Server);

impl Kms for Preparations<'_> {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value> {
        let request = Request::Operation { name: operation, body: body.to_string() };
        let bytes = self.0.bytes(&request)?;
        self.0.runtime.block_on(async {
            let mut client = Client::connect(Rc::clone(&self.0.door)).await?;
            parse(client.exchange(&bytes).await?)
        })
    }
}

impl Side for Server {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, work: &'static Work) -> Result<bool> {
        match (work.prepare)(&mut Preparations(self)) {
            Ok(request) => {
                self.requests.insert(work.name, request);
                Ok(true)
            }
            Err(Error::Answer { .. }) if self.may_refuse => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn block(
        &mut self,
        work: &'static Work,
        clients: usize,
        warm: Duration,
        span: Duration,
    ) -> Result<Tally> {
        let request = self
            .requests
            .get(work.name)
            .ok_or_else(|| Error::answer("an operation", format!("{} was not prepared", work.name)))?;
        // Signed once for the block: what is measured is not the client's arithmetic. What follows from an answer cannot be.
        let first = self.bytes(request)?;
        let (key, host, request) = (self.key.clone(), self.door.host(), request.clone());
        let then = move |answer: &[u8]| {
            request.then(answer)?.map(|next| bytes(key.as_ref(), &host, &next)).transpose()
        };
        let asked = Rc::new(Asked { first, then: Box::new(then) });
        let cpu = || self.thread.as_deref().map(cpu_time).transpose();
        self.runtime.block_on(drive(&self.door, &asked, clients, warm, span, cpu))
    }
}
