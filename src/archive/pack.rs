//! Packs: many small files of an archive in one tar, so that a large object is not a request of its own.
//!
//! A pack is a POSIX tar (ustar) of plain file names, in gzip unless the backup is not compressed at all. `tar -xf PACK -C archive` lays
//! its members where pg_restore looks for them. Nothing but the names, sizes and bytes of the members is in it.

use super::compression::Compression;
use crate::error::{self, Error, Kind, Result};
use flate2::write::GzEncoder;
use std::{
    io::{self, Read, Write},
    path::{Component, Path},
};

/// A file of up to so many bytes is packed.
pub const SMALL: u64 = 1 << 20;

/// Fewer small files than this are stored as they are: most archives need no unpacking.
pub const FROM: usize = 100;

/// Bytes of members that a pack holds, about; one more member may come on top.
const FULL: u64 = 16 << 20;

/// What the names of packs begin with.
const PREFIX: &str = "pack-";

/// The name of a pack in the archive's folder, by its number from 1.
pub fn name(number: u32, compression: Compression) -> String {
    let suffix = if compression == Compression::None { "" } else { ".gz" };
    format!("{PREFIX}{number}.tar{suffix}")
}

/// Whether a file of this name in an archive's folder is a pack.
pub fn is_pack(name: &str) -> bool {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    stem.strip_prefix(PREFIX).and_then(|s| s.strip_suffix(".tar")).is_some_and(|n| n.parse::<u32>().is_ok())
}

enum Out {
    Plain(Vec<u8>),
    // The members are compressed already: what is left are headers and padding.
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Plain(out) => out.write(bytes),
            Out::Gzip(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pack in the making.
pub struct PackWriter {
    tar: tar::Builder<Out>,
    members: u64,
    bytes: u64,
}

impl PackWriter {
    /// An empty one.
    pub fn new(compression: Compression) -> Self {
        let out = match compression {
            Compression::None => Out::Plain(Vec::new()),
            _ => Out::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()))),
        };
        Self { tar: tar::Builder::new(out), members: 0, bytes: 0 }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When its name is no plain one.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes).map_err(error::io(format!("cannot pack {name}")))?;
        self.members += 1;
        self.bytes += bytes.len() as u64 + 512;
        Ok(())
    }

    /// True when the next file belongs into another one.
    pub fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    /// Its bytes, and how many members it has; `None` without any.
    ///
    /// # Errors
    /// Never, as memory takes all.
    pub fn finish(self) -> Result<Option<(Vec<u8>, u64)>> {
        if self.members == 0 {
            return Ok(None);
        }
        let out = self.tar.into_inner().and_then(|out| match out {
            Out::Plain(bytes) => Ok(bytes),
            Out::Gzip(out) => out.finish(),
        });
        Ok(Some((out.map_err(error::io("cannot finish a pack"))?, self.members)))
    }
}

/// Lays the members of a pack into a folder; how many they were.
///
/// # Errors
/// [`Kind::Archive`] when it is no pack, or a member has another name than a file of an archive.
pub fn unpack(pack: &Path, into: &Path) -> Result<u64> {
    let damaged = |e: io::Error| Error::new(Kind::Archive, format!("{} cannot be unpacked", pack.display())).because(e);
    let file =
        io::BufReader::new(std::fs::File::open(pack).map_err(error::io(format!("cannot read {}", pack.display())))?);
    let input: Box<dyn Read> = match pack.extension().is_some_and(|e| e == "gz") {
        true => Box::new(flate2::bufread::GzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut archive = tar::Archive::new(input);
    let mut members = 0;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let plain = matches!(name.components().collect::<Vec<_>>().as_slice(), [Component::Normal(_)]);
        if !plain || entry.header().entry_type() != tar::EntryType::Regular || name == Path::new("toc.dat") {
            let what = format!("{} holds {}, which is no file of an archive", pack.display(), name.display());
            return Err(Error::new(Kind::Archive, what));
        }
        let path = into.join(&name);
        let mut out = std::fs::File::create(&path).map_err(error::io(format!("cannot write {}", path.display())))?;
        io::copy(&mut entry, &mut out).map_err(damaged)?;
        members += 1;
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn what_is_packed_is_unpacked_by_us_and_by_tar() {
        let dir = tempfile::tempdir().expect("has a folder");
        for compression in [Compression::None, Compression::Gzip(4), Compression::Zstd(2)] {
            let mut pack = PackWriter::new(compression);
            let files =
                [("blob_1.dat.gz", vec![7; 3000]), ("blobs.toc", b"1 blob_1.dat\n".to_vec()), ("2.dat", vec![])];
            for (name, bytes) in &files {
                pack.add(name, bytes).expect("is added");
            }
            let (bytes, members) = pack.finish().expect("ends").expect("is not empty");
            let path = dir.path().join(name(12, compression));
            assert!(members == 3 && is_pack(&name(12, compression)));
            fs::write(&path, bytes).expect("is written");
            let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
            for folder in [&ours, &theirs] {
                let _ = fs::remove_dir_all(folder);
                fs::create_dir(folder).expect("is made");
            }
            assert_eq!(unpack(&path, &ours).expect("is a pack"), 3);
            let status = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&theirs).status().expect("tar runs");
            assert!(status.success());
            for (name, bytes) in &files {
                assert!(fs::read(ours.join(name)).unwrap() == *bytes && fs::read(theirs.join(name)).unwrap() == *bytes);
            }
        }
        assert!(PackWriter::new(Compression::None).finish().expect("ends").is_none());
        for no in ["pack-.tar", "pack-1.tar.zst", "t1.dat", "pack-1x.tar", "1.tar"] {
            assert!(!is_pack(no), "{no}");
        }
    }

    #[test]
    fn a_member_that_would_lie_elsewhere_is_refused() {
        let dir = tempfile::tempdir().expect("has a folder");
        for evil in ["../x", "a/b", "toc.dat"] {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            header.as_mut_bytes()[..evil.len()].copy_from_slice(evil.as_bytes());
            header.set_cksum();
            tar.append(&header, &b"x"[..]).expect("is added");
            let path = dir.path().join("pack-1.tar");
            fs::write(&path, tar.into_inner().expect("ends")).expect("is written");
            let e = unpack(&path, dir.path()).expect_err(evil);
            assert!(e.kind() == Kind::Archive && e.message().contains("no file of an archive"), "{evil}: {e}");
        }
    }
}
