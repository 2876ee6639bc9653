//! How the text of an option becomes a value; shared by all who check options of their own.

use crate::error::{Error, Kind, Result};

/// The error for an option that cannot be.
pub(crate) fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// A value that is there: trimmed, not empty.
pub(crate) fn given(text: Option<&String>) -> Option<&str> {
    text.map(|t| t.trim()).filter(|t| !t.is_empty())
}

/// Reads a yes or no; empty is no.
pub(crate) fn flag(name: &str, text: &str) -> Result<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "" | "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(usage(format!("option {name}: {text:?} is neither true nor false")).hint("use true or false")),
    }
}

/// Reads one of a few names.
pub(crate) fn choice<T: clap::ValueEnum>(name: &str, text: &str) -> Result<T> {
    T::from_str(text.trim(), true).map_err(|_| {
        let names: Vec<String> =
            T::value_variants().iter().filter_map(|v| v.to_possible_value().map(|p| p.get_name().to_owned())).collect();
        usage(format!("option {name}: {text:?} is not known")).hint(format!("use one of {}", names.join(", ")))
    })
}

/// Whether a text is one that a pattern means; `*` and `?` as in a shell.
pub(crate) fn glob(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    // Where the last `*` stood, and how much of the text it has taken.
    let (mut t, mut p, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (t, p) = (t + 1, p + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (t, p) = (taken + 1, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}
