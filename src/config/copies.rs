//! How a backup in several places is taken.

use crate::{
    cli::CopiesArgs,
    error::Result,
    store::{Destination, copies::Require},
    value::{flag, usage},
};

/// How many places must take it, and whether each is restored.
pub(super) fn copies(raw: &CopiesArgs, destination: &Destination) -> Result<(Require, bool)> {
    let places = destination.each().len();
    let require = match raw.require.trim() {
        "" | "any" => Require::Any,
        "all" => Require::All,
        number => match number.parse() {
            Ok(number) if (1..=places).contains(&number) => Require::AtLeast(number),
            Ok(_) => {
                return Err(usage(format!("option require: {number} of {places} destinations cannot be"))
                    .hint("name more destinations, or write any, all or a number of them"));
            }
            Err(_) => {
                return Err(usage(format!("option require: {number:?} is not known"))
                    .hint("write any, all, or how many of the destinations must take the backup"));
            }
        },
    };
    Ok((require, flag("verify-all", &raw.verify_all)?))
}
