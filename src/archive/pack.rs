//! Packs: many small files of an archive in one tar, so that a large object or a tiny table is not a request of its own.
//!
//! A pack is a POSIX tar (ustar) of plain file names, in gzip unless the backup is not compressed at all: tar pads every member.
//! `tar -xf PACK -C archive` lays its members where pg_restore looks for them. Nothing but the names, sizes and bytes of the members is
//! in it.

use crate::error::{self, Error, Kind, Result};
use bytes::Bytes;
use std::{
    io::{self, Read},
    path::{Component, Path},
};

/// A file of up to so many bytes is packed.
pub const SMALL: u64 = 256 << 10;

/// Fewer small files than this are stored as they are: most archives need no unpacking.
pub const FROM: usize = 100;

/// A pack that is made in memory is closed at so many bytes or members: soon enough for a restore that follows the dump.
const FULL: usize = 4 << 20;
const MOST_MEMBERS: u64 = 1000;

/// What the names of packs begin with.
const PREFIX: &str = "pack-";
const LARGE_OBJECTS: &str = "blobs-";
const GZIP: &str = ".gz";

/// tar's unit.
const BLOCK: u64 = 512;

/// What stands behind the last member.
pub const END: [u8; 1024] = [0; 1024];

/// The name of a pack in the archive's folder, by its number from 1.
pub fn name(number: u32, gzip: bool) -> String {
    format!("{PREFIX}{number}.tar{}", if gzip { GZIP } else { "" })
}

/// The name of a pack of large objects, by its number from 1.
pub fn name_for_large_objects(number: u32, gzip: bool) -> String {
    name(number, gzip).replacen(PREFIX, &format!("{PREFIX}{LARGE_OBJECTS}"), 1)
}

/// Whether a file of this name in an archive's folder is a pack.
pub fn is_pack(name: &str) -> bool {
    let stem = name.strip_suffix(GZIP).unwrap_or(name);
    let number = stem.strip_prefix(PREFIX).and_then(|s| s.strip_suffix(".tar"));
    number.is_some_and(|n| n.strip_prefix(LARGE_OBJECTS).unwrap_or(n).parse::<u32>().is_ok())
}

/// What stands before the bytes of a member.
///
/// # Errors
/// When its name is no plain one.
pub fn header(name: &str, size: u64) -> Result<[u8; BLOCK as usize]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).map_err(error::io(format!("cannot pack {name}")))?;
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// What stands behind the bytes of a member of this size.
pub fn padding(size: u64) -> &'static [u8] {
    &END[..((BLOCK - size % BLOCK) % BLOCK) as usize]
}

/// A pack that is made in memory.
#[derive(Default)]
pub struct Pack {
    bytes: Vec<u8>,
    members: u64,
}

impl Pack {
    /// Adds a file; where its bytes begin.
    ///
    /// # Errors
    /// When its name is no plain one.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<u64> {
        let size = bytes.len() as u64;
        self.bytes.extend_from_slice(&header(name, size)?);
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(padding(size));
        self.members += 1;
        Ok(at)
    }

    /// True when the next file belongs into another one.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= FULL || self.members >= MOST_MEMBERS
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Its bytes, and how many members it has.
    ///
    /// # Errors
    /// When there is no compressor.
    pub fn finish(mut self, gzip: bool) -> Result<(Vec<u8>, u64)> {
        self.bytes.extend_from_slice(&END);
        if !gzip {
            return Ok((self.bytes, self.members));
        }
        // For the padding and the headers; the rows are compressed already, and it stands in the way of whoever reads them.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, &self.bytes).map_err(error::io("cannot compress a pack"))?;
        Ok((encoder.finish().map_err(error::io("cannot compress a pack"))?, self.members))
    }
}

/// The tar of a pack that was made in memory.
///
/// # Errors
/// [`Kind::Archive`] when it is no whole gzip, or larger than any that was made so.
pub fn tar(name: &str, bytes: Bytes) -> Result<Bytes> {
    if !name.ends_with(GZIP) {
        return Ok(bytes);
    }
    let mut tar = Vec::new();
    let most = (FULL as u64 + SMALL + MOST_MEMBERS * 2 * BLOCK).next_multiple_of(1 << 20);
    let read = flate2::bufread::GzDecoder::new(&bytes[..]).take(most + 1).read_to_end(&mut tar);
    match read {
        Ok(size) if size as u64 <= most => Ok(tar.into()),
        Ok(_) => Err(Error::new(Kind::Archive, format!("{name}: it is no pack of ours, but larger"))),
        Err(e) => Err(Error::new(Kind::Archive, format!("{name} cannot be unpacked")).because(e)),
    }
}

/// A piece of a file that comes in pieces.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a, K> {
    /// It begins, and has so many bytes.
    Begins(K, u64),
    /// Bytes of it.
    Bytes(&'a [u8]),
    /// It has ended.
    Ends,
}

/// Reads a pack that comes in pieces.
#[derive(Default)]
pub struct PackReader {
    /// A header of which more is to come.
    head: Vec<u8>,
    /// Bytes of the open member that are still to come, and of its padding.
    left: Option<u64>,
    padding: usize,
    /// The first of the two empty blocks was there.
    ended: bool,
}

impl PackReader {
    /// Takes the next bytes of the pack.
    ///
    /// # Errors
    /// [`Kind::Archive`] when it is no pack; whatever `part` returns.
    pub fn feed(&mut self, mut bytes: &[u8], mut part: impl FnMut(Part<'_, &str>) -> Result<()>) -> Result<()> {
        let no_pack = || Error::new(Kind::Archive, "it is no pack");
        loop {
            if let Some(left) = self.left {
                let (now, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                if !now.is_empty() {
                    part(Part::Bytes(now))?;
                }
                bytes = rest;
                let left = left - now.len() as u64;
                self.left = Some(left).filter(|left| *left > 0);
                if left > 0 {
                    return Ok(());
                }
                part(Part::Ends)?;
            }
            let skipped = self.padding.min(bytes.len());
            (self.padding, bytes) = (self.padding - skipped, &bytes[skipped..]);
            if self.ended {
                return Ok(());
            }
            let missing = (BLOCK as usize - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.head.len() < BLOCK as usize {
                return Ok(());
            }
            if self.head.iter().all(|b| *b == 0) {
                self.ended = true;
                continue;
            }
            let header = tar::Header::from_byte_slice(&self.head);
            let sum: u32 =
                self.head.iter().enumerate().map(|(n, b)| if (148..156).contains(&n) { 32 } else { (*b).into() }).sum();
            let size = header.entry_size().map_err(|_| no_pack())?;
            let path = header.path_bytes();
            let name = std::str::from_utf8(&path).map_err(|_| no_pack())?;
            if header.cksum().ok() != Some(sum) || header.entry_type() != tar::EntryType::Regular {
                return Err(no_pack());
            }
            part(Part::Begins(name, size))?;
            (self.left, self.padding) = (Some(size), padding(size).len());
            self.head.clear();
        }
    }

    /// The pack has ended.
    ///
    /// # Errors
    /// [`Kind::Archive`] when it may not end here.
    pub fn end(self) -> Result<()> {
        match self.ended {
            true => Ok(()),
            false => Err(Error::new(Kind::Archive, "it ends too early")),
        }
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
        [false, true].into_iter().for_each(round_trip);
    }

    fn round_trip(gzip: bool) {
        let dir = tempfile::tempdir().expect("has a folder");
        let mut pack = Pack::default();
        let files = [
            ("blob_1.dat", vec![7; 3000]),
            ("blobs.toc", b"1 blob_1.dat\n".to_vec()),
            ("2.dat", vec![]),
            ("3.dat", vec![1; 512]),
        ];
        for (name, bytes) in &files {
            let at = pack.add(name, bytes).expect("is added") as usize;
            assert_eq!(&pack.bytes[at..at + bytes.len()], bytes);
        }
        let plain = pack.bytes.len() + END.len();
        let (bytes, members) = pack.finish(gzip).expect("is made");
        let (name, name_of_objects) = (name(12, gzip), name_for_large_objects(12, gzip));
        let path = dir.path().join(&name);
        assert!(members == 4 && is_pack(&name) && is_pack(&name_of_objects) && name != name_of_objects);
        let again = tar(&name, bytes.clone().into()).expect("is a pack");
        assert!(again.len() == plain && plain.is_multiple_of(512) && (bytes.len() < plain) == gzip);
        let cut = tar(&name, bytes[..bytes.len() - 1].to_vec().into());
        assert!(cut.is_err() == gzip, "cut short");
        fs::write(&path, &bytes).expect("is written");
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        for folder in [&ours, &theirs] {
            fs::create_dir(folder).expect("is made");
        }
        assert_eq!(unpack(&path, &ours).expect("is a pack"), 4);
        let status = Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&theirs).status().expect("tar runs");
        assert!(status.success());
        for (name, bytes) in &files {
            assert!(fs::read(ours.join(name)).unwrap() == *bytes && fs::read(theirs.join(name)).unwrap() == *bytes);
        }
        for step in [1, 511, 512, 513, bytes.len()] {
            let (mut reader, mut read): (_, Vec<(String, Vec<u8>)>) = (PackReader::default(), Vec::new());
            let (mut sizes, mut ends) = (Vec::new(), 0);
            for bytes in again.chunks(step) {
                let fed = reader.feed(bytes, |part| {
                    match part {
                        Part::Begins(name, size) => {
                            sizes.push(size as usize);
                            read.push((name.to_owned(), Vec::new()));
                        }
                        Part::Bytes(more) => read.last_mut().expect("has begun").1.extend_from_slice(more),
                        Part::Ends => ends += 1,
                    }
                    Ok(())
                });
                fed.expect("is a pack");
            }
            reader.end().expect("has ended");
            assert!(ends == 4 && read.iter().map(|(_, bytes)| bytes.len()).eq(sizes), "{step}");
            assert!(read.iter().map(|(name, bytes)| (name.as_str(), bytes)).eq(files.iter().map(|(n, b)| (*n, b))));
        }
        let mut cut = PackReader::default();
        cut.feed(&again[..again.len() - 1024], |_| Ok(())).expect("is a pack so far");
        assert!(cut.end().is_err());
        let mut other = again.to_vec();
        other[0] ^= 1;
        assert!(PackReader::default().feed(&other, |_| Ok(())).is_err(), "its sum says so");
        for yes in ["pack-1.tar.gz", "pack-blobs-1.tar.gz", "pack-blobs-7.tar"] {
            assert!(is_pack(yes), "{yes}");
        }
        for no in ["pack-.tar", "pack-1.tar.zst", "t1.dat", "pack-1x.tar", "1.tar", "pack-blobs-.tar"] {
            assert!(!is_pack(no), "{no}");
        }
    }

    #[test]
    fn a_member_may_claim_any_size() {
        for size in [u64::MAX, u64::MAX - 511, u64::MAX - 512] {
            let mut reader = PackReader::default();
            let mut claimed = None;
            let fed = reader.feed(&header("t1.dat", size).expect("is a plain name"), |part| {
                if let Part::Begins(_, size) = part {
                    claimed = Some(size);
                }
                Ok(())
            });
            fed.expect("is a pack so far");
            assert_eq!(claimed, Some(size));
            assert!(reader.feed(b"x", |_| Ok(())).is_ok() && reader.end().is_err());
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
