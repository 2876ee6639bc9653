//! Whether the source's own pg_restore reads what is to be stored.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::archive::compression::{Compression, CompressionChoice};
use async_trait::async_trait;

pub(super) struct Readable;

#[async_trait]
impl Question for Readable {
    fn name(&self) -> &'static str {
        "compression"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let major = facts.source.get()?.major;
        if major >= 16 || !matches!(facts.config.compression, CompressionChoice::Named(Compression::Zstd(_))) {
            return Ok(Vec::new());
        }
        Ok(vec![Answer::no(
            format!("plain pg_restore of PostgreSQL {major} cannot read zstd"),
            "compression: auto or gzip (zstd is read from PostgreSQL 16 on)",
        )])
    }
}
