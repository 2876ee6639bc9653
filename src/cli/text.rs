//! How clap takes text that options of several groups have.

use crate::secret::Secret;
use clap::Arg;
use std::convert::Infallible;

/// An option that is a yes or no.
pub(super) trait Flag {
    /// No, unless it is named: `--json`, which is `--json=true`; `--json=false` takes back what a variable says.
    fn flag(self) -> Self;

    /// The same without a default, where not to be named is a third answer.
    fn open_flag(self) -> Self;
}

impl Flag for Arg {
    fn flag(self) -> Self {
        // The derive sees no default and takes the option for required.
        self.open_flag().default_value("false").required(false)
    }

    fn open_flag(self) -> Self {
        self.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
    }
}

/// Never fails, so that clap never has a reason to print the value.
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}
