//! `manifest.json`: what a backup holds. Written last and only if absent: the commit point. The stored format is
//! described in `docs/format.md`, its JSON Schema (`docs/manifest.schema.json`) is generated from these types.

use crate::{
    archive::fingerprint::{Fingerprint, parse_sum},
    crypt,
    error::{Error, Kind, Result},
    sign::PublicKey,
    store::Lock,
    vault::{BackupKind, VerifyLevel, lines},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

/// The newest version of the manifest format that this program knows, and writes where files are encrypted.
pub const FORMAT_VERSION: u32 = 3;

/// The version of a manifest that needs nothing newer: what is not encrypted is read by older programs, too.
const PLAIN_VERSION: u32 = 2;

/// The first version whose manifests hold a digest of their own.
const DIGESTED: u32 = 2;

/// The archive's table of contents.
pub const TOC: &str = "archive/toc.dat";

/// A stored backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The backup's id, such as `20261122T030000Z-snapshot-1a2b3c4`.
    pub id: String,
    /// Why it was taken.
    pub kind: BackupKind,
    /// Version of the program that wrote it.
    pub tool_version: String,
    /// When the snapshot was taken: the moment that the backup shows (RFC 3339, UTC).
    pub taken_at: String,
    /// When everything was stored (RFC 3339, UTC).
    pub stored_at: String,
    /// Where it comes from.
    pub source: Source,
    /// Git and CI context.
    pub context: RunContext,
    /// How it was taken.
    pub options: Options,
    /// How the files are encrypted; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// The public key that its signature fits (`ssh-ed25519 …`, or minisign's `RW…`), which lies beside it; absent where nobody signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// How every object of it was locked when it was stored; absent where the program did not ask for a lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// What was left out, and why, in words.
    pub left_out: Vec<String>,
    /// Every stored file but this one, in order of its key.
    pub files: Vec<File>,
    /// Every table, in order of schema and name.
    pub tables: Vec<Table>,
    /// Every sequence, in order of schema and name.
    pub sequences: Vec<Sequence>,
    /// Every large object, in order of its OID: of format 1 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub large_objects: Vec<LargeObject>,
    /// The large objects in ranges of their OIDs, in their order.
    #[serde(default)]
    pub large_object_chunks: Vec<LargeObjectChunk>,
    /// Every materialized view, in order of schema and name.
    pub matviews: Vec<Matview>,
    /// Installed extensions.
    pub extensions: Vec<Extension>,
    /// Roles that the archive names.
    pub roles: Vec<Role>,
    /// SHA-256 (hex) over the archive's schema entries, ids and OIDs left out: equal for equal schemas.
    pub schema_digest: String,
    /// Totals.
    pub totals: Totals,
    /// Seconds per phase.
    pub timings: BTreeMap<String, f64>,
    /// What was remarkable beside the backup before, where the run was asked to fail for it: a backup that was refused so is no measure for
    /// the next one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// SHA-256 (hex) of this file with 64 zeros in the place of these digits. Absent in format 1.
    #[serde(default)]
    pub digest: String,
}

/// What stands before the digits of the digest: no line break stands inside a JSON string, so this is a field of the outermost object.
const BEFORE_DIGEST: &[u8] = b"\n  \"digest\": \"";

/// Where the 64 digits of the digest stand in a manifest's bytes.
fn digest_range(bytes: &[u8]) -> Option<Range<usize>> {
    let at = bytes.windows(BEFORE_DIGEST.len()).rposition(|w| w == BEFORE_DIGEST)? + BEFORE_DIGEST.len();
    let range = at..at + 64;
    bytes.get(range.clone()).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).map(|_| range)
}

/// A manifest's bytes with the digest that belongs to them. Bytes without a place for one are returned as they are.
#[must_use]
pub fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(range) = digest_range(&bytes) {
        bytes[range.clone()].fill(b'0');
        let digest = hex::encode(Sha256::digest(&bytes));
        bytes[range].copy_from_slice(digest.as_bytes());
    }
    bytes
}

impl Manifest {
    /// The version that a manifest needs.
    pub fn version(encrypted: bool) -> u32 {
        if encrypted { FORMAT_VERSION } else { PLAIN_VERSION }
    }

    /// Every file that lies in the folder beside it: those that it names, and that of the whole manifest where it is encrypted.
    pub fn stored_files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().chain(self.hidden())
    }

    /// The encrypted file that the whole manifest lies in, where this is the part that everybody may read.
    pub fn hidden(&self) -> Option<&File> {
        self.encryption.as_ref()?.manifest.as_ref()
    }

    /// The part of it that names nothing in the database, and no hash of what a file holds, with the place of the whole; not sealed yet.
    #[must_use]
    pub fn shown(&self, whole: File) -> Manifest {
        let mut shown = Manifest {
            left_out: Vec::new(),
            tables: Vec::new(),
            sequences: Vec::new(),
            large_objects: Vec::new(),
            large_object_chunks: Vec::new(),
            matviews: Vec::new(),
            extensions: Vec::new(),
            roles: Vec::new(),
            refused: Vec::new(),
            schema_digest: String::new(),
            digest: String::new(),
            ..self.clone()
        };
        shown.options.filter = Filter::default();
        (shown.source.user, shown.source.bootstrap_role) = (String::new(), String::new());
        shown.source.preloaded.clear();
        for plain in shown.files.iter_mut().filter_map(|f| f.plain.as_mut()) {
            plain.sha256.clear();
        }
        if let Some(encryption) = &mut shown.encryption {
            encryption.manifest = Some(whole);
        }
        shown
    }

    /// The stored table of contents.
    ///
    /// # Errors
    /// [`Kind::Archive`] when it names none.
    pub fn toc(&self) -> Result<&File> {
        let toc = self.files.iter().find(|f| f.name() == TOC);
        toc.ok_or_else(|| Error::new(Kind::Archive, format!("the manifest names no {TOC}")))
    }

    /// The public key that it names as that of its signature; `None` where it names none, or what it names is none.
    pub fn signer(&self) -> Option<PublicKey> {
        PublicKey::parse(self.signed_by.as_deref()?).ok()
    }

    /// Gives it its digest, and returns the bytes that are stored.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn seal(&mut self) -> Result<Vec<u8>> {
        self.digest = "0".repeat(64);
        let bytes =
            lines::to_vec(self).map_err(|e| Error::new(Kind::Archive, "cannot write the manifest").because(e))?;
        let bytes = sealed(bytes);
        if let Some(digest) = digest_range(&bytes).and_then(|range| bytes.get(range)) {
            self.digest = String::from_utf8_lossy(digest).into_owned();
        }
        Ok(bytes)
    }

    /// Reads what [`seal`](Self::seal) wrote: every verb that trusts a manifest comes through here, so that what one of them takes
    /// no other one refuses.
    ///
    /// # Errors
    /// [`Kind::Archive`] when it is no manifest of ours, when a byte of it was changed, and when its numbers contradict each other.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|e| Error::new(Kind::Archive, "it is no manifest").because(e))?;
        if manifest.format >= DIGESTED || !manifest.digest.is_empty() {
            let known = digest_range(bytes).is_some_and(|range| bytes.get(range) == Some(manifest.digest.as_bytes()));
            if !known || sealed(bytes.to_vec()) != bytes {
                return Err(Error::new(Kind::Archive, "its digest says that it is not what was stored"));
            }
        }
        manifest.check_totals()?;
        manifest.tables.iter().try_for_each(Table::check_sums)?;
        Ok(manifest)
    }

    /// Whoever adds its numbers up later must not need to ask whether they have a sum.
    fn check_totals(&self) -> Result<()> {
        let (tables, chunks) = (&self.tables, &self.large_object_chunks);
        let sum = |mut numbers: Box<dyn Iterator<Item = u64> + '_>| numbers.try_fold(0, u64::checked_add);
        let numbers: [Box<dyn Iterator<Item = u64> + '_>; 4] = [
            Box::new(tables.iter().map(|t| t.rows)),
            Box::new(tables.iter().map(|t| t.bytes).chain(chunks.iter().map(|c| c.bytes))),
            Box::new(chunks.iter().map(|c| c.objects).chain([self.large_objects.len() as u64])),
            Box::new(self.files.iter().map(|f| f.size.max(f.content()))),
        ];
        match numbers.into_iter().all(|numbers| sum(numbers).is_some()) {
            true => Ok(()),
            false => Err(Error::new(Kind::Archive, "its numbers are larger than any database")),
        }
    }
}

/// Where a backup comes from. Never holds a password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Host name, or `sha256:` and the hash of it.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// User that took the backup.
    pub user: String,
    /// `server_version`, such as `17.5`.
    pub server_version: String,
    /// Major version.
    pub major: u32,
    /// Database encoding, such as `UTF8`.
    pub encoding: String,
    /// Locale provider: `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// ICU or builtin locale.
    pub locale: Option<String>,
    /// `lc_monetary` of the session that read the rows.
    pub lc_monetary: String,
    /// `pg_database_size`, bytes.
    pub database_bytes: u64,
    /// The exported snapshot's name.
    pub snapshot: String,
    /// The name of the bootstrap superuser (OID 10).
    pub bootstrap_role: String,
    /// True when the source was a standby.
    pub standby: bool,
    /// `shared_preload_libraries`; empty where the role may not read it.
    #[serde(default)]
    pub preloaded: Vec<String>,
}

/// How a backup was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Options {
    /// Connections that read rows.
    pub jobs: u32,
    /// `zstd:2`, `gzip:4` or `none`.
    pub compression: String,
    /// What was asked for.
    pub filter: Filter,
    /// The proof that was asked for; `none` also where [`sent`](Self::sent) says what was done in its place.
    pub verify: VerifyLevel,
    /// By a key that may only put: what was sent was checked in memory, and so was what the store answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sent: bool,
    /// Version of pg_dump, as it prints it.
    pub pg_dump: String,
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// Key below the backup's own folder, such as `archive/toc.dat`, or `archive/toc.dat.age` where it is encrypted.
    pub path: String,
    /// Bytes, as stored.
    pub size: u64,
    /// SHA-256 of the whole file as it is stored, hex.
    pub sha256: String,
    /// Where it is encrypted: what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Plain>,
    /// Of a pack, a tar archive of many files of the archive: how many. It is unpacked where it lies before pg_restore reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
}

/// What an encrypted file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plain {
    /// Bytes. With the size of what is stored they say where in the age file each of them stands.
    pub size: u64,
    /// SHA-256 of all of them, hex.
    pub sha256: String,
}

/// How the files of a backup are encrypted: each by itself, in the format of age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Encryption {
    /// The public keys that they are encrypted to. The private key of any one of them opens all files.
    pub recipients: Vec<String>,
    /// Where names are hidden: the encrypted file that holds the whole manifest, of which this one then shows a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<File>,
}

impl File {
    /// The path that it has once it is decrypted.
    pub fn name(&self) -> &str {
        if self.plain.is_some() { crypt::bare(&self.path) } else { &self.path }
    }

    /// Bytes of the file itself.
    pub fn content(&self) -> u64 {
        self.plain.as_ref().map_or(self.size, |plain| plain.size)
    }
}

/// How a table's rows came into the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TakenBy {
    /// By our own streams.
    Streams,
    /// By pg_dump itself; we read the rows once more in the same snapshot for the fingerprint.
    PgDump,
}

/// A table and its rows at the snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// OID in the source.
    pub oid: u32,
    /// Dumped columns in COPY order.
    pub columns: Vec<String>,
    /// A condition on the rows, as extensions set for their configuration tables.
    pub condition: Option<String>,
    /// Read through the table and all its children (`true`) or this table only.
    pub with_children: bool,
    /// Who wrote the rows.
    pub taken_by: TakenBy,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of COPY text, line ends included.
    pub bytes: u64,
    /// Sum modulo 2^128 of the XXH3-128 hash of each row's COPY text (line end left out), 32 hex digits.
    pub fingerprint: String,
    /// The file of the archive, below the backup's folder; absent for tables that pg_dump wrote.
    pub file: Option<String>,
    /// The file is small, and lies in a pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
    /// The pieces of the file. Their frames and the terminator tile the file without a gap.
    pub chunks: Vec<Chunk>,
    /// The last frame, which holds COPY's end marker.
    pub terminator: Option<Frame>,
}

impl Manifest {
    /// How many large objects there are.
    pub fn large_objects(&self) -> u64 {
        self.large_objects.len() as u64 + self.large_object_chunks.iter().map(|c| c.objects).sum::<u64>()
    }

    /// The stored files that pg_restore reads: all of the archive but what we restore by our own streams.
    pub fn own_files(&self) -> impl Iterator<Item = &File> {
        let tables = self.tables.iter().filter_map(Table::stored_in);
        let ours: HashSet<&str> = tables.chain(self.large_object_chunks.iter().map(|c| c.file.as_str())).collect();
        self.files.iter().filter(move |f| f.path.starts_with("archive/") && !ours.contains(f.path.as_str()))
    }
}

impl Table {
    /// The stored file that its rows lie in: its own, or a pack.
    pub fn stored_in(&self) -> Option<&str> {
        self.packed.as_ref().map(|p| p.pack.as_str()).or(self.file.as_deref())
    }

    /// A streamed table is the sum of its chunks.
    fn check_sums(&self) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut sum = Fingerprint::default();
        for chunk in &self.chunks {
            sum.merge(Fingerprint { rows: chunk.rows, bytes: chunk.bytes, sum: parse_sum(&chunk.fingerprint)? });
        }
        let whole = Fingerprint { rows: self.rows, bytes: self.bytes, sum: parse_sum(&self.fingerprint)? };
        if sum == whole {
            return Ok(());
        }
        let message = format!("table {}.{} is not the sum of its chunks", self.schema, self.name);
        Err(Error::new(Kind::Archive, message))
    }
}

/// Where a file lies in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packed {
    /// The pack, below the backup's folder.
    pub pack: String,
    /// First byte in it.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// A piece of a table, read by one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// Pages `[from, to)` of the heap; `to` is absent in the open-ended last range; both absent: the whole table.
    pub pages: Option<(u32, Option<u32>)>,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// As [`Table::fingerprint`].
    pub fingerprint: String,
    /// Where it stands in the file: frames, each of which can be read by itself, and begins and ends at a row.
    pub frames: Vec<Frame>,
}

/// A run of gzip members, of zstd frames, or of plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of these bytes, hex.
    pub sha256: String,
}

/// A sequence's state as the archive sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sequence {
    /// Schema name.
    pub schema: String,
    /// Sequence name.
    pub name: String,
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
}

/// The large objects of a range of OIDs, and the pack that holds what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LargeObjectChunk {
    /// OID of the first; a restore keeps them.
    pub first: u32,
    /// OID of the last.
    pub last: u32,
    /// How many there are.
    pub objects: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Sum modulo 2^128 of the XXH3-128 hash of each object's OID (four bytes, the highest first) and content, 32 hex digits.
    pub fingerprint: String,
    /// The same of OID, owner and privileges as text (absent ones as `\N`) with tabs between them.
    pub owners: String,
    /// The pack, below the backup's folder.
    pub file: String,
    /// The frames that tile it.
    pub frames: Vec<Frame>,
}

/// A large object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LargeObject {
    /// OID, kept by a restore.
    pub oid: u32,
    /// Owner.
    pub owner: String,
    /// Access privileges as text, sorted; absent for the default ones.
    pub acl: Option<Vec<String>>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, hex.
    pub sha256: String,
}

/// A materialized view. Its rows are made by the restore, so only its being populated is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Matview {
    /// Schema name.
    pub schema: String,
    /// View name.
    pub name: String,
    /// Whether it holds data.
    pub populated: bool,
}

/// An installed extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Schema that it lies in.
    pub schema: String,
}

/// A role that the archive names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Role {
    /// Name.
    pub name: String,
    /// Whether it is a superuser in the source.
    pub superuser: bool,
}

/// Totals of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of COPY text and large objects.
    pub bytes: u64,
    /// Bytes of all stored files but the manifest.
    pub stored_bytes: u64,
}

/// What is taken and left out; patterns as in pg_dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Filter {
    /// `pg_dump --schema`.
    pub schemas: Vec<String>,
    /// `pg_dump --exclude-schema`.
    pub exclude_schemas: Vec<String>,
    /// `pg_dump --table`.
    pub tables: Vec<String>,
    /// `pg_dump --exclude-table`.
    pub exclude_tables: Vec<String>,
    /// `pg_dump --exclude-table-data`.
    pub exclude_table_data: Vec<String>,
    /// `pg_dump --schema-only`.
    pub schema_only: bool,
    /// Without the user mappings of foreign servers.
    pub no_user_mappings: bool,
    /// `pg_dump --no-subscriptions`.
    pub no_subscriptions: bool,
}

impl Filter {
    /// True when schemas or tables are named. pg_dump then takes neither large objects nor extensions.
    pub fn names_a_part(&self) -> bool {
        !self.schemas.is_empty() || !self.tables.is_empty()
    }

    /// Whether pg_dump takes large objects.
    pub fn takes_large_objects(&self) -> bool {
        !self.names_a_part() && !self.schema_only
    }

    /// True when everything in the database is taken, but for what leads out of it.
    pub fn is_everything(&self) -> bool {
        let Filter { no_user_mappings, no_subscriptions, .. } = *self;
        *self == Filter { no_user_mappings, no_subscriptions, ..Filter::default() }
    }
}

/// Git and CI facts of this run, stored in the manifest and shown in reports. Every field may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct RunContext {
    /// `owner/name`.
    pub repository: Option<String>,
    /// Full commit hash.
    pub commit: Option<String>,
    /// Branch or tag.
    pub git_ref: Option<String>,
    /// Who or what triggered the run.
    pub actor: Option<String>,
    /// Event that triggered the workflow.
    pub event: Option<String>,
    /// Workflow name.
    pub workflow: Option<String>,
    /// Link to the run.
    pub run_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever gives it a new digest gets as far as its numbers.
    const STORED: &[u8] = include_bytes!(
        "../../tests/it/fixtures/format-1/frozen/2026/11/26/20261126T235232Z-manual-0837de2/manifest.json"
    );

    #[test]
    fn numbers_without_a_sum_are_damage() {
        let whole = Manifest::parse(STORED).expect("is one");
        let damaged = |what: &str, change: &dyn Fn(&mut Manifest)| {
            let mut manifest = whole.clone();
            change(&mut manifest);
            let e = Manifest::parse(&manifest.seal().expect("can be written")).expect_err(what);
            assert_eq!(e.kind(), Kind::Archive, "{what}");
            e.message().to_owned()
        };
        let large = "its numbers are larger than any database";
        assert_eq!(damaged("rows", &|m| m.tables.iter_mut().for_each(|t| t.rows = u64::MAX / 2 + 1)), large);
        assert_eq!(damaged("bytes", &|m| m.tables.iter_mut().for_each(|t| t.bytes = u64::MAX / 2 + 1)), large);
        assert_eq!(damaged("files", &|m| m.files.iter_mut().for_each(|f| f.size = u64::MAX / 2 + 1)), large);
        let with_chunk = |m: &mut Manifest| {
            let table = m.tables.iter_mut().find(|t| !t.chunks.is_empty()).expect("there is one");
            table.chunks.push(Chunk { rows: u64::MAX, bytes: u64::MAX, ..table.chunks[0].clone() });
        };
        assert!(damaged("a chunk", &with_chunk).ends_with("is not the sum of its chunks"));
    }
}
