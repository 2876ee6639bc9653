//! Large objects: read in bulk by ranges of their OIDs, on the source and on a restored copy alike, and packed.
//!
//! pg_dump opens, reads and closes one after the other; here one statement gives a thousand of them, and each connection has its own range.

use super::sink::{Rest, Sink};
use crate::{
    archive::{
        compression::{Compression, DEFAULT_GZIP_LEVEL},
        frame::FrameWriter,
        pack::{self, Part},
    },
    error::{Error, Kind, Result},
    postgres::connect::Session,
    vault::manifest::{Frame, LargeObjectChunk},
};
use futures_util::{TryStreamExt, pin_mut};
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Objects and bytes of a range at most; sizes are known on average only.
const RANGE_OBJECTS: u32 = 1000;
const RANGE_BYTES: u32 = 16 << 20;

/// Bytes of an object that the server hands out at a time.
const PIECE_BYTES: u32 = 1 << 20;

/// Some large objects that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// OID of the first.
    pub first: u32,
    /// OID of the last.
    pub last: u32,
    /// How many there are.
    pub objects: u64,
}

/// All large objects, cut into ranges.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn ranges(session: &Session) -> Result<Vec<Range>> {
    let sql = format!(
        "SELECT pg_catalog.min(oid), pg_catalog.max(oid), pg_catalog.count(*)
           FROM (SELECT oid, (pg_catalog.row_number() OVER (ORDER BY oid) - 1) / (
                        SELECT greatest(1, least({RANGE_OBJECTS}, {RANGE_BYTES} * pg_catalog.count(*) / greatest(1,
                               pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'::pg_catalog.regclass))))
                          FROM pg_catalog.pg_largeobject_metadata) AS n
                   FROM pg_catalog.pg_largeobject_metadata) AS o GROUP BY n ORDER BY n"
    );
    let rows = session.query(&sql, &[]).await.map_err(|e| session.explain("cannot list the large objects", e))?;
    let range =
        |row: &tokio_postgres::Row| Range { first: row.get(0), last: row.get(1), objects: row.get::<_, i64>(2) as u64 };
    Ok(rows.iter().map(range).collect())
}

const OWNER: &str = "pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text";
const PRIVILEGES: &str = "CASE WHEN m.lomacl IS NOT NULL THEN
    ARRAY(SELECT a::pg_catalog.text FROM pg_catalog.unnest(m.lomacl) a ORDER BY 1)::pg_catalog.text END";

/// Reads a range for [`Objects`]. Each object is closed again at once: looking for a free place among many open ones takes the server long.
/// So all have the same descriptor, whose size PostgreSQL before 16 remembers from object to object unless it is told not to.
pub fn copy_out(first: u32, last: u32) -> String {
    format!(
        "SET LOCAL enable_memoize TO off;
         COPY (SELECT m.oid, {OWNER}, {PRIVILEGES}, s.size, pg_catalog.lo_get(m.oid, p.n * {PIECE_BYTES}, {PIECE_BYTES})
                 FROM pg_catalog.pg_largeobject_metadata m,
                      LATERAL (SELECT pg_catalog.lo_open(m.oid, 262144) AS fd OFFSET 0) f,
                      LATERAL (SELECT pg_catalog.lo_lseek64(f.fd, 0, 2) AS size OFFSET 0) s,
                      LATERAL (SELECT pg_catalog.lo_close(CASE WHEN s.size >= 0 THEN f.fd END) AS done OFFSET 0) c,
                      LATERAL pg_catalog.generate_series(0, (s.size - 1) / {PIECE_BYTES} + c.done) p (n)
                WHERE m.oid BETWEEN '{first}'::pg_catalog.oid AND '{last}'::pg_catalog.oid) TO STDOUT (FORMAT binary)"
    )
}

/// What large objects are: sums modulo 2^128 of a hash of each, so that their order does not matter (see `docs/format.md`, "Fingerprints").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub objects: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// XXH3-128 of OID (four bytes, the highest first) and content.
    pub contents: u128,
    /// XXH3-128 of OID, owner and privileges as text, with tabs between them.
    pub owners: u128,
}

impl Sum {
    /// Adds who owns an object and what others may do with it.
    pub fn add_owner(&mut self, oid: u32, owner: &str, privileges: Option<&str>) {
        let text = format!("{oid}\t{owner}\t{}", privileges.unwrap_or("\\N"));
        self.owners = self.owners.wrapping_add(xxh3_128(text.as_bytes()));
    }

    /// The entry in the manifest of a range that lies in this file.
    pub fn chunk(&self, first: u32, last: u32, file: String, frames: Vec<Frame>) -> LargeObjectChunk {
        let hex = |sum: u128| format!("{sum:032x}");
        let (fingerprint, owners) = (hex(self.contents), hex(self.owners));
        LargeObjectChunk { first, last, objects: self.objects, bytes: self.bytes, fingerprint, owners, file, frames }
    }
}

/// An object that comes in pieces.
pub struct Content(Box<Xxh3>, u64);

impl Content {
    /// Nothing of it yet.
    pub fn of(oid: u32) -> Self {
        let mut hash = Box::<Xxh3>::default();
        hash.update(&oid.to_be_bytes());
        Self(hash, 0)
    }

    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
        self.1 += bytes.len() as u64;
    }

    /// It is whole.
    pub fn end(self, sum: &mut Sum) {
        sum.objects += 1;
        sum.bytes += self.1;
        sum.contents = sum.contents.wrapping_add(self.0.digest128());
    }
}

/// Reads what [`copy_out`] gives: `PGCOPY`'s header of 19 bytes, then per row the number of its fields and each with its length in front
/// ("Binary Format" of COPY in PostgreSQL's manual).
#[derive(Default)]
pub struct Objects {
    begun: bool,
    ended: bool,
    /// The fields before the content, as far as they have come.
    head: Vec<u8>,
    /// Bytes of the row's content that are still to come.
    left: Option<u64>,
    /// The object that is not whole yet: its OID and size.
    open: Option<(u32, u64, Content)>,
    /// What was read so far.
    pub sum: Sum,
}

struct Row<'a> {
    oid: u32,
    owner: &'a str,
    privileges: Option<&'a str>,
    size: u64,
    content: u64,
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Objects {
    /// Takes bytes of a row. `ends`: it ends here.
    ///
    /// # Errors
    /// When the server sends something else; whatever `part` returns.
    pub fn feed(&mut self, bytes: &[u8], ends: bool, part: &mut impl FnMut(Part<'_, u32>) -> Result<()>) -> Result<()> {
        let odd = || Error::new(Kind::Database, "the server sent large objects in a way that is not known");
        let mut bytes = bytes;
        let kept: Vec<u8>;
        if self.left.is_none() {
            self.head.extend_from_slice(bytes);
            if !self.begun {
                if self.head.len() < SIGNATURE.len() {
                    return if ends { Err(odd()) } else { Ok(()) };
                }
                if self.head.drain(..SIGNATURE.len()).as_slice() != SIGNATURE {
                    return Err(odd());
                }
                self.begun = true;
            }
            if ends && self.head == [0xff, 0xff] {
                self.ended = true;
                return Ok(());
            }
            kept = std::mem::take(&mut self.head);
            let Some((row, used)) = row(&kept) else {
                self.head = kept;
                return if ends { Err(odd()) } else { Ok(()) };
            };
            match &self.open {
                Some((oid, ..)) if *oid == row.oid => {}
                Some(_) => return Err(odd()),
                None => {
                    self.sum.add_owner(row.oid, row.owner, row.privileges);
                    part(Part::Begins(row.oid, row.size))?;
                    self.open = Some((row.oid, row.size, Content::of(row.oid)));
                }
            }
            self.left = Some(row.content);
            bytes = &kept[used..];
        }
        let (Some(left), Some((_, size, content))) = (self.left, &mut self.open) else { return Err(odd()) };
        let left = left.checked_sub(bytes.len() as u64).filter(|left| ends == (*left == 0)).ok_or_else(odd)?;
        content.add(bytes);
        if !bytes.is_empty() {
            part(Part::Bytes(bytes))?;
        }
        self.left = Some(left).filter(|_| !ends);
        if !ends || content.1 < *size {
            return Ok(());
        }
        if content.1 > *size {
            return Err(odd());
        }
        if let Some((_, _, content)) = self.open.take() {
            content.end(&mut self.sum);
        }
        part(Part::Ends)
    }

    /// The server has sent everything.
    ///
    /// # Errors
    /// When it has not.
    pub fn end(self) -> Result<Sum> {
        match self.open {
            None if self.ended => Ok(self.sum),
            _ => Err(Error::new(Kind::Database, "the server ended within a large object")),
        }
    }
}

/// Whether a pack holds enough.
pub fn is_full(sum: &Sum) -> bool {
    sum.objects >= u64::from(RANGE_OBJECTS) || sum.bytes >= u64::from(RANGE_BYTES)
}

/// Who owns each large object and what others may do with it, in order of their OIDs.
///
/// # Errors
/// When the catalog cannot be read.
pub async fn owners(session: &Session, mut each: impl FnMut(u32, &str, Option<&str>)) -> Result<()> {
    let sql = format!("SELECT m.oid, {OWNER}, {PRIVILEGES} FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid");
    let failed = |e| session.explain("cannot list the large objects", e);
    let rows = session.query_raw::<_, &str, _>(&sql, []).await.map_err(failed)?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        each(row.get(0), row.get(1), row.get(2));
    }
    Ok(())
}

/// The fields before the content, and their bytes; `None` when more is to come.
fn row(head: &[u8]) -> Option<(Row<'_>, usize)> {
    let mut fields: [Option<&[u8]>; 4] = [None; 4];
    let mut rest = head.strip_prefix(&5_i16.to_be_bytes())?;
    for field in &mut fields {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind;
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            *field = Some(rest.get(..length)?);
            rest = &rest[length..];
        }
    }
    let (content, rest) = rest.split_first_chunk::<4>()?;
    let [oid, owner, privileges, size] = fields;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let row = Row {
        oid: u32::from_be_bytes(oid?.try_into().ok()?),
        owner: text(owner?)?,
        privileges: privileges.and_then(text),
        size: u64::from_be_bytes(size?.try_into().ok()?),
        content: u64::try_from(i32::from_be_bytes(*content)).ok()?,
    };
    Some((row, head.len() - rest.len()))
}

/// How packs of large objects are compressed: by what every tar can read.
pub fn compression(of_rows: Compression) -> Compression {
    match of_rows {
        Compression::None => Compression::None,
        _ => Compression::Gzip(DEFAULT_GZIP_LEVEL),
    }
}

/// A pack of large objects on its way into the store.
pub struct PackOut {
    sink: Arc<Sink>,
    writer: FrameWriter,
    compression: Compression,
    frames: Vec<Frame>,
    size: u64,
}

impl PackOut {
    /// An empty one. `checked`: what it makes is decompressed and compared before it is sent.
    ///
    /// # Errors
    /// When there is no compressor.
    pub fn new(sink: Arc<Sink>, compression: Compression, checked: bool) -> Result<Self> {
        let writer = FrameWriter::new(compression)?.checked(checked, compression)?;
        Ok(Self { sink, writer, compression, frames: Vec::new(), size: 0 })
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub fn write(&mut self, part: Part<'_, u32>) -> Result<()> {
        match part {
            Part::Begins(oid, size) => {
                self.size = size;
                self.writer.write(&pack::header(&format!("blob_{oid}.dat"), size)?)
            }
            Part::Bytes(bytes) => self.writer.write(bytes),
            Part::Ends => self.writer.write(pack::padding(self.size)),
        }
    }

    /// Hands on what is compressed, if it is enough for a frame.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn relieve(&mut self) -> Result<()> {
        if self.writer.ready() >= self.sink.frame_bytes() {
            self.close().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some(bytes) = self.writer.finish()? {
            self.frames.push(self.sink.append(&bytes).await?);
        }
        Ok(())
    }

    /// Nothing more comes: its frames, and what is still to be stored.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn end(mut self) -> Result<(Vec<Frame>, Rest)> {
        self.close().await?;
        let mut last = FrameWriter::new(self.compression)?;
        last.write(&pack::END)?;
        let (frame, rest) = self.sink.end(&last.finish()?.unwrap_or_default()).await?;
        self.frames.push(frame);
        Ok((self.frames, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as the server sends it: 5 fields, each with its length in front.
    fn row(oid: u32, privileges: Option<&str>, size: u64, content: &[u8]) -> Vec<u8> {
        let field = |bytes: &[u8]| [&(bytes.len() as i32).to_be_bytes(), bytes].concat();
        let privileges = privileges.map_or((-1_i32).to_be_bytes().to_vec(), |p| field(p.as_bytes()));
        let fields = [field(&oid.to_be_bytes()), field(b"me"), privileges, field(&size.to_be_bytes()), field(content)];
        [&5_i16.to_be_bytes()[..], &fields.concat()].concat()
    }

    type Seen = Vec<(u32, u64, Vec<u8>)>;

    /// Hands rows on in pieces of so many bytes.
    fn read(rows: &[Vec<u8>], step: usize) -> Result<(Sum, Seen)> {
        let (mut objects, mut seen): (_, Seen) = (Objects::default(), Vec::new());
        for row in rows {
            let pieces = row.chunks(step).count();
            for (n, piece) in row.chunks(step).enumerate() {
                objects.feed(piece, n + 1 == pieces, &mut |part| {
                    match part {
                        Part::Begins(oid, size) => seen.push((oid, size, Vec::new())),
                        Part::Bytes(bytes) => seen.last_mut().expect("has begun").2.extend_from_slice(bytes),
                        Part::Ends => {}
                    }
                    Ok(())
                })?;
            }
        }
        Ok((objects.end()?, seen))
    }

    #[test]
    fn objects_come_out_as_they_went_in_whatever_the_pieces() {
        let long: Vec<u8> = (0..3000_u32).map(|n| (n % 251) as u8).collect();
        let first = [SIGNATURE, &row(7, None, 5, b"seven")].concat();
        let end = vec![0xff, 0xff];
        let rows = [
            first.clone(),
            row(8, Some("{me=rw/me}"), 0, b""),
            row(9, None, 5000, &long),
            row(9, None, 5000, &long[..2000]),
            end.clone(),
        ];
        let expected = [(7, 5, b"seven".to_vec()), (8, 0, vec![]), (9, 5000, [&long[..], &long[..2000]].concat())];
        let mut sums = Vec::new();
        for step in [1, 7, 18, 19, 20, 1000, 10_000] {
            let (sum, seen) = read(&rows, step).expect("is read");
            assert_eq!(seen, expected, "{step}");
            sums.push(sum);
        }
        assert!(sums.windows(2).all(|s| s[0] == s[1]) && (sums[0].objects, sums[0].bytes) == (3, 5005));
        // The formula that is documented.
        let hash = |oid: u32, content: &[u8]| xxh3_128(&[&oid.to_be_bytes(), content].concat());
        let contents = expected.iter().fold(0_u128, |sum, (oid, _, content)| sum.wrapping_add(hash(*oid, content)));
        let owners = [&b"7\tme\t\\N"[..], b"8\tme\t{me=rw/me}", b"9\tme\t\\N"];
        let owners = owners.iter().fold(0_u128, |sum, text| sum.wrapping_add(xxh3_128(text)));
        assert_eq!((sums[0].contents, sums[0].owners), (contents, owners));

        let refused = |rows: &[Vec<u8>]| read(rows, 10_000).is_err();
        assert!(refused(std::slice::from_ref(&first)), "no end");
        assert!(refused(&[[SIGNATURE, &row(7, None, 6, b"seven")].concat(), end.clone()]), "fewer bytes than its size");
        assert!(refused(&[[SIGNATURE, &row(7, None, 4, b"seven")].concat(), end.clone()]), "more bytes than its size");
        let other = row(8, None, 9, b"x");
        assert!(refused(&[[SIGNATURE, &row(7, None, 6, b"seven")].concat(), other, end.clone()]), "another in between");
        assert!(refused(&[row(7, None, 5, b"seven"), end]), "no signature");
    }
}
