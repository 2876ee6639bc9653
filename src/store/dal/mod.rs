//! Stores that opendal speaks to. A service is a file: its address, its credentials, and what it promises.

mod address;
pub(super) mod azblob;
pub(super) mod dropbox;
mod failure;
pub(super) mod gcs;
pub(super) mod gdrive;
mod inner;
mod keeper;
mod ordered;
mod remote;
mod service;
mod streamed;
mod tokens;
mod transport;
pub(super) mod vercel;
pub(super) mod webdav;
mod whole;

pub(super) use address::Host;
