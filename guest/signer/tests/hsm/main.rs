//! The PKCS#11 token through its door, as the module speaks to it: users, attributes, mechanisms, wrapping, garbage.

#[path = "../common/client.rs"]
mod client;
#[path = "../common/image.rs"]
mod image;
#[path = "../common/scratch.rs"]
mod scratch;
#[path = "../common/sealed.rs"]
mod sealed;
mod token;
#[path = "../common/volume.rs"]
mod volume;

mod attributes;
mod backup;
mod garbage;
mod mechanisms;
mod quorum;
mod restart;
mod users;
mod wrapping;
