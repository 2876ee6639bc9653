//! What a store promises besides keeping what it is given.

/// What a store promises besides keeping what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// Of several writers of a new object exactly one wins ([`super::Store::put_new`]).
    pub exclusive: bool,
    /// Nobody reads an object without credentials.
    pub private: bool,
    /// Nobody on the way reads what goes to it.
    pub confidential: bool,
    /// Bytes that an object can have at most.
    pub largest: Option<u64>,
}

impl Promises {
    /// Everything that the engine asks for.
    pub const ALL: Self = Promises { exclusive: true, private: true, confidential: true, largest: None };

    /// What is missing and does no harm by itself. A line each.
    pub fn notices(&self) -> Vec<String> {
        let mut said = Vec::new();
        if !self.exclusive {
            said.push(
                "it has no conditional write: whether a name is taken is asked before; the random part of a backup's id keeps runs apart"
                    .to_owned(),
            );
        }
        if !self.confidential {
            said.push(
                "it is reached without TLS: whoever is on the way reads the password and what is stored; encrypt-to hides the latter".to_owned(),
            );
        }
        if let Some(largest) = self.largest {
            said.push(format!("it takes no file of more than {} MiB: a larger table fails the backup", largest >> 20));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_said() {
        assert!(Promises::ALL.notices().is_empty());
        let some =
            Promises { exclusive: false, confidential: false, largest: Some(150 << 20), ..Promises::ALL }.notices();
        assert!(some[0].contains("conditional write") && some[1].contains("TLS") && some[2].contains("150 MiB"));
    }
}
