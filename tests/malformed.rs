//! Malformed input by the ten thousand, against a sealed signer that belongs to somebody, over TLS: damaged signatures, damaged
//! bodies under good signatures, damaged policies. Nothing is let through, nothing fails inside, and the owner is served as before.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use casemate_tests::api::{Answer, Api, blob, bytes};
use casemate_tests::{Lab, Owned, can_seal};
use serde_json::json;

/// xorshift: the same input in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % sides as u64).unwrap()
    }

    fn printable(&mut self) -> u8 {
        b' ' + u8::try_from(self.roll(95)).unwrap()
    }

    /// Another byte than this one, in whatever case.
    fn other(&mut self, byte: u8) -> u8 {
        loop {
            let other = self.printable();
            if !other.eq_ignore_ascii_case(&byte) {
                return other;
            }
        }
    }

    /// Damage of the kinds that happen: bytes changed, lost, added, a part repeated.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.roll(3) {
            let (at, length) = (self.roll(bytes.len().max(1)), self.roll(12));
            let end = (at + length).min(bytes.len());
            match self.roll(5) {
                0 => drop(bytes.drain(at..end)),
                1 => bytes.truncate(at),
                2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                3 => bytes.insert(at, self.printable()),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = if self.roll(4) == 0 { self.roll(256) as u8 } else { self.printable() };
                    }
                }
            }
        }
        bytes
    }
}

/// A connection that is made again when the signer has closed it.
struct Client<'a> {
    lab: &'a Lab,
    owned: &'a Owned,
    api: Option<Api>,
}

impl<'a> Client<'a> {
    fn new(lab: &'a Lab, owned: &'a Owned) -> Self {
        Self { lab, owned, api: None }
    }

    fn api(&mut self) -> &mut Api {
        let (lab, owned) = (self.lab, self.owned);
        self.api.get_or_insert_with(|| Api::administrator(lab, owned).unwrap())
    }

    #[track_caller]
    fn exchange(&mut self, request: &[u8]) -> Answer {
        let answer = self.api().exchange(request);
        let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(request)));
        if answer.closes {
            self.api = None;
        }
        answer
    }
}

/// A refusal, by the caller's fault.
#[track_caller]
fn refused(answer: &Answer, request: &[u8]) {
    let (said, asked) = (String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(request));
    assert!((400..500).contains(&answer.status), "{}: {said}\n{asked}", answer.status);
}

/// Anything but a failure inside.
#[track_caller]
fn answered(answer: &Answer, request: &[u8]) {
    let (said, asked) = (String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(request));
    assert!(answer.status < 500, "{}: {said}\n{asked}", answer.status);
}

fn key(client: &mut Client<'_>) -> String {
    let made =
        client.api().call("CreateKey", &json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}));
    made.unwrap()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

/// The owner can still use the key.
#[track_caller]
fn signs(client: &mut Client<'_>, key: &str) {
    let body = json!({"KeyId": key, "Message": blob("x"), "SigningAlgorithm": "ECDSA_SHA_256"});
    assert!(!bytes(&client.api().call("Sign", &body).unwrap()["Signature"]).is_empty());
}

#[test]
fn no_damaged_signature_is_let_through() {
    if !can_seal("damaged signatures against a sealed signer") {
        return;
    }
    let lab = Lab::new();
    let owned = lab.serve_claimed(&[]);
    let mut client = Client::new(&lab, &owned);
    let key = key(&mut client);
    let body = json!({"KeyId": key, "Message": blob("x"), "SigningAlgorithm": "ECDSA_SHA_256"}).to_string();
    let mut dice = Dice(0x5eed);
    for turn in 0..10_000 {
        // The time in it must not grow old.
        let good = client.api().kms("Sign", body.as_bytes());
        let text = String::from_utf8(good.clone()).unwrap();
        let head = text.find("content-length").unwrap();
        let mut bad = good;
        // Not the first line, whose version nobody signs; and not the length, which says where the next request begins.
        let from = text.find('\n').unwrap() + 1;
        let range = if turn % 2 == 0 { from..head } else { text.find("\r\n\r\n").unwrap() + 4..text.len() };
        let at = range.start + dice.roll(range.len());
        if bad[at] == b'\r' || bad[at] == b'\n' {
            continue;
        }
        bad[at] = dice.other(bad[at]);
        let answer = client.exchange(&bad);
        refused(&answer, &bad);
    }
    signs(&mut client, &key);
}

#[test]
fn no_damaged_body_fails_inside() {
    if !can_seal("damaged bodies against a sealed signer") {
        return;
    }
    let lab = Lab::new();
    let owned = lab.serve_claimed(&[]);
    let mut client = Client::new(&lab, &owned);
    let key = key(&mut client);
    let role = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"sts:AssumeRole\"}]}";
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let kms: [(&str, String); 6] = [
        (
            "Sign",
            json!({"KeyId": key, "Message": blob("x"), "SigningAlgorithm": "ECDSA_SHA_256"}).to_string(),
        ),
        ("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": key}).to_string()),
        ("TagResource", json!({"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]}).to_string()),
        ("ListKeys", json!({"Limit": 10}).to_string()),
        ("CreateGrant", json!({"KeyId": key, "GranteePrincipal": "*", "Operations": ["Sign"]}).to_string()),
        ("GenerateRandom", json!({"NumberOfBytes": 8}).to_string()),
    ];
    let query: [(&str, String); 5] = [
        ("sts", "Action=GetCallerIdentity&Version=2011-06-15".to_owned()),
        ("sts", "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=s".to_owned()),
        ("iam", "Action=ListRoles&Version=2010-05-08&MaxItems=3".to_owned()),
        ("iam", format!("Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument={}", encode(role))),
        ("iam", format!("Action=PutRolePolicy&Version=2010-05-08&RoleName=r&PolicyName=p&PolicyDocument={}", encode(role))),
    ];
    let mut dice = Dice(0xb0d1e5);
    for turn in 0..10_000 {
        let request = if turn % 2 == 0 {
            let (operation, good) = &kms[dice.roll(kms.len())];
            let bad = dice.damage(good.as_bytes());
            client.api().kms(operation, &bad)
        } else {
            let (service, good) = &query[dice.roll(query.len())];
            let bad = dice.damage(good.as_bytes());
            client.api().query(service, &bad)
        };
        let answer = client.exchange(&request);
        answered(&answer, &request);
    }
    signs(&mut client, &key);
}

#[test]
fn no_damaged_policy_locks_the_owner_out() {
    if !can_seal("damaged policies against a sealed signer") {
        return;
    }
    let lab = Lab::new();
    let owned = lab.serve_claimed(&[]);
    let mut client = Client::new(&lab, &owned);
    let key = key(&mut client);
    let current = client.api().call("GetKeyPolicy", &json!({"KeyId": key, "PolicyName": "default"})).unwrap();
    let good = current["Policy"].as_str().unwrap().to_owned();
    let mut dice = Dice(0x9011c1);
    let mut taken = 0;
    for _ in 0..10_000 {
        let bad = String::from_utf8_lossy(&dice.damage(good.as_bytes())).into_owned();
        let body = json!({"KeyId": key, "PolicyName": "default", "Policy": bad}).to_string();
        let request = client.api().kms("PutKeyPolicy", body.as_bytes());
        let answer = client.exchange(&request);
        answered(&answer, &request);
        if answer.status == 200 {
            // Whatever it says, whoever put it may put another (the lockout check).
            let body = json!({"KeyId": key, "PolicyName": "default", "Policy": good});
            client.api().call("PutKeyPolicy", &body).unwrap_or_else(|error| panic!("{error:?} after {bad}"));
            taken += 1;
        }
    }
    assert!(taken > 0, "no damage left a policy whole: the good one is not what it was taken for");
    signs(&mut client, &key);
}
