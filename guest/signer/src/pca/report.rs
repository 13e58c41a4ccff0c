//! CreateCertificateAuthorityAuditReport, DescribeCertificateAuthorityAuditReport, and our own
//! GetCertificateAuthorityAuditReport.
//!
//! AWS writes a report to S3. There is no S3 here: the report waits in the signer, under the same bucket and key, and is
//! fetched with `Casemate.GetCertificateAuthorityAuditReport`. What it says is what was true when it was created; it is put
//! together when it is fetched, for certificates and their revocations are remembered with their dates.

use serde::{Deserialize, Serialize};

use crate::access::Call;
use crate::errors::{ErrorKind, KmsError};
use crate::identity::time::{iso, seconds};
use crate::store::KeyId;
use crate::types::Timestamp;
use crate::validate::Check;

use super::ask::{Ask, invalid_state};
use super::authority::Authority;
use super::issued::Issued;
use super::names::{ReportFormat, Status};
use super::types::{DescribeReportResponse, ReportLine, ReportRequest, ReportResponse, ReportText};
use super::x509::{self, Certificate, Serial};
use super::{broken, check, page};

/// The reports that are remembered.
const MOST: usize = 100;

/// A report.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    id: KeyId,
    created: Timestamp,
    format: ReportFormat,
    bucket: String,
}

impl Report {
    fn key(&self, authority: &Authority) -> String {
        let ending = self.format.name().to_ascii_lowercase();
        format!("audit-report/{}/{}.{ending}", authority.id, self.id)
    }

    /// The report of a request.
    fn find(authority: &Authority, id: &Option<String>) -> Result<Self, KmsError> {
        let id = id.as_deref().unwrap_or_default();
        let meta = authority.meta();
        let report = meta.reports.iter().find(|report| report.id.to_string() == id);
        report.cloned().ok_or_else(|| {
            KmsError::new(ErrorKind::ResourceNotFound, format!("Could not find audit report {id}."))
        })
    }
}

pub(super) fn create(call: &Call<'_>, request: ReportRequest) -> Result<ReportResponse, KmsError> {
    let mut members = Check::default();
    check::arn(&mut members, "certificateAuthorityArn", &request.certificate_authority_arn);
    members.required("s3BucketName", &request.s3_bucket_name);
    members.text("s3BucketName", request.s3_bucket_name.as_deref(), 3, 63);
    let format = check::required_one_of::<ReportFormat>(
        &mut members,
        "auditReportResponseFormat",
        &request.audit_report_response_format,
    );
    members.done()?;
    let ask = Ask::new("CreateCertificateAuthorityAuditReport");
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    if authority.status(Timestamp(call.now())) == Status::PendingCertificate {
        return Err(invalid_state(
            "The certificate authority has issued nothing: it is PENDING_CERTIFICATE.",
        ));
    }
    let report = Report {
        id: KeyId::random()?,
        created: Timestamp(call.now()),
        format: format.ok_or_else(|| KmsError::internal("Checking the request"))?,
        bucket: request.s3_bucket_name.unwrap_or_default(),
    };
    let (id, key) = (report.id.to_string(), report.key(&authority));
    let mut meta = authority.meta_mut();
    if meta.reports.len() >= MOST {
        meta.reports.remove(0);
    }
    meta.reports.push(report);
    drop(meta);
    call.state.touch(authority.record_name());
    Ok(ReportResponse { audit_report_id: Some(id), s3_key: Some(key) })
}

/// Checks the requests that name a report.
fn checked(request: &ReportRequest) -> Result<(), KmsError> {
    const PATTERN: &str = "[a-z0-9]{8}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{12}";
    let mut members = Check::default();
    check::arn(&mut members, "certificateAuthorityArn", &request.certificate_authority_arn);
    members.required("auditReportId", &request.audit_report_id);
    members.text("auditReportId", request.audit_report_id.as_deref(), 36, 36);
    members.matches("auditReportId", request.audit_report_id.as_deref(), PATTERN, |id| {
        let word = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let lengths: Vec<usize> = id.split('-').filter(|part| word(part)).map(str::len).collect();
        lengths == [8, 4, 4, 4, 12]
    });
    check::page(&mut members, None, request.next_token.as_deref());
    members.done()
}

pub(super) fn describe(call: &Call<'_>, request: ReportRequest) -> Result<DescribeReportResponse, KmsError> {
    checked(&request)?;
    let ask = Ask::new("DescribeCertificateAuthorityAuditReport");
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let report = Report::find(&authority, &request.audit_report_id)?;
    Ok(DescribeReportResponse {
        audit_report_status: Some("SUCCESS".to_owned()),
        s3_key: Some(report.key(&authority)),
        s3_bucket_name: Some(report.bucket),
        created_at: Some(report.created),
    })
}

/// The report itself, a page of it.
pub(crate) fn get(call: &Call<'_>, request: ReportRequest) -> Result<ReportText, KmsError> {
    checked(&request)?;
    let after = page::after(request.next_token.as_deref(), Serial::parse)?;
    let ask = Ask::new("DescribeCertificateAuthorityAuditReport");
    let authority = ask.living(call, &request.certificate_authority_arn)?;
    let report = Report::find(&authority, &request.audit_report_id)?;
    let pca = call.pca.borrow();
    let all = pca.issued_by(authority.id).filter(|(serial, issued)| {
        issued.issued.0 <= report.created.0 && after.is_none_or(|after| *serial > after)
    });
    let page = page::take(all, None, |(serial, _)| serial.to_string());
    let lines =
        page.entries.into_iter().map(|(serial, issued)| line(call, &authority, &report, serial, issued));
    let lines: Vec<ReportLine> = lines.collect::<Result<_, _>>()?;
    let text = match report.format {
        ReportFormat::Json => {
            serde_json::to_string(&lines).map_err(|_| KmsError::internal("Encoding the report"))?
        }
        ReportFormat::Csv => csv(&lines, after.is_none()),
    };
    Ok(ReportText { report: Some(text), next_token: page.next_marker })
}

fn line(
    call: &Call<'_>,
    authority: &Authority,
    report: &Report,
    serial: Serial,
    issued: &Issued,
) -> Result<ReportLine, KmsError> {
    let certificate = Certificate::parse(issued.certificate.0.clone()).map_err(broken)?;
    let (from, to) = certificate.validity();
    let revoked = issued.revoked.filter(|revocation| revocation.at.0 <= report.created.0);
    let digits = serial.to_string();
    let pairs: Vec<&str> =
        (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at.saturating_add(2))).collect();
    Ok(ReportLine {
        aws_account_id: Some(call.identity.borrow().config.account.clone()),
        certificate_arn: Some(format!("{}/certificate/{serial}", authority.arn())),
        serial: Some(pairs.join(":")),
        subject: Some(x509::name_text(certificate.subject()).map_err(broken)?),
        not_before: Some(iso(from)),
        not_after: Some(iso(to)),
        issued_at: Some(iso(seconds(issued.issued.0))),
        revoked_at: revoked.map(|revocation| iso(seconds(revocation.at.0))),
        revocation_reason: revoked.map(|revocation| revocation.reason.name().to_owned()),
        template_arn: Some(issued.template.clone()),
    })
}

/// RFC 4180, with a header on the first page.
fn csv(lines: &[ReportLine], header: bool) -> String {
    const HEADER: &str = "awsAccountId,certificateArn,serial,subject,notBefore,notAfter,issuedAt,revokedAt,\
                          revocationReason,templateArn\n";
    let mut text = if header { HEADER.to_owned() } else { String::new() };
    for line in lines {
        let values = [
            &line.aws_account_id,
            &line.certificate_arn,
            &line.serial,
            &line.subject,
            &line.not_before,
            &line.not_after,
            &line.issued_at,
            &line.revoked_at,
            &line.revocation_reason,
            &line.template_arn,
        ];
        let quoted = values.map(|value| match value {
            Some(value) => format!("\"{}\"", value.replace('"', "\"\"")),
            None => String::new(),
        });
        text.push_str(&quoted.join(","));
        text.push('\n');
    }
    text
}
