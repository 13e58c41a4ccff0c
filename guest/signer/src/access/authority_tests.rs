//! That operations on certificate authorities obey policies: those of callers and those of authorities.

use serde_json::{Value, json};

use super::Caller;
use super::tests::{ACCOUNT, allow, ask, session, signer};
use crate::signer::Signer;

fn owner(signer: &Signer, operation: &str, request: Value) -> Value {
    ask(signer, &Caller::LocalOwner, &format!("ACMPrivateCA.{operation}"), &request)
        .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
}

fn create(tag: &str) -> Value {
    json!({
        "CertificateAuthorityConfiguration": {"KeyAlgorithm": "EC_prime256v1", "SigningAlgorithm": "SHA256WITHECDSA",
            "Subject": {"CommonName": "A root"}},
        "CertificateAuthorityType": "ROOT",
        "Tags": [{"Key": "team", "Value": tag}],
    })
}

/// An authority with this tag; its ARN.
fn authority(signer: &Signer, tag: &str) -> String {
    owner(signer, "CreateCertificateAuthority", create(tag))["CertificateAuthorityArn"]
        .as_str()
        .expect("an ARN")
        .to_owned()
}

/// A policy that allows an action under a condition.
fn allow_if(action: &str, condition: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition}]})
}

/// Whether the caller may; the operation may fail for other reasons.
fn may(signer: &Signer, caller: &Caller, operation: &str, request: &Value) -> bool {
    match ask(signer, caller, &format!("ACMPrivateCA.{operation}"), request) {
        Err((kind, message)) if kind == "AccessDeniedException" => {
            assert!(message.contains(&format!("to perform: acm-pca:{operation}")), "{message}");
            false
        }
        _ => true,
    }
}

#[test]
fn identity_policies_see_tags_and_templates() {
    let signer = signer();
    let (red, blue) = (authority(&signer, "red"), authority(&signer, "blue"));
    let tagged = json!({"StringEquals": {"aws:ResourceTag/team": "red"}});
    let team = session("Red", &[allow_if("acm-pca:Describe*", tagged)], &[]);
    let describe = |arn: &str| json!({"CertificateAuthorityArn": arn});
    assert!(may(&signer, &team, "DescribeCertificateAuthority", &describe(&red)));
    assert!(!may(&signer, &team, "DescribeCertificateAuthority", &describe(&blue)));
    assert!(!may(&signer, &team, "GetCertificateAuthorityCsr", &describe(&red)), "another action");
    assert!(!may(&signer, &team, "ListCertificateAuthorities", &json!({})));

    let servers = "arn:aws:acm-pca:::template/EndEntityServerAuthCertificate/V1";
    let template = json!({"StringEquals": {"acm-pca:TemplateArn": servers}});
    let issuer = session("Issuer", &[allow_if("acm-pca:IssueCertificate", template)], &[]);
    let csr = owner(&signer, "GetCertificateAuthorityCsr", describe(&red))["Csr"].clone();
    let csr = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, csr.as_str().expect("text"));
    let issue = |template: Option<&str>| {
        json!({"CertificateAuthorityArn": red, "Csr": csr, "SigningAlgorithm": "SHA256WITHECDSA",
            "TemplateArn": template, "Validity": {"Type": "DAYS", "Value": 1}})
    };
    assert!(may(&signer, &issuer, "IssueCertificate", &issue(Some(servers))));
    assert!(!may(&signer, &issuer, "IssueCertificate", &issue(None)), "the default is a template too");
    let root = "arn:aws:acm-pca:::template/RootCACertificate/V1";
    assert!(!may(&signer, &issuer, "IssueCertificate", &issue(Some(root))));

    let named = json!({"StringEquals": {"aws:RequestTag/team": "red"}});
    let maker = session(
        "Maker",
        &[
            allow_if("acm-pca:CreateCertificateAuthority", named.clone()),
            allow_if("acm-pca:TagCertificateAuthority", named),
        ],
        &[],
    );
    assert!(may(&signer, &maker, "CreateCertificateAuthority", &create("red")));
    assert!(!may(&signer, &maker, "CreateCertificateAuthority", &create("blue")));
}

#[test]
fn the_policy_of_an_authority_lets_others_in_and_can_keep_them_out() {
    let signer = signer();
    let arn = authority(&signer, "red");
    let request = json!({"CertificateAuthorityArn": arn});
    let (guest, friend) = (session("Guest", &[], &[]), session("Friend", &[allow("acm-pca:*")], &[]));
    assert!(!may(&signer, &guest, "DescribeCertificateAuthority", &request));
    assert!(may(&signer, &friend, "DescribeCertificateAuthority", &request));
    let role = |name: &str| format!("arn:aws:iam::{ACCOUNT}:role/{name}");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": role("Guest")}, "Action": "acm-pca:DescribeCertificateAuthority", "Resource": arn},
        {"Effect": "Deny", "Principal": {"AWS": role("Friend")}, "Action": "acm-pca:Get*", "Resource": arn}]});
    owner(&signer, "PutPolicy", json!({"ResourceArn": arn, "Policy": policy.to_string()}));
    assert!(may(&signer, &guest, "DescribeCertificateAuthority", &request));
    assert!(!may(&signer, &guest, "GetCertificateAuthorityCsr", &request));
    assert!(may(&signer, &friend, "DescribeCertificateAuthority", &request));
    assert!(!may(&signer, &friend, "GetCertificateAuthorityCsr", &request));
    // Nobody shuts themselves out.
    let lockout = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": {"AWS": role("Friend")}, "Action": "acm-pca:PutPolicy", "Resource": arn}]});
    let put = json!({"ResourceArn": arn, "Policy": lockout.to_string()});
    let (kind, _) = ask(&signer, &friend, "ACMPrivateCA.PutPolicy", &put).expect_err("locked out");
    assert_eq!(kind, "LockoutPreventedException");
}

#[test]
fn whoever_may_do_nothing_does_not_learn_what_there_is() {
    let signer = signer();
    let arn = authority(&signer, "red");
    let nobody = session("Nobody", &[], &[]);
    let absent = format!("{}{}", &arn[..arn.len() - 12], "0".repeat(12));
    let message = |arn: &str| {
        let request = json!({"CertificateAuthorityArn": arn});
        let error = ask(&signer, &nobody, "ACMPrivateCA.DescribeCertificateAuthority", &request);
        let (kind, message) = error.expect_err("answered");
        (kind, message.replace(arn, "it"))
    };
    assert_eq!(message(&arn), message(&absent));
}
