//! A place for backups that is named and checked, but not yet opened; and what a backend must say of itself to be chosen.

use super::{Promises, Store};
use crate::{
    clock::STALL,
    error::{Error, Result},
    value::usage,
};
use async_trait::async_trait;
use std::{
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A place for backups, of whatever backend.
#[derive(Clone, Debug)]
pub struct Destination(Arc<dyn Place>);

impl Destination {
    /// The destination that a backend's place is.
    pub fn of(place: impl Place + 'static) -> Self {
        Self(Arc::new(place))
    }
}

impl Deref for Destination {
    type Target = dyn Place;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// An address and its options after they were checked.
#[async_trait]
pub trait Place: Send + Sync + fmt::Debug {
    /// The address for people, without secrets: a path, or `s3://bucket/prefix`.
    fn label(&self) -> String;

    /// Options besides `--destination` that a printed command must name to reach the same place, without their dashes.
    fn options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The places that this is, where it is several.
    fn places(&self) -> &[Destination] {
        &[]
    }

    /// Whether it is there to be read, as far as that is known without asking a server.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`] where [`Place::open`] would have to make it first.
    fn there(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes that can still be stored; `None` where there is no such limit. Asked after [`Place::open`].
    fn free_space(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What the store promises.
    fn promises(&self) -> Promises {
        Promises::ALL
    }

    /// Opens it. What is missing is made; of a server nothing is asked yet.
    async fn open(&self) -> Result<Arc<dyn Store>>;
}

/// Opens the place that a destination names. A local folder is created when it is missing; of S3 nothing is asked yet.
pub async fn open(destination: &Destination) -> Result<Arc<dyn Store>> {
    destination.open().await
}

/// A backend as the list of backends knows it.
pub(super) struct Backend {
    /// What such a place is, in a sentence: `a folder`.
    pub(super) noun: &'static str,
    /// Whether an address is one of its own.
    pub(super) takes: fn(&str) -> bool,
    /// Options that only this backend heeds. Of these it is said that they have no effect where another one is chosen.
    pub(super) options: &'static [&'static str],
    /// Checks an address of its own, with the options.
    pub(super) check: fn(&Given<'_>) -> Result<Destination>,
}

/// What a destination is made of, as it was given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The address, without blanks around it.
    pub address: &'a str,
    /// Options beside it by name, such as `s3-region`: those that were given.
    pub options: &'a [(&'static str, &'a str)],
    /// Where relative paths begin.
    pub base: &'a Path,
    /// Whether what is stored is read back at once, to be proven.
    pub read_back: bool,
    /// Whether nothing may be asked but to store: no list, no read, no delete.
    pub put_only: bool,
    /// How long a transfer may stand still.
    pub stall: Duration,
    /// Where credentials are looked up.
    pub env: Env<'a>,
}

/// The environment, for whoever has credentials there.
#[derive(Clone, Copy)]
pub struct Env<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl Env<'_> {
    /// A variable that has a value.
    pub(super) fn get(self, name: &str) -> Option<String> {
        self.0(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }
}

impl<'a> Given<'a> {
    /// An address with every option at its default.
    pub fn plain(address: &'a str, env: Env<'a>) -> Self {
        Given {
            address: address.trim(),
            options: &[],
            base: Path::new(""),
            read_back: true,
            put_only: false,
            stall: STALL,
            env,
        }
    }

    /// An option's value.
    pub(super) fn option(&self, name: &str) -> Option<&'a str> {
        self.options.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// A path of the address; a relative one begins at [`Given::base`].
    pub(super) fn below_base(&self, path: &str) -> PathBuf {
        self.base.join(path).components().collect()
    }

    /// The error for an address that cannot be.
    pub(super) fn refuse(&self, what: &str) -> Error {
        usage(format!("option destination: {what}"))
    }
}
