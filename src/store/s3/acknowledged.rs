//! What S3 says of the bytes that it took: for a key that may not read them back, the only word there is.
//!
//! The sums are made here, from the bytes that were handed to the SDK, and not taken from what the SDK sent.

use super::failure::Failure;
use crate::store::Acknowledged;
use aws_sdk_s3::types::ServerSideEncryption;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many answers said how much.
#[derive(Debug, Default)]
pub(super) struct Answers {
    equal: AtomicU64,
    silent: AtomicU64,
}

impl Answers {
    /// An answer was lost.
    pub(super) fn unseen(&self) {
        self.silent.fetch_add(1, Ordering::Relaxed);
    }

    /// Compares an answer with the bytes that it answers.
    pub(super) fn compare(&self, body: &[u8], said: Said<'_>) -> Result<(), Failure> {
        match differs(body, said) {
            Some(Some(difference)) => return Err(Failure::mismatch(difference)),
            Some(None) => self.equal.fetch_add(1, Ordering::Relaxed),
            None => self.silent.fetch_add(1, Ordering::Relaxed),
        };
        Ok(())
    }

    pub(super) fn counted(&self) -> Acknowledged {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Acknowledged { equal: load(&self.equal), silent: load(&self.silent) }
    }
}

/// What an answer says of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) crc32: Option<&'a str>,
    pub(super) etag: Option<&'a str>,
    pub(super) sse: Option<&'a ServerSideEncryption>,
}

/// How an answer differs from the bytes; the inner `None`: not at all; the outer one: it says nothing that could be compared.
fn differs(body: &[u8], said: Said<'_>) -> Option<Option<String>> {
    if let Some(theirs) = said.crc32 {
        let ours = STANDARD.encode(crc32fast::hash(body).to_be_bytes());
        return Some((ours != theirs).then(|| format!("it answers with CRC32 {theirs}, and {ours} was sent")));
    }
    // With a key of KMS the ETag is no MD5, and some clones have tags of another kind for parts.
    let kms = said.sse.is_some_and(|sse| *sse != ServerSideEncryption::Aes256);
    let tag = said.etag.map(|tag| tag.trim_matches('"')).filter(|_| !kms);
    let theirs = tag.filter(|tag| tag.len() == 32 && tag.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let ours = hex::encode(Md5::digest(body));
    Some((!ours.eq_ignore_ascii_case(theirs)).then(|| format!("it answers with MD5 {theirs}, and {ours} was sent")))
}

/// The header by which S3 checks a body where it is sent no other sum.
pub(super) fn content_md5(body: &[u8]) -> String {
    STANDARD.encode(Md5::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_compared_by_what_it_holds() {
        let said = |crc32, etag, sse| differs(b"123456789", Said { crc32, etag, sse });
        let (aes, kms) = (&ServerSideEncryption::Aes256, &ServerSideEncryption::AwsKms);
        // The check values of CRC-32/ISO-HDLC and MD5 for these digits.
        let (crc, tag) = ("y/Q5Jg==", "\"25f9e794323b453885f5181f1b624d0b\"");
        let other = Some("\"d41d8cd98f00b204e9800998ecf8427e\"");
        assert_eq!(said(Some(crc), None, None), Some(None));
        assert!(said(Some("AAAAAA=="), Some(tag), None).is_some_and(|d| d.is_some()), "the tag is no way out");
        assert_eq!(said(None, Some(tag), Some(aes)), Some(None));
        assert!(said(None, other, Some(aes)).is_some_and(|d| d.is_some()));
        assert_eq!(said(None, other, Some(kms)), None);
        assert_eq!(said(None, Some("\"opaque-tag\""), None), None);
        assert_eq!(said(None, None, None), None);
    }
}
