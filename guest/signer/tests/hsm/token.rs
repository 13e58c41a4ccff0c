//! An application that uses the token.

use std::rc::Rc;

use casemate_hsm::ck::*;
use casemate_hsm::message::UserType;
use casemate_hsm::{Attribute, Bytes, Mechanism, Operation, Refusal, Request, Response, Template};
use casemate_signer::{AttestError, Door, Platform, Signer};
use zeroize::Zeroizing;

use crate::client::{Client, send};

/// A platform that can prove nothing.
struct Unsealed;

impl Platform for Unsealed {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }
}

pub const OFFICER: &str = "officer password";
pub const PASSWORD: &str = "alice's password";

/// An application with its session.
#[derive(Clone)]
pub struct Application {
    pub signer: Rc<Signer>,
    pub session: Option<Zeroizing<String>>,
}

pub type Answer = Result<Response, Refusal>;

/// A request to an operation, over TLS, as it arrives.
pub async fn post(signer: &Rc<Signer>, door: Door, operation: &str, body: &str) -> (u16, String) {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: CasemateHsm.{operation}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    send(signer, door, format!("{head}{body}").as_bytes()).await
}

pub fn read((status, body): (u16, String)) -> Answer {
    if status == 200 {
        return Ok(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")));
    }
    Err(serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// The return value of a refusal.
pub fn rv<T>(answer: &Result<T, Refusal>) -> Option<u64> {
    answer.as_ref().err().and_then(|refusal| refusal.rv)
}

/// A claimed signer with an initialised token: officer `officer`, crypto users `alice` and `bob`.
pub async fn token() -> Rc<Signer> {
    let signer = Signer::new(Box::new(Unsealed));
    initialize(&signer).await;
    signer
}

pub async fn initialize(signer: &Rc<Signer>) {
    let admin = Client::admin(signer).await;
    let body = format!("{{\"Label\":\"test\",\"User\":\"officer\",\"Pin\":\"{OFFICER}\"}}");
    let headers =
        [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "CasemateHsm.InitializeToken")];
    let (status, answer) = send(signer, Door::Tls, admin.request("kms", &headers, &body).as_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    let officer = Application::officer(signer).await;
    for user in ["alice", "bob"] {
        officer.user(Operation::CreateUser, user, PASSWORD).await.expect("a user");
    }
}

impl Application {
    /// One that nobody has logged in to.
    pub async fn open(signer: &Rc<Signer>) -> Self {
        let mut application = Self { signer: Rc::clone(signer), session: None };
        let answer = application.ask(Operation::OpenSession, Request::default()).await.expect("a session");
        application.session = answer.session_token;
        application
    }

    pub async fn officer(signer: &Rc<Signer>) -> Self {
        let application = Self::open(signer).await;
        application.login("officer", OFFICER, UserType::CryptoOfficer).await.expect("a login");
        application
    }

    /// A crypto user.
    pub async fn of(signer: &Rc<Signer>, user: &str) -> Self {
        let application = Self::open(signer).await;
        application.login(user, PASSWORD, UserType::CryptoUser).await.expect("a login");
        application
    }

    pub async fn ask(&self, operation: Operation, request: Request) -> Answer {
        let request = Request { session_token: self.session.clone(), ..request };
        let body = serde_json::to_string(&request).expect("JSON");
        read(post(&self.signer, Door::Tls, operation.name(), &body).await)
    }

    pub async fn login(&self, user: &str, pin: &str, user_type: UserType) -> Answer {
        let (user, pin) = (Some(user.to_owned()), Some(Zeroizing::new(pin.to_owned())));
        let request = Request { user, pin, user_type: Some(user_type), ..Request::default() };
        self.ask(Operation::Login, request).await
    }

    /// An operation on a crypto user.
    pub async fn user(&self, operation: Operation, user: &str, pin: &str) -> Answer {
        let (user, pin) = (Some(user.to_owned()), Some(Zeroizing::new(pin.to_owned())));
        let request = Request { user, pin, user_type: Some(UserType::CryptoUser), ..Request::default() };
        self.ask(operation, request).await
    }

    pub async fn generate(&self, mechanism: u64, template: Template) -> Result<u64, Refusal> {
        let request = Request {
            mechanism: Some(Mechanism::plain(mechanism)),
            template: Some(template),
            ..Request::default()
        };
        self.ask(Operation::GenerateKey, request).await.map(|answer| answer.object.expect("a handle"))
    }

    /// Public and private key.
    pub async fn pair(
        &self,
        mechanism: u64,
        public: Template,
        private: Template,
    ) -> Result<(u64, u64), Refusal> {
        let request = Request {
            mechanism: Some(Mechanism::plain(mechanism)),
            public_template: Some(public),
            template: Some(private),
            ..Request::default()
        };
        let answer = self.ask(Operation::GenerateKeyPair, request).await?;
        Ok((answer.public_object.expect("a handle"), answer.object.expect("a handle")))
    }

    pub async fn create(&self, template: Template) -> Result<u64, Refusal> {
        let request = Request { template: Some(template), ..Request::default() };
        self.ask(Operation::CreateObject, request).await.map(|answer| answer.object.expect("a handle"))
    }

    /// An operation with a mechanism on a key and data.
    pub async fn compute(
        &self,
        operation: Operation,
        mechanism: &Mechanism,
        key: u64,
        data: &[u8],
    ) -> Answer {
        let (mechanism, data) = (Some(mechanism.clone()), Some(Bytes::copy(data)));
        self.ask(operation, Request { mechanism, object: Some(key), data, ..Request::default() }).await
    }

    pub async fn sign(&self, mechanism: &Mechanism, key: u64, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let answer = self.compute(Operation::Sign, mechanism, key, data).await?;
        Ok(answer.data.expect("a signature").to_vec())
    }

    pub async fn verify(&self, mechanism: &Mechanism, key: u64, data: &[u8], signature: &[u8]) -> Answer {
        let (mechanism, data) = (Some(mechanism.clone()), Some(Bytes::copy(data)));
        let signature = Some(Bytes::copy(signature));
        let request = Request { mechanism, object: Some(key), data, signature, ..Request::default() };
        self.ask(Operation::Verify, request).await
    }

    /// An attribute, or why it is not told.
    pub async fn get(&self, object: u64, kind: u64) -> Result<Vec<u8>, u64> {
        let request = Request { objects: Some(vec![object]), types: Some(vec![kind]), ..Request::default() };
        let answer = self.ask(Operation::GetAttributes, request).await.expect("an answer");
        let told = answer.attributes.and_then(|mut all| all.pop()).expect("one object");
        match told.rv {
            CKR_OK => Ok(told.template[0].value.clone().expect("a value").to_vec()),
            rv => {
                assert!(told.template.iter().all(|attribute| attribute.value.is_none()));
                Err(rv)
            }
        }
    }

    pub async fn set(&self, object: u64, template: Template) -> Answer {
        let request = Request { object: Some(object), template: Some(template), ..Request::default() };
        self.ask(Operation::SetAttributes, request).await
    }

    pub async fn find(&self, template: Template) -> Vec<u64> {
        let request = Request { template: Some(template), ..Request::default() };
        self.ask(Operation::FindObjects, request).await.expect("an answer").objects.expect("handles")
    }

    pub async fn destroy(&self, object: u64) -> Answer {
        self.ask(Operation::DestroyObject, Request { object: Some(object), ..Request::default() }).await
    }
}

/// Attributes of a key on the token.
pub fn on_token(label: &str) -> Template {
    vec![Attribute::flag(CKA_TOKEN, true), Attribute::bytes(CKA_LABEL, label.as_bytes())]
}
