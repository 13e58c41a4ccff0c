//! AWS's Query protocol: an action and its parameters in, XML out.

use zeroize::Zeroizing;

use crate::access::{Call, Caller};

use super::fault::{Code, Fault};
use super::form::{Form, Parameters};
use super::session::Of;
use super::sigv4::AuthError;
use super::xml::Xml;
use super::{iam, sts};

/// An operation: one that answers with a result, or one whose success is all there is to say.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Answers(fn(&Call<'_>, &mut Form<'_>, &mut Xml) -> Result<(), Fault>),
    Silent(fn(&Call<'_>, &mut Form<'_>) -> Result<(), Fault>),
}

/// The services that speak this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Iam,
    Sts,
}

impl Service {
    /// As in the scope of a signature.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Iam => iam::NAMESPACE,
            Self::Sts => sts::NAMESPACE,
        }
    }

    fn operations(self) -> &'static [(&'static str, Operation)] {
        match self {
            Self::Iam => iam::OPERATIONS,
            Self::Sts => sts::OPERATIONS,
        }
    }
}

/// What a request asks for.
pub(crate) struct Asked<'a> {
    pub(crate) service: Service,
    pub(crate) action: &'a str,
    operation: Operation,
    parameters: &'a Parameters,
}

impl<'a> Asked<'a> {
    /// Finds service and operation by `Version` and `Action`.
    pub(crate) fn find(parameters: &'a Parameters) -> Result<Self, Fault> {
        let action = parameters.get("Action").unwrap_or_default();
        let version = parameters.get("Version");
        let service = match version {
            Some(iam::VERSION) => Some(Service::Iam),
            Some(sts::VERSION) => Some(Service::Sts),
            _ => None,
        };
        let found = service.and_then(|service| {
            let operations = service.operations();
            let index = operations.binary_search_by_key(&action, |(name, _)| name).ok()?;
            Some((service, operations.get(index)?))
        });
        let Some((service, (action, operation))) = found else {
            let cut = |text: &str| text.chars().take(64).collect::<String>();
            let version = version.map_or_else(|| "NO_VERSION_SPECIFIED".to_owned(), cut);
            let message = format!("Could not find operation {} for version {version}", cut(action));
            return Err(Fault::new(Code::InvalidAction, message));
        };
        Ok(Self { service, action, operation: *operation, parameters })
    }

    /// Does it. The response is erased when dropped, for it may hold a secret.
    pub(crate) fn answer(&self, call: &Call<'_>, request_id: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
        if self.service == Service::Iam && matches!(call.caller, Caller::LocalOwner) {
            let message =
                "Nobody has claimed this signer yet, so it has no identities: see `casemate claim`.";
            return Err(Fault::new(Code::AccessDenied, message));
        }
        self.fits(call)?;
        let mut xml = Xml::default();
        let mut form = Form::new(self.parameters);
        let (response, result) = (format!("{}Response", self.action), format!("{}Result", self.action));
        xml.open(&response, Some(self.service.namespace()));
        match self.operation {
            Operation::Answers(run) => {
                xml.open(&result, None);
                run(call, &mut form, &mut xml)?;
                xml.close(&result);
            }
            Operation::Silent(run) => run(call, &mut form)?,
        }
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        xml.close(&response);
        Ok(xml.into_bytes())
    }

    /// What sessions of users may not do, whatever policies say (IAM user guide, "Compare AWS STS credentials").
    fn fits(&self, call: &Call<'_>) -> Result<(), Fault> {
        let session = call.principal().and_then(|principal| principal.issued.as_deref());
        match session.map(|session| &session.of) {
            Some(Of::User { .. } | Of::Federated { .. }) if self.service == Service::Iam => {
                Err(AuthError::Unknown.into())
            }
            Some(Of::Federated { .. }) if self.action == "AssumeRole" => {
                let caller = call.caller.arn();
                let message = format!("Federated sessions cannot assume roles: {caller}");
                Err(Fault::new(Code::AccessDenied, message))
            }
            _ => Ok(()),
        }
    }

    /// The parameters that the audit log repeats, as JSON: names and ARNs, no secrets, no policies.
    pub(crate) fn loggable(&self) -> Vec<u8> {
        const NAMES: [&str; 12] = [
            "AccessKeyId",
            "DurationSeconds",
            "ExternalId",
            "GroupName",
            "NewUserName",
            "PermissionsBoundary",
            "PolicyArn",
            "PolicyName",
            "RoleArn",
            "RoleName",
            "RoleSessionName",
            "UserName",
        ];
        let given = NAMES.iter().filter_map(|name| Some((*name, self.parameters.get(name)?)));
        serde_json::to_vec(&given.collect::<std::collections::BTreeMap<_, _>>()).unwrap_or_default()
    }
}

/// The body of an error response; the namespace is that of the service, where it is known.
pub(crate) fn refusal(service: Option<Service>, fault: &Fault, request_id: &str) -> Vec<u8> {
    let mut xml = Xml::default();
    xml.open("ErrorResponse", Some(service.unwrap_or(Service::Iam).namespace()));
    xml.element("Error", |xml| {
        xml.text("Type", if fault.status() < 500 { "Sender" } else { "Receiver" });
        xml.text("Code", fault.code.name());
        xml.text("Message", &fault.message);
    });
    xml.text("RequestId", request_id);
    xml.close("ErrorResponse");
    xml.into_bytes().to_vec()
}
