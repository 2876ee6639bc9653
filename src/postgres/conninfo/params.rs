//! The parameters of a string: which count, which are an application's own, which are refused.

use super::wrong::usage;
use crate::error::Result;
use std::collections::BTreeMap;

/// Parameters of libpq that this program reads.
#[rustfmt::skip]
const USED: &[&str] = &[
    "host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey",
    "channel_binding", "options", "connect_timeout", "passfile", "service",
];

/// Parameters of libpq that make no difference here.
#[rustfmt::skip]
const IGNORED: &[&str] = &[
    "application_name", "fallback_application_name", "client_encoding", "keepalives", "keepalives_idle",
    "keepalives_interval", "keepalives_count", "tcp_user_timeout", "target_session_attrs", "load_balance_hosts",
    "gssencmode", "gsslib", "gssdelegation", "krbsrvname", "sslcompression", "sslsni", "sslcertmode", "sslpassword",
    "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version",
    "max_protocol_version", "sslkeylogfile", "servicefile", "require_auth", "requirepeer",
];

/// Parameters of ORMs, pools and drivers of other languages; they say how the application uses its connections.
#[rustfmt::skip]
const ORM: &[&str] = &[
    // Prisma
    "schema", "connection_limit", "pool_timeout", "socket_timeout", "statement_cache_size", "single_use_connections",
    // Rails
    "adapter", "pool", "checkout_timeout", "reaping_frequency", "idle_timeout", "prepared_statements",
    "statement_limit", "encoding", "min_messages", "variables", "timeout", "schema_search_path", "advisory_locks",
    "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    // Django, SQLAlchemy, asyncpg, psycopg
    "conn_max_age", "conn_health_checks", "disable_server_side_cursors", "atomic_requests", "pool_size", "max_overflow",
    "pool_recycle", "pool_pre_ping", "prepared_statement_cache_size", "prepared_statement_name_func", "command_timeout",
    "server_settings", "prepare_threshold", "async_fallback", "charset",
    // node-pg, pg-pool, postgres.js, TypeORM, Sequelize, Drizzle
    "uselibpqcompat", "max", "min", "idletimeoutmillis", "connectiontimeoutmillis", "query_timeout", "keepalive",
    "idle_timeout_millis", "max_lifetime", "maxuses", "prepare", "binary", "workaround",
    // JDBC
    "preparethreshold", "preparedstatementcachequeries", "preparedstatementcachesizemib", "currentschema",
    "sockettimeout", "connecttimeout", "logintimeout", "tcpkeepalive", "rewritebatchedinserts",
    "rewritebatchedstatements", "stringtype", "defaultrowfetchsize", "sslfactory", "applicationname",
    // pgx, sqlx, Npgsql, Ecto
    "pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time",
    "pool_max_conn_lifetime_jitter", "pool_health_check_period", "default_query_exec_mode", "statement_cache_capacity",
    "statement-cache-capacity", "description_cache_capacity", "search_path", "pooling", "minimum_pool_size",
    "maximum_pool_size", "supa", "workers",
];

/// What a URI or keyword string said, before the environment fills the gaps.
pub(super) type Params = BTreeMap<String, String>;

/// Keeps what libpq means, drops what ORMs mean, refuses the rest. Later values win, as in libpq.
pub(super) fn sift(raw: Vec<(String, String)>, uri: bool, notices: &mut Vec<String>) -> Result<(Params, bool)> {
    let mut params = Params::new();
    let mut pooler = false;
    let mut dropped = Vec::new();
    let mut strict = None;
    let mut behind_password = false;
    // What a URI holds in front of an @ may all be a piece of the password.
    let last_at = raw.iter().rposition(|(name, value)| name.contains('@') || value.contains('@'));
    for (i, (name, value)) in raw.into_iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let yes = matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on");
        let no = matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off");
        match lower.as_str() {
            n if USED.contains(&n) => {
                // The second entry of a URI is the password before its @, which ends there for certain.
                behind_password |= n == "password" && !(uri && i == 1);
                params.insert(lower, value);
            }
            "database" => {
                params.insert("dbname".into(), value);
            }
            "username" => {
                params.insert("user".into(), value);
            }
            "pgbouncer" => pooler = pooler || yes,
            "ssl" | "tls" => {
                let mode = match value.as_str() {
                    _ if yes => "require",
                    _ if no => "disable",
                    mode => mode,
                };
                params.entry("sslmode".into()).or_insert_with(|| mode.to_owned());
            }
            "sslaccept" => {
                strict = Some(value == "strict");
                dropped.push(lower);
            }
            "sslidentity" => {
                return Err(usage("sslidentity names a PKCS#12 file, which PostgreSQL's programs cannot read")
                    .hint("convert it with `openssl pkcs12 -nodes` and give sslcert= and sslkey="));
            }
            "sslcrl" | "sslcrldir" => {
                return Err(usage(format!("{lower} is not supported: revocation lists are not checked"))
                    .hint(format!("leave {lower} out")));
            }
            "replication" if no => {}
            n if IGNORED.contains(&n) => {}
            n if ORM.contains(&n) => dropped.push(name),
            _ => {
                // A badly quoted password continues as if it were the next parameter's name: not to be shown then.
                let tame = last_at.is_none_or(|at| at < i)
                    && name.len() <= 40
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
                return Err(if tame && !behind_password {
                    usage(format!("the database URL has an unknown parameter `{name}`"))
                        .hint(format!("leave `{name}` out"))
                } else {
                    usage("the database URL has an unknown parameter behind the password")
                        .hint("quote the password, or percent-encode & in it as %26")
                });
            }
        }
    }
    // Prisma calls the server's CA `sslcert`; libpq's client certificate never comes without its key.
    if let Some(strict) = strict {
        if !params.contains_key("sslkey")
            && let Some(ca) = params.remove("sslcert")
        {
            params.entry("sslrootcert".into()).or_insert(ca);
        }
        if strict && !params.get("sslmode").is_some_and(|m| m.starts_with("verify") || m == "disable") {
            params.insert("sslmode".into(), "verify-full".into());
            params.entry("sslrootcert".into()).or_insert_with(|| "system".into());
        }
    }
    if !dropped.is_empty() {
        dropped.sort();
        dropped.dedup();
        notices.push(format!("left out of the database URL, as only the application needs it: {}", dropped.join(", ")));
    }
    Ok((params, pooler))
}
