//! JSON for people who look for a line: the outermost fields, and what lists in them hold, have one each. A manifest of many tables is two
//! thirds as large as one that is indented all through, and `grep` finds a table in it.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Levels that are indented.
const LEVELS: usize = 2;

/// Writes a value.
///
/// # Errors
/// When it is none of JSON.
pub fn to_vec<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Lines { depth: 0, pretty: PrettyFormatter::new() }))?;
    Ok(bytes)
}

struct Lines {
    depth: usize,
    pretty: PrettyFormatter<'static>,
}

/// By the formatter that serves this level.
macro_rules! inside {
    ($self:ident, $call:ident($($arg:expr),*)) => {
        if $self.depth <= LEVELS { $self.pretty.$call($($arg),*) } else { CompactFormatter.$call($($arg),*) }
    };
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        inside!(self, begin_array(writer))
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let ended = inside!(self, end_array(writer));
        self.depth -= 1;
        ended
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        inside!(self, begin_array_value(writer, first))
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        inside!(self, end_array_value(writer))
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        inside!(self, begin_object(writer))
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let ended = inside!(self, end_object(writer));
        self.depth -= 1;
        ended
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        inside!(self, begin_object_key(writer, first))
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        inside!(self, begin_object_value(writer))
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        inside!(self, end_object_value(writer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_outermost_lists_have_a_line_per_value() {
        let value =
            json!({"a": [{"b": [1, {"c": 2}], "d": {}}, [], "x\n"], "e": {"f": [1, 2], "g": 3}, "h": [], "i": null});
        let text = String::from_utf8(to_vec(&value).expect("is JSON")).expect("is UTF-8");
        insta::assert_snapshot!(text, @r#"
        {
          "a": [
            {"b":[1,{"c":2}],"d":{}},
            [],
            "x\n"
          ],
          "e": {
            "f": [1,2],
            "g": 3
          },
          "h": [],
          "i": null
        }
        "#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("is JSON"), value);
    }
}
