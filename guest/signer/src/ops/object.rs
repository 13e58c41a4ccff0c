//! Structures from JSON objects, and from nothing else.
//!
//! `serde_json::from_slice` takes an array for a structure as well, member by member. No request is one, and the code for
//! it, once for each type of request, would be sixty kilobytes of the image.

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::de::SliceRead;

/// The structure in these bytes, all of them.
pub(super) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = T::deserialize(Object(&mut reader))?;
    reader.end()?;
    Ok(value)
}

/// Whatever is asked for is read as an object.
struct Object<'r, 'de>(&'r mut serde_json::Deserializer<SliceRead<'de>>);

impl<'de> Deserializer<'de> for Object<'_, 'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::from_slice;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Request {
        name: String,
        count: Option<u8>,
    }

    #[test]
    fn only_an_object_is_a_structure() {
        let expected = Request { name: "a".to_owned(), count: None };
        assert_eq!(from_slice::<Request>(br#" {"name": "a", "other": [1]} "#).ok(), Some(expected));
        for wrong in
            [&br#"["a", 1]"#[..], br#""a""#, b"null", b"1", b"", br#"{"name": "a"} x"#, br#"{"name": "a""#]
        {
            assert!(from_slice::<Request>(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}
