//! What text is shown on: how wide it is, and whether it has colours.

use anstyle::{AnsiColor, Style};
use std::borrow::Cow;
use textwrap::{Options, WordSplitter, core::display_width};

/// Stands in front of a value that may go on in the next line, below its beginning. Text from elsewhere never holds it:
/// [`clean`](crate::report::format::clean) makes control characters visible.
pub(super) const HANG: char = '\u{1f}';

/// Narrower than this nothing can be laid out: longer lines are left to the terminal.
const NARROWEST: usize = 40;

/// A terminal, or what stands for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paper {
    /// Columns; `None`: as many as a line takes.
    pub width: Option<usize>,
    /// Whether colours are shown.
    pub colour: bool,
}

impl Paper {
    /// Whether so many columns are more than there are.
    pub(super) fn is_narrower(self, columns: usize) -> bool {
        self.width.is_some_and(|width| columns > width.max(NARROWEST))
    }

    /// Lines laid out for it.
    pub(super) fn lay_out(self, text: &str) -> String {
        text.lines().flat_map(|line| [self.line(line), "\n".to_owned()]).collect()
    }

    fn line(self, line: &str) -> String {
        let Some((name, value)) = line.split_once(HANG) else { return self.coloured(line) };
        let plain = format!("{name}{value}");
        if !self.is_narrower(display_width(&plain)) {
            return self.coloured(&plain);
        }
        let width = self.width.unwrap_or_default().max(NARROWEST);
        // An address or an id that is broken cannot be copied: it stands alone instead.
        let longest = value.split(' ').map(display_width).max().unwrap_or(0);
        let beside = display_width(name) + longest <= width || display_width(name) == 0;
        let indent = " ".repeat(if beside { display_width(name) } else { 4 });
        let options = Options::new(width)
            .initial_indent(if beside { name } else { &indent })
            .subsequent_indent(&indent)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        let own = (!beside && !name.trim().is_empty()).then(|| name.trim_end().into());
        let lines = own.into_iter().chain(textwrap::wrap(value, options));
        lines.map(|line: Cow<'_, str>| self.coloured(line.trim_end())).collect::<Vec<_>>().join("\n")
    }

    /// The words at its beginning that say how something ended, in colour.
    fn coloured(self, line: &str) -> String {
        let found = COLOURS.iter().find(|(word, _)| line.starts_with(word)).filter(|_| self.colour);
        let Some((word, colour)) = found else { return line.to_owned() };
        let style = Style::new().fg_color(Some((*colour).into())).bold();
        format!("{style}{word}{style:#}{}", &line[word.len()..])
    }

    /// A headline in the colour of how it ended.
    pub(super) fn headline<'a>(self, line: &'a str, colour: AnsiColor) -> Cow<'a, str> {
        if !self.colour {
            return line.into();
        }
        let style = Style::new().fg_color(Some(colour.into())).bold();
        format!("{style}{line}{style:#}").into()
    }
}

/// Our own words, which no text from elsewhere can begin a line with.
const COLOURS: &[(&str, AnsiColor)] = &[
    ("error", AnsiColor::Red),
    ("FAIL", AnsiColor::Red),
    ("warning", AnsiColor::Yellow),
    ("warn", AnsiColor::Yellow),
    ("anomalies:", AnsiColor::Yellow),
    ("differences:", AnsiColor::Red),
    ("ok  ", AnsiColor::Green),
    ("notice", AnsiColor::Cyan),
    ("  hint:", AnsiColor::Cyan),
    ("      hint:", AnsiColor::Cyan),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn on(width: usize, line: &str) -> String {
        Paper { width: Some(width), colour: false }.lay_out(line)
    }

    #[test]
    fn a_long_value_goes_on_below_its_beginning() {
        let line = "  proof        \u{1f}passed, all equal: 5 files, 2 tables with 1,234,567 rows";
        assert_eq!(on(100, line), "  proof        passed, all equal: 5 files, 2 tables with 1,234,567 rows\n");
        assert_eq!(
            on(44, line),
            "  proof        passed, all equal: 5 files, 2\n               tables with 1,234,567 rows\n"
        );
        // Narrower than 40 columns is laid out as 40.
        assert_eq!(on(10, line), on(40, line));
        // What holds no blank is not broken.
        let address = format!("  stored       \u{1f}s3://{}", "x".repeat(60));
        assert!(on(40, &address).lines().last().is_some_and(|l| l.trim() == format!("s3://{}", "x".repeat(60))));
        // A name that leaves no room.
        let named = format!("{}\u{1f}one two three four", "n".repeat(36));
        assert_eq!(on(40, &named), format!("{}\n    one two three four\n", "n".repeat(36)));
        assert_eq!(Paper::default().lay_out(line).lines().count(), 1);
    }

    #[test]
    fn colours_are_of_our_words_only() {
        let paper = Paper { width: None, colour: true };
        assert_eq!(paper.lay_out("error in dump: error"), "\u{1b}[1m\u{1b}[31merror\u{1b}[0m in dump: error\n");
        assert_eq!(paper.lay_out("  x  error"), "  x  error\n");
        assert_eq!(Paper::default().lay_out("error"), "error\n");
    }
}
