//! Names under which objects are written until they are whole, where a store cannot hide them otherwise: `.<name>.part-<random>` beside
//! the final one.

const MARK: &str = ".part-";

/// A temporary name for a key.
pub(super) fn name(key: &str) -> String {
    let (folder, name) = split(key);
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{folder}.{name}{MARK}{}", &random[..12])
}

/// Whether a key is a temporary name.
pub(super) fn is(key: &str) -> bool {
    let (_, name) = split(key);
    let random = name.strip_prefix('.').and_then(|name| name.rsplit_once(MARK)).map(|(_, random)| random);
    random.is_some_and(|r| r.len() == 12 && r.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The key that a temporary name is to have.
pub(super) fn becomes(temporary: &str) -> String {
    let (folder, name) = split(temporary);
    let name = name.strip_prefix('.').and_then(|name| name.rsplit_once(MARK)).map_or(name, |(name, _)| name);
    format!("{folder}{name}")
}

fn split(key: &str) -> (&str, &str) {
    key.split_at(key.rfind('/').map_or(0, |slash| slash + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for key in ["a", "app/1.dat", "app/.hidden"] {
            let temp = name(key);
            assert!(is(&temp) && becomes(&temp) == key, "{temp}");
            assert_ne!(temp, name(key));
        }
        for other in ["a", ".a.part-", ".a.part-xyz", "a.part-0123456789ab", "app/.hidden"] {
            assert!(!is(other), "{other}");
        }
    }
}
