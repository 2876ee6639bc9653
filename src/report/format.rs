//! Numbers and names as people read them, and text from elsewhere made harmless.

use std::borrow::Cow;

/// Bytes with a binary unit: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would round to 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with a comma per three digits: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count in few signs, for whoever reads in passing: `999`, `12.3 k`, `1.2 M`.
pub fn short(number: u64) -> String {
    const UNITS: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if number < 10_000 {
        return count(number);
    }
    let mut value = number as f64 / 1e3;
    let mut unit = 0;
    // 999.95 would round to 1000.0 of the smaller unit.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count and its noun: `1 table`, `2,000 tables`. `noun` is the singular of a noun that takes an s.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Seconds: `0.04 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub fn seconds(time: f64) -> String {
    let whole = time.max(0.0).round() as u64;
    match whole {
        _ if time < 1.0 => format!("{:.2} s", time.max(0.0)),
        _ if time < 59.95 => format!("{time:.1} s"),
        0..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Below this many bytes of rows a ratio says nothing: the table of contents is larger than they are.
const RATIO_FROM: u64 = 1 << 20;

/// How much smaller the stored form is: `3.6x smaller`; nothing to say of little.
pub fn ratio(bytes: u64, stored: u64) -> Option<String> {
    (bytes >= RATIO_FROM && stored > 0).then(|| {
        let ratio = bytes as f64 / stored as f64;
        if ratio >= 1.0 { format!("{ratio:.1}x smaller") } else { format!("{:.1}x larger", 1.0 / ratio) }
    })
}

/// Text with a capital at its beginning.
pub fn capitalised(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// Text that may come from a database or a child, on one line and without anything that steers a terminal: control
/// characters, line separators and the marks that reverse the direction of text are written as `\u{…}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// As [`clean`], cut to at most `limit` characters, the last of them `…`.
pub fn clip(text: &str, limit: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= limit {
        return text.into_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// One word of a POSIX shell: in single quotes unless it is plain.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_their_unit() {
        let shown: Vec<String> = [0, 1023, 1024, 1536, 1048575, 1 << 20, 5_368_709_120, u64::MAX].map(bytes).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB", "16.0 EiB"]);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 9_999, 10_000, 999_949, 999_950, 1_234_567, u64::MAX].map(short),
            ["0", "9,999", "10.0 k", "999.9 k", "1.0 M", "1.2 M", "18.4 E",]
        );
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".into(), "0 rows".into()));
    }

    #[test]
    fn times_round_without_sixty_seconds() {
        let shown: Vec<String> = [0.0, 0.041, 1.0, 59.94, 59.96, 245.4, 3599.7, 7384.0].map(seconds).into();
        let expected = ["0.00 s", "0.04 s", "1.0 s", "59.9 s", "1 min 00 s", "4 min 05 s", "1 h 00 min", "2 h 03 min"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio(36 << 20, 10 << 20).as_deref(), Some("3.6x smaller"));
        assert_eq!(ratio(5 << 20, 10 << 20).as_deref(), Some("2.0x larger"));
        assert_eq!(ratio(RATIO_FROM - 1, 100), None);
        assert_eq!(ratio(2, 1_721), None);
    }

    #[test]
    fn text_from_elsewhere_stays_on_its_line() {
        assert_eq!(clean("plain ü"), "plain ü");
        assert_eq!(clean("a\r\n::error::b\u{1b}[2J\u{2028}\u{202e}"), "a\\r\\n::error::b\\u{1b}[2J\\u{2028}\\u{202e}");
        assert_eq!(clip("äöüß", 3), "äö…");
        assert_eq!(clip("äöü", 3), "äöü");
    }

    #[test]
    fn shell_words() {
        assert_eq!(shell_word("s3://b/p-1/x.y"), "s3://b/p-1/x.y");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
    }
}
