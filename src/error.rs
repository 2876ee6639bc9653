//! One error type for the whole library: what failed, on which object, why, and the cure.

use std::fmt;

/// The result of every fallible function of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What came of a task; `what` it was doing. One that panicked or was broken off did not come to its end.
pub(crate) fn joined<T>(what: &str, ended: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    ended.map_err(|ended| match ended.try_into_panic() {
        Ok(panic) => Error::panicked(&*panic).context(what),
        Err(ended) => Error::new(Kind::Interrupted, format!("{what}: it was broken off")).because(ended),
    })?
}

/// Where an error belongs; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line, an input or an environment variable is wrong (exit code 2).
    Usage,
    /// A preflight question was answered with no; nothing was written (exit code 1).
    Refused,
    /// The source database or the connection to it.
    Database,
    /// Somebody else's lock stands in the way; another attempt may succeed.
    Locked,
    /// The server's table of locks is full.
    LocksFull,
    /// A PostgreSQL program (pg_dump, pg_restore, initdb, postgres).
    Tool,
    /// The place that backups are stored in.
    Store,
    /// An object that was to be created exists already.
    Exists,
    /// An object that should be there is not.
    NotFound,
    /// A stored archive or manifest that is not what it should be.
    Archive,
    /// The backup is stored, but its proof failed (exit code 3).
    Proof,
    /// The throwaway server.
    Throwaway,
    /// A notification; never fails a backup.
    Notify,
    /// The run was interrupted by a signal.
    Interrupted,
    /// The local file system.
    Io,
    /// A fault of savepoint itself: code that panicked.
    Bug,
}

/// What failed, on which object and why, with an optional cure.
#[derive(thiserror::Error)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error. `message` is lower-case, names the object and the reason, and has no full stop.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Of code that panicked: what it said.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let message = format!("a fault of savepoint itself: {}", said.unwrap_or("a panic without a word"));
        Self::new(Kind::Bug, message).hint("please report it, with the lines above; another run may pass")
    }

    /// Adds the cure: the exact flag, command or SQL.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause; its text is shown behind the message.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts what was being done in front of the message.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Where the error belongs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The cure, if one is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message and all its causes in one line.
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(c) = cause {
            let text = c.to_string();
            // A library's error often repeats its own cause.
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = c.source();
        }
        line.replace(['\n', '\r'], " ")
    }

    /// The process exit code for a run that ends with this error (see the README's table).
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Proof => 3,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.one_line())?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// Turns a standard I/O failure into an [`Error`] that names the object.
pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.to_string();
    move |e| Error::new(Kind::Io, what).because(e)
}
