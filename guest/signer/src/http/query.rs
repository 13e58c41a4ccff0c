//! IAM and STS over HTTP: AWS's Query protocol, as a form in the body or as the query of a presigned URL.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use zeroize::Zeroizing;

use crate::access::Call;
use crate::audit::Outcome;
use crate::errors::KmsError;
use crate::identity::query::{Asked, Service, refusal};
use crate::identity::sigv4::Query;
use crate::identity::{Fault, Parameters};
use crate::recipient::Evidence;
use crate::signer::Signer;

use super::reply::Reply;
use super::{Done, Visit, authenticate, body};

/// Whether a request is in this protocol: those in JSON name their target.
pub(super) fn is_query(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
    });
    let action = request.uri().query().is_some_and(|query| query.contains("Action="));
    !headers.contains_key("x-amz-target") && (form || action)
}

/// Answers an operation and logs it.
pub(super) async fn operation(
    signer: &Signer,
    visit: &Visit,
    request: Request<Incoming>,
) -> Result<Reply, Reply> {
    let (head, body) = body::receive(signer, request).await?;
    let query = Query::of(&head);
    let form = Form { parameters: Parameters::read(&query, &body), query, head, body };
    let action = form.parameters.as_ref().ok().and_then(|parameters| parameters.get("Action"));
    let mut service = None;
    let answer =
        signer.durably(visit.life, action.unwrap_or_default(), || answer(signer, visit, &form, &mut service));
    let answer = answer.await;
    if answer.is_err() {
        visit.asks(service.map_or("casemate", Service::name), action.unwrap_or("Query"));
    }
    let refused = |fault: Fault| {
        let xml = refusal(service, &fault, &visit.id);
        Reply::xml_error(fault, xml)
    };
    answer.map(Reply::xml).map_err(refused)
}

/// A request, and what could be read of it.
struct Form {
    head: Parts,
    query: Query,
    body: Zeroizing<Vec<u8>>,
    parameters: Result<Parameters, Fault>,
}

fn answer(
    signer: &Signer,
    visit: &Visit,
    form: &Form,
    service: &mut Option<Service>,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let Form { head, query, body, parameters } = form;
    let asked = Asked::find(parameters.as_ref().map_err(Clone::clone)?)?;
    *service = Some(asked.service);
    let name = asked.service.name();
    let (caller, mut facts) = authenticate::caller(signer, visit.door, head, query, body, name)?;
    let evidence = evidence(signer, head, body);
    facts.append(evidence.as_ref().map(Evidence::facts).unwrap_or_default());
    let mut call = Call::new(signer, &caller, &facts);
    let answer = evidence.map_err(Fault::from).and_then(|evidence| {
        call.evidence = evidence;
        asked.answer(&call, &visit.id)
    });
    let outcome = match &answer {
        Ok(_) => Outcome::Answered,
        Err(fault) => Outcome::Refused(fault.code.name(), &fault.message),
    };
    let request = asked.loggable();
    visit.log(&call, &Done { service: name, operation: asked.action, request: &request, outcome });
    answer
}

/// The attestation document that came along, for trust policies that demand one. It is bound to the body, so it counts
/// only where nothing is asked for beside the body.
fn evidence(signer: &Signer, head: &Parts, body: &[u8]) -> Result<Evidence, KmsError> {
    match head.uri.query() {
        None => Evidence::of(signer, &head.headers, "", body),
        Some(_) => Ok(Evidence::default()),
    }
}
