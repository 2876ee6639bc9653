//! Names and values as SQL writes them.

/// An identifier in double quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An identifier in double quotes, in whatever encoding.
pub fn quote_raw(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in name {
        quoted.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
    }
    quoted.push(b'"');
    quoted
}

/// The names in `a, "b c"` or `s."t"`, as `quote_ident` writes them, without their quotes. Bytes: a name need not be UTF-8.
pub fn unquoted(list: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let (mut names, mut name, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut bytes = list.iter().peekable();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&&b'"') => {
                bytes.next();
                name.push(b'"');
            }
            b'"' => quoted = !quoted,
            byte if byte == separator && !quoted => names.push(std::mem::take(&mut name)),
            byte if byte.is_ascii_whitespace() && !quoted => {}
            byte => name.push(byte),
        }
    }
    names.push(name);
    names
}

/// `"schema"."table"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote(schema), quote(name))
}

/// A literal for SQL, with `standard_conforming_strings` on.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
