//! Responses of AWS's Query protocol: elements and text, nothing else of XML.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::time;

/// RFC 3986: what IAM writes policies in.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A document that grows. It may hold a secret and is erased when dropped.
pub(crate) struct Xml(Zeroizing<String>);

impl Default for Xml {
    /// Room for everything that has a secret in it, so that growing leaves no copies behind.
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(32 * 1024)))
    }
}

impl Xml {
    /// The whole document, as bytes.
    pub(crate) fn into_bytes(mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(std::mem::take(&mut *self.0).into_bytes())
    }

    /// An element with what `content` puts into it.
    pub(crate) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.open(name, None);
        content(self);
        self.close(name);
    }

    /// The start of an element, with the namespace of everything in it.
    pub(crate) fn open(&mut self, name: &str, namespace: Option<&str>) {
        self.0.push('<');
        self.0.push_str(name);
        if let Some(namespace) = namespace {
            self.0.push_str(" xmlns=\"");
            self.0.push_str(namespace);
            self.0.push('"');
        }
        self.0.push('>');
    }

    /// Its end.
    pub(crate) fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.open(name, None);
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                // A parser would make a line feed of it.
                '\r' => self.0.push_str("&#xD;"),
                // XML 1.0, 2.2: no document may contain these, escaped or not.
                c if (c < ' ' && c != '\t' && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                    self.0.push('\u{fffd}');
                }
                c => self.0.push(c),
            }
        }
        self.close(name);
    }

    /// An element with a number.
    pub(crate) fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.text(name, &number.to_string());
    }

    /// An element with yes or no.
    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    /// An element with a point in time.
    pub(crate) fn time(&mut self, name: &str, seconds: u64) {
        self.text(name, &time::iso(seconds));
    }

    /// An element with a policy, percent-encoded as IAM does it.
    pub(crate) fn policy(&mut self, name: &str, document: &str) {
        self.text(name, &utf8_percent_encode(document, RESERVED).to_string());
    }

    /// A list: an element with `member` elements.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut member: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("member", |xml| member(xml, item));
            }
        });
    }

    /// A list of texts.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        self.element(name, |xml| items.into_iter().for_each(|item| xml.text("member", item.as_ref())));
    }

    /// Tags, where there are any.
    pub(crate) fn tags<'t>(&mut self, tags: impl IntoIterator<Item = (&'t String, &'t String)>) {
        self.list("Tags", tags, |xml, (key, value)| {
            xml.text("Key", key);
            xml.text("Value", value);
        });
    }

    /// The end of a page.
    pub(crate) fn paged(&mut self, next: Option<String>) {
        self.flag("IsTruncated", next.is_some());
        if let Some(next) = next {
            self.text("Marker", &next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut xml = Xml::default();
        xml.element("a", |xml| {
            xml.text("b", "<&>\"'\r\n\t\u{0}\u{1b}\u{ffff}é𐍈");
            xml.policy("c", "{\"A\": \"é~\"}");
            xml.texts("d", ["1", "2"]);
        });
        let text = String::from_utf8(xml.into_bytes().to_vec()).expect("text");
        assert_eq!(
            text,
            "<a><b>&lt;&amp;&gt;&quot;'&#xD;\n\t\u{fffd}\u{fffd}\u{fffd}é𐍈</b><c>%7B%22A%22%3A%20%22%C3%A9~%22%7D</c>\
             <d><member>1</member><member>2</member></d></a>"
        );
    }
}
