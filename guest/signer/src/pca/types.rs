//! Structures of the API, member for member as in the service model (version 2017-08-22): of requests, of responses, and of
//! what is kept of both.

use serde::{Deserialize, Deserializer, Serialize};

use crate::types::{Blob, Request, Timestamp, request};

/// A structure that is read and written: every member is optional, and what is not there is not written.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($member:ident $(as $wire:literal)?: $ty:ty,)* }) => {
        request! {
            $(#[$doc])*
            #[derive(Clone, Serialize)]
            #[serde(rename_all = "PascalCase")]
            $name {
                $(
                    #[serde(skip_serializing_if = "Option::is_none")]
                    $(#[serde(rename = $wire)])?
                    $member $(as $wire)?: $ty,
                )*
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut shape = Self::default();
                crate::types::read_from(deserializer, &mut shape as &mut dyn Request)?;
                Ok(shape)
            }
        }
    };
}

shape! {
    /// A tag.
    Tag { key: String, value: String, }
}
shape! {
    /// A distinguished name.
    Subject {
        country: String,
        organization: String,
        organizational_unit: String,
        distinguished_name_qualifier: String,
        state: String,
        common_name: String,
        serial_number: String,
        locality: String,
        title: String,
        surname: String,
        given_name: String,
        initials: String,
        pseudonym: String,
        generation_qualifier: String,
        custom_attributes: Vec<CustomAttribute>,
    }
}
shape! {
    /// An attribute of a name by its object identifier.
    CustomAttribute { object_identifier: String, value: String, }
}
shape! {
    /// What a key may do.
    KeyUsage {
        digital_signature: bool,
        non_repudiation: bool,
        key_encipherment: bool,
        data_encipherment: bool,
        key_agreement: bool,
        key_cert_sign: bool,
        crl_sign as "CRLSign": bool,
        encipher_only: bool,
        decipher_only: bool,
    }
}
shape! {
    /// A way to reach something.
    AccessMethod { custom_object_identifier: String, access_method_type: String, }
}
shape! {
    /// Where something is, and what.
    AccessDescription { access_method: AccessMethod, access_location: GeneralName, }
}
shape! {
    /// A name of some kind; one member is there.
    GeneralName {
        other_name: OtherName,
        rfc822_name: String,
        dns_name: String,
        directory_name: Subject,
        edi_party_name: EdiPartyName,
        uniform_resource_identifier: String,
        ip_address: String,
        registered_id: String,
    }
}
shape! {
    /// A name of a kind that its object identifier tells.
    OtherName { type_id: String, value: String, }
}
shape! {
    /// A name in EDI.
    EdiPartyName { party_name: String, name_assigner: String, }
}
shape! {
    /// What an authority's request asks for.
    CsrExtensions { key_usage: KeyUsage, subject_information_access: Vec<AccessDescription>, }
}
shape! {
    /// What an authority is.
    Configuration {
        key_algorithm: String,
        signing_algorithm: String,
        subject: Subject,
        csr_extensions: CsrExtensions,
    }
}
shape! {
    /// Whether certificates say where the revocation list is.
    DistributionPointConfiguration { omit_extension: bool, }
}
shape! {
    /// Revocation lists.
    CrlConfiguration {
        enabled: bool,
        expiration_in_days: i64,
        custom_cname: String,
        s3_bucket_name: String,
        s3_object_acl: String,
        crl_distribution_point_extension_configuration: DistributionPointConfiguration,
        crl_type: String,
        custom_path: String,
    }
}
shape! {
    /// The responder.
    OcspConfiguration { enabled: bool, ocsp_custom_cname: String, }
}
shape! {
    /// How others learn what is revoked.
    RevocationConfiguration {
        crl_configuration: CrlConfiguration,
        ocsp_configuration: OcspConfiguration,
    }
}
shape! {
    /// CreateCertificateAuthority.
    CreateRequest {
        certificate_authority_configuration: Configuration,
        revocation_configuration: RevocationConfiguration,
        certificate_authority_type: String,
        idempotency_token: String,
        key_storage_security_standard: String,
        tags: Vec<Tag>,
        usage_mode: String,
    }
}
shape! {
    /// The operations that name an authority, and perhaps a page or some tags of it.
    AuthorityRequest {
        certificate_authority_arn: String,
        max_results: i64,
        next_token: String,
        tags: Vec<Tag>,
    }
}
shape! {
    /// CreateCertificateAuthority.
    CreateResponse { certificate_authority_arn: String, }
}
shape! {
    /// An authority.
    Described {
        arn: String,
        owner_account: String,
        created_at: Timestamp,
        last_state_change_at: Timestamp,
        kind as "Type": String,
        serial: String,
        status: String,
        not_before: Timestamp,
        not_after: Timestamp,
        certificate_authority_configuration: Configuration,
        revocation_configuration: RevocationConfiguration,
        restorable_until: Timestamp,
        key_storage_security_standard: String,
        usage_mode: String,
    }
}
shape! {
    /// DescribeCertificateAuthority.
    DescribeResponse { certificate_authority: Described, }
}
shape! {
    /// ListCertificateAuthorities.
    ListRequest { max_results: i64, next_token: String, resource_owner: String, }
}
shape! {
    /// ListCertificateAuthorities.
    ListResponse { certificate_authorities: Vec<Described>, next_token: String, }
}
shape! {
    /// ListTags.
    ListTagsResponse { tags: Vec<Tag>, next_token: String, }
}
shape! {
    /// GetCertificateAuthorityCsr.
    CsrResponse { csr: String, }
}
shape! {
    /// ImportCertificateAuthorityCertificate.
    ImportRequest { certificate_authority_arn: String, certificate: Blob, certificate_chain: Blob, }
}
shape! {
    /// GetCertificateAuthorityCertificate and GetCertificate.
    CertificateResponse { certificate: String, certificate_chain: String, }
}
shape! {
    /// A date or a duration.
    Validity { value: i64, kind as "Type": String, }
}
shape! {
    /// IssueCertificate.
    IssueRequest {
        api_passthrough: ApiPassthrough,
        certificate_authority_arn: String,
        csr: Blob,
        signing_algorithm: String,
        template_arn: String,
        validity: Validity,
        validity_not_before: Validity,
        idempotency_token: String,
    }
}
shape! {
    /// What the caller adds to a certificate.
    ApiPassthrough { extensions: Extensions, subject: Subject, }
}
shape! {
    /// Extensions that the caller adds.
    Extensions {
        certificate_policies: Vec<PolicyInformation>,
        extended_key_usage: Vec<ExtendedKeyUsage>,
        key_usage: KeyUsage,
        subject_alternative_names: Vec<GeneralName>,
        custom_extensions: Vec<CustomExtension>,
    }
}
shape! {
    /// A certificate policy.
    PolicyInformation { cert_policy_id: String, policy_qualifiers: Vec<PolicyQualifier>, }
}
shape! {
    /// More about a certificate policy.
    PolicyQualifier { policy_qualifier_id: String, qualifier: Qualifier, }
}
shape! {
    /// Where a certification practice statement is.
    Qualifier { cps_uri: String, }
}
shape! {
    /// A purpose.
    ExtendedKeyUsage {
        extended_key_usage_type: String,
        extended_key_usage_object_identifier: String,
    }
}
shape! {
    /// An extension by its object identifier.
    CustomExtension { object_identifier: String, value: String, critical: bool, }
}
shape! {
    /// IssueCertificate.
    IssueResponse { certificate_arn: String, }
}
shape! {
    /// GetCertificate.
    GetCertificateRequest { certificate_authority_arn: String, certificate_arn: String, }
}
shape! {
    /// RevokeCertificate.
    RevokeRequest {
        certificate_authority_arn: String,
        certificate_serial: String,
        revocation_reason: String,
    }
}
shape! {
    /// UpdateCertificateAuthority.
    UpdateRequest {
        certificate_authority_arn: String,
        revocation_configuration: RevocationConfiguration,
        status: String,
    }
}
shape! {
    /// DeleteCertificateAuthority.
    DeleteRequest { certificate_authority_arn: String, permanent_deletion_time_in_days: i64, }
}
shape! {
    /// CreatePermission and DeletePermission.
    PermissionRequest {
        certificate_authority_arn: String,
        principal: String,
        source_account: String,
        actions: Vec<String>,
    }
}
shape! {
    /// A permission.
    ShownPermission {
        certificate_authority_arn: String,
        created_at: Timestamp,
        principal: String,
        source_account: String,
        actions: Vec<String>,
    }
}
shape! {
    /// ListPermissions.
    ListPermissionsResponse { permissions: Vec<ShownPermission>, next_token: String, }
}
shape! {
    /// PutPolicy, GetPolicy and DeletePolicy.
    PolicyRequest { resource_arn: String, policy: String, }
}
shape! {
    /// GetPolicy.
    GetPolicyResponse { policy: String, }
}
shape! {
    /// The operations on audit reports.
    ReportRequest {
        certificate_authority_arn: String,
        s3_bucket_name: String,
        audit_report_response_format: String,
        audit_report_id: String,
        next_token: String,
    }
}
shape! {
    /// CreateCertificateAuthorityAuditReport.
    ReportResponse { audit_report_id: String, s3_key: String, }
}
shape! {
    /// DescribeCertificateAuthorityAuditReport.
    DescribeReportResponse {
        audit_report_status: String,
        s3_bucket_name: String,
        s3_key: String,
        created_at: Timestamp,
    }
}
shape! {
    /// Our own GetCertificateAuthorityAuditReport.
    ReportText { report: String, next_token: String, }
}
shape! {
    /// A certificate in an audit report.
    ReportLine {
        aws_account_id as "awsAccountId": String,
        certificate_arn as "certificateArn": String,
        serial as "serial": String,
        subject as "subject": String,
        not_before as "notBefore": String,
        not_after as "notAfter": String,
        issued_at as "issuedAt": String,
        revoked_at as "revokedAt": String,
        revocation_reason as "revocationReason": String,
        template_arn as "templateArn": String,
    }
}
