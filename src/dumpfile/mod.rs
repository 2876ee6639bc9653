//! Dumps that pg_dump wrote, ours or not: known by what is in them, read to their very end before anything is done with them, and restored.
//!
//! pg_restore itself is no judge of a dump: a directory-format file that was cut at the end of a gzip member, or emptied, restores
//! without an error, and a custom-format file from a pipe may end early. So everything that says "whole" is looked at here: ends of
//! streams and their checksums, COPY's end marks, the blocks that the table of contents awaits, pg_dump's last line.

mod content;
mod count;
mod custom;
mod damage;
mod folder;
mod found;
mod plain;
mod reach;
pub mod sql;
mod stream;

pub(crate) use found::major;
pub use found::{DumpFile, Format, Options, Packing};

use crate::{
    archive::pack,
    error::{self, Error, Kind, Result},
    postgres::{
        conninfo::Target,
        extension::around,
        tools::{Run, Tools},
    },
    progress::{Event, Progress},
    verify::{extensions::Restoring, restore::pg_restore},
};
use damage::{FETCH_AGAIN, cut, damaged};
use found::Stop;
use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Read},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// Reads a dump to its end, whatever its name is, and tells what it is; with `tools` also whether their pg_restore knows such an archive.
///
/// # Errors
/// [`Kind::Archive`] when it is no dump or not a whole one: names the byte or the member, and the cure. [`Kind::NotFound`] and
/// [`Kind::Io`] when it cannot be read.
pub async fn examine(path: &Path, tools: Option<&Tools>, progress: &dyn Progress) -> Result<DumpFile> {
    progress.event(Event::Detail(&format!("reading {} to its end", path.display())));
    let stop = Stop::default();
    let (from, flag) = (path.to_owned(), stop.0.clone());
    let reading = tokio::task::spawn_blocking(move || read(&from, &flag));
    let file = reading.await.map_err(|e| Error::new(Kind::Io, "reading the dump stopped").because(e))??;
    if let Some(tools) = tools {
        file.known_to(tools).await?;
    }
    Ok(file)
}

fn read(path: &Path, stop: &Arc<AtomicBool>) -> Result<DumpFile> {
    let unreadable = |e: io::Error| {
        let kind = if e.kind() == ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        Error::new(kind, format!("cannot read {}", path.display())).because(e)
    };
    let meta = fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        let path = if path.join("toc.dat").exists() { path.to_owned() } else { path.join("archive") };
        if !path.join("toc.dat").exists() {
            return Err(no_archive(path.parent().unwrap_or(&path)));
        }
        packed(&path)?;
        let size = fs::read_dir(&path).map_err(unreadable)?.filter_map(|f| Some(f.ok()?.metadata().ok()?.len())).sum();
        return Ok(folder::directory(&path, stop)?.into_file(&path, Format::Directory, size));
    }
    let head = head_of(path, Packing::None, stop).map_err(unreadable)?;
    let packing = stream::packing(&head);
    let (format, mut found) = if packing != Packing::None {
        let inner = head_of(path, packing, stop).map_err(|e| damaged(path, 0, &cut(&e)))?;
        let unpack = match packing {
            Packing::Gzip => "gunzip",
            Packing::Lz4 => "lz4 -d",
            _ => "zstd -d",
        };
        let packed = |what: &str| {
            Error::new(
                Kind::Archive,
                format!("{}: it is {what} that was packed once more by {}", path.display(), packing.name()),
            )
            .hint(format!("unpack it first, by {unpack}: pg_restore reads it only then"))
        };
        match inner.as_slice() {
            [b'P', b'G', b'D', b'M', b'P', ..] => return Err(packed("a dump of the custom format")),
            inner if is_tar(inner) => return Err(packed("a tar archive")),
            _ => {}
        }
        foreign(path, &inner)?;
        (Format::Plain, plain::examine(path, packing, stop)?)
    } else {
        match head.as_slice() {
            [b'P', b'G', b'D', b'M', b'P', _, _, _, _, _, 3 | 5, ..] => {
                return Err(Error::new(
                    Kind::Archive,
                    format!("{}: it is the table of contents of a directory-format dump", path.display()),
                )
                .hint("name its folder, with all the files in it"));
            }
            [b'P', b'G', b'D', b'M', b'P', ..] => (Format::Custom, custom::examine(path, stop)?),
            head if is_tar(head) => (Format::Tar, folder::tar(path, stop)?),
            head => {
                foreign(path, head)?;
                (Format::Plain, plain::examine(path, packing, stop)?)
            }
        }
    };
    match format {
        // What lies in an archive has no checksum of the stream around it.
        Format::Custom if found.packing != Packing::Gzip => _ = found.weak.insert(found.packing),
        Format::Plain if !stream::has_checksum(&head) => _ = found.weak.insert(packing),
        _ => {}
    }
    Ok(found.into_file(path, format, meta.len()))
}

/// The first bytes, unpacked: as many as are needed to know what it is.
fn head_of(path: &Path, packing: Packing, stop: &Arc<AtomicBool>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream::unpack(packing, stream::Input::open(path, stop)?)?.take(512).read_to_end(&mut head)?;
    Ok(head)
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// The archive of a backup of ours, whose small files wait in packs.
fn packed(folder: &Path) -> Result<()> {
    let names = fs::read_dir(folder).map_err(error::io(format!("cannot read {}", folder.display())))?;
    if !names.filter_map(|f| f.ok()).any(|f| pack::is_pack(&f.file_name().to_string_lossy())) {
        return Ok(());
    }
    let shown = folder.display();
    Err(Error::new(Kind::Archive, format!("{shown}: its small files are packed, and pg_restore would not find them")).hint(
        "in a copy of the folder: for pack in pack-*.tar*; do tar -xf \"$pack\" && rm \"$pack\"; done; or name the backup by its id and \
         --destination",
    ))
}

fn no_archive(folder: &Path) -> Error {
    let error = |what: &str| Error::new(Kind::Archive, format!("{}: {what}", folder.display()));
    if folder.join("PG_VERSION").exists() {
        return error("it is a server's data folder, not a dump")
            .hint("start a server of its major on a copy of it, and dump from there");
    }
    error("the folder holds no toc.dat, so it is no dump of the directory format")
        .hint("name the folder that pg_dump -Fd wrote")
}

/// Names what is surely no dump by what it begins with.
fn foreign(path: &Path, head: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower: String = text.chars().take(200).collect::<String>().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|w| lower.starts_with(w));
    let decrypt = "decrypt it first, then name the decrypted file";
    let (what, hint) = match head {
        [] => ("it is empty", FETCH_AGAIN),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
            "it is UTF-16 text, as PowerShell's > writes it, which damages a dump",
            "take the dump again by pg_dump --file=FILE in place of >",
        ),
        [b'S', b'a', b'l', b't', b'e', b'd', b'_', b'_', ..] => ("it is encrypted by openssl", decrypt),
        [0x84 | 0x85 | 0x8c | 0xc1 | 0xc3 | 0xd2, ..] => ("it looks encrypted by gpg", decrypt),
        [b'P', b'K', 3, 4, ..] => ("it is a zip archive", "unpack it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("it is packed by xz", "unpack it first, by xz -d"),
        [b'B', b'Z', b'h', ..] => ("it is packed by bzip2", "unpack it first, by bunzip2"),
        _ if begins(&["age-encryption.org/", "-----begin age encrypted file"]) => ("it is encrypted by age", decrypt),
        _ if begins(&["-----begin pgp message"]) => ("it is encrypted by gpg", decrypt),
        _ if begins(&["<!doctype html", "<html"]) => (
            "it is an HTML page, most likely an error page that was saved in place of the dump",
            "download it again with curl --fail, and look at the page for the reason",
        ),
        _ if begins(&["<?xml", "<error>"]) => (
            "it is an XML document, most likely an error message of an S3 server that was saved in place of the dump",
            "download it again with curl --fail or aws s3 cp, and look at it for the reason",
        ),
        _ if begins(&["{\"", "{\n"]) => ("it is a JSON document", "name the dump itself"),
        _ if begins(&["version https://git-lfs"]) => {
            ("it is a pointer of Git LFS, not the file itself", "git lfs pull")
        }
        _ if begins(&["-- mysql dump", "-- mariadb dump", "/*m!999999"]) => (
            "it is a dump of MySQL or MariaDB",
            "only dumps of pg_dump can be restored; pgloader moves a MySQL database into PostgreSQL",
        ),
        _ if begins(&["sqlite format 3", "pragma foreign_keys"]) => {
            ("it is a database or dump of SQLite", "only dumps of pg_dump can be restored")
        }
        _ if head.contains(&0) => {
            ("it is no dump of pg_dump: it begins neither with PGDMP nor as a script", FETCH_AGAIN)
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Archive, format!("{}: {what}", path.display())).hint(hint))
}

impl DumpFile {
    /// Whether it may be restored where nothing keeps it in.
    ///
    /// # Errors
    /// [`Kind::Refused`] with the first line of what reaches out of the database.
    pub fn trusted(&self, trusted: bool, place: &str) -> Result<()> {
        let Some(first) = self.reaches.first().filter(|_| !trusted) else { return Ok(()) };
        let more =
            if self.reaches.len() > 1 { format!(" (and {} more)", self.reaches.len() - 1) } else { String::new() };
        let what = format!("{}: it reaches out of the database{place}: {first}{more}", self.path.display());
        Err(Error::new(Kind::Refused, what).hint(
            "look at these lines of it; --trust-file restores it all the same, and savepoint verify FILE tries it in a locked server",
        ))
    }

    /// Whether the pg_restore of these tools reads such an archive.
    ///
    /// # Errors
    /// [`Kind::Tool`] with its reason.
    pub async fn known_to(&self, tools: &Tools) -> Result<()> {
        if self.format == Format::Plain {
            return Ok(());
        }
        let run =
            Run::new(&tools.pg_restore).args(["--list", &format!("--format={}", self.format.name())]).arg(&self.path);
        let newer = |e: Error| {
            let by = self.dump_version.as_deref().unwrap_or("an unknown version");
            e.context(format!("{} was written by pg_dump {by}", self.path.display()))
                .hint("use the PostgreSQL programs of that version or a later one: --pg-bin-dir names their folder")
        };
        let output = run.output().await.map_err(newer)?;
        // It only warns when it cannot read the data.
        match output.stderr_lines.iter().find(|l| l.contains("does not support compression")) {
            Some(line) => Err(newer(Error::new(Kind::Tool, line.clone()))),
            None => Ok(()),
        }
    }

    /// Restores it into a database that is there; roles and extensions are the caller's concern. `scratch`: a folder for small files.
    /// What could not be restored is a line of the answer; no line: every statement succeeded. Tablespaces are left out, and
    /// subscriptions of an archive.
    ///
    /// # Errors
    /// [`Kind::Usage`] when a plain dump is to be restored in part; [`Kind::Tool`] and [`Kind::Database`] when the restore broke off.
    pub async fn restore(
        &self,
        tools: &Tools,
        target: &Target,
        scratch: &Path,
        options: &Options,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<String>> {
        // Called around a whole restore only: a part of such a database is restored as any other.
        let names =
            self.extensions.iter().filter(|_| *options == (Options { jobs: options.jobs, ..Options::default() }));
        let mut restoring = Restoring::default();
        restoring.begin(target, names.map(String::as_str)).await?;
        let loaded = self.load(tools, target, scratch, options, progress).await;
        // Also behind a failure: until then they hold everybody off.
        let ended = restoring.end(target).await;
        let mut problems = loaded?;
        problems.extend(ended?);
        Ok(problems)
    }

    async fn load(
        &self,
        tools: &Tools,
        target: &Target,
        scratch: &Path,
        options: &Options,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<String>> {
        if self.format == Format::Plain {
            let whole = Options { jobs: options.jobs, ..Options::default() };
            if *options != whole {
                return Err(Error::new(Kind::Usage, format!("{}: a plain dump is a script and runs as a whole", self.path.display()))
                    .hint("leave out schemas, tables, schema-only, data-only and no-owner; create-roles makes roles that are missing"));
            }
            return plain::restore(&self.path, self.compression, target, progress).await;
        }
        let mut args: Vec<OsString> = vec![format!("--format={}", self.format.name()).into()];
        let flags = [
            (options.no_owner, "--no-owner"),
            (options.no_owner, "--no-privileges"),
            (options.schema_only, "--schema-only"),
            (options.data_only, "--data-only"),
        ];
        args.extend(flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag.into()));
        args.extend(options.schemas.iter().map(|s| format!("--schema={s}").into()));
        args.extend(options.tables.iter().map(|t| format!("--table={t}").into()));
        // An extension that is called around a restore keeps a catalog of its own, which wants one connection.
        let alone = !around(self.extensions.iter().map(String::as_str)).is_empty();
        if self.format != Format::Tar && options.jobs > 1 && !alone {
            args.push(format!("--jobs={}", options.jobs).into());
        }
        args.extend(self.without_public(tools, scratch).await?);
        pg_restore(tools, target, &self.path, &args, progress).await
    }

    /// Every new database has the schema `public`, so its creation is left out.
    async fn without_public(&self, tools: &Tools, scratch: &Path) -> Result<Option<OsString>> {
        let run =
            Run::new(&tools.pg_restore).args(["--list", &format!("--format={}", self.format.name())]).arg(&self.path);
        let list = run.output().await?.stdout;
        let is_public = |line: &&[u8]| {
            let text = String::from_utf8_lossy(line);
            let words: Vec<&str> = text.split_whitespace().skip(3).take(3).collect();
            words == ["SCHEMA", "-", "public"]
        };
        if !list.split(|b| *b == b'\n').any(|line| is_public(&line)) {
            return Ok(None);
        }
        let kept: Vec<&[u8]> = list.split(|b| *b == b'\n').filter(|line| !is_public(line)).collect();
        let path = scratch.join("dump.list");
        fs::write(&path, kept.join(&b'\n')).map_err(error::io(format!("cannot write {}", path.display())))?;
        let mut option = OsString::from("--use-list=");
        option.push(&path);
        Ok(Some(option))
    }
}
