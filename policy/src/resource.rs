//! The texts of `Resource` and `NotResource`: `*`, or an ARN with wildcards and variables.

use crate::error::PolicyError;
use crate::pattern::{Syntax, Template};

/// Reads one of them.
///
/// Partition and service are named without wildcards, and variables stand only in the last part (IAM user guide,
/// "Resource" and "Where you can use policy variables"). A final `*` may stand for the parts that are left out.
pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Template, PolicyError> {
    let template = Template::parse(text, syntax)?;
    if text == "*" {
        return Ok(template);
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, before_resource @ ..] = parts.as_slice() else {
        return Err(PolicyError::value(text, "`*` or an ARN"));
    };
    let named = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') && !part.is_empty();
    let complete = parts.len() == 6 || text.ends_with('*');
    if *arn != "arn" || !named(partition) || !named(service) || !complete {
        return Err(PolicyError::value(text, "`*` or an ARN whose partition and service have no wildcards"));
    }
    let placeless = before_resource.iter().take(2).any(|part| part.contains("${"));
    match syntax.variables && placeless {
        true => Err(PolicyError::value(text, "an ARN with variables only after its fifth colon")),
        false => Ok(template),
    }
}
