//! Requests, read from JSON by one reader for all of them.
//!
//! A derived `Deserialize` is ten kilobytes of code for each type of request, and there are a hundred of them. Here a
//! request is a list of names and, for each, the place where its value goes; serde_json reads, and what it reads goes
//! straight to that place. No copy of a plaintext is left behind on the way.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Blob, EncryptionContext, SecretBlob, Timestamp};

/// A structure of the service model whose members are all optional.
pub(crate) trait Request {
    /// The members' names, in snake case or as they are in JSON.
    fn names(&self) -> &'static [&'static str];

    /// Where the value of the member with that index goes; `None` if there is no such member.
    fn slot(&mut self, index: usize) -> Option<Slot<'_>>;
}

/// Where a member's value goes.
pub(crate) enum Slot<'a> {
    Text(&'a mut Option<String>),
    Flag(&'a mut Option<bool>),
    Number(&'a mut Option<i64>),
    Time(&'a mut Option<Timestamp>),
    Blob(&'a mut Option<Blob>),
    Secret(&'a mut Option<SecretBlob>),
    Texts(&'a mut Option<Vec<String>>),
    Context(&'a mut Option<EncryptionContext>),
    Structure(&'a mut dyn Place),
    List(&'a mut dyn Place),
}

/// Room for a structure, or for one more of a list.
pub(crate) trait Place {
    /// Whether something is there.
    fn is_filled(&self) -> bool;
    /// Makes what an empty value is: for a list, one without entries.
    fn make(&mut self);
    /// The structure; of a list, a new entry.
    fn next(&mut self) -> &mut dyn Request;
}

impl<T: Request + Default> Place for Option<T> {
    fn is_filled(&self) -> bool {
        self.is_some()
    }

    fn make(&mut self) {
        *self = Some(T::default());
    }

    fn next(&mut self) -> &mut dyn Request {
        self.get_or_insert_default()
    }
}

impl<T: Request + Default> Place for Option<Vec<T>> {
    fn is_filled(&self) -> bool {
        self.is_some()
    }

    fn make(&mut self) {
        *self = Some(Vec::new());
    }

    fn next(&mut self) -> &mut dyn Request {
        self.get_or_insert_default().push_mut(T::default())
    }
}

/// The type of a member.
pub(crate) trait Member: Sized {
    /// Its place.
    fn slot(place: &mut Option<Self>) -> Slot<'_>;
}

macro_rules! members {
    ($($ty:ty => $slot:ident,)*) => {
        $(impl Member for $ty {
            fn slot(place: &mut Option<Self>) -> Slot<'_> {
                Slot::$slot(place)
            }
        })*
    };
}

members! {
    String => Text,
    bool => Flag,
    i64 => Number,
    Timestamp => Time,
    Blob => Blob,
    SecretBlob => Secret,
    Vec<String> => Texts,
    BTreeMap<String, String> => Context,
}

impl<T: Request + Default> Member for T {
    fn slot(place: &mut Option<Self>) -> Slot<'_> {
        Slot::Structure(place)
    }
}

impl<T: Request + Default> Member for Vec<T> {
    fn slot(place: &mut Option<Self>) -> Slot<'_> {
        Slot::List(place)
    }
}

/// Defines a request: every member is optional here, as the [module](super) says. Its name in JSON is the member's in
/// Pascal case, or what stands after `as`.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident $(as $wire:literal)?: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name { $($(#[$member_doc])* pub(crate) $member: Option<$ty>,)* }

        impl $crate::types::Request for $name {
            fn names(&self) -> &'static [&'static str] {
                &[$($crate::types::wire_name!($member $(as $wire)?),)*]
            }

            fn slot(&mut self, index: usize) -> Option<$crate::types::Slot<'_>> {
                let mut next = 0..;
                $(
                    if next.next() == Some(index) {
                        return Some($crate::types::Member::slot(&mut self.$member));
                    }
                )*
                let _ = (&mut next, index);
                None
            }
        }
    };
}

macro_rules! wire_name {
    ($member:ident) => {
        stringify!($member)
    };
    ($member:ident as $wire:literal) => {
        $wire
    };
}

pub(crate) use {request, wire_name};

/// Reads a request: a JSON object and nothing else. Unknown members are ignored, as AWS ignores them.
///
/// # Errors
///
/// What is not JSON, a value of another type than the member's, and a member that is there twice.
pub(crate) fn read(json: &[u8], request: &mut dyn Request) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Structure(request).deserialize(&mut reader)?;
    reader.end()
}

/// Reads a request as a part of something else.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn read_from<'de, D: Deserializer<'de>>(
    deserializer: D,
    request: &mut dyn Request,
) -> Result<(), D::Error> {
    Structure(request).deserialize(deserializer)
}

/// Whether `wire` is `name` in Pascal case.
fn is_name(wire: &str, name: &str) -> bool {
    let pascal = name.split('_').flat_map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.bytes().map(|byte| byte.to_ascii_uppercase()).chain(rest.bytes())
    });
    pascal.eq(wire.bytes())
}

/// An object, read into a request.
struct Structure<'a>(&'a mut dyn Request);

impl<'de> DeserializeSeed<'de> for Structure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Structure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let names = self.0.names();
        while let Some(Name(index)) = map.next_key_seed(NameOf(names))? {
            match index.and_then(|index| self.0.slot(index)) {
                Some(slot) => map.next_value_seed(Value(slot))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Which of these names it is.
struct NameOf(&'static [&'static str]);

struct Name(Option<usize>);

impl<'de> DeserializeSeed<'de> for NameOf {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameOf {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, wire: &str) -> Result<Name, E> {
        Ok(Name(self.0.iter().position(|name| is_name(wire, name))))
    }
}

/// A value, read into its place.
struct Value<'a>(Slot<'a>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0 {
            Slot::Text(place) => fill(place, deserializer),
            Slot::Flag(place) => fill(place, deserializer),
            Slot::Number(place) => fill(place, deserializer),
            Slot::Time(place) => fill(place, deserializer),
            Slot::Blob(place) => fill(place, deserializer),
            Slot::Secret(place) => fill(place, deserializer),
            Slot::Texts(place) => fill(place, deserializer),
            Slot::Context(place) => fill(place, deserializer),
            Slot::Structure(place) => {
                once(place.is_filled())?;
                deserializer.deserialize_option(Structures { place, list: false })
            }
            Slot::List(place) => {
                once(place.is_filled())?;
                deserializer.deserialize_option(Structures { place, list: true })
            }
        }
    }
}

fn once<E: Error>(filled: bool) -> Result<(), E> {
    if filled { Err(E::custom("a member is there twice")) } else { Ok(()) }
}

fn fill<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    place: &mut Option<T>,
    deserializer: D,
) -> Result<(), D::Error> {
    once(place.is_some())?;
    *place = Option::deserialize(deserializer)?;
    Ok(())
}

/// A structure or a list of them, or `null` for nothing.
struct Structures<'a> {
    place: &'a mut dyn Place,
    list: bool,
}

impl<'de> Visitor<'de> for Structures<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.list { "a list of JSON objects" } else { "a JSON object" })
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.place.make();
        if self.list {
            deserializer.deserialize_seq(self)
        } else {
            Structure(self.place.next()).deserialize(deserializer)
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Entry(&mut *self.place))?.is_some() {}
        Ok(())
    }
}

/// One more entry of a list.
struct Entry<'a>(&'a mut dyn Place);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Structure(self.0.next()).deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    request! {
        /// An entry.
        Entry { crl_sign as "CRLSign": bool, }
    }
    request! {
        /// A request.
        Sample {
            key_id: String,
            limit: i64,
            s3_bucket_name: String,
            grant_tokens: Vec<String>,
            one: Entry,
            entries: Vec<Entry>,
        }
    }

    fn sample(json: &str) -> Result<Sample, String> {
        let mut sample = Sample::default();
        read(json.as_bytes(), &mut sample).map(|()| sample).map_err(|error| error.to_string())
    }

    #[test]
    fn members_go_to_their_places_and_others_are_ignored() {
        let sample = sample(
            r#" {"KeyId": "k", "Other": [{"KeyId": 1}], "Limit": 5, "S3BucketName": "b", "GrantTokens": ["a", "b"],
                 "One": {"CRLSign": true}, "Entries": [{}, {"CRLSign": false, "More": {}}], "key_id": 7, "KEYID": 8} "#,
        )
        .expect("a request");
        assert_eq!(sample.key_id.as_deref(), Some("k"));
        assert_eq!(sample.limit, Some(5));
        assert_eq!(sample.s3_bucket_name.as_deref(), Some("b"));
        assert_eq!(sample.grant_tokens.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert_eq!(sample.one.expect("one").crl_sign, Some(true));
        let signs: Vec<_> = sample.entries.expect("entries").iter().map(|entry| entry.crl_sign).collect();
        assert_eq!(signs, [None, Some(false)]);
    }

    #[test]
    fn null_is_nothing_and_an_empty_list_is_something() {
        let sample =
            sample(r#"{"KeyId": null, "One": null, "Entries": [], "GrantTokens": null}"#).expect("a request");
        assert!(sample.key_id.is_none() && sample.one.is_none() && sample.grant_tokens.is_none());
        assert!(sample.entries.is_some_and(|entries| entries.is_empty()));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for wrong in [
            r#"["k", 1]"#,
            r#""k""#,
            "null",
            "1",
            "",
            r#"{"KeyId": "k"} x"#,
            r#"{"KeyId": "k""#,
            r#"{"KeyId": 1}"#,
            r#"{"Limit": 1.5}"#,
            r#"{"Limit": "1"}"#,
            r#"{"Limit": 1, "Limit": 1}"#,
            r#"{"One": {}, "One": {}}"#,
            r#"{"Entries": [], "Entries": []}"#,
            r#"{"One": []}"#,
            r#"{"Entries": {}}"#,
            r#"{"Entries": [null]}"#,
            r#"{"Entries": [[true]]}"#,
            r#"{"One": {"CRLSign": 1}}"#,
            r#"{"GrantTokens": [1]}"#,
        ] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_ignored_may_be_deep() {
        let deep = format!("{{\"Other\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(sample(&deep).is_ok());
    }
}
