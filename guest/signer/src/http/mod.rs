//! HTTP/1.1 in front of the signer, on any byte stream.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /` with `X-Amz-Target: TrentService.<Operation>` | the KMS operation, AWS JSON 1.1 |
//! | `POST /` with `X-Amz-Target: ACMPrivateCA.<Operation>` | the operation of Private CA, in the same form |
//! | `POST /service/ACMPrivateCA/operation/<Operation>` | the same in CBOR, see [`rpc`] |
//! | `POST /` with `X-Amz-Target: Casemate.<Operation>` | one of our own, in the same form: `ReadAudit`, `AttachVolume` … |
//! | `POST /` with `X-Amz-Target: CasemateHsm.<Operation>` | an operation of the PKCS#11 token, see [`token`] |
//! | `POST /` with a form, `GET /?Action=…` | an operation of IAM or STS, AWS Query, see [`query`] |
//! | `POST /claim` | the administrator's access key, once, over TLS, see [`claim`] |
//! | `POST /attestation` | an attestation document, see [`attestation`] |
//! | `POST`, `GET /attestation/tls` | a document that names this guest's TLS certificate, see [`statements`] |
//! | `POST /attestation/posture` | keeps the host's posture for it, see [`statements`] |
//! | `POST /attestation/volume` | a document that names the key to which volumes can be granted, see [`statements`] |
//! | `POST /names` | sets the names in the TLS certificate, see [`names`] |
//! | `GET /health` | that the signer runs, with how many keys, whether it has an owner, and how it stands with its volume |
//! | `POST /selftest` | known answers, where built in |
//!
//! On [`Door::Public`] there is nothing but what [`revocation`] says.
//!
//! A connection is one client's: what it sends is bounded in size and in time ([`Limits`](crate::Limits)), what it does
//! not read is given up after a time, and all bodies on their way share one budget. Nothing that a client does keeps
//! another waiting longer than one operation.

mod attestation;
mod authenticate;
mod body;
mod claim;
mod log;
mod names;
mod query;
mod reply;
mod revocation;
mod rpc;
mod stall;
mod statements;
mod target;
mod token;

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::access::Call;
use crate::audit::Outcome;
use crate::errors::{ErrorKind, KmsError};
use crate::identity::sigv4::Query;
use crate::recipient::Evidence;
use crate::signer::Signer;
use crate::state::Life;

pub(crate) use log::summarise;
use log::{Done, Visit};
use reply::{Reply, Response};
use stall::Stall;

/// The longest request head: SigV4 headers with a session token take about 4 KiB.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// The way that a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP in the clear: from this host, through the guest's own socket.
    Plain,
    /// HTTP over TLS that ends in the signer.
    Tls,
    /// HTTP in the clear, from anywhere: see [`revocation`].
    Public,
}

/// Serves one connection until the client closes it, breaks the protocol, or lets a time-out pass.
///
/// The error says why the connection ended when it did not end well; it is for a log, the client is gone.
pub async fn serve_connection<IO>(io: IO, signer: Rc<Signer>, door: Door) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let limits = signer.limits;
    let life = signer.state.life();
    let asked = Rc::clone(&signer);
    let service = service_fn(move |request| {
        let signer = Rc::clone(&asked);
        async move { Ok::<_, Infallible>(answer(&signer, door, life, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(true)
        // A client may close its sending half after its last request and still wait for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(Stall::new(io, limits.body_timeout)), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        // Its volume has gone, and with it the owner and the certificate that this client knows.
        () = signer.state.over(life) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if served.as_ref().is_err_and(hyper::Error::is_parse) {
        log::malformed(&signer);
    }
    served
}

/// Routes a request. Every failure becomes a response.
async fn answer(signer: &Signer, door: Door, life: Life, request: Request<Incoming>) -> Response {
    let visit = Visit::new(door, life, reply::request_id(), &request);
    let reply = match (request.method(), request.uri().path()) {
        _ if door == Door::Public => revocation::answer(signer, request).await,
        (&Method::POST | &Method::GET, "/") if query::is_query(&request) => {
            query::operation(signer, &visit, request).await
        }
        (&Method::POST, "/claim") => claim::claim(signer, &visit, request).await,
        (&Method::POST, "/") => operation(signer, &visit, request).await,
        (&Method::POST, _) if visit.rpc => operation(signer, &visit, request).await,
        (&Method::POST, "/attestation") => attestation::attest(signer, request).await,
        (&Method::POST | &Method::GET, "/attestation/tls") => statements::tls(signer, request).await,
        (&Method::POST, "/attestation/posture") => statements::keep_posture(signer, door, request).await,
        (&Method::POST, "/attestation/volume") => statements::volume(signer, request).await,
        (&Method::POST, "/names") => names::set(signer, door, request).await,
        (&Method::GET, "/health") => Ok(health(signer).await),
        #[cfg(feature = "selftest")]
        (&Method::POST, "/selftest") => Ok(selftest()),
        (method, path) => Err(unknown_route(method, path)),
    };
    let reply = reply.unwrap_or_else(Reply::from);
    visit.end(signer, &reply);
    let reply = if visit.rpc { reply.in_cbor() } else { reply };
    let reply = if signer.state.hands_over(signer.now()) { reply.closing() } else { reply };
    reply.into_response(&visit.id)
}

fn unknown_route(method: &Method, path: &str) -> Reply {
    let path: String = path.chars().take(64).collect();
    let message = format!("There is no {method} {path} here: operations are POST /, with X-Amz-Target.");
    Reply::error(404, &KmsError::new(ErrorKind::UnknownOperation, message))
}

/// Answers an operation and logs it.
async fn operation(signer: &Signer, visit: &Visit, request: Request<Incoming>) -> Result<Reply, Reply> {
    let operation = visit
        .target
        .as_deref()
        .filter(|target| target::parse(target).is_some())
        .map(|target| target.chars().take(64).collect::<String>())
        .ok_or_else(|| {
            let message = "The header X-Amz-Target must name an operation, as in TrentService.Sign.";
            KmsError::new(ErrorKind::UnknownOperation, message)
        })?;
    let target = target::parse(&operation).ok_or_else(|| KmsError::internal("Reading the target"))?;
    if target.service == token::SERVICE {
        return token::operation(signer, visit, request, target.operation).await;
    }
    let (head, body) = body::receive(signer, request).await?;
    let query = Query::of(&head);
    let mut patient = true;
    loop {
        let mut lacks = None;
        let answer = signer.durably(visit.life, &operation, || {
            let (caller, mut facts) =
                authenticate::caller(signer, visit.door, &head, &query, &body, target.signed_for)
                    .map_err(KmsError::from)?;
            let evidence = Evidence::of(signer, &head.headers, &operation, &body);
            facts.append(evidence.as_ref().map(Evidence::facts).unwrap_or_default());
            let mut call = Call::new(signer, &caller, &facts).patient(patient).identified(&visit.id);
            let json = if visit.rpc {
                rpc::to_json(&head.headers, &body).map(Cow::from)
            } else {
                Ok(Cow::from(&body[..]))
            };
            let answer = evidence.and_then(|evidence| {
                call.evidence = evidence;
                signer.answer(&call, &operation, json.as_ref().map_err(Clone::clone)?)
            });
            lacks = call.lacks.take();
            if lacks.is_none() {
                let outcome = Outcome::of(&answer);
                let (service, operation) = (target.service, target.operation);
                let request = json.as_deref().unwrap_or_default();
                visit.log(&call, &Done { service, operation, request, outcome });
            }
            answer
        });
        let answer = answer.await;
        let Some(spec) = lacks else {
            return Ok(Reply::kms(answer?));
        };
        // Others are answered meanwhile. If there is no key then, the operation is to say so itself.
        patient = signer.rsa_keys.make(spec).await.is_ok();
    }
}

async fn health(signer: &Signer) -> Reply {
    // Keys and owner are known once the volume is read; a volume that does not come is an answer too.
    let _ = signer.state.open().await;
    let volume = signer.state.status();
    let keys = signer.store.borrow().len();
    let version = env!("CARGO_PKG_VERSION");
    let claimed = signer.identity.borrow().claimed();
    let json = format!(
        "{{\"status\":\"ok\",\"version\":\"{version}\",\"keys\":{keys},\"claimed\":{claimed},\"volume\":\"{volume}\"}}"
    );
    Reply::json(json.into_bytes())
}

#[cfg(feature = "selftest")]
fn selftest() -> Reply {
    match serde_json::to_vec(&crate::selftest::run()) {
        Ok(json) => Reply::json(json),
        Err(_) => Reply::from(KmsError::internal("Encoding the report")),
    }
}
