//! Markdown as GitHub shows it, of text that may hold anything.

use super::renderer::LINES;
use crate::report::{
    Failure,
    format::{clean, clip, count},
    page::Detail,
};
use std::fmt::Write as _;

/// Characters of a line of a list: a summary of more than 1 MiB is not shown at all.
const LINE: usize = 400;

/// Bytes of a folded text, likewise.
const DETAIL: usize = 64 << 10;

/// What failed, with its cure.
pub(super) fn failed(failure: &Failure) -> String {
    let mut out = format!("**Error in {}:** {}\n\n", escape(&failure.phase), escape(&failure.message));
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "**Hint:** {}\n", escape(hint));
    }
    out
}

pub(super) fn more(out: &mut String, length: usize, indent: &str) {
    if length > LINES {
        let _ = writeln!(out, "{indent}… and {} more", count((length - LINES) as u64));
    }
}

pub(super) fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n**{title}**\n");
    for item in items.iter().take(LINES) {
        let _ = writeln!(out, "- {}", escape(&clip(item, LINE)));
    }
    more(out, items.len(), "- ");
}

/// Long texts, folded.
pub(super) fn details(out: &mut String, all: &[Detail]) {
    for (title, language, text) in all {
        let mut shown = String::new();
        for line in text.lines() {
            if shown.len() + line.len() > DETAIL {
                shown.push_str("…\n");
                break;
            }
            shown.push_str(&clean(line));
            shown.push('\n');
        }
        let _ =
            write!(out, "\n<details><summary>{}</summary>\n\n{}\n</details>\n", escape(title), block(language, &shown));
    }
}

/// Text that stays text in Markdown: one line, and each character that could begin markup, a mention or a link as a
/// numeric entity, which CommonMark never reads as structure
/// (<https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references>).
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '+' | '!' | '|' | '&' | '~' | '@'
            | '$' | '"' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // A plain colon stays legible; one that would make a link or an emoji does not.
            ':' if !out.ends_with(|c: char| c.is_ascii_digit()) => out.push_str("&#58;"),
            _ => out.push(c),
        }
    }
    out
}

/// A fenced block whose fence is longer than any run of backticks inside it.
pub(super) fn block(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup_or_close_a_fence() {
        assert_eq!(escape("<b>|`x`\n# @all"), "&#60;b&#62;&#124;&#96;x&#96;\\n&#35; &#64;all".replace("\\n", "&#92;n"));
        assert!(block("text", "a\n````\nb").starts_with("`````text\n"));
    }
}
