//! Whether a standby exports snapshots that show the right rows.

use super::{
    answer::{Answer, Answered, yes},
    facts::Facts,
    question::Question,
};
use async_trait::async_trait;

/// The first minor of each major whose standbys export snapshots that show the right rows.
const FIXED_STANDBY: [(u32, u32); 5] = [(18, 7), (17, 12), (16, 16), (15, 20), (14, 25)];

pub(super) struct Standby;

#[async_trait]
impl Question for Standby {
    fn name(&self) -> &'static str {
        "standby"
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let source = facts.source.get()?;
        if !source.standby {
            return Ok(Vec::new());
        }
        let minor: u32 = source.server_version.split(['.', ' ']).nth(1).and_then(|m| m.parse().ok()).unwrap_or(0);
        let fixed = FIXED_STANDBY.iter().find(|(major, _)| *major == source.major).map(|(_, minor)| *minor);
        let good = source.major > 18 || fixed.is_some_and(|fixed| minor >= fixed);
        if good {
            return yes("a standby; unlogged tables have no rows there");
        }
        let upgrade = match fixed {
            Some(minor) => format!(", or upgrade to {}.{minor}", source.major),
            None => String::new(),
        };
        Ok(vec![Answer::no(
            format!("PostgreSQL {} exports snapshots with wrong rows on a standby", source.server_version),
            format!("connect to the primary{upgrade}"),
        )])
    }
}
