//! What the tests share: principals by short names.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use casemate_policy::{Arn, Principal, Tags};

/// The account of everybody who is not said to be of another.
pub const ACCOUNT: &str = "111122223333";

/// The identifier of every user of these tests.
pub const USER_ID: &str = "AIDACKCEVSQ6C2EXAMPLE";

/// The identifier of every role of these tests.
pub const ROLE_ID: &str = "AROADBQP57FF2AEXAMPLE";

/// `root`, `user/ann`, `role/app/session`, `federated/bob` (asked for by user ann), `service/NAME`, `anonymous`; before
/// it, the account and a colon if it is another one.
pub fn principal(short: &str, tags: Tags) -> Principal {
    let (account, short) = short.split_once(':').unwrap_or((ACCOUNT, short));
    let arn =
        |service: &str, rest: &str| Arn::parse(&format!("arn:aws:{service}::{account}:{rest}")).unwrap();
    let (kind, name) = short.split_once('/').unwrap_or((short, ""));
    match kind {
        "root" => Principal::Root { account: account.into() },
        "user" => Principal::User { arn: arn("iam", short), id: USER_ID.into(), tags },
        "role" => {
            let (path, session) = name.rsplit_once('/').unwrap();
            let role = arn("iam", &format!("role/{path}"));
            let session = arn("sts", &format!("assumed-role/{}/{session}", role.name()));
            Principal::AssumedRole { role, role_id: ROLE_ID.into(), session, tags }
        }
        "federated" => {
            let session = arn("sts", &format!("federated-user/{name}"));
            Principal::FederatedUser { user: arn("iam", "user/ann"), user_id: USER_ID.into(), session, tags }
        }
        "service" => Principal::Service { name: name.into() },
        "anonymous" => Principal::Anonymous,
        other => panic!("no principal is called {other}"),
    }
}
