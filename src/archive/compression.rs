//! How rows are compressed.

/// How rows are compressed, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionChoice {
    /// zstd from major 16 on, gzip before: what the source's own pg_restore can read.
    Auto,
    /// As named.
    Named(Compression),
}

/// How rows are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip members, level 1 to 9.
    Gzip(u32),
    /// zstd frames, level 1 to 19.
    Zstd(i32),
}

/// zstd's level where none is named: the fastest that still beats gzip's usual ratio.
pub const DEFAULT_ZSTD_LEVEL: i32 = 2;

/// gzip's level where none is named.
pub const DEFAULT_GZIP_LEVEL: u32 = 4;

impl CompressionChoice {
    /// What the choice means for a source of this major.
    pub fn for_major(self, major: u32) -> Compression {
        match self {
            CompressionChoice::Named(compression) => compression,
            CompressionChoice::Auto if major >= 16 => Compression::Zstd(DEFAULT_ZSTD_LEVEL),
            CompressionChoice::Auto => Compression::Gzip(DEFAULT_GZIP_LEVEL),
        }
    }
}
