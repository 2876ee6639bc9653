//! libpq's password file.

use crate::secret::Secret;
use std::path::Path;

/// Asks libpq's password file. One that others may read is left alone, as libpq does.
pub(super) fn from_password_file(
    path: &Path,
    host: &str,
    port: u16,
    dbname: &str,
    user: &str,
    notices: &mut Vec<String>,
) -> Option<Secret> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() {
        return None;
    }
    if meta.permissions().mode() & 0o077 != 0 {
        notices.push(format!("the password file {} is ignored: others may read it (chmod 600 {0})", path.display()));
        return None;
    }
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    find_password(&text, &[host, &port.to_string(), dbname, user]).map(Secret::new)
}

/// The password of the first line of a password file whose four fields are `wanted`. `*` alone matches everything,
/// a backslash takes the next character as it is.
pub(super) fn find_password(text: &str, wanted: &[&str; 4]) -> Option<String> {
    text.lines().filter(|l| !l.starts_with('#')).find_map(|line| {
        let mut rest = line.trim_end_matches('\r');
        for want in wanted {
            let (field, raw, behind) = split_field(rest)?;
            if raw != "*" && field != *want {
                return None;
            }
            rest = behind?;
        }
        Some(split_field(rest)?.0).filter(|p| !p.is_empty())
    })
}

/// The text up to the next bare colon, unescaped and raw, and what stands behind the colon.
fn split_field(text: &str) -> Option<(String, &str, Option<&str>)> {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return Some((field, &text[..at], Some(&text[at + 1..]))),
            '\\' => field.push(chars.next().map_or('\\', |(_, c)| c)),
            c => field.push(c),
        }
    }
    Some((field, text, None))
}
