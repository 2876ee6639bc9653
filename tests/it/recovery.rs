//! docs/disaster-recovery.md: each disaster is made on real servers, what the page says is run as it stands there, and what it promises is
//! looked for in the database.

use crate::{
    docs::path,
    support::{
        Result,
        keys::age_key,
        pg::Server,
        run::{Savepoint, nothing_left},
        scratch,
    },
};
use anyhow::{Context, ensure};
use std::{collections::BTreeSet, fs, path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

const MAJOR: u32 = 17;

/// What the page's variables name, a role that owns it, and a large object, so that the archive has packs.
const SHOP: &str = "CREATE ROLE shop_owner LOGIN; ALTER DATABASE app OWNER TO shop_owner;
    CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL);
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint NOT NULL REFERENCES customers,
        total numeric NOT NULL);
    CREATE INDEX ON orders (customer);
    CREATE VIEW turnover AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
    ALTER TABLE customers OWNER TO shop_owner; ALTER TABLE orders OWNER TO shop_owner;
    INSERT INTO customers (email) SELECT 'c' || g || '@example.com' FROM generate_series(1, 500) g;
    INSERT INTO orders (customer, total) SELECT 1 + g % 500, g % 97 FROM generate_series(1, 5000) g;
    SELECT lo_from_bytea(0, decode(repeat('cafe', 5000), 'hex'))";

/// What tells one state of [`SHOP`] from another.
const DIGEST: &str = "SELECT (SELECT md5(string_agg(c::text, ',' ORDER BY id)) FROM customers c)
    || (SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o) || (SELECT sum(total) FROM turnover)
    || (SELECT count(*) FROM pg_largeobject_metadata)";

/// The sections that have commands; a test runs each.
const SECTIONS: [&str; 8] = [
    "A table was dropped",
    "Keys are lost",
    "Only the spoilt rows",
    "The bucket is gone",
    "The provider is gone",
    "The rehearsal",
    "The whole database",
    "Without savepoint",
];

/// A block of commands.
#[derive(Debug)]
struct Block {
    /// What it stands under.
    heading: String,
    script: String,
    /// Why it cannot be run here.
    not_run: Option<String>,
}

fn blocks() -> Result<Vec<Block>> {
    let page = fs::read_to_string(path("docs/disaster-recovery.md"))?;
    let mut found: Vec<Block> = Vec::new();
    let (mut heading, mut before, mut inside) = ("", "", false);
    for line in page.lines() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            let block = found.last_mut().context("no block")?;
            block.script.push_str(line);
            block.script.push('\n');
        } else if line == "```sh" {
            let not_run = before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
            let not_run = not_run.map(str::to_owned);
            found.push(Block { heading: heading.to_owned(), script: String::new(), not_run });
            inside = true;
        } else {
            ensure!(!line.starts_with("```"), "a block that is not sh: {line}");
            if line.starts_with("## ") || line.starts_with("### ") {
                heading = line.trim_start_matches('#').trim();
            }
        }
        if !line.is_empty() {
            before = line;
        }
    }
    ensure!(!inside, "the last block has no end");
    Ok(found)
}

/// The server with the shop, another one where the section wants it, and the folder in which it all lies.
struct Stage {
    old: Server,
    new: Option<Server>,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Result<Stage> {
        let old = Server::start(MAJOR, "").await?;
        old.create_db("app", "").await?;
        old.psql("app", SHOP).await?;
        let dir = scratch()?;
        for name in ["home", "tmp"] {
            fs::create_dir(dir.path().join(name))?;
        }
        Ok(Stage { old, new: None, dir })
    }

    async fn with_another_server() -> Result<Stage> {
        let mut stage = Stage::new().await?;
        stage.new = Some(Server::start(MAJOR, "").await?);
        Ok(stage)
    }

    fn another(&self) -> Result<&Server> {
        self.new.as_ref().context("no other server")
    }

    fn place(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A proven backup into these places; its id.
    async fn backup(&self, kind: &str, places: &[&str]) -> Result<String> {
        let places: Vec<String> = places.iter().map(|place| self.place(place)).collect();
        let run = Savepoint::backup(&self.old.url("app"), &self.old.bin)?;
        let run = run.args(["--destination", &places.join(","), "--kind", kind, "--json"]);
        let json = run.run().await?.expect(0)?.json()?;
        // Moments are told apart by the second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        Ok(json["backup"]["id"].as_str().context("no id")?.to_owned())
    }

    /// The ids that lie in a place, the newest first.
    async fn list(&self, place: &str) -> Result<Vec<String>> {
        let run = Savepoint::new(["list", "--json", "--database", "app"])?.to_folder(&self.dir.path().join(place));
        let json = run.run().await?.expect(0)?.json()?;
        let backups = json["backups"].as_array().context("no backups")?;
        backups.iter().map(|backup| Ok(backup["id"].as_str().context("no id")?.to_owned())).collect()
    }

    /// Runs what stands in a section, block behind block in one shell; all that it printed.
    async fn follow(&self, heading: &str, more: &[(&str, &str)]) -> Result<String> {
        ensure!(SECTIONS.contains(&heading), "{heading} is not in the list");
        let blocks = blocks()?;
        let run = blocks.iter().filter(|block| block.heading == heading && block.not_run.is_none());
        let script: String = run.map(|block| block.script.as_str()).collect();
        ensure!(!script.is_empty(), "there are no commands in {heading}");
        let programs = Path::new(env!("CARGO_BIN_EXE_savepoint")).parent().context("no folder")?;
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &script])
            .env_clear()
            .env("PATH", format!("{}:{}:/usr/bin:/bin", programs.display(), self.old.bin.display()))
            .env("LD_LIBRARY_PATH", self.old.bin.join("../lib"))
            .env("HOME", self.place("home"))
            .env("TMPDIR", self.place("tmp"))
            .env("LC_ALL", "C")
            .env("DATABASE", "app")
            .env("DATABASE_URL", self.old.url("app"))
            .env("TARGET", self.old.url("app"))
            .env("COPY", "app_copy")
            .env("COPY_URL", self.old.url("app_copy"))
            .env("DESTINATION", self.place("first"))
            .env("SECOND", self.place("second"))
            .env("RPO", "26h")
            .env("RTO", "15m")
            .envs(more.iter().copied());
        if let Some(new) = &self.new {
            shell.env("NEW_SERVER", new.url("postgres")).env("NEW_TARGET", new.url("app"));
        }
        shell.current_dir(self.place("home")).stdin(Stdio::null()).kill_on_drop(true);
        let out = tokio::time::timeout(Duration::from_secs(600), shell.output()).await.context("it does not end")??;
        let all = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        ensure!(out.status.success(), "{heading}: {}\n{all}", out.status);
        nothing_left(&self.dir.path().join("tmp"))?;
        Ok(all)
    }

    /// The databases of a server besides its own.
    async fn databases(server: &Server) -> Result<Vec<String>> {
        let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
        Ok(server.psql("postgres", sql).await?.lines().map(str::to_owned).collect())
    }
}

#[test]
fn each_section_is_run_and_few_commands_are_not() -> Result {
    let blocks = blocks()?;
    let found: BTreeSet<&str> = blocks.iter().map(|block| block.heading.as_str()).collect();
    ensure!(found == BTreeSet::from(SECTIONS), "{found:?}");
    let left_out: Vec<_> = blocks.iter().filter(|block| block.not_run.is_some()).collect();
    ensure!(left_out.len() <= 1 && blocks.len() > 20, "{left_out:#?}");
    Ok(())
}

#[tokio::test]
async fn a_table_was_dropped() -> Result {
    let stage = Stage::new().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    let id = stage.backup("scheduled", &["first"]).await?;
    stage.old.psql("app", "DROP TABLE orders CASCADE").await?;
    // Whoever took the newest one would find no such table in it.
    stage.backup("scheduled", &["first"]).await?;
    let more = [
        ("BACKUP", id.as_str()),
        ("TABLE", "public.orders"),
        ("NEEDED", "public.customers,public.turnover"),
        ("VIEW", "public.turnover"),
    ];
    let said = stage.follow("A table was dropped", &more).await?;
    ensure!(said.contains("equal tables, equal schema"), "{said}");
    ensure!(stage.old.psql("app", DIGEST).await? == before);
    // Keys, index and sequence are there again, and the copy is gone.
    let keys = "SELECT string_agg(contype::text, '' ORDER BY contype) FROM pg_constraint
        WHERE conrelid = 'orders'::regclass AND contype IN ('p', 'f')";
    ensure!(stage.old.psql("app", keys).await? == "fp");
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass";
    ensure!(stage.old.psql("app", indexes).await? == "2");
    let next = "INSERT INTO orders (customer, total) VALUES (1, 1) RETURNING id";
    ensure!(stage.old.psql("app", next).await? == "5001");
    ensure!(Stage::databases(&stage.old).await? == ["app"]);
    Ok(())
}

/// The gate's backup, then a migration that spoils every address, then another backup that holds what is spoilt.
async fn spoilt() -> Result<(Stage, String)> {
    let stage = Stage::new().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    stage.backup("snapshot", &["first"]).await?;
    stage.old.psql("app", "UPDATE customers SET email = 'nobody'").await?;
    stage.backup("scheduled", &["first"]).await?;
    Ok((stage, before))
}

#[tokio::test]
async fn a_migration_is_undone_as_a_whole() -> Result {
    let (stage, before) = spoilt().await?;
    let said = stage.follow("The whole database", &[]).await?;
    ensure!(said.contains("is restored into app, and equal"), "{said}");
    ensure!(stage.old.psql("app", DIGEST).await? == before);
    // What was spoilt is kept.
    let databases = Stage::databases(&stage.old).await?;
    let kept = databases.iter().find(|name| name.starts_with("app_before_")).context("the old one is gone")?;
    ensure!(databases.len() == 2, "{databases:?}");
    ensure!(stage.old.psql(kept, "SELECT count(*) FROM customers WHERE email = 'nobody'").await? == "500");
    Ok(())
}

#[tokio::test]
async fn a_migration_is_undone_row_by_row() -> Result {
    let (stage, before) = spoilt().await?;
    stage.old.psql("app", "INSERT INTO customers (email) VALUES ('later@example.com')").await?;
    let more = [("TABLE", "public.customers"), ("KEY", "id"), ("COLUMN", "email")];
    let said = stage.follow("Only the spoilt rows", &more).await?;
    let count = |name: &str| {
        let line = said.lines().skip_while(|line| line.trim() != name).nth(2);
        line.map(|line| line.trim().to_owned()).unwrap_or_default()
    };
    ensure!(count("differing") == "500" && count("left_over") == "0", "{said}");
    // What came later stays, and all else is as it was.
    let later = "DELETE FROM customers WHERE email = 'later@example.com' RETURNING id";
    ensure!(stage.old.psql("app", later).await? == "501");
    ensure!(stage.old.psql("app", DIGEST).await? == before);
    ensure!(Stage::databases(&stage.old).await? == ["app"]);
    Ok(())
}

#[tokio::test]
async fn the_provider_is_gone() -> Result {
    let mut stage = Stage::with_another_server().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    stage.backup("scheduled", &["first"]).await?;
    stage.old.stop();
    stage.follow("The provider is gone", &[("ROLE", "shop_owner")]).await?;
    let new = stage.another()?;
    ensure!(new.psql("app", DIGEST).await? == before);
    let owner =
        "SELECT rolname, rolcanlogin FROM pg_database d JOIN pg_roles r ON r.oid = datdba WHERE datname = 'app'";
    ensure!(new.psql("app", owner).await? == "shop_owner|t");
    ensure!(stage.list("first").await?.len() == 2);
    Ok(())
}

#[tokio::test]
async fn the_provider_is_gone_and_so_is_savepoint() -> Result {
    let mut stage = Stage::with_another_server().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    stage.backup("scheduled", &["first"]).await?;
    stage.old.stop();
    let commands: String =
        blocks()?.into_iter().filter(|block| block.heading == "Without savepoint").map(|block| block.script).collect();
    ensure!(!commands.contains("savepoint "), "{commands}");
    let said = stage.follow("Without savepoint", &[]).await?;
    ensure!(said.contains("intact\n") && said.contains("\"passed\": true"), "{said}");
    let new = stage.another()?;
    ensure!(new.psql("app", DIGEST).await? == before);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'";
    ensure!(new.psql("app", owner).await? == "shop_owner");
    Ok(())
}

#[tokio::test]
async fn the_bucket_is_gone() -> Result {
    let stage = Stage::new().await?;
    stage.backup("scheduled", &["first", "second"]).await?;
    stage.backup("snapshot", &["first", "second"]).await?;
    let past = stage.list("second").await?;
    fs::remove_dir_all(stage.dir.path().join("first"))?;
    let said = stage.follow("The bucket is gone", &[]).await?;
    ensure!(said.contains("3 of 3 backups verified"), "{said}");
    let now = stage.list("first").await?;
    ensure!(past.len() == 2 && now.len() == 3 && now[1..] == past, "{past:?} {now:?}");
    Ok(())
}

#[tokio::test]
async fn keys_are_lost() -> Result {
    let stage = Stage::new().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    stage.backup("scheduled", &["first"]).await?;
    let said = stage.follow("Keys are lost", &[]).await?;
    ensure!(said.matches("backup proven by a restore").count() == 3, "{said}");
    // The newest is the signed one; the one before opens by the key on paper, and by no key that is not its own.
    let list = stage.list("first").await?;
    ensure!(list.len() == 3, "{list:?}");
    let restore = |identity: &str, create: &str| -> Result<Savepoint> {
        let run = Savepoint::new(["restore", &list[1], "--pg-bin-dir", &stage.old.bin.display().to_string()])?;
        let run = run.args(["--database", "app", "--create", create, "--identity", identity]);
        Ok(run.to_folder(&stage.dir.path().join("first")).env("SAVEPOINT_TO", &stage.old.url("app")))
    };
    restore(&stage.place("home/paper.txt"), "opened")?.run().await?.expect(0)?;
    ensure!(stage.old.psql("opened", DIGEST).await? == before);
    let other = age_key(stage.dir.path(), "other")?;
    let refused = restore(&other.path(), "closed")?.run().await?.expect(1)?;
    ensure!(Stage::databases(&stage.old).await? == ["app", "opened"], "{}", refused.output());
    Ok(())
}

#[tokio::test]
async fn the_rehearsal() -> Result {
    let stage = Stage::with_another_server().await?;
    let before = stage.old.psql("app", DIGEST).await?;
    stage.backup("scheduled", &["first", "second"]).await?;
    let said = stage.follow("The rehearsal", &[]).await?;
    ensure!(said.matches("backup proven by a restore").count() == 2, "{said}");
    ensure!(said.contains("the database is as it should be"), "{said}");
    ensure!(stage.another()?.psql("app", DIGEST).await? == before);
    ensure!(stage.dir.path().join("home/status/index.html").exists());
    Ok(())
}
