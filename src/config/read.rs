//! How options are read that several groups have: numbers, lists, durations, moments, and what surrounds them.

use crate::{
    cli::OutputArgs,
    error::{Error, Result},
    secret::Secret,
    value::{given, usage},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// How a variable of the environment is looked up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Variables that say something.
pub(super) fn present<'a>(env: Env<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| env(name).filter(|value| !value.trim().is_empty())
}

/// The source's variables must not leak into another server's address.
pub(super) fn no_pg<'a>(env: Env<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| if name.starts_with("PG") && name != "PGPASSFILE" { None } else { env(name) }
}

/// Where relative paths begin.
pub(super) fn base(output: &OutputArgs, env: Env<'_>) -> PathBuf {
    if output.in_action { env("GITHUB_WORKSPACE").map(PathBuf::from) } else { None }.unwrap_or_default()
}

pub(super) fn number(name: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
    text.trim().parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
        usage(format!("option {name}: {text:?} is not a number from {} to {}", range.start(), range.end()))
            .hint(format!("for example {name} 4"))
    })
}

/// Splits at commas and line breaks; text inside double quotes is kept whole, as pg_dump's patterns quote names.
pub(super) fn list(name: &str, values: &[String]) -> Result<Vec<String>> {
    let mut items = Vec::new();
    for value in values {
        let (mut item, mut quoted) = (String::new(), false);
        for c in value.chars().chain(['\n']) {
            match c {
                ',' | '\n' | '\r' if !quoted => {
                    let whole = item.trim();
                    if !whole.is_empty() {
                        items.push(whole.to_owned());
                    }
                    item.clear();
                }
                _ => {
                    quoted ^= c == '"';
                    item.push(c);
                }
            }
        }
        if quoted {
            return Err(usage(format!("option {name}: a double quote is not closed in {value:?}"))
                .hint("write names that need quotes as \"my schema\".\"my table\""));
        }
    }
    Ok(items)
}

/// Public keys, one a line, and files of them. `begins`: how such a line begins; `check`: whether the lines of a file are keys.
pub(super) fn lines_or_files(
    name: &str,
    values: &[String],
    begins: &[&str],
    base: &Path,
    check: impl Fn(&[String]) -> Result<()>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for item in list(name, values)? {
        // A key never names a file: none that is there by chance may stand in for it.
        let key = begins.iter().any(|begin| item.starts_with(begin));
        let path = base.join(&item);
        if key || !path.is_file() {
            lines.push(item);
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| {
            usage(format!("option {name}: cannot read {}", path.display()))
                .because(e)
                .hint("name a text file of public keys")
        })?;
        let before = lines.len();
        lines.extend(text.lines().map(str::to_owned));
        check(&lines[before..]).map_err(|e| e.context(path.display()))?;
    }
    Ok(lines)
}

/// A private key as it was given, or as it stands in the file that was named, and where it comes from, for people.
pub(super) fn key_text(
    given: Option<&Secret>,
    base: &Path,
    is_key: impl Fn(&str) -> bool,
    unread: impl FnOnce(std::io::Error) -> Error,
) -> Result<Option<(Secret, String)>> {
    let Some(text) = given.filter(|text| !text.expose().trim().is_empty()) else { return Ok(None) };
    if is_key(text.expose()) {
        return Ok(Some((text.clone(), "the variable".into())));
    }
    let path = base.join(text.expose().trim());
    let read = std::fs::read_to_string(&path).map_err(unread)?;
    Ok(Some((Secret::new(read), path.display().to_string())))
}

/// The error for the file of a private key. What was meant to be a key is not shown for a path.
pub(super) fn no_key_file(name: &str, e: std::io::Error) -> Error {
    usage(format!("option {name}: the file that it names cannot be read")).because(e)
}

/// A moment in UTC: RFC 3339, or a date, or a date and a time.
pub(super) fn moment(text: &str) -> Result<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let date = || time::Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(|d| d.midnight());
    let short = || PrimitiveDateTime::parse(text, format_description!("[year]-[month]-[day]T[hour]:[minute]")).ok();
    time.or_else(|| date().or_else(short).map(PrimitiveDateTime::assume_utc)).ok_or_else(|| {
        usage(format!("option before: {text:?} is no time"))
            .hint("write 2026-11-22, 2026-11-22T03:00 or 2026-11-22T03:00:00Z; UTC where no offset is given")
    })
}

/// Numbers, each with its unit: `1d12h`.
pub(super) fn units(text: &str) -> Option<Vec<(u64, char)>> {
    let mut found = Vec::new();
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
        } else {
            found.push((number.parse().ok()?, c));
            number.clear();
        }
    }
    (number.is_empty() && !found.is_empty()).then_some(found)
}

pub(super) fn duration(name: &str, text: Option<&String>) -> Result<Option<Duration>> {
    let Some(text) = given(text) else { return Ok(None) };
    let seconds = |(n, unit): &(u64, char)| {
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            _ => return None,
        };
        n.checked_mul(unit)
    };
    let total = units(text).and_then(|units| units.iter().map(seconds).try_fold(0_u64, |sum, n| sum.checked_add(n?)));
    match total.filter(|&n| n > 0) {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(usage(format!("option {name}: {text:?} is no duration"))
            .hint("write numbers with s, m (minutes), h, d or w, such as 15m or 1d12h")),
    }
}

/// Bytes: a whole number and a unit, decimal (`k`, `MB`) or binary (`MiB`).
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::backup::tests::parsed;

    #[test]
    fn lists_split_at_commas_and_lines_but_not_in_quotes() {
        let p = parsed(&["--tables", "a, b\nc\r\n\n\"x,y\".\"z\"\"\n\"", "--tables=d"]).expect("is valid");
        assert_eq!(p.config.filter.tables, ["a", "b", "c", "\"x,y\".\"z\"\"\n\"", "d"]);
        assert!(!p.config.filter.is_everything());
    }

    #[test]
    fn moments_and_durations() {
        let before = |text: &str| moment(text).map(|t| t.unix_timestamp());
        assert_eq!(before("2026-11-22").expect("a date"), before("2026-11-22T00:00:00Z").expect("RFC 3339"));
        assert_eq!(before("2026-11-22T03:00").expect("short"), before("2026-11-22T04:00:00+01:00").expect("RFC 3339"));
        let of = |text: &str| duration("max-age", Some(&text.to_owned())).expect(text).map(|d| d.as_secs());
        assert_eq!((of("15m"), of("1d12h"), of("2w"), of(" ")), (Some(900), Some(129_600), Some(1_209_600), None));
    }
}
