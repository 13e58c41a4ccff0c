//! Key policies, trust policies and grants mean the users and roles that had the name when they were set, not whoever has it later.

#[path = "common/client.rs"]
mod client;
mod common;

use client::{Client, element, encoded, run};
use common::signer;
use serde_json::{Value, json};

async fn iam(admin: &Client, action: &str, parameters: &str) -> String {
    let (status, answer) = admin.iam(action, parameters).await;
    assert_eq!(status, 200, "{action} {parameters}: {answer}");
    answer
}

/// A user of that name, with an access key and without policies.
async fn user(admin: &Client, name: &str) -> (Client, String) {
    let arn = element(&iam(admin, "CreateUser", &format!("&UserName={name}")).await, "Arn");
    let key = iam(admin, "CreateAccessKey", &format!("&UserName={name}")).await;
    let (id, secret) = (element(&key, "AccessKeyId"), element(&key, "SecretAccessKey"));
    (Client { id, secret, token: None, ..admin.clone() }, arn)
}

async fn remove(admin: &Client, name: &str, key: &str) {
    iam(admin, "DeleteAccessKey", &format!("&UserName={name}&AccessKeyId={key}")).await;
    iam(admin, "DeleteUser", &format!("&UserName={name}")).await;
}

async fn kms(client: &Client, operation: &str, request: Value) -> Result<Value, String> {
    let (status, answer) = client.kms(operation, &request.to_string()).await;
    let answer: Value =
        if answer.is_empty() { json!({}) } else { serde_json::from_str(&answer).expect("JSON") };
    match status {
        200 => Ok(answer),
        _ => Err(format!("{}: {}", answer["__type"], answer["message"])),
    }
}

fn policy(admin: &str, arn: &str) -> String {
    let allow = |arn: &str, action: &str| json!({"Effect": "Allow", "Principal": {"AWS": arn}, "Action": action, "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": [allow(admin, "kms:*"), allow(arn, "kms:Encrypt")]})
        .to_string()
}

async fn admin() -> (Client, String) {
    let admin = Client::admin(&signer()).await;
    let (_, identity) = admin.sts("GetCallerIdentity", "").await;
    let root = format!("arn:aws:iam::{}:root", element(&identity, "Account"));
    (admin, root)
}

#[test]
fn whoever_gets_the_name_of_a_deleted_user_does_not_get_its_rights() {
    run(async {
        let (admin, root) = admin().await;
        let (ann, arn) = user(&admin, "ann").await;
        let text = policy(&root, &arn);
        let by_policy = kms(&admin, "CreateKey", json!({"Policy": text})).await.expect("a key");
        let by_policy = by_policy["KeyMetadata"]["KeyId"].clone();
        let by_grant =
            kms(&admin, "CreateKey", json!({})).await.expect("a key")["KeyMetadata"]["KeyId"].clone();
        let grant = json!({"KeyId": by_grant, "GranteePrincipal": arn, "RetiringPrincipal": arn,
            "Operations": ["Encrypt"]});
        let token = kms(&admin, "CreateGrant", grant.clone()).await.expect("a grant")["GrantToken"].clone();
        let put = json!({"KeyId": by_policy, "Policy": text});
        kms(&admin, "PutKeyPolicy", put.clone()).await.expect("the same again");
        let encrypt = |key: &Value| json!({"KeyId": key, "Plaintext": "AA=="});
        for key in [&by_policy, &by_grant] {
            kms(&ann, "Encrypt", encrypt(key)).await.expect("allowed");
        }
        let shown = json!({"KeyId": by_policy});
        assert_eq!(
            kms(&admin, "GetKeyPolicy", shown.clone()).await.expect("the policy")["Policy"],
            json!(text)
        );

        remove(&admin, "ann", &ann.id).await;
        let (namesake, same_arn) = user(&admin, "ann").await;
        assert_eq!(arn, same_arn);
        for key in [&by_policy, &by_grant] {
            let refused =
                kms(&namesake, "Encrypt", encrypt(key)).await.expect_err("a namesake has the rights");
            assert!(refused.contains("AccessDenied"), "{refused}");
        }
        let retire = json!({"GrantToken": token});
        assert!(kms(&namesake, "RetireGrant", retire).await.expect_err("retired").contains("AccessDenied"));
        // The policy shows whom it meant, and can be set anew for the one who has the name now.
        let stale = kms(&admin, "GetKeyPolicy", shown).await.expect("the policy")["Policy"].clone();
        let stale = stale.as_str().expect("text");
        let account = root.split(':').nth(4).expect("an account");
        assert!(stale.contains("\"AIDA") && !stale.contains(&arn) && stale.contains(account), "{stale}");
        kms(&admin, "PutKeyPolicy", put).await.expect("set anew");
        kms(&admin, "CreateGrant", grant).await.expect("granted anew");
        for key in [&by_policy, &by_grant] {
            kms(&namesake, "Encrypt", encrypt(key)).await.expect("allowed");
        }
    });
}

#[test]
fn names_that_nobody_has_are_refused() {
    run(async {
        let (admin, root) = admin().await;
        let account = root.split(':').nth(4).expect("an account").to_owned();
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"AWS": root}, "Action": "sts:AssumeRole"}]});
        let document = encoded(&trust.to_string());
        let parameters = format!("&RoleName=ops&Path=%2Fa%2F&AssumeRolePolicyDocument={document}");
        let role = element(&iam(&admin, "CreateRole", &parameters).await, "Arn");
        let key = kms(&admin, "CreateKey", json!({"Policy": policy(&root, &role)})).await.expect("a key");
        let key = key["KeyMetadata"]["KeyId"].clone();
        for nobody in ["user/bob", "role/bob", "role/ops", "role/b/ops", "user/ops"] {
            let arn = format!("arn:aws:iam::{account}:{nobody}");
            let put = json!({"KeyId": key, "Policy": policy(&root, &arn)});
            let refused = kms(&admin, "PutKeyPolicy", put).await.expect_err(&arn);
            assert!(
                refused.contains("MalformedPolicyDocument") && refused.contains("invalid principals"),
                "{refused}"
            );
            let grant = json!({"KeyId": key, "GranteePrincipal": arn, "Operations": ["Encrypt"]});
            let refused = kms(&admin, "CreateGrant", grant).await.expect_err(&arn);
            assert!(refused.contains("InvalidArn"), "{refused}");
        }
        // Whom this signer cannot know is taken by name.
        for elsewhere in [
            "arn:aws:iam::999999999999:user/bob".to_owned(),
            format!("arn:aws:sts::{account}:assumed-role/gone/session"),
        ] {
            let put = json!({"KeyId": key, "Policy": policy(&root, &elsewhere)});
            kms(&admin, "PutKeyPolicy", put).await.expect(&elsewhere);
        }
    });
}

/// A trust policy that lets this ARN assume the role, as a form has it.
fn trust(arn: &str) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": arn},
        "Action": "sts:AssumeRole"}]});
    encoded(&trust.to_string())
}

#[test]
fn whoever_gets_the_name_of_a_deleted_user_or_role_may_not_assume_its_roles() {
    run(async {
        let (admin, root) = admin().await;
        let account = root.split(':').nth(4).expect("an account").to_owned();
        let (ann, arn) = user(&admin, "ann").await;
        let create =
            |name: &str, arn: &str| format!("&RoleName={name}&AssumeRolePolicyDocument={}", trust(arn));
        iam(&admin, "CreateRole", &create("first", &arn)).await;
        let first = format!("arn:aws:iam::{account}:role/first");
        iam(&admin, "CreateRole", &create("second", &first)).await;
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Resource": "*"}]});
        let policy = encoded(&policy.to_string());
        let put = format!("&RoleName=first&PolicyName=p&PolicyDocument={policy}");
        iam(&admin, "PutRolePolicy", &put).await;
        let assume = async |who: &Client, role: &str| {
            let parameters = format!("&RoleArn=arn:aws:iam::{account}:role/{role}&RoleSessionName=me");
            who.sts("AssumeRole", &parameters).await
        };
        let (status, answer) = assume(&ann, "first").await;
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = assume(&ann.session(&answer), "second").await;
        assert_eq!(status, 200, "{answer}");

        // Another user of that name, and another role.
        remove(&admin, "ann", &ann.id).await;
        let (namesake, _) = user(&admin, "ann").await;
        let (status, answer) = assume(&namesake, "first").await;
        assert!(status == 403 && answer.contains("sts:AssumeRole"), "{answer}");
        let shown = iam(&admin, "GetRole", "&RoleName=first").await;
        assert!(shown.contains("AIDA") && !shown.contains("user%2Fann"), "whom it meant: {shown}");
        iam(&admin, "DeleteRolePolicy", "&RoleName=first&PolicyName=p").await;
        iam(&admin, "DeleteRole", "&RoleName=first").await;
        iam(&admin, "CreateRole", &create("first", &arn)).await;
        iam(&admin, "PutRolePolicy", &put).await;
        let (status, answer) = assume(&namesake, "first").await;
        assert_eq!(status, 200, "trusted anew: {answer}");
        let (status, answer) = assume(&namesake.session(&answer), "second").await;
        assert!(status == 403 && answer.contains("sts:AssumeRole"), "{answer}");
        let update = format!("&RoleName=second&PolicyDocument={}", trust(&first));
        iam(&admin, "UpdateAssumeRolePolicy", &update).await;
        let (_, answer) = assume(&namesake, "first").await;
        let (status, answer) = assume(&namesake.session(&answer), "second").await;
        assert_eq!(status, 200, "{answer}");
    });
}

#[test]
fn trust_policies_that_name_nobody_are_refused() {
    run(async {
        let (admin, root) = admin().await;
        let account = root.split(':').nth(4).expect("an account").to_owned();
        iam(&admin, "CreateRole", &format!("&RoleName=ops&AssumeRolePolicyDocument={}", trust(&root))).await;
        for nobody in ["user/bob", "role/bob", "user/ops", "role/new"] {
            let document = trust(&format!("arn:aws:iam::{account}:{nobody}"));
            for (action, parameters) in [
                ("CreateRole", format!("&RoleName=new&AssumeRolePolicyDocument={document}")),
                ("UpdateAssumeRolePolicy", format!("&RoleName=ops&PolicyDocument={document}")),
            ] {
                let (status, answer) = admin.iam(action, &parameters).await;
                assert!(status == 400 && answer.contains("<Code>MalformedPolicyDocument</Code>"), "{answer}");
                assert!(answer.contains("Invalid principal in policy"), "{answer}");
            }
        }
        let itself = trust(&format!("arn:aws:iam::{account}:role/ops"));
        iam(&admin, "UpdateAssumeRolePolicy", &format!("&RoleName=ops&PolicyDocument={itself}")).await;
    });
}

#[test]
fn a_users_federated_sessions_are_meant_with_it() {
    run(async {
        let (admin, root) = admin().await;
        let (ann, arn) = user(&admin, "ann").await;
        let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let all = encoded(&all.to_string());
        iam(&admin, "PutUserPolicy", &format!("&UserName=ann&PolicyName=p&PolicyDocument={all}")).await;
        let made = kms(&admin, "CreateKey", json!({"Policy": policy(&root, &arn)})).await.expect("a key");
        let (status, answer) = ann.sts("GetFederationToken", &format!("&Name=guest&Policy={all}")).await;
        assert_eq!(status, 200, "{answer}");
        let request = json!({"KeyId": made["KeyMetadata"]["KeyId"], "Plaintext": "AA=="});
        kms(&ann.session(&answer), "Encrypt", request).await.expect("allowed to the user's sessions");
    });
}
