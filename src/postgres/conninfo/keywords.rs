//! The keyword syntax: `host=… dbname=…`.

use super::wrong::usage;
use crate::error::Result;

/// `name = value name='quoted \' value'`, as libpq's conninfo_parse reads it.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let cure = "use postgresql://user:password@host:5432/database, or host=… dbname=… user=… password='…'";
    let broken = || usage("the database URL is neither a postgresql:// URI nor a keyword=value string").hint(cure);
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(out);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') || name.is_empty() {
            return Err(broken());
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => {
                    return Err(usage("a quoted value of the connection string has no closing '").hint(cure));
                }
                None => break,
            }
        }
        out.push((name, value));
    }
}
