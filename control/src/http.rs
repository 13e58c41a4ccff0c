//! From a request on the socket to an operation, and back: JSON 1.1 over HTTP/1.1, signed with SigV4.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_sigv4::{AuthError, Credential, Query, verify};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Control;
use crate::fault::{Fault, Kind};
use crate::operations;

/// What requests are signed for.
const SERVICE: &str = "cloudhsm";
/// Longest body, in bytes.
const BODY_MAX: usize = 256 << 10;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at a time.
const CLIENTS: usize = 64;

/// Serves for ever.
pub async fn serve(listener: TcpListener, control: Arc<Control>) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&control), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            // How a client's connection ends concerns the client alone.
            let _ = http.serve_connection(TokioIo::new(client), service).await;
            drop(place);
        });
    }
}

async fn answer(
    control: Arc<Control>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match receive(&control, request).await {
        Ok(Received { operation, region, body }) => {
            let done = tokio::task::spawn_blocking(move || {
                let members = control.model.request(&operation, &body);
                let done =
                    members.and_then(|members| operations::run(&control, &region, &operation, members));
                log(&operation, &region, done.as_ref().err());
                done
            });
            let failed = |_| Err(Fault::new(Kind::InternalFailure, "The operation failed."));
            match done.await.unwrap_or_else(failed) {
                Ok(answer) => (200, answer),
                Err(fault) => fault.rendered(),
            }
        }
        Err(fault) => {
            log("a request", "no region", Some(&fault));
            fault.rendered()
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Some(id) = request_id() {
        headers.insert("x-amzn-requestid", id);
    }
    Ok(response)
}

/// A line for each request: it is the host's operator who was here.
fn log(operation: &str, region: &str, fault: Option<&Fault>) {
    let when = casemate_sigv4::time::iso(now());
    match fault {
        None => eprintln!("{when} {operation} {region} done"),
        Some(fault) => {
            eprintln!("{when} {operation} {region} {}", fault.to_string().replace(char::is_control, " "))
        }
    }
}

impl Fault {
    fn rendered(&self) -> (u16, Value) {
        (self.kind.status(), json!({"__type": self.kind.name(), "Message": self.message}))
    }
}

/// A random UUID, which clients show with errors.
fn request_id() -> Option<HeaderValue> {
    let mut bytes: [u8; 16] = casemate::cluster::random().ok()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let id = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-");
    HeaderValue::try_from(id).ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What was asked for, by whoever has the access key.
struct Received {
    operation: String,
    region: String,
    body: Bytes,
}

/// Takes a request that the access key has signed.
async fn receive(control: &Control, request: Request<Incoming>) -> Result<Received, Fault> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Fault::new(Kind::Serialization, error)),
        Err(_) => return Err(Fault::new(Kind::Serialization, "The body did not arrive in time.")),
    };
    let region = caller(control, &head, &body)?;
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = (head.method == Method::POST).then(|| control.model.operation(target)).flatten();
    let unknown = || {
        Fault::new(
            Kind::UnknownOperation,
            "There is no such operation: they are JSON 1.1, POST / with X-Amz-Target.",
        )
    };
    let operation = operation.ok_or_else(unknown)?;
    Ok(Received { operation: operation.to_owned(), region, body })
}

/// The region that the request was signed for.
fn caller(control: &Control, head: &Parts, body: &[u8]) -> Result<String, Fault> {
    let query = Query::of(head);
    let request = casemate_sigv4::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: &query,
        headers: &head.headers,
        body,
    };
    verify(request, SERVICE, now(), |id, token| {
        if id != control.access.access_key_id || token.is_some() {
            return Err(AuthError::Unknown);
        }
        Ok(Credential { secret: control.access.secret_access_key.clone(), owner: () })
    })?;
    // Whoever signed has bound it: it went into the signing key.
    let scope = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let region = scope.and_then(|value| value.split_once("Credential=")?.1.split('/').nth(2));
    region.map(str::to_owned).ok_or_else(|| {
        Fault::new(Kind::IncompleteSignature, "The signature must be in the header Authorization.")
    })
}
