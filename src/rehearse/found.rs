//! What is told of a rehearsal, and why it failed: a pure function of what was seen.

use super::{
    config::{Forbidden, RehearseConfig},
    watch::Held,
};
use crate::{
    observe::Facts,
    report::{
        format::{bytes, counted, seconds},
        rehearsal::{Changed, Ended, Fate, Lock, Rehearsal},
    },
};

/// Locks of tables that were there before; what the command made itself keeps nobody waiting.
pub(super) fn locks(held: Vec<Held>, before: &Facts) -> Vec<Lock> {
    let lock = |held: Held| {
        let table = before.tables.get(&held.relation)?.label();
        let statement = held.statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let Held { mode, time, blocks_readers, .. } = held;
        Some(Lock { table, mode: mode.to_owned(), seconds: time.as_secs_f64(), statement, blocks_readers })
    };
    held.into_iter().filter_map(lock).collect()
}

/// Why a rehearsal failed, the command's own end first.
pub(super) fn problems(found: &Rehearsal, config: &RehearseConfig) -> Vec<String> {
    let mut problems = Vec::new();
    match &found.ended {
        Ended::Exit(0) => {}
        Ended::Exit(code) => problems.push(format!("the command ended with exit code {code}")),
        Ended::Signal(signal) => problems.push(format!("the command was ended by signal {signal}")),
        Ended::TimedOut(limit) => problems
            .push(format!("the command was ended after {}: rehearse-timeout allows no more", seconds(*limit as f64))),
        Ended::Unfinished(why) => problems.push(why.clone()),
    }
    if let Some(limit) = config.max_lock {
        for lock in found.locks.iter().filter(|lock| lock.seconds > limit.as_secs_f64()) {
            problems.push(format!(
                "{} is locked ({}) for {}: rehearse-max-lock allows {}",
                lock.table,
                lock.mode,
                seconds(lock.seconds),
                seconds(limit.as_secs_f64())
            ));
        }
    }
    for table in &found.tables {
        problems.extend(config.forbid.iter().filter_map(|forbidden| done(table, *forbidden)));
        // One that is dropped as a whole is what `rehearse-forbid` is about.
        if table.fate != Fate::Dropped && table.drop() > f64::from(config.max_drop) {
            let limit = config.max_drop;
            problems.push(format!(
                "{} lost {:.1} % of its {}: rehearse-max-drop allows {limit} %",
                table.table,
                table.drop(),
                counted(table.rows_before.unwrap_or(0), "row")
            ));
        }
    }
    problems.extend(found.checks_failed.iter().map(|failed| format!("check failed: {failed}")));
    problems
}

/// What was done to a table although it is forbidden.
fn done(table: &Changed, forbidden: Forbidden) -> Option<String> {
    let name = &table.table;
    let why = match forbidden {
        Forbidden::DropTable if table.fate == Fate::Dropped => format!("{name} is dropped"),
        Forbidden::DropTable if table.fate == Fate::Replaced && table.drop() > 0.0 => {
            format!("{name} is dropped, and another one of its name has fewer rows")
        }
        Forbidden::DropColumn if !table.columns_dropped.is_empty() => {
            format!("{name} loses {}", table.columns_dropped.join(", "))
        }
        Forbidden::Rewrite(limit)
            if matches!(table.fate, Fate::Rewritten | Fate::Replaced) && table.bytes_before > limit =>
        {
            format!("{name} with {} is written anew", bytes(table.bytes_before))
        }
        _ => return None,
    };
    let option = match forbidden {
        Forbidden::DropTable => "drop-table".to_owned(),
        Forbidden::DropColumn => "drop-column".to_owned(),
        Forbidden::Rewrite(0) => "rewrite".to_owned(),
        Forbidden::Rewrite(limit) => format!("rewrite:{}", bytes(limit).replace(' ', "")),
    };
    Some(format!("{why}: rehearse-forbid has {option}"))
}
