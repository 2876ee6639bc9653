//! libpq connection strings: what they say, without ever showing the password.
//!
//! The grammar is that of <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>; where ORMs add
//! parameters of their own, those are dropped with a notice. No error of this module quotes the string: a badly
//! encoded password may stand in any part of it.

mod keywords;
mod params;
mod passfile;
mod resolve;
mod target;
mod uri;
mod wrong;

pub use crate::clock::STALL;
pub(crate) use target::unreachable_hint;
pub use target::{SslMode, Target, quoted};

use crate::error::Result;
use wrong::{URL, usage};

/// Resolves a connection string.
///
/// `text` is a URI (`postgresql://`, `postgres://`, also with a driver's suffix as in `postgresql+asyncpg://`), a
/// keyword string (`host=… dbname=…`), or empty: then everything comes from `env`, which is asked for the `PG*`
/// variables, `HOME`, `USER`, `LOGNAME` and `SSL_CERT_FILE`. Also reads the password file. Returns the target and
/// notices for the user; neither these nor the error hold any part of the string but names of parameters.
pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(Target, Vec<String>)> {
    let env = |name: &str| env(name).filter(|v| !v.is_empty());
    let mut notices = Vec::new();
    let text = text.trim();
    if text.starts_with(['"', '\'', '`']) {
        return Err(usage("the database URL begins with a quote")
            .hint("take away the quotes around it: they belong to a shell or a .env file, not to the value"));
    }
    let mut is_uri = false;
    let raw = if text.is_empty() {
        Vec::new()
    } else if let Some((scheme, rest)) = text.split_once("://").filter(|(s, _)| uri::is_scheme(s)) {
        uri::check_scheme(scheme, &mut notices)?;
        is_uri = true;
        uri::parse(rest)?
    } else if text.starts_with("jdbc:") {
        return Err(usage("the database URL is a JDBC URL").hint(format!("use {URL}")));
    } else {
        keywords::parse(text)?
    };
    let (mut params, pooler_flag) = params::sift(raw, is_uri, &mut notices)?;
    params.retain(|_, v| !v.is_empty());

    resolve::fill(&mut params, !text.is_empty(), &env)?;
    let target = resolve::Resolver { params, env: &env, notices: &mut notices }.target(pooler_flag)?;
    Ok((target, notices))
}

impl Target {
    /// As [`parse`], by the string alone: no environment fills its gaps. For programs that use this library.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`], without a piece of the string.
    pub fn parse(text: &str) -> Result<Target> {
        parse(text, &|_| None).map(|(target, _)| target)
    }
}

#[cfg(test)]
mod tests {
    use super::{passfile::find_password, *};
    use crate::{error::Kind, secret::Secret};

    /// Stands in every string that holds a password; no error, notice or Debug output may hold it.
    const MARK: &str = "Hunter2Mark";

    fn with(text: &str, env: &[(&str, &str)]) -> Result<(Target, Vec<String>)> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let result = parse(text, &|name| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()));
        let shown = format!("{result:?} {:?}", result.as_ref().map(|(t, _)| t.redacted()));
        assert!(!shown.contains(MARK), "{text:?} shows the password: {shown}");
        result
    }

    fn ok(text: &str) -> Target {
        with(text, &[("USER", "osuser")]).unwrap().0
    }

    fn fails(text: &str) -> String {
        let e = with(text, &[("USER", "osuser")]).unwrap_err();
        assert_eq!(e.kind(), Kind::Usage);
        e.message().to_owned()
    }

    fn password(target: &Target) -> &str {
        target.password.as_ref().map_or("", Secret::expose)
    }

    #[test]
    fn uris() {
        let t = ok(&format!("postgresql://ann:{MARK}@db.example.com:6000/shop?sslmode=verify-ca&sslrootcert=/ca.pem"));
        assert_eq!(
            (t.host.as_str(), t.port, t.user.as_str(), t.dbname.as_str()),
            ("db.example.com", 6000, "ann", "shop")
        );
        assert_eq!((password(&t), t.sslmode), (MARK, SslMode::VerifyCa));
        assert_eq!(t.redacted(), "postgresql://ann@db.example.com:6000/shop");
        let encoded = "postgres://a%40b:p%2F%3A%40%25@h/d%20b";
        let t = ok(encoded);
        assert_eq!((t.user.as_str(), password(&t), t.dbname.as_str()), ("a@b", "p/:@%", "d b"));
        assert_eq!(t.redacted(), "postgresql://a%40b@h:5432/d%20b");
        let t = ok("postgresql://u@[2001:db8::1]:6000/d");
        assert_eq!((t.host.as_str(), t.port), ("2001:db8::1", 6000));
        assert_eq!(t.redacted(), "postgresql://u@[2001:db8::1]:6000/d");
        for socket in
            ["postgresql://u@%2Frun%2Fpg/d", "postgresql:///d?host=/run/pg&user=u", "host=/run/pg user=u dbname=d"]
        {
            let t = ok(socket);
            assert_eq!((t.host.as_str(), t.user.as_str(), t.dbname.as_str()), ("/run/pg", "u", "d"), "{socket}");
        }
        // As libpq reads it: a password ends at the first @, and a ? before it is part of it.
        assert_eq!(password(&ok(&format!("postgres://u:{MARK}?x@h/d"))), format!("{MARK}?x"));
        let t = ok("postgresql://h");
        assert_eq!((t.user.as_str(), t.dbname.as_str(), t.sslmode), ("osuser", "osuser", SslMode::Prefer));
        assert_eq!(ok("postgres://u@h/d?ssl=true").sslmode, SslMode::Require);
        assert_eq!(ok("postgres://u@h/d?sslrootcert=system").sslmode, SslMode::VerifyFull);
        assert_eq!(ok("postgres://u@h/d?options=endpoint%3Dep-1").options.as_deref(), Some("endpoint=ep-1"));
        assert_eq!(ok("postgres://u@h/d?connect_timeout=0").connect_timeout, None);
        assert_eq!(ok(" postgres://u@h/d\n").host, "h");
    }

    #[test]
    fn keywords() {
        let t = ok(r"host = h port=6000 user='a b' password='a\'b\\c' dbname=d");
        assert_eq!((t.user.as_str(), password(&t), t.port), ("a b", r"a'b\c", 6000));
        let t = ok(r"host=h dbname=d\ b application_name=x keepalives_idle=3");
        assert_eq!(t.dbname, "d b");
    }

    #[test]
    fn quotes_around_the_string_are_named() {
        for quote in ['"', '\'', '`'] {
            for text in [format!("postgresql://u:{MARK}@h/d"), format!("host=h user=u password={MARK}")] {
                assert!(fails(&format!("{quote}{text}{quote}")).contains("begins with a quote"));
                assert!(fails(&format!(" {quote}{text}")).contains("begins with a quote"));
            }
        }
        // Inside, they are part of the value.
        assert_eq!(password(&ok(&format!("host=h user=u dbname=d password='{MARK}\"'"))), format!("{MARK}\""));
    }

    #[test]
    fn orms() {
        let (t, notices) = with(
            "postgresql+asyncpg://u@h/d?schema=public&pgbouncer=true&connection_limit=1&prepareThreshold=0&sslmode=no-verify",
            &[],
        )
        .unwrap();
        assert!(t.pooler_flag && t.sslmode == SslMode::Require);
        assert_eq!(
            notices,
            [
                "the URL's scheme postgresql+asyncpg:// is read as postgresql://",
                "left out of the database URL, as only the application needs it: connection_limit, prepareThreshold, schema",
                "sslmode=no-verify is read as sslmode=require",
            ]
        );
        let t = ok("postgresql://u@h/d?sslaccept=strict&sslcert=/ca.pem");
        assert_eq!((t.sslmode, t.sslrootcert.as_deref(), t.sslcert), (SslMode::VerifyFull, Some("/ca.pem"), None));
        for driver in ["psycopg", "psycopg2", "pg8000"] {
            assert_eq!(ok(&format!("postgres+{driver}://u@h/d")).host, "h");
        }
    }

    #[test]
    fn refusals() {
        for (text, message) in [
            ("", "no database is named"),
            ("postgresql://", "no database is named"),
            ("postgresql://u:Hunter2Mark@", "no database is named"),
            ("Hunter2Mark", "the database URL is neither a postgresql:// URI nor a keyword=value string"),
            ("mysql://u:Hunter2Mark@h/d", "the database URL does not begin with postgresql://"),
            ("jdbc:postgresql://h/d?password=Hunter2Mark", "the database URL does not begin with postgresql://"),
            (
                "prisma+postgres://h/?api_key=Hunter2Mark",
                "a prisma+postgres:// URL leads to Prisma's proxy, not to a PostgreSQL server",
            ),
            ("postgres://u:x@Hunter2Mark@h/d", "the database URL holds more than one @ before the database name"),
            ("postgres://u:Hunter2Mark/x@h/d", "the database URL holds an @ behind the host"),
            ("postgres://u:123/Hunter2Mark@h/d", "the database URL holds an @ behind the host"),
            (
                "postgres://u:Hunter2Mark%zz@h/d",
                "the database URL holds a % that does not begin a percent-encoded character",
            ),
            (
                "postgres://u:Hunter2Mark%00@h/d",
                "the database URL holds a % that does not begin a percent-encoded character",
            ),
            ("postgres://u:Hunter2Mark%ff@h/d", "the database URL is not valid UTF-8 once it is percent-decoded"),
            ("postgres://u:Hunter2Mark@h1,h2/d", "the database URL names several hosts"),
            ("host=h1,h2 dbname=d", "the database URL names several hosts"),
            ("postgres://u@h:99999/d", "the port in the database URL is not a number from 1 to 65535"),
            ("postgres://u@[::1/d", "the IPv6 address in the database URL has no closing ]"),
            ("postgres://u:Hunter2Mark@h/d?what=1", "the database URL has an unknown parameter `what`"),
            (
                "postgres://h/d?password=a&Hunter2Mark=1",
                "the database URL has an unknown parameter behind the password",
            ),
            (
                "postgres://u:12/x?sslmode=require&Hunter2Mark=a&schema=b@h/d",
                "the database URL has an unknown parameter behind the password",
            ),
            (
                "postgres://u:12/x?sslmode=require&Hunter2Mark=a&@h/d?schema=b",
                "the database URL has an unknown parameter behind the password",
            ),
            ("host=h password=a Hunter2Mark=1", "the database URL has an unknown parameter behind the password"),
            (
                "host=h password=a Hunter2Mark",
                "the database URL is neither a postgresql:// URI nor a keyword=value string",
            ),
            ("host=h password='Hunter2Mark", "a quoted value of the connection string has no closing '"),
            ("postgres://u@h/d?x", "a parameter of the database URL has no value"),
            ("service=prod", "connection service files (service=, PGSERVICE) are not read"),
            ("postgres://u@h/d?sslmode=Hunter2Mark", "the value of sslmode is not known"),
            (
                "postgres://u@h/d?sslmode=require&sslrootcert=system",
                "sslmode=require is too weak for sslrootcert=system",
            ),
            (
                "postgres://u@h/d?sslidentity=x.p12",
                "sslidentity names a PKCS#12 file, which PostgreSQL's programs cannot read",
            ),
            ("postgres://u@h/d?connect_timeout=soon", "connect_timeout is not a whole number of seconds"),
            ("postgres://u@h/d?channel_binding=Hunter2Mark", "the value of channel_binding is not known"),
        ] {
            assert_eq!(fails(text), message, "{text}");
        }
    }

    #[test]
    fn environment_fills_the_gaps() {
        let env = [
            ("PGHOST", "envhost"),
            ("PGHOSTADDR", "10.0.0.1"),
            ("PGPORT", "7000"),
            ("PGUSER", "envuser"),
            ("PGPASSWORD", MARK),
            ("PGDATABASE", "envdb"),
            ("PGSSLMODE", "disable"),
            ("PGCHANNELBINDING", "require"),
        ];
        let (t, _) = with("", &env).unwrap();
        assert_eq!((t.host.as_str(), t.hostaddr.as_deref(), t.port), ("envhost", Some("10.0.0.1"), 7000));
        assert_eq!((t.user.as_str(), password(&t), t.dbname.as_str()), ("envuser", MARK, "envdb"));
        assert_eq!((t.sslmode, t.channel_binding.as_deref()), (SslMode::Disable, Some("require")));
        let (t, _) = with("postgres://u:own@h/d", &env).unwrap();
        assert_eq!((t.host.as_str(), t.hostaddr, t.user.as_str()), ("h", None, "u"));
        assert_eq!(t.password, Some(Secret::new("own")));
        assert!(with("postgres://u@h/d", &[("PGSERVICE", "prod")]).is_err());
        assert!(with("", &[("PGUSER", "u")]).is_err());
    }

    #[test]
    fn password_file() {
        use std::os::unix::fs::PermissionsExt;
        let text =
            "# h:5432:d:u:comment\nother:5432:d:u:no\nh:5432:*:a\\:b:p\\:q\\\\r:tail\n*:*:*:u:any\nh:5432:d:u:late\n";
        let ask = |host: &str, user: &str| find_password(text, &[host, "5432", "d", user]);
        assert_eq!(ask("h", "a:b").as_deref(), Some("p:q\\r"));
        assert_eq!(ask("h", "u").as_deref(), Some("any"));
        assert_eq!(ask("h", "x"), None);
        assert_eq!(find_password("h:5432:d:*u:p", &["h", "5432", "d", "u"]), None);
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".pgpass");
        std::fs::write(&path, format!("h:5432:d:u:{MARK}\nlocalhost:5432:d:u:sock\n")).unwrap();
        let mode = |m| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(m)).unwrap();
        let env = [("HOME", home.path().to_str().unwrap())];
        mode(0o600);
        assert_eq!(password(&with("postgres://u@h/d", &env).unwrap().0), MARK);
        assert_eq!(password(&with("host=/tmp user=u dbname=d", &env).unwrap().0), "sock");
        mode(0o640);
        let (t, notices) = with("postgres://u@h/d", &env).unwrap();
        assert!(t.password.is_none() && notices[0].contains("is ignored"), "{notices:?}");
        mode(0o600);
        let (t, _) = with("postgres://u@h/d", &[("PGPASSFILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(password(&t), MARK);
    }

    #[test]
    fn poolers() {
        let pooler = |text: &str| ok(text).pooler();
        assert_eq!(
            pooler("postgres://u@ep-a-b-1-pooler.us-east-2.aws.neon.tech/d").unwrap(),
            "use Neon's direct host ep-a-b-1.us-east-2.aws.neon.tech:5432"
        );
        assert_eq!(
            pooler("postgres://postgres.abcd@aws-0-eu.pooler.supabase.com:6543/postgres").unwrap(),
            "use Supabase's session mode, aws-0-eu.pooler.supabase.com:5432, or the direct connection \
             db.abcd.supabase.co:5432 as user postgres"
        );
        assert_eq!(
            pooler("postgres://postgres@db.abcd.supabase.co:6543/postgres").unwrap(),
            "use Supabase's direct port, db.abcd.supabase.co:5432"
        );
        assert!(pooler("postgres://u@h:6432/d?pgbouncer=true").unwrap().contains("direct address"));
        for direct in [
            "postgres://u@ep-a-b-1.us-east-2.aws.neon.tech/d",
            "postgres://u@aws-0-eu.pooler.supabase.com:5432/d",
            "postgres://u@my-pooler.example.com/d",
            "postgres://u@h:6543/d?pgbouncer=false",
        ] {
            assert_eq!(pooler(direct), None, "{direct}");
        }
    }

    #[test]
    fn labels_and_children() {
        let t = ok(&format!("postgres://u:{MARK}@h/d?sslmode=require"));
        assert_eq!(t.host_label(false), "h");
        assert_eq!(t.host_label(true), "sha256:aaa9402664f1a41f");
        let env = t.with_dbname("other").child_env();
        let get = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.to_str().unwrap());
        assert_eq!(
            (get("PGDATABASE"), get("PGPASSWORD"), get("PGSSLMODE")),
            (Some("other"), Some(MARK), Some("require"))
        );
        assert_eq!(
            (get("PGHOST"), get("PGHOSTADDR"), get("PGPASSFILE")),
            (Some("h"), None, Some("/nonexistent/pgpass"))
        );
    }

    #[tokio::test]
    async fn pin_takes_an_address_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let t = ok(&format!("postgres://u@localhost:{port}/d")).pin().await.unwrap();
        assert_eq!(t.hostaddr.as_deref(), Some("127.0.0.1"));
        drop(listener);
        let e = ok(&format!("postgres://u@localhost:{port}/d")).pin().await.unwrap_err();
        assert!(e.one_line().starts_with(&format!("nobody answers at localhost:{port}: ")), "{e}");
        assert!(e.hint_text().unwrap().contains("container"), "{e:?}");
        let e = ok("postgres://u@no-such-host.invalid/d").pin().await.unwrap_err();
        assert!(e.message().contains("does not resolve"), "{e}");
    }
}
