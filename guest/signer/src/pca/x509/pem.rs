//! PEM (RFC 7468).

use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};

use super::X509Error;

/// The label of certificates.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of requests.
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";
/// An older label of requests.
const NEW_REQUEST: &str = "NEW CERTIFICATE REQUEST";

/// Text with one block.
pub(crate) fn encode(label: &'static str, der: &[u8]) -> Result<String, X509Error> {
    encode_string(label, LineEnding::LF, der).map_err(|_| X509Error::Pem(label))
}

/// The only block in a text.
pub(crate) fn decode(label: &'static str, text: &[u8]) -> Result<Vec<u8>, X509Error> {
    match decode_vec(text.trim_ascii()) {
        Ok((found, der)) if found == label || (label == REQUEST && found == NEW_REQUEST) => Ok(der),
        _ => Err(X509Error::Pem(label)),
    }
}

/// All blocks in a text, in order. There may be text around them.
pub(crate) fn decode_all(label: &'static str, text: &[u8]) -> Result<Vec<Vec<u8>>, X509Error> {
    const END: &str = "-----END ";
    let text = std::str::from_utf8(text).map_err(|_| X509Error::Pem(label))?;
    let mut rest = text.trim_end();
    let mut all = Vec::new();
    while let Some(end) = rest.find(END) {
        let line = rest
            .get(end..)
            .and_then(|end| end.find('\n'))
            .map_or(rest.len(), |line| end.saturating_add(line));
        let (block, after) = rest.split_at_checked(line).ok_or(X509Error::Pem(label))?;
        let begin = block.find("-----BEGIN ").ok_or(X509Error::Pem(label))?;
        all.push(decode(label, block.get(begin..).unwrap_or_default().as_bytes())?);
        rest = after;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_in_order_whatever_is_around_them() {
        let (one, two) =
            (encode(CERTIFICATE, b"one").expect("PEM"), encode(CERTIFICATE, b"two").expect("PEM"));
        let text = format!("subject: x\n{one}\n\nsubject: y\r\n{}\n", two.replace('\n', "\r\n"));
        assert_eq!(decode_all(CERTIFICATE, text.as_bytes()), Ok(vec![b"one".to_vec(), b"two".to_vec()]));
        assert_eq!(decode_all(CERTIFICATE, b"nothing"), Ok(vec![]));
        let key = encode("PRIVATE KEY", b"one").expect("PEM");
        for wrong in
            [key, one.replace("BEGIN", "BEG"), one.replace('\n', "\n*"), format!("{one}{one}-----END x")]
        {
            assert!(decode_all(CERTIFICATE, wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(decode(CERTIFICATE, format!("{one}{two}").as_bytes()).is_err(), "two where one is meant");
    }
}
