//! The URI syntax.

use super::wrong::{ENCODE, URL, usage};
use crate::error::Result;

/// Driver suffixes of SQLAlchemy and friends: `postgresql+asyncpg://`.
#[rustfmt::skip]
pub(super) const DRIVERS: &[&str] = &[
    "aiopg", "asyncpg", "pg", "pg8000", "psycopg", "psycopg2", "psycopg2cffi", "psycopg_async", "psycopgcffi",
    "pygresql", "pypostgresql", "sqlx", "tokio", "ssl",
];

pub(super) fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c))
}

pub(super) fn check_scheme(scheme: &str, notices: &mut Vec<String>) -> Result<()> {
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("prisma") {
        return Err(usage("a prisma+postgres:// URL leads to Prisma's proxy, not to a PostgreSQL server")
            .hint("use the direct postgresql:// URL of the database (Prisma's directUrl)"));
    }
    let (base, driver) = scheme.split_once('+').unwrap_or((&scheme, ""));
    if !["postgres", "postgresql", "postgis"].contains(&base) || !(driver.is_empty() || DRIVERS.contains(&driver)) {
        return Err(usage("the database URL does not begin with postgresql://").hint(format!("use {URL}")));
    }
    if scheme != "postgres" && scheme != "postgresql" {
        notices.push(format!("the URL's scheme {scheme}:// is read as postgresql://"));
    }
    Ok(())
}

pub(super) fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
            let byte =
                hex.filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|h| u8::from_str_radix(h, 16).ok());
            match byte {
                Some(0) | None => {
                    return Err(usage("the database URL holds a % that does not begin a percent-encoded character")
                        .hint(ENCODE));
                }
                Some(b) => out.push(b),
            }
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).map_err(|_| usage("the database URL is not valid UTF-8 once it is percent-decoded"))
}

/// What stands behind `scheme://`. As in libpq the first `@` before a `/` ends the user's part.
pub(super) fn parse(rest: &str) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    let mut push = |name: &str, value: String| out.push((name.to_owned(), value));
    let (userinfo, rest) = match rest.find(['@', '/']) {
        Some(at) if rest.as_bytes()[at] == b'@' => (Some(&rest[..at]), &rest[at + 1..]),
        _ => (None, rest),
    };
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        push("user", decode(user)?);
        push("password", decode(password)?);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (hosts, tail) = rest.split_at(end);
    if hosts.contains('@') {
        return Err(usage("the database URL holds more than one @ before the database name").hint(ENCODE));
    }
    if hosts.contains(',') {
        push("host", ",".into());
        return Ok(out);
    }
    let port = if let Some(bracketed) = hosts.strip_prefix('[') {
        let (address, behind) = bracketed.split_once(']').ok_or_else(|| {
            usage("the IPv6 address in the database URL has no closing ]")
                .hint("write postgresql://user@[::1]:5432/database")
        })?;
        // libpq keeps the brackets out of host, as do we.
        if address.split('%').next().is_none_or(|a| a.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(usage("the brackets in the database URL hold no IPv6 address")
                .hint("write postgresql://user@[::1]:5432/database"));
        }
        push("host", address.to_owned());
        match behind.strip_prefix(':') {
            Some(port) => port,
            None if behind.is_empty() => "",
            None => return Err(usage("the database URL has something other than a port behind the IPv6 address")),
        }
    } else {
        let (host, port) = hosts.split_once(':').unwrap_or((hosts, ""));
        push("host", decode(host)?);
        port
    };
    push("port", decode(port)?);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let path = path.strip_prefix('/').unwrap_or(path);
    // Most likely the host stands behind it, and what was read as one is a piece of the password.
    if path.contains('@') {
        return Err(usage("the database URL holds an @ behind the host").hint(ENCODE));
    }
    push("dbname", decode(path.trim_end_matches('/'))?);
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(usage("a parameter of the database URL has no value")
                .hint("write ?name=value&name=value, and & in a value as %26"));
        };
        push(&decode(name)?, decode(value)?);
    }
    Ok(out)
}
