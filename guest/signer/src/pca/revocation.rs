//! How others learn what is revoked: what an authority's configuration may say, and what its certificates say about it.
//!
//! | in a certificate | where to | when |
//! | --- | --- | --- |
//! | CRL distribution point | `http://NAME/[PATH or crl]/ID.crl`; NAME is `CustomCname`, or else `S3BucketName.s3.REGION.amazonaws.com` | a CRL is enabled and `OmitExtension` is not set |
//! | authority information access: OCSP | `http://OcspCustomCname/ocsp/ID` | OCSP is enabled |
//! | authority information access: CA issuers | `http://OcspCustomCname/ca/ID.cer` | the same |

use crate::errors::KmsError;
use crate::identity::Config;

use super::ask::invalid_args;
use super::authority::Authority;
use super::broken;
use super::types::{CrlConfiguration, OcspConfiguration, RevocationConfiguration};
use super::x509::Extensions;

/// Whether an authority may have this configuration.
pub(super) fn acceptable(configuration: &RevocationConfiguration) -> Result<(), KmsError> {
    if let Some(crl) = enabled_crl(configuration) {
        let cname = given(&crl.custom_cname);
        if cname.is_none() && given(&crl.s3_bucket_name).is_none() {
            return Err(invalid_args(
                "A CRL needs a CustomCname, or an S3BucketName, from which it is fetched.",
            ));
        }
        if crl.crl_type.as_deref() == Some("PARTITIONED") {
            return Err(invalid_args(
                "Partitioned CRLs are not supported: an authority has one complete CRL.",
            ));
        }
        if crl.expiration_in_days.is_none() {
            return Err(invalid_args("A CRL needs ExpirationInDays."));
        }
        if omitted(crl) && cname.is_some() {
            return Err(invalid_args("OmitExtension cannot be set together with a CustomCname."));
        }
        no_scheme(cname)?;
    }
    let ocsp = configuration.ocsp_configuration.as_ref();
    if let Some(ocsp) = ocsp.filter(|ocsp| ocsp.enabled == Some(true)) {
        let cname = given(&ocsp.ocsp_custom_cname);
        if cname.is_none() {
            return Err(invalid_args("OCSP needs an OcspCustomCname: this signer has no domain of its own."));
        }
        no_scheme(cname)?;
    }
    Ok(())
}

/// Names of hosts are given without `http://`.
fn no_scheme(cname: Option<&str>) -> Result<(), KmsError> {
    match cname.is_some_and(|cname| cname.contains("://")) {
        true => Err(invalid_args("A CNAME must not have a protocol prefix such as http://.")),
        false => Ok(()),
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn omitted(crl: &CrlConfiguration) -> bool {
    let point = crl.crl_distribution_point_extension_configuration.as_ref();
    point.is_some_and(|point| point.omit_extension == Some(true))
}

/// The configuration of the CRL, if there is to be one.
pub(super) fn enabled_crl(configuration: &RevocationConfiguration) -> Option<&CrlConfiguration> {
    configuration.crl_configuration.as_ref().filter(|crl| crl.enabled == Some(true))
}

/// The configuration of the responder, if there is to be one.
pub(super) fn enabled_ocsp(configuration: &RevocationConfiguration) -> Option<&OcspConfiguration> {
    configuration.ocsp_configuration.as_ref().filter(|ocsp| ocsp.enabled == Some(true))
}

/// Adds to a certificate where its status can be learnt.
pub(super) fn announce(
    authority: &Authority,
    config: &Config,
    extensions: &mut Extensions,
) -> Result<(), KmsError> {
    let (meta, id) = (authority.meta(), authority.id);
    if let Some(crl) = enabled_crl(&meta.revocation).filter(|crl| !omitted(crl)) {
        let path = match given(&crl.custom_path) {
            None => "crl/".to_owned(),
            Some("/") => String::new(),
            Some(path) => format!("{path}/"),
        };
        let host = match (given(&crl.custom_cname), given(&crl.s3_bucket_name)) {
            (Some(cname), _) => cname.to_owned(),
            (None, bucket) => format!("{}.s3.{}.amazonaws.com", bucket.unwrap_or_default(), config.region),
        };
        let url = format!("http://{host}/{path}{id}.crl");
        extensions.crl_address(&url).map_err(|error| broken(error.into()))?;
    }
    if let Some(host) = enabled_ocsp(&meta.revocation).and_then(|ocsp| given(&ocsp.ocsp_custom_cname)) {
        let (ocsp, issuer) = (format!("http://{host}/ocsp/{id}"), format!("http://{host}/ca/{id}.cer"));
        extensions.authority_access(&ocsp, &issuer).map_err(|error| broken(error.into()))?;
    }
    Ok(())
}
