//! How much the token takes on. What is counted in bytes is counted before base64.

use std::time::Duration;

/// Most bytes of data in one request: a message, a plaintext, a ciphertext, a wrapped key.
pub const DATA_MAX: usize = 256 * 1024;
/// Most bytes of one attribute's value; certificates and data objects are the large ones.
pub const VALUE_MAX: usize = 64 * 1024;
/// Most attributes in a template.
pub const TEMPLATE_MAX: usize = 64;
/// Most random bytes in one answer.
pub const RANDOM_MAX: u64 = 64 * 1024;
/// Most handles in one answer of FindObjects; the rest follows with the marker.
pub const FIND_MAX: u64 = 1000;
/// Most objects and most attribute types that GetAttributes takes at once.
pub const GET_MAX: usize = 64;
/// Most objects on the token, and most session objects of all applications together.
pub const OBJECTS_MAX: usize = 10_000;
/// Most session objects of one application.
pub const SESSION_OBJECTS_MAX: usize = 1_000;
/// Most applications with a session.
pub const SESSIONS_MAX: usize = 1_024;
/// Most of them that nobody has logged in to; the one idle for the longest gives way to a new one.
pub const STRANGERS_MAX: usize = 256;
/// An application's session ends when nothing was asked in it for this long.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// Most users.
pub const USERS_MAX: usize = 1_024;
/// Longest name of a user, in characters: letters, digits, `.`, `_`, `-`, `@`.
pub const USER_MAX: usize = 64;
/// Length of a password in bytes, at least.
pub const PASSWORD_MIN: usize = 8;
/// Length of a password in bytes, at most.
pub const PASSWORD_MAX: usize = 32;
/// Wrong passwords in a row until a user is locked out.
pub const FAILURES_MAX: u32 = 5;
/// A user who is locked out may try again after this.
pub const LOCKED: Duration = Duration::from_secs(15 * 60);
/// Bytes of a token's label.
pub const LABEL_LEN: usize = 32;
/// Most approvals that a quorum can ask for.
pub const QUORUM_MAX: usize = 8;
/// How long a quorum token is good.
pub const QUORUM_TOKEN_LIFE: Duration = Duration::from_secs(10 * 60);
/// A hash-and-sign mechanism takes messages up to this long; a longer one is hashed where it is.
pub const MESSAGE_MAX: usize = DATA_MAX;
