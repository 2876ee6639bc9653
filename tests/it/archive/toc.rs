//! toc.dat against pg_dump and pg_restore of every major of the test stack.

use savepoint::{
    archive::{
        schema::{differences, digest, role_names},
        toc::{Entry, TableData, Toc},
    },
    error::Kind,
    postgres::tools::Tools,
    scratch::Scratch,
    verify::cluster::{Cluster, ClusterOptions},
};
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    process::Command,
};

/// The installations to test with, the oldest first.
pub fn installations() -> Vec<Tools> {
    let base = crate::support::stack().join("pg");
    let found: Vec<Tools> = (14..=18)
        .filter_map(|major| {
            let dir = base.join(major.to_string()).join("bin");
            let at = |name: &str| dir.join(name);
            dir.is_dir().then(|| Tools {
                major,
                pg_dump: at("pg_dump"),
                pg_restore: at("pg_restore"),
                pg_dumpall: Some(at("pg_dumpall")),
                initdb: Some(at("initdb")),
                postgres: Some(at("postgres")),
                version: major.to_string(),
                dir: dir.clone(),
            })
        })
        .collect();
    assert!(!found.is_empty(), "no PostgreSQL in {}", base.display());
    found
}

/// Runs a client program of this major against a server's socket and returns what it printed.
fn client(tools: &Tools, cluster: &Cluster, program: &str, args: &[&str]) -> String {
    let target = cluster.target("postgres");
    let output = Command::new(tools.dir.join(program))
        .args(args)
        .env("PGHOST", &target.host)
        .env("PGUSER", &target.user)
        .env("PGCLIENTENCODING", "UTF8")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {program} {args:?}: {stderr}", tools.major);
    String::from_utf8(output.stdout).unwrap()
}

fn sql(tools: &Tools, cluster: &Cluster, db: &str, statement: &str) -> String {
    client(tools, cluster, "psql", &["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", db, "-c", statement])
}

/// Reads a toc.dat; it must be written back byte by byte.
fn read(folder: &Path) -> Toc {
    let bytes = fs::read(folder.join("toc.dat")).unwrap();
    let toc = Toc::parse(&bytes).unwrap();
    assert!(toc.to_bytes() == bytes, "{} is not written back as it was", folder.display());
    toc
}

fn dump(tools: &Tools, cluster: &Cluster, db: &str, folder: &Path, options: &[String]) -> Toc {
    let mut args = vec!["-Fd", "-Z0", "-f", folder.to_str().unwrap(), "-d", db];
    args.extend(options.iter().map(String::as_str));
    client(tools, cluster, "pg_dump", &args);
    read(folder)
}

/// The entries with ids replaced by what they stand for, so that two dumps of one database compare.
fn canonical(toc: &Toc) -> BTreeSet<String> {
    let key = |e: &Entry| format!("{} {} {:?} {:?}", e.kind(), e.name(), e.tableoid, e.oid);
    let names: HashMap<i32, String> = toc.entries.iter().map(|e| (e.dump_id, key(e))).collect();
    assert_eq!(names.len(), toc.entries.len(), "ids are unique");
    let keys: BTreeSet<&String> = names.values().collect();
    assert_eq!(keys.len(), toc.entries.len(), "keys are unique");
    toc.entries
        .iter()
        .map(|e| {
            let mut deps: Vec<&str> = e.deps.iter().map(|d| names.get(d).map_or("boundary", String::as_str)).collect();
            deps.sort();
            let file = e.filename.as_ref().map(|f| !f.is_empty());
            let plain = Entry { dump_id: 0, deps: vec![], filename: None, ..e.clone() };
            format!("{} {file:?} {deps:?} {plain:?}", key(e))
        })
        .collect()
}

const TABLES: &str = "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
        (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname IN ('odd', E'a.b \"c\"\\nd') ORDER BY c.oid";

struct Table {
    oid: u32,
    name: String,
    columns: Option<String>,
}

impl Table {
    fn copy(&self, direction: &str) -> String {
        let columns = self.columns.as_ref().map(|c| format!("({c})")).unwrap_or_default();
        format!("COPY {} {columns} {direction};\n", self.name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spliced_archive_is_pg_dumps_own() {
    for tools in installations() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(Some(base.path())).unwrap();
        let cluster = Cluster::create(ClusterOptions {
            tools: &tools,
            folder: scratch.path().join("server"),
            superuser: "postgres".into(),
            lc_monetary: "C".into(),
            locales: vec![],
            jobs: 2,
            memory: None,
            extensions: &[],
            libraries: &[],
            database: "savepoint_proof",
            logs_wal: false,
            guarded: savepoint::verify::limits::Guarded::default(),
        })
        .await
        .unwrap();
        tokio::task::block_in_place(|| splice_restore_compare(&tools, &cluster, base.path()));
        cluster.stop().await.unwrap();
    }
}

#[expect(clippy::too_many_lines, reason = "one archive on its whole way: dumped, spliced, restored, compared")]
fn splice_restore_compare(tools: &Tools, cluster: &Cluster, base: &Path) {
    let major = tools.major;
    let utf8 = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' TEMPLATE template0";
    for db in ["src", "dst", "again"] {
        sql(tools, cluster, "postgres", &format!("CREATE DATABASE {db} {utf8}"));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql/toc.sql");
    client(tools, cluster, "psql", &["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "src", "-f", script.to_str().unwrap()]);

    let full = dump(tools, cluster, "src", &base.join("full"), &[]);

    // (a) What pg_dump writes as one file becomes what it writes as a folder, lists of large objects included.
    let custom = base.join("custom");
    client(tools, cluster, "pg_dump", &["-Fc", "-Z0", "-f", custom.to_str().unwrap(), "-d", "src"]);
    let (custom, _) = Toc::parse_custom(fs::File::open(custom).unwrap()).unwrap();
    let custom = Toc { time: full.time, ..custom.into_directory() };
    assert_eq!(custom, full, "{major}");
    let lists = custom.large_object_lists();
    assert!(!lists.is_empty(), "{major}");
    for (name, list) in lists {
        assert_eq!(list, fs::read_to_string(base.join("full").join(&name)).unwrap(), "{major}: {name}");
    }

    let listed = client(tools, cluster, "psql", &["-XqAtz", "-0", "-F", "\u{1}", "-d", "src", "-c", TABLES]);
    let tables: Vec<Table> = listed
        .split('\0')
        .filter(|r| !r.is_empty())
        .map(|row| {
            let mut f = row.split('\u{1}');
            let (oid, name, columns) = (f.next().unwrap(), f.next().unwrap(), f.next().unwrap());
            let columns = Some(columns.to_owned()).filter(|c| !c.is_empty());
            Table { oid: oid.parse().unwrap(), name: name.to_owned(), columns }
        })
        .collect();
    assert_eq!(tables.len(), 17);

    // (b) pg_dump without the rows, and the rows by COPY.
    let exclude: Vec<String> = tables.iter().map(|t| format!("--exclude-table-data={}", pattern(&t.name))).collect();
    let folder = base.join("spliced");
    let mut spliced = dump(tools, cluster, "src", &folder, &exclude);
    assert!(spliced.tables().iter().all(|t| !t.has_data));
    let mut added = Vec::new();
    let mut rows = HashMap::new();
    for t in &tables {
        let mut data = sql(tools, cluster, "src", &t.copy("TO STDOUT"));
        rows.insert(t.oid, sorted(&data));
        data.push_str("\\.\n\n\n");
        let filename = format!("{}.dat", t.oid);
        fs::write(folder.join(&filename), data).unwrap();
        added.push(TableData { oid: t.oid, copy_stmt: t.copy("FROM stdin").into_bytes(), filename });
    }
    spliced.add_table_data(&added).unwrap();
    fs::write(folder.join("toc.dat"), spliced.to_bytes()).unwrap();
    let (mine, theirs) = (canonical(&spliced), canonical(&full));
    let only: Vec<_> = mine.symmetric_difference(&theirs).collect();
    assert!(only.is_empty(), "{major}: spliced and full differ: {only:#?}");
    let plain: BTreeSet<u32> = spliced.tables().iter().filter(|t| t.has_data).map(|t| t.oid).collect();
    assert_eq!(plain, tables.iter().map(|t| t.oid).collect());

    client(tools, cluster, "pg_restore", &["-Fd", "-j2", "-e", "-d", "dst", folder.to_str().unwrap()]);
    for t in &tables {
        assert_eq!(sorted(&sql(tools, cluster, "dst", &t.copy("TO STDOUT"))), rows[&t.oid], "{major}: {}", t.name);
    }

    // Sequences and large objects, as the archive names them, are those of the server.
    let state = "SELECT schemaname || '|' || sequencename || '|' || coalesce(last_value, start_value) || '|' || (last_value IS NOT NULL)
        FROM pg_sequences";
    let mut of_server: Vec<String> = client(tools, cluster, "psql", &["-XqAtz", "-0", "-d", "src", "-c", state])
        .split('\0')
        .filter(|r| !r.is_empty())
        .map(str::to_owned)
        .collect();
    // last_value of a sequence that was set but not called yet is hidden by pg_sequences.
    for row in &mut of_server {
        if row.contains("s', 5, true);") {
            *row = "a.b \"c\"\nd|s', 5, true);|-7|false".to_owned();
        }
    }
    of_server.sort();
    let mut of_archive: Vec<String> = full
        .sequences()
        .unwrap()
        .into_iter()
        .map(|s| format!("{}|{}|{}|{}", s.schema, s.name, s.last_value, s.is_called))
        .collect();
    of_archive.sort();
    assert_eq!(of_archive, of_server, "{major}");
    let large = full.large_objects();
    let mut objects: Vec<(u32, String)> =
        large.objects.iter().map(|(oid, owner)| (*oid, String::from_utf8(owner.clone().unwrap()).unwrap())).collect();
    objects.sort();
    let expected = [(500001, "postgres"), (500002, "app_owner"), (500003, "postgres")].map(|(o, r)| (o, r.to_owned()));
    assert_eq!(objects, expected, "{major}");
    assert!(
        !large.lists.is_empty() && large.lists.iter().all(|l| base.join("full").join(l).is_file()),
        "{major}: {large:?}"
    );
    assert_eq!(full.encoding().as_deref(), Some("UTF8"));

    // (c) The restored copy has the same schema.
    let schema_only = vec!["--schema-only".to_owned()];
    let mine = dump(tools, cluster, "src", &base.join("schema-src"), &schema_only);
    assert_eq!((differences(&full, &mine), digest(&full)), (vec![], digest(&mine)), "{major}");
    let copy = dump(tools, cluster, "dst", &base.join("schema-dst"), &schema_only);
    let lines = |expected: &Toc, actual: &Toc| -> Vec<String> {
        differences(expected, actual).iter().map(|d| format!("{}: {}", d.object, d.what)).collect()
    };
    assert_eq!(lines(&full, &copy), ["table odd.drift: definition differs"], "{major}");
    // What drifted comes to rest when it is read back once.
    client(tools, cluster, "pg_restore", &["-Fd", "-s", "-e", "-d", "again", base.join("full").to_str().unwrap()]);
    let again = dump(tools, cluster, "again", &base.join("schema-again"), &schema_only);
    assert_eq!((lines(&again, &copy), digest(&again)), (vec![], digest(&copy)), "{major}");

    // (d) Each change is found and named.
    let change = "DROP INDEX odd.orders_made;
        ALTER TABLE odd.orders ALTER COLUMN state SET DEFAULT 'glück';
        CREATE OR REPLACE FUNCTION odd.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';
        ALTER TABLE odd.room OWNER TO app_reader;
        REVOKE USAGE ON SCHEMA odd FROM app_reader;
        REVOKE INSERT ON odd.orders FROM app_reader;
        CREATE TABLE odd.extra (x int);
        DROP TRIGGER \"touch it\" ON odd.orders;
        ALTER POLICY mine ON odd.orders USING (true);
        ALTER TABLE odd.late DROP COLUMN c";
    sql(tools, cluster, "dst", change);
    let changed = dump(tools, cluster, "dst", &base.join("schema-changed"), &schema_only);
    let found = lines(&again, &changed);
    for line in [
        "index odd.orders_made: missing in the restored copy",
        "comment on index odd.orders_made: missing in the restored copy",
        "table odd.orders: definition differs",
        "function odd.twice(integer): definition differs",
        "table odd.room: owner differs: app_reader, was postgres",
        "privileges on schema odd: missing in the restored copy",
        "privileges on table odd.orders: definition differs",
        "table odd.extra: only in the restored copy",
        "trigger odd.orders touch it: missing in the restored copy",
        "policy odd.orders mine: definition differs",
        "table odd.late: definition differs",
    ] {
        assert!(found.iter().any(|f| f == line), "{major}: {line} is not in {found:#?}");
    }
    // Beyond these the room's constraint (an owner of its own in the archive) and the extra table's default privileges.
    assert!(found.len() <= 13, "{major}: {found:#?}");
    assert_ne!(digest(&changed), digest(&again));

    let all: Vec<String> =
        ["app_owner", "app_reader", "Odd \"Role's", "in_policy", "in_mapping", "in_defaults", "unrelated_role"]
            .map(str::to_owned)
            .into();
    assert_eq!(role_names(&full, &all), all[..6]);

    damage(&fs::read(base.join("full/toc.dat")).unwrap());
}

/// Flips and cuts in a real file: an error, or a file that is written back as it was read.
fn damage(good: &[u8]) {
    let check = |bytes: &[u8]| match Toc::parse(bytes) {
        Ok(toc) => assert!(toc.to_bytes() == bytes),
        Err(e) => assert_eq!(e.kind(), Kind::Archive),
    };
    // A fixed sequence of positions: failures can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..1000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % good.len();
        assert!(Toc::parse(&good[..at]).is_err(), "cut at {at}");
        let mut bad = good.to_vec();
        bad[at] ^= (state >> 24) as u8 | 1;
        check(&bad);
        bad.remove(at);
        check(&bad);
    }
}

/// A name that `quote_ident` wrote, as an exact pattern for pg_dump: each part in quotes.
fn pattern(name: &str) -> String {
    let mut quoted = String::new();
    let mut open = false;
    let mut part = String::new();
    let mut parts = Vec::new();
    for c in name.chars() {
        match c {
            '"' => {
                open = !open;
                part.push(c);
            }
            '.' if !open => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    for (n, p) in parts.iter().enumerate() {
        let dot = if n > 0 { "." } else { "" };
        let p = if p.starts_with('"') { p.clone() } else { format!("\"{p}\"") };
        quoted.push_str(&format!("{dot}{p}"));
    }
    quoted
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
