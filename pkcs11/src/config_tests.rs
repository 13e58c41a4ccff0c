#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

#[test]
fn a_token_says_where_it_is_and_why_it_is_believed() {
    let folder = Path::new("/nonexistent");
    for (text, wrong) in [
        ("label = 'a'\nendpoint = 'https://h'", "needs `root` and `policy`"),
        ("label = 'a'\nendpoint = 'https://h'\nroot = ['r']", "needs `root` and `policy`"),
        ("label = 'a'\nendpoint = 'https://h'\npolicy = 'p'", "needs `root` and `policy`"),
        (
            "label = 'a'\nendpoint = 'https://h'\npolicy = 'p'\nroot = ['r']\ncertificate = 'c'",
            "needs `root` and `policy`",
        ),
        ("label = 'a'\ncertificate = 'c'", "needs an `endpoint` or a `socket`"),
        ("label = 'a'\nendpoint = 'https://h'\nsocket = 's'\ncertificate = 'c'", "needs an `endpoint`"),
        ("label = 'a'\nendpoint = 'http://h'\ncertificate = 'c'", "must begin with https://"),
        ("label = 'a'\nendpoint = 'https://h'\ncertificate = 'c'", "cannot read /nonexistent/c"),
        ("label = 'a'\nendpoint = 'https://h'\nroot = ['r']\npolicy = 'p'", "cannot read /nonexistent/r"),
    ] {
        let entry: Entry = toml::from_str(text).unwrap();
        let error = entry.resolve(Path::new("pkcs11.toml"), folder).unwrap_err().to_string();
        assert!(error.contains(wrong), "{text}: {error}");
    }
    assert!(toml::from_str::<File>("[[token]]\nlabel = 'a'\npin = '1234'").is_err());
    assert!(toml::from_str::<File>("").unwrap().token.is_empty());
}
