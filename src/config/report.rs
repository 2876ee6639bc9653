//! `savepoint report`.

use super::{
    destination::destination,
    output::output,
    policy::retention,
    read::{Env, base, duration},
    validated::Validated,
};
use crate::{
    cli::{DestinationArgs, ReportArgs},
    clock::STALL,
    error::Result,
    inventory::OverviewConfig,
    notify::Channels,
    report::overview::Format,
    store::Destination,
    value::{choice, flag, given, usage},
    vault::VerifyLevel,
};

/// What is reported, and where to.
#[derive(Clone, Debug)]
pub struct ReportConfig {
    /// What is looked at.
    pub overview: OverviewConfig,
    /// What it is written as.
    pub format: Format,
    /// Whether a database that is not as it should be is an error.
    pub require_good: bool,
    /// Where to; without it, standard output.
    pub to: Option<Destination>,
}

/// Validates the options of a report.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure.
pub fn report(raw: &ReportArgs, env: Env<'_>) -> Result<Validated<ReportConfig>> {
    let base = base(&raw.output, env);
    let mut notices = Vec::new();
    let mut place = |raw: &DestinationArgs| destination(raw, &base, VerifyLevel::None, STALL, env, &mut notices);
    let from = place(&raw.destination)?;
    let to = given(raw.to.as_ref())
        .map(|to| DestinationArgs { destination: vec![to.to_owned()], ..raw.destination.clone() });
    let to = to.map(|to| place(&to).map_err(|e| e.context("option to"))).transpose()?;
    notices.sort();
    notices.dedup();
    let overview = OverviewConfig {
        destination: from,
        database: given(raw.database.database.as_ref()).map(str::to_owned),
        rpo: duration("rpo", raw.present.rpo.as_ref())?,
        rto: duration("rto", raw.present.rto.as_ref())?,
        price: given(raw.present.price_per_gib.as_ref()).map(price).transpose()?,
        retention: retention(&raw.policy)?,
    };
    let config = ReportConfig {
        overview,
        format: choice("format", &raw.present.format)?,
        require_good: flag("require-good", &raw.present.require_good)?,
        to,
    };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}

/// `0.023`, `0.023 USD` or `0.023EUR`.
fn price(text: &str) -> Result<(f64, String)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, currency) = text.split_at(end);
    let number = number.parse().ok().filter(|n: &f64| n.is_finite() && *n < 1e9);
    let currency = currency.trim();
    match number {
        Some(number)
            if currency.chars().count() <= 8 && !currency.contains(|c: char| c.is_control() || c.is_numeric()) =>
        {
            Ok((number, if currency.is_empty() { "USD".to_owned() } else { currency.to_owned() }))
        }
        _ => Err(usage(format!("option price-per-gib: {text:?} is no price"))
            .hint("write a number and a currency, such as 0.023 USD")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices() {
        let of = |text: &str| price(text).ok();
        assert_eq!(of("0.023"), Some((0.023, "USD".into())));
        assert_eq!(of("0.02 EUR"), Some((0.02, "EUR".into())));
        assert_eq!(of("5CHF"), Some((5.0, "CHF".into())));
        for wrong in ["", "x", "-1", "1.2.3", "1e9", "1 a very long name"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
