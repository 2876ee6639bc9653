//! The stored archive into the throwaway database: pg_restore for everything odd, our own COPY streams for the rows.

use super::{
    extensions::Restoring,
    readback::{self, Packs},
};
use crate::{
    archive::{
        pack,
        schema::Difference,
        toc::{Entry, Toc, lossy, section},
    },
    crypt,
    dump::worker::Fresh,
    error::{self, Error, Kind, Result},
    postgres::{
        answer, connect,
        conninfo::{self, Target},
        extension::around,
        quote::{quote, unquoted},
        tools::{Run, Stdout, Tools},
    },
    progress::{Event, Progress},
    report::format::clip,
    vault::{
        Folder, Manifest,
        manifest::{Extension, File, LargeObjectChunk, Table},
    },
};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// What a restore works with.
#[derive(Clone)]
pub struct Restore {
    /// Where the backup lies.
    pub folder: Folder,
    /// Programs of the source's major.
    pub tools: Tools,
    /// The major of the server that is restored into.
    pub major: u32,
    /// The archive's encoding.
    pub encoding: String,
    /// The database that is restored into.
    pub target: Target,
    /// What of the archive is restored, and how.
    pub part: Part,
    /// Whole files that were read already, by their paths.
    pub read: Arc<HashMap<String, Bytes>>,
    /// A folder for the files that pg_restore reads; exists and is empty.
    pub files: PathBuf,
    /// Connections.
    pub jobs: usize,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Packs that several tables are read from.
    pub packs: Packs,
}

/// What of an archive is restored, and how. The default is everything, with owners and grants, as far as it goes.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Ids of the archive's entries; `None`: all of them.
    pub entries: Option<Arc<BTreeSet<i32>>>,
    /// Rows only, into tables that are there.
    pub without_schema: bool,
    /// Schema only.
    pub without_rows: bool,
    /// Owners and grants are left out.
    pub no_owner: bool,
    /// Fail at the first problem before the indexes, in place of collecting them all; what [`harmless`] excuses is none.
    pub strict: bool,
}

impl Part {
    /// True when nothing but owners and grants is left out.
    pub fn is_whole(&self) -> bool {
        self.entries.is_none() && !self.without_schema && !self.without_rows
    }

    fn has(&self, entry: &Entry) -> bool {
        self.entries.as_ref().is_none_or(|ids| ids.contains(&entry.dump_id))
    }

    /// What a table of contents comes to when this part of it is restored.
    pub fn of(&self, mut toc: Toc) -> Toc {
        toc.entries.retain(|e| self.has(e));
        self.without_owners(toc)
    }

    /// The same as far as owners and grants count.
    pub fn without_owners(&self, mut toc: Toc) -> Toc {
        if self.no_owner {
            toc.entries.retain(|e| !matches!(e.kind(), "ACL" | "DEFAULT ACL"));
            toc.entries.iter_mut().for_each(|e| e.owner = None);
        }
        toc
    }
}

/// A table that is stored, and the file that its rows lie in.
pub type Stored = (Arc<Table>, Arc<File>);

/// Large objects that are stored, and their pack.
pub type StoredObjects = (Arc<LargeObjectChunk>, Arc<File>);

/// What is restored, as it comes.
pub struct Incoming {
    /// Tables whose files are stored.
    pub tables: mpsc::UnboundedReceiver<Stored>,
    /// Frames of files that are not; each may be left to its file.
    pub fresh: Option<mpsc::Receiver<Fresh>>,
    /// Large objects; none: pg_restore reads them itself.
    pub objects: Option<mpsc::UnboundedReceiver<StoredObjects>>,
}

impl Incoming {
    /// All of a backup that is stored already.
    pub fn stored(manifest: &Manifest) -> Incoming {
        let files: HashMap<&str, Arc<File>> =
            manifest.files.iter().map(|f| (f.path.as_str(), Arc::new(f.clone()))).collect();
        let (sender, tables) = mpsc::unbounded_channel();
        for table in &manifest.tables {
            if let Some(file) = table.stored_in().and_then(|path| files.get(path)) {
                // The receiver is below.
                let _ = sender.send((Arc::new(table.clone()), file.clone()));
            }
        }
        let (sender, objects) = mpsc::unbounded_channel();
        for chunk in &manifest.large_object_chunks {
            if let Some(file) = files.get(chunk.file.as_str()) {
                let _ = sender.send((Arc::new(chunk.clone()), file.clone()));
            }
        }
        // Of format 1 pg_restore reads them.
        Incoming { tables, fresh: None, objects: manifest.large_objects.is_empty().then_some(objects) }
    }
}

/// What a restore found. An empty list of problems says that every step succeeded, not that the copy is equal.
#[derive(Debug, Default)]
pub struct Restored {
    /// What went wrong, one line per object.
    pub problems: Vec<String>,
    /// What went wrong and changes nothing that counts; only where the restore is strict.
    pub excused: Vec<String>,
    /// Files whose bytes were checked.
    pub files: u64,
    /// What this restore leaves unproven.
    pub unproven: Vec<String>,
}

impl Restored {
    /// Takes up what went wrong. A strict restore ends here when it `must` have succeeded.
    fn take(&mut self, problems: Vec<String>, strict: bool, must: bool) -> Result<()> {
        let (excused, problems): (Vec<_>, Vec<_>) = problems.into_iter().partition(|p| strict && harmless(p));
        self.excused.extend(excused);
        if strict
            && must
            && let Some(first) = problems.first()
        {
            let more = problems.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            return Err(Error::new(Kind::Database, format!("{first}{more}")));
        }
        self.problems.extend(problems);
        Ok(())
    }
}

/// Whether a complaint of pg_restore's is one that every role meets that is no superuser, about something that the server has anyway:
/// the comment of an extension, the owner and the privileges of schema `public`.
pub fn harmless(problem: &str) -> bool {
    let about = |words: &[&str]| words.iter().any(|word| problem.contains(word));
    let refused = [
        "must be owner of",
        "must be member of role",
        "must be able to SET ROLE",
        "permission denied for schema public",
    ];
    let extension = ["COMMENT EXTENSION ", "COMMENT - EXTENSION ", "(COMMENT ON EXTENSION "];
    let public = ["(ALTER SCHEMA public OWNER ", "(COMMENT ON SCHEMA public ", " SCHEMA public ", "ON SCHEMA public "];
    (about(&extension) && problem.contains("must be owner of extension")) || (about(&public) && about(&refused))
}

impl Restore {
    /// The local copy of the stored table of contents.
    pub fn toc_path(&self) -> PathBuf {
        self.files.join("toc.dat")
    }

    fn local(&self, file: &File) -> PathBuf {
        self.files.join(file.name().strip_prefix("archive/").unwrap_or(file.name()))
    }

    /// Restores the archive while its tables arrive. `own`: `toc.dat` and the files that pg_dump wrote; `granted` is made first.
    pub async fn run(&self, own: &[File], granted: &Granted, incoming: Incoming) -> Result<Restored> {
        let mut restored = Restored::default();
        for file in own {
            match self.own_file(file).await {
                Ok(()) => restored.files += 1,
                Err(e) if of_the_archive(&e) => restored.problems.push(e.one_line()),
                Err(e) => return Err(e),
            }
        }
        if !restored.problems.is_empty() {
            // Without these files nothing can be restored; say what else is damaged all the same.
            restored.problems.extend(self.check_only(incoming.tables, &mut restored.files).await?);
            return Ok(restored);
        }
        let mut restoring = Restoring::default();
        let loaded = self.load(granted, incoming, &mut restoring, &mut restored).await;
        // Also behind a failure: until then they hold everybody off.
        let ended = restoring.end(&self.target).await;
        loaded?;
        restored.take(ended?, self.part.strict, true)?;
        Ok(restored)
    }

    /// The sections in their order.
    async fn load(
        &self,
        granted: &Granted,
        incoming: Incoming,
        restoring: &mut Restoring,
        restored: &mut Restored,
    ) -> Result<()> {
        let toc = read_toc(&self.toc_path())?;
        if !self.part.without_schema {
            restored.unproven = granted.make(&self.target, &toc).await?;
            let mut problems = self.first(&self.target, &toc).await?;
            let names = self.extensions(&toc, granted);
            restoring.begin(&self.target, names.iter().map(String::as_str)).await?;
            let mut pre_data = vec!["--section=pre-data".into()];
            if toc.creates_public() || self.part.entries.is_some() || self.splits(&toc) {
                pre_data.push(self.list(&toc, "pre-data.list", |e| is_public(e) || self.splits(&toc) && is_first(e))?);
            }
            problems.extend(self.pg_restore(&self.target, &pre_data).await?);
            restored.take(problems, self.part.strict, true)?;
        }
        if !self.part.without_rows {
            let Incoming { tables, fresh, objects } = incoming;
            let (problems, files) = self.rows(tables, fresh).await?;
            restored.take(problems, self.part.strict, true)?;
            restored.files += files;
            self.others(&toc, objects.is_some(), restored).await?;
            if let Some(objects) = objects {
                let (problems, files) = self.large_objects(objects).await?;
                restored.take(problems, self.part.strict, true)?;
                restored.files += files;
            }
        }
        if !self.part.without_schema {
            let mut post_data = vec!["--section=post-data".into(), format!("--jobs={}", self.jobs).into()];
            if self.part.entries.is_some() {
                post_data.push(self.list(&toc, "post-data.list", |_| false)?);
            }
            if self.part.without_rows {
                // A materialized view is not filled then.
                post_data.push("--schema-only".into());
            }
            // An index that cannot be made is no reason to throw the rows away.
            restored.take(self.pg_restore(&self.target, &post_data).await?, self.part.strict, false)?;
        }
        Ok(())
    }

    /// Fetches a file that pg_dump wrote, or a pack of them, to where pg_restore reads it.
    async fn own_file(&self, file: &File) -> Result<()> {
        let local = self.local(file);
        readback::whole(&self.folder, file, Some(&local)).await?;
        let Some(members) = file.members else { return Ok(()) };
        let (pack, into) = (local.clone(), self.files.clone());
        let unpacked = tokio::task::spawn_blocking(move || pack::unpack(&pack, &into)).await;
        let found = unpacked.map_err(|e| Error::new(Kind::Io, "unpacking stopped").because(e))??;
        std::fs::remove_file(&local).map_err(error::io(format!("cannot remove {}", local.display())))?;
        if found == members {
            return Ok(());
        }
        Err(Error::new(Kind::Archive, format!("stored file {}: {found} files in it, {members} were stored", file.path)))
    }

    /// Restores what pg_dump wrote itself: rows of some tables, values of sequences; large objects unless we have them.
    async fn others(&self, toc: &Toc, has_objects: bool, restored: &mut Restored) -> Result<()> {
        // What we restore by our own streams.
        let ours = |e: &Entry| match e.kind() {
            "TABLE DATA" => e.filename.as_deref().is_some_and(|f| f.starts_with(crate::archive::TABLE_FILE.as_bytes())),
            "BLOBS" => has_objects,
            _ => false,
        };
        if toc.entries.iter().any(|e| e.section == section::DATA && !ours(e) && self.part.has(e)) {
            let list = self.list(toc, "data.list", ours)?;
            let problems = self.pg_restore(&self.target, &["--section=data".into(), list]).await?;
            restored.take(problems, self.part.strict, true)?;
        }
        Ok(())
    }

    /// Runs pg_restore on the local files. An object that cannot be restored is a line of the answer.
    async fn pg_restore(&self, target: &Target, args: &[OsString]) -> Result<Vec<String>> {
        let mut args = args.to_vec();
        if self.part.no_owner {
            args.extend(["--no-owner".into(), "--no-acl".into()]);
        }
        pg_restore(&self.tools, target, &self.files, &args, self.progress.clone()).await
    }

    /// Restores the schema alone into another database; what fails there is not told.
    pub async fn schema_into(&self, target: &Target, toc: &Toc) -> Result<()> {
        self.first(target, toc).await?;
        let names = self.extensions(toc, &Granted::default());
        let mut restoring = Restoring::default();
        restoring.begin(target, names.iter().map(String::as_str)).await?;
        let mut args = vec!["--schema-only".into()];
        if self.part.entries.is_some() || self.splits(toc) {
            args.push(self.list(toc, "schema.list", |e| is_public(e) || self.splits(toc) && is_first(e))?);
        }
        self.pg_restore(target, &args).await?;
        restoring.end(target).await.map(drop)
    }

    /// Extensions that the restored part creates or takes for granted.
    fn extensions(&self, toc: &Toc, granted: &Granted) -> Vec<String> {
        let created = toc.entries.iter().filter(|e| e.kind() == "EXTENSION" && self.part.has(e)).map(|e| lossy(&e.tag));
        created.chain(granted.extensions.iter().map(|e| e.name.clone())).collect()
    }

    /// Whether an extension of the archive wants to be called before the rest is restored.
    fn splits(&self, toc: &Toc) -> bool {
        !around(self.extensions(toc, &Granted::default()).iter().map(String::as_str)).is_empty()
    }

    /// Restores schemas and extensions before the rest, where one of these wants to be called in between.
    async fn first(&self, target: &Target, toc: &Toc) -> Result<Vec<String>> {
        if !self.splits(toc) {
            return Ok(Vec::new());
        }
        let list = self.list(toc, "first.list", |e| !is_first(e) || is_public(e))?;
        self.pg_restore(target, &["--section=pre-data".into(), list]).await
    }

    /// `--use-list` with every entry of the archive but some.
    fn list(&self, toc: &Toc, name: &str, without: impl Fn(&Entry) -> bool) -> Result<OsString> {
        let path = self.files.join(name);
        let wanted = toc.entries.iter().filter(|e| self.part.has(e) && !without(e));
        let list: String = wanted.map(|e| format!("{};\n", e.dump_id)).collect();
        std::fs::write(&path, list).map_err(error::io(format!("cannot write {}", path.display())))?;
        let mut option = OsString::from("--use-list=");
        option.push(&path);
        Ok(option)
    }

    /// Checks the files of tables without restoring them.
    async fn check_only(&self, mut tables: mpsc::UnboundedReceiver<Stored>, files: &mut u64) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut read = HashSet::new();
        while let Some((_, file)) = tables.recv().await {
            // Many tables share a pack.
            if !read.insert(file.path.clone()) {
                continue;
            }
            match readback::whole(&self.folder, &file, None).await {
                Ok(()) => *files += 1,
                Err(e) if of_the_archive(&e) => problems.push(e.one_line()),
                Err(e) => return Err(e),
            }
        }
        Ok(problems)
    }
}

/// Every new database has the schema `public` already.
fn is_public(e: &Entry) -> bool {
    e.kind() == "SCHEMA" && e.tag.as_deref() == Some(b"public")
}

/// What must be there before an extension can be called.
fn is_first(e: &Entry) -> bool {
    matches!(e.kind(), "SCHEMA" | "EXTENSION")
}

/// Schemas that an archive's tables lie in, but for `public`.
pub fn schemas_of(toc: &Toc) -> Vec<String> {
    let mut names: Vec<String> =
        toc.tables().into_iter().map(|t| t.schema).filter(|s| !s.is_empty() && s != "public").collect();
    names.sort();
    names.dedup();
    names
}

/// What an archive of only a part of its source takes for granted: pg_dump leaves out the schemas of single tables, and all extensions
/// as soon as schemas or tables are named.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// Schemas.
    pub schemas: Vec<String>,
    /// Extensions.
    pub extensions: Vec<Extension>,
}

impl Granted {
    /// Makes a new database ready for such an archive. Returns what could not be made, in words.
    pub async fn make(&self, target: &Target, toc: &Toc) -> Result<Vec<String>> {
        let session = connect::connect(target, "savepoint proof").await?;
        let created = toc.created_schemas();
        let missing = |schema: &str| schema != "public" && !created.iter().any(|c| c == schema);
        for schema in self.schemas.iter().filter(|s| missing(s)) {
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote(schema));
            let made = session.batch_execute(&sql).await;
            made.map_err(|e| answer::error("cannot prepare the database", e))?;
        }
        let mut notes = Vec::new();
        for Extension { name, schema, .. } in &self.extensions {
            if schema != "public" && !missing(schema) {
                notes.push(format!("extension {name}: it lies in schema {schema}, which the archive is to create"));
                continue;
            }
            let (name, schema) = (quote(name), quote(schema));
            let sql = format!(
                "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA {schema} CASCADE"
            );
            if let Err(e) = session.batch_execute(&sql).await {
                notes.push(answer::error(&format!("extension {name} could not be made"), e).one_line());
            }
        }
        Ok(notes)
    }

    /// Whether a difference is of our own making.
    pub fn explains(&self, toc: &Toc, difference: &Difference) -> bool {
        let (kind, tag) = (lossy(&difference.key.desc), lossy(&difference.key.tag));
        let schema = |name: &str| {
            (name == "public" && toc.creates_public())
                || self.schemas.iter().any(|s| s == name)
                || self.extensions.iter().any(|e| e.schema == name)
        };
        match (kind.as_str(), tag.split_once(' ')) {
            ("SCHEMA", _) => schema(&tag),
            ("EXTENSION", _) => self.extensions.iter().any(|e| e.name == tag),
            ("COMMENT", Some(("SCHEMA", name))) => name == "public" && toc.creates_public(),
            // A pg_dump that is told to take the schema leaves out the privileges that it was born with.
            ("ACL", Some(("SCHEMA", name))) => {
                let stated =
                    toc.entries.iter().any(|e| e.kind() == "ACL" && e.tag.as_deref() == Some(b"SCHEMA public"));
                name == "public" && toc.creates_public() && !stated
            }
            ("COMMENT", Some(("EXTENSION", name))) => {
                self.extensions.iter().any(|e| e.name == name || quote(&e.name) == name)
            }
            _ => false,
        }
    }
}

/// Checks the stored table of contents against the manifest: our own COPY streams do not show whether pg_restore would find each table's
/// file and load it into the right columns.
pub fn check_entries(toc: &Toc, manifest: &Manifest) -> Vec<String> {
    let is_table_file = |f: &str| f.starts_with(crate::archive::TABLE_FILE);
    let mut entries: BTreeMap<String, Vec<&Entry>> = BTreeMap::new();
    for entry in toc.entries.iter().filter(|e| e.kind() == "TABLE DATA") {
        entries.entry(lossy(&entry.filename)).or_default().push(entry);
    }
    let table_ids: BTreeMap<u32, i32> = toc.tables().iter().map(|t| (t.oid, t.dump_id)).collect();
    let readable =
        |suffix: &str| suffix.is_empty() || suffix == ".gz" || (suffix == ".zst" && manifest.source.major >= 16);
    let mut problems = Vec::new();
    for table in &manifest.tables {
        let Some(path) = &table.file else { continue };
        let mut problem = |what: &str| problems.push(format!("table {}.{}: {what}", table.schema, table.name));
        let name = crypt::bare(path.strip_prefix("archive/").unwrap_or(path));
        let (stem, suffix) = name.split_at(name.find(".dat").map_or(name.len(), |at| at + 4));
        if !readable(suffix) {
            problem("pg_restore of the source's major cannot read its file");
        }
        match entries.remove(stem).as_deref() {
            Some([entry]) => {
                let whole = entry.had_dumper
                    && entry.section == section::DATA
                    && entry.oid() == Some(table.oid)
                    && table_ids.get(&table.oid).is_some_and(|id| entry.deps == [*id]);
                if !whole {
                    problem("its entry in toc.dat would not restore it");
                }
                let utf8 = std::str::from_utf8(entry.copy_stmt.as_deref().unwrap_or_default());
                let columns = utf8.ok().and_then(copied_columns);
                // In another encoding a name may be no UTF-8, and then says nothing here.
                if utf8.is_ok() && columns.as_ref() != Some(&table.columns) && manifest.source.encoding == "UTF8" {
                    problem("its entry in toc.dat names other columns");
                }
            }
            Some(_) => problem("toc.dat has several entries for its rows"),
            None => problem("toc.dat has no entry for its rows"),
        }
    }
    let foreign = entries.keys().filter(|f| is_table_file(f));
    problems.extend(foreign.map(|f| format!("toc.dat names {f}, which the manifest does not know")));
    problems
}

/// The columns of `COPY schema.table (a, "b c") FROM stdin;`; none for a statement without a list.
fn copied_columns(statement: &str) -> Option<Vec<String>> {
    let head = statement.strip_prefix("COPY ")?.strip_suffix(" FROM stdin;\n")?;
    let mut quoted = false;
    let opens = |c: char| {
        quoted ^= c == '"';
        c == '(' && !quoted
    };
    match head.split_once(opens) {
        None => Some(Vec::new()),
        Some((_, list)) => {
            let names = unquoted(list.strip_suffix(')')?.as_bytes(), b',');
            names.into_iter().map(|name| String::from_utf8(name).ok()).collect()
        }
    }
}

/// Whether an error says something about the stored files, not about the way to them.
pub fn of_the_archive(e: &Error) -> bool {
    matches!(e.kind(), Kind::Archive | Kind::NotFound)
}

/// Parses a local `toc.dat`.
pub fn read_toc(path: &Path) -> Result<Toc> {
    Toc::parse(&std::fs::read(path).map_err(error::io(format!("cannot read {}", path.display())))?)
}

/// Runs pg_restore on a local archive into `target`; what it could not restore is a line of the answer.
pub async fn pg_restore(
    tools: &Tools,
    target: &Target,
    archive: &Path,
    args: &[OsString],
    progress: Arc<dyn Progress>,
) -> Result<Vec<String>> {
    // A name with "=" in it would be read as a connection string.
    let dbname = format!("dbname={}", conninfo::quoted(&target.dbname));
    let output = Run::new(&tools.pg_restore)
        .args(["--format=directory", "--no-tablespaces", "--no-subscriptions", "--dbname"])
        .arg(dbname)
        .args(args.iter().cloned())
        .arg(archive)
        .target(target)
        .stdout(Stdout::Null)
        .on_line(Arc::new(move |line: &str| progress.event(Event::Detail(line))))
        .output_any_status()
        .await?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let mut lines: Vec<String> = Vec::new();
    let mut about = String::new();
    for line in &output.stderr_lines {
        let line = line.strip_prefix("pg_restore: ").unwrap_or(line);
        if let Some(entry) = line.strip_prefix("from TOC entry ") {
            about = entry.split_once("; ").map_or(entry, |(_, rest)| rest).to_owned();
        } else if let Some(error) = line.strip_prefix("error: ") {
            let what = error.strip_prefix("could not execute query: ERROR:  ").unwrap_or(error);
            let about = if about.is_empty() { String::new() } else { format!("entry {about}: ") };
            lines.push(format!("{about}pg_restore: {what}"));
        } else if let Some((command, error)) = line.strip_prefix("Command was: ").zip(lines.last_mut())
            && about.is_empty()
        {
            // Only a verbose pg_restore names the entry; the command names it as well.
            error.push_str(&format!(" ({})", clip(command, 160)));
        }
    }
    if lines.is_empty() {
        lines.push(output.error("pg_restore").one_line());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_server_has_anyway_is_excused() {
        for (line, excused) in [
            ("pg_restore: must be owner of extension citext (COMMENT ON EXTENSION citext IS 'case')", true),
            ("entry 0 0 COMMENT EXTENSION citext: pg_restore: must be owner of extension citext", true),
            ("pg_restore: must be owner of schema public (ALTER SCHEMA public OWNER TO app;)", true),
            ("pg_restore: must be able to SET ROLE \"app\" (ALTER SCHEMA public OWNER TO app;)", true),
            ("pg_restore: must be able to SET ROLE \"app\" (ALTER TABLE public.orders OWNER TO app;)", false),
            (
                "pg_restore: permission denied to create extension \"postgis\" (CREATE EXTENSION IF NOT EXISTS postgis)",
                false,
            ),
            ("pg_restore: permission denied for schema public (CREATE TABLE public.orders (id integer))", false),
        ] {
            assert_eq!(harmless(line), excused, "{line}");
        }
    }

    #[test]
    fn the_columns_of_a_copy_statement_are_read_as_written() {
        let columns = |s| copied_columns(s).unwrap();
        assert_eq!(columns("COPY public.t (a, \"b c\", \"d,\"\"(e)\") FROM stdin;\n"), ["a", "b c", "d,\"(e)"]);
        assert_eq!(columns("COPY public.\"we (ird)\" (a) FROM stdin;\n"), ["a"]);
        assert_eq!(columns("COPY public.t  FROM stdin;\n"), Vec::<String>::new());
        assert_eq!(copied_columns("COPY public.t (a) TO stdout;\n"), None);
    }
}
