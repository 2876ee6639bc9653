//! What can go wrong with a request: the reason as the server gives it, and the cure.

use super::service::Service;
use crate::error::{Error, Kind};
use opendal::ErrorKind;

/// What was asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put,
    PutPart(u32),
    Complete,
    Abort,
    Get,
    Look,
    List,
    Delete,
}

impl Op {
    fn text(self) -> String {
        match self {
            Op::Put => "cannot store".into(),
            Op::PutPart(n) => format!("cannot store part {n} of"),
            Op::Complete => "cannot complete the upload of".into(),
            Op::Abort => "cannot abort the upload of".into(),
            Op::Get => "cannot read".into(),
            Op::Look => "cannot look up".into(),
            Op::List => "cannot list".into(),
            Op::Delete => "cannot delete".into(),
        }
    }
}

/// The error for a failed request. opendal's own text names the whole address, which may hold a signature: only what the server said is
/// passed on.
pub(super) fn explain(op: Op, uri: &str, e: &opendal::Error, service: &Service) -> Error {
    let (status, said) = (status(e), said(e));
    let no_container = said.contains("bucket") || said.contains("ContainerNotFound") || said.contains("container");
    if e.kind() == ErrorKind::NotFound && matches!(op, Op::Get | Op::Look) && !no_container {
        return Error::new(Kind::NotFound, format!("{uri} does not exist"));
    }
    if matches!(e.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists) {
        return Error::new(Kind::Exists, format!("{uri} exists already"));
    }
    let http = status.map_or(String::new(), |status| format!(" (HTTP {status})"));
    let error = Error::new(Kind::Store, format!("{} {uri}: {said}{http}", op.text()));
    match (e.kind(), status) {
        (_, Some(401)) => error.hint(service.credentials),
        (ErrorKind::PermissionDenied, _) => error.hint(service.denied),
        (ErrorKind::NotFound, _) => error.hint(service.missing),
        (_, Some(507)) => error.hint("free some space there, or name another destination"),
        (_, Some(429)) | (ErrorKind::RateLimited, _) => {
            error.hint("the store asks for fewer requests: use fewer --jobs")
        }
        _ if said.contains("credential") => error.hint(service.credentials),
        (ErrorKind::ConfigInvalid, _) => error.hint(service.credentials),
        _ => error.hint(service.unreachable),
    }
}

/// HTTP status of an answer. opendal keeps it in the text of its errors alone.
fn status(e: &opendal::Error) -> Option<u16> {
    let text = format!("{e}");
    let (_, rest) = text.split_once("status: ")?;
    rest.get(..3)?.parse().ok()
}

/// What was said, in one line: the server's code and message, else the chain of causes.
fn said(e: &opendal::Error) -> String {
    let text = e.message();
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        Some(rest.split_once(to)?.0.trim().to_owned()).filter(|s| !s.is_empty())
    };
    let code = between("<Code>", "</Code>").or_else(|| between("code: \"", "\""));
    let message = between("<Message>", "</Message>")
        .or_else(|| between("message: \"", "\""))
        .or_else(|| between("\"message\": \"", "\""))
        .or_else(|| between("\"message\":\"", "\""))
        .or_else(|| between("error_summary: \"", "\""))
        .or_else(|| between("\"error_summary\": \"", "\""));
    let mut said = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if text.trim_start().starts_with('<') => "the server refused".to_owned(),
        (None, None) => text.to_owned(),
    };
    let mut cause = std::error::Error::source(e);
    while let Some(c) = cause {
        let text = c.to_string();
        if !said.contains(&text) {
            said = if said.is_empty() { text } else { format!("{said}: {text}") };
        }
        cause = c.source();
    }
    let line = said.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(300) {
        _ if line.is_empty() => "the server refused".to_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::service::Way;
    use super::*;
    use crate::store::Promises;

    static SERVICE: Service = Service {
        scheme: "azblob://",
        way: Way::Parts,
        parts_if_new: false,
        promises: Promises::ALL,
        credentials: "set it",
        denied: "allow it",
        missing: "make it",
        unreachable: "reach it",
    };

    #[test]
    fn what_the_server_said_is_passed_on_and_no_address() {
        let said = |message: &str| said(&opendal::Error::new(ErrorKind::Unexpected, message));
        assert_eq!(said("<Error><Code>Auth</Code><Message>wrong\nString to sign</Message></Error>"), "Auth: wrong");
        assert_eq!(said("GcsError { code: 403, message: \"no right\", errors: [] }"), "no right");
        assert_eq!(said("<!DOCTYPE html><p>no</p>"), "the server refused");
        assert_eq!(said(""), "the server refused");
        let e = opendal::Error::new(ErrorKind::PermissionDenied, "no")
            .with_context("uri", "https://host/b?sig=hunter2")
            .with_context("response", "Parts { status: 403, version: HTTP/1.1 }");
        let told = explain(Op::Put, "azblob://c/k", &e, &SERVICE);
        assert_eq!(told.one_line(), "cannot store azblob://c/k: no (HTTP 403)");
        assert!(!format!("{told:?}").contains("hunter2"));
    }
}
