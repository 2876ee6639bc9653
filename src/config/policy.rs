//! Which backups stay.

use super::read::{number, units};
use crate::{
    cli::PolicyArgs,
    error::Result,
    prune::retention::{Policy, Retention, Span},
    value::{flag, given, usage},
};

/// Validates a retention rule.
pub(super) fn retention(raw: &PolicyArgs) -> Result<Retention> {
    let count = |name: &str, text: &Option<String>| match given(text.as_ref()) {
        None => Ok(None),
        Some(text) => number(name, text, 0..=100_000).map(|n| Some(n as u32)),
    };
    let counts = [
        count("keep-last", &raw.keep_last)?,
        count("keep-daily", &raw.keep_daily)?,
        count("keep-weekly", &raw.keep_weekly)?,
        count("keep-monthly", &raw.keep_monthly)?,
        count("keep-yearly", &raw.keep_yearly)?,
    ];
    let within = given(raw.keep_within.as_ref()).map(span).transpose()?;
    let named = counts.iter().any(Option::is_some) || within.is_some();
    let [last, daily, weekly, monthly, yearly] = counts.map(Option::unwrap_or_default);
    let policy = Policy { last, daily, weekly, monthly, yearly, within };
    if named && (policy == Policy::default() || policy == Policy { within: Some(Span::default()), ..Policy::default() })
    {
        return Err(usage("the retention rule keeps nothing")
            .hint("give one of the keep options a number above 0, such as keep-daily 7"));
    }
    let min_keep = number("min-keep", &raw.min_keep, 1..=100_000)?;
    Ok(Retention {
        policy: named.then_some(policy),
        min_keep,
        confirm_large: flag("confirm-large", &raw.confirm_large)?,
    })
}

pub(super) fn span(text: &str) -> Result<Span> {
    let mut span = Span::default();
    let wrong = || {
        usage(format!("option keep-within: {text:?} is no duration"))
            .hint("write numbers with y, m (months), d or h, such as 30d or 1y6m")
    };
    for (n, unit) in units(text).ok_or_else(wrong)? {
        let slot = match unit {
            'y' => &mut span.years,
            'm' => &mut span.months,
            'd' => &mut span.days,
            'h' => &mut span.hours,
            _ => return Err(wrong()),
        };
        *slot = u32::try_from(n).ok().filter(|&n| n <= 100_000).ok_or_else(wrong)?;
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(span("1y6m").expect("is a span"), Span { years: 1, months: 6, ..Span::default() });
    }
}
