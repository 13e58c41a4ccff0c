//! The PKCS#11 token through its door, as the module speaks to it: users, attributes, mechanisms, wrapping, garbage.

#[path = "../common/client.rs"]
mod client;
#[path = "../common/scratch.rs"]
mod scratch;
mod token;
#[path = "../common/volume.rs"]
mod volume;

mod mechanisms;
mod restart;
mod users;
