//! CBOR (RFC 8949) for all of a guest: one reader and one writer, for each type of a reader's input or a message would be
//! thousands of bytes more in its image.

pub use ciborium::Value;

/// Why bytes are no value.
#[derive(Debug)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// The value that these bytes are, all of them. It lies no deeper than 256 values in each other, and takes up to 64 times
/// the memory of the bytes.
#[inline(never)]
pub fn read(mut bytes: &[u8]) -> Result<Value, Malformed> {
    let value = ciborium::from_reader(&mut bytes).map_err(|error| Malformed(error.to_string()))?;
    if bytes.is_empty() { Ok(value) } else { Err(Malformed(format!("{} bytes follow it", bytes.len()))) }
}

/// The bytes of a value.
#[inline(never)]
pub fn write(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ciborium::into_writer(value, &mut bytes) {
        Ok(()) => bytes,
        // Writing to memory cannot fail. Should it ever, the reader gets an empty message, which is malformed to it.
        Err(_) => Vec::new(),
    }
}
