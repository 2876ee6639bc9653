//! Faults of the database and of the way to it.

use super::{Case, Left, Row, row};
use crate::support::{
    Result,
    proxy::{Action, BlackHole, Proxy, Rule},
    run::Ended,
};
use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};

/// A run with this URL.
async fn at(case: &Case, url: &str) -> Result<Ended> {
    case.backup(url, &case.s3.endpoint)?.run().await
}

/// A run behind these statements, whose `{db}` is the database and `{role}` a role of its own that may read all.
async fn with_role(case: &Case, sql: &str) -> Result<Ended> {
    let role = format!("role_{}", case.db);
    let make = format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role};");
    case.server.psql("postgres", &make).await?;
    let sql = sql.replace("{role}", &role).replace("{db}", &case.db);
    case.server.psql(&case.db, &sql).await?;
    let ended = at(case, &case.server.url_at(case.server.port, &role, &case.db)).await;
    case.server.psql(&case.db, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await?;
    ended
}

async fn through(case: &Case, rules: Vec<Rule>) -> Result<Ended> {
    let proxy = Proxy::start(case.server.port, rules).await?;
    let ended = at(case, &case.server.url_at(proxy.port, "postgres", &case.db)).await?;
    anyhow::ensure!(proxy.fired() > 0, "the fault was never met\n{}", ended.output());
    Ok(ended)
}

async fn swallowed(case: &Case, up: u64, down: u64) -> Result<Ended> {
    let hole = BlackHole::start(case.server.port, up, down).await?;
    let url = format!("{}?connect_timeout=4", case.server.url_at(hole.port, "postgres", &case.db));
    let ended = case.impatient(&url, &case.s3.endpoint)?.run().await?;
    anyhow::ensure!(hole.swallows(), "the fault was never met\n{}", ended.output());
    Ok(ended)
}

/// Falls silent behind each of so many thousand bytes: in the midst of each answer to what a run asks first, and behind it. Gives the run
/// that ends otherwise than the rest, if there is one.
async fn swallowed_behind_each(case: &Case, thousands: &'static [u64]) -> Result<Ended> {
    let runs: Vec<Ended> = stream::iter(thousands.to_vec())
        .map(|n| swallowed(case, u64::MAX, n * 1000))
        // They wait more than they compute.
        .buffer_unordered(thousands.len())
        .try_collect()
        .await?;
    let odd = runs.iter().position(|ended| ended.code != Some(1)).unwrap_or_default();
    runs.into_iter().nth(odd).context("no run")
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn rows() -> Vec<Row> {
    let nothing = (1, Left::Nothing);
    let fine = (0, Left::Proven);
    let mut rows = vec![
        row("nobody listens", "preflight", nothing, "Connection refused", "", |case| {
            Box::pin(async move { at(case, &case.server.url_at(1, "postgres", &case.db)).await })
        }),
        row("the host is not known", "preflight", nothing, "does not resolve", "", |case| {
            Box::pin(async move { at(case, "postgresql://postgres@no-such-host.invalid/app").await })
        }),
        row("wrong password", "preflight", nothing, "password authentication failed", "", |case| {
            Box::pin(async move {
                let url = case.server.url(&case.db).replace("postgres@", "marked:wrong@");
                at(case, &url).await
            })
        }),
        row("no such role", "preflight", nothing, "role \"nobody_here\" does not exist", "", |case| {
            Box::pin(async move { at(case, &case.server.url_at(case.server.port, "nobody_here", &case.db)).await })
        }),
        row("no such database", "preflight", nothing, "database \"no_such_db\" does not exist", "", |case| {
            Box::pin(async move { at(case, &case.server.url("no_such_db")).await })
        }),
        row(
            "TLS is wanted and not offered",
            "preflight",
            nothing,
            "the server does not offer TLS",
            "sslmode",
            |case| Box::pin(async move { at(case, &format!("{}?sslmode=require", case.server.url(&case.db))).await }),
        ),
        row("the URL is in quotes", "options", (2, Left::Nothing), "quotes", "", |case| {
            Box::pin(async move { at(case, &format!("'{}'", case.server.url(&case.db))).await })
        }),
        row("no right to read a table", "preflight", nothing, "may not read", "pg_read_all_data", |case| {
            Box::pin(async move { with_role(case, "REVOKE pg_read_all_data FROM {role}").await })
        }),
        row(
            "row-level security hides rows",
            "preflight",
            nothing,
            "row-level security would hide rows of",
            "BYPASSRLS",
            |case| {
                Box::pin(async move {
                    with_role(case, "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id < 10)")
                        .await
                })
            },
        ),
        row("the role may not log in", "preflight", nothing, "is not permitted to log in", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} NOLOGIN").await })
        }),
        row("the role may hold no connection", "preflight", nothing, "too many connections", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} CONNECTION LIMIT 0").await })
        }),
        row("the role may hold one connection", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} CONNECTION LIMIT 1").await })
        }),
        row("the role may hold three connections", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} CONNECTION LIMIT 3").await })
        }),
        row("statement_timeout of 10 ms", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} SET statement_timeout = '10ms'").await })
        }),
        row("lock_timeout of 1 ms", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} SET lock_timeout = '1ms'").await })
        }),
        row("idle_in_transaction_session_timeout of 10 ms", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move {
                with_role(case, "ALTER ROLE {role} SET idle_in_transaction_session_timeout = '10ms'").await
            })
        }),
        row("idle_session_timeout of half a second", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} SET idle_session_timeout = '500ms'").await })
        }),
        row("transaction_timeout of 100 ms", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move { with_role(case, "ALTER ROLE {role} SET transaction_timeout = '100ms'").await })
        }),
        row("settings of the role that change what is printed", "everything", fine, "passed, all equal", "", |case| {
            Box::pin(async move {
                with_role(
                    case,
                    "ALTER ROLE {role} SET DateStyle = 'German'; ALTER ROLE {role} SET bytea_output = 'escape'; \
                     ALTER ROLE {role} SET search_path = 'nowhere'; ALTER ROLE {role} SET TimeZone = 'Asia/Kathmandu'",
                )
                .await
            })
        }),
        row("black hole before the login", "preflight", nothing, "no answer within", "", |case| {
            Box::pin(swallowed(case, 0, u64::MAX))
        }),
        row("black hole behind 1, 2, … 8, 12, 16 kB", "any", nothing, "error in ", "", |case| {
            Box::pin(swallowed_behind_each(case, &[1, 2, 3, 4, 5, 6, 7, 8, 12, 16]))
        }),
        row("black hole behind 20 kB", "any", nothing, "error in ", "", |case| {
            Box::pin(swallowed(case, u64::MAX, 20_000))
        }),
        row("black hole behind 60 kB", "any", nothing, "error in ", "", |case| {
            Box::pin(swallowed(case, u64::MAX, 60_000))
        }),
    ];
    for (connection, after, fault) in [
        (None, 1, "the first byte cuts the connection"),
        (None, 2000, "a connection is cut in the catalog's answers"),
        (None, 20_000, "a connection is cut in its middle"),
        (Some(1), 1, "the second connection is cut at its beginning"),
        (Some(1), 600, "the second connection is cut later"),
        (Some(3), 1, "the fourth connection is cut at its beginning"),
        (Some(3), 600, "the fourth connection is cut later"),
    ] {
        rows.push(row(fault, "any", nothing, "error in ", "", move |case| {
            Box::pin(through(case, vec![Rule { connection, after, action: Action::Cut }]))
        }));
    }
    rows
}
