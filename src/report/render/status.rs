//! The status page: one HTML file that needs nothing from anywhere else, and no script.

use crate::{
    report::{
        format::{bytes, capitalised, clip, count, counted, seconds},
        overview::{Audited, DAYS, Database, Day, Failed, Moment, Overview, Point, Pruned, Standing, attention},
    },
    vault::VerifyLevel,
};
use minijinja::{AutoEscape, Environment, Value, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;
use std::fmt::Write as _;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

const TEMPLATE: &str = include_str!("status.html");

/// Characters of a name, an id or an address.
const NAME: usize = 300;
/// Characters of a failure's or a damage's line.
const LINE: usize = 1000;
/// Failures, and backups of the next pruning, that are listed.
const LISTED: usize = 20;
/// Rows of a database's audit: more would make the file too large to be mailed or opened on a phone.
const AUDITED: usize = 1000;
/// Coordinates of a line: more than these cannot be told apart at its width.
const COORDINATES: usize = 300;
/// Points up to which each is marked.
const MARKED: usize = 45;
/// A plot's box; the page stretches it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 100.0;
/// Free space around the lines, so that no stroke is cut off.
const MARGIN: f64 = 5.0;
/// From one day of the calendar to the next.
const PITCH: usize = 14;

/// The page of an overview.
pub fn html(overview: &Overview) -> String {
    let databases = overview.worst_first();
    let (headline, verdict) = headline(&databases, overview.warnings.len());
    let shown: Vec<_> = databases.iter().enumerate().map(|(i, d)| Shown::of(i + 1, d, overview)).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // Lines of tags alone leave no empty lines: there are thousands.
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default());
    let rendered = environment.render_str(
        TEMPLATE,
        context! {
            headline, verdict,
            plot_width => WIDTH as u64, plot_height => HEIGHT as u64,
            databases => Value::from(Serde(&shown)),
            made_at => when(&overview.made_at),
            made_stamp => clip(&overview.made_at, NAME),
            destination => clip(&overview.destination, NAME),
            tool_version => clip(&overview.tool_version, NAME),
            warnings => overview.warnings.iter().map(|w| clip(w, LINE)).collect::<Vec<_>>(),
            warned => counted(overview.warnings.len() as u64, "warning"),
            price => overview.price_per_gib.filter(|p| p.is_finite()).map(|p| format!("{p} {}", clip(&overview.currency, 20))),
        },
    );
    // The template is ours: the tests render it with everything that there is.
    rendered.unwrap_or_else(|e| e.to_string())
}

/// What a reader grasps at a glance, and how bad it is.
fn headline(databases: &[&Database], warnings: usize) -> (String, &'static str) {
    let text = match databases {
        [] => "No backups yet".into(),
        some => capitalised(&attention(some.iter().copied())),
    };
    let verdict = match databases.first() {
        Some(worst) if worst.standing != Standing::Good => verdict(worst.standing),
        Some(_) if warnings == 0 => "good",
        _ => "doubtful",
    };
    (text, verdict)
}

/// The class of a standing: its colour and its sign.
fn verdict(standing: Standing) -> &'static str {
    match standing {
        Standing::Unproven | Standing::Failing | Standing::Damaged => "bad",
        Standing::Late | Standing::Slow => "doubtful",
        Standing::Good => "good",
    }
}

/// A database as the template shows it: all text is clean, all numbers are words.
#[derive(Serialize)]
struct Shown {
    /// Its place on the page: names make no safe anchors.
    number: usize,
    name: String,
    verdict: &'static str,
    standing: &'static str,
    says: String,
    last_backup: Option<ShownMoment>,
    last_proven: Option<ShownMoment>,
    /// The two are one backup.
    same: bool,
    rpo: Goal,
    rto: Goal,
    calendar: Calendar,
    plots: Vec<Plot>,
    failures: Listed<ShownFailure>,
    backups: String,
    stored: String,
    cost: Option<String>,
    prunes: Listed<ShownPruned>,
    frees: String,
    audit: Listed<ShownAudited>,
}

impl Shown {
    fn of(number: usize, database: &Database, overview: &Overview) -> Self {
        let freed = database.prunes_next.iter().fold(0, |sum: u64, p| sum.saturating_add(p.stored_bytes));
        let backup = |m: &Option<Moment>| m.as_ref().map(|m| m.id.clone());
        Shown {
            number,
            name: clip(&database.name, NAME),
            verdict: verdict(database.standing),
            standing: database.standing.words(),
            says: clip(&database.says, LINE),
            last_backup: database.last_backup.as_ref().map(ShownMoment::of),
            last_proven: database.last_proven.as_ref().map(ShownMoment::of),
            same: database.last_backup.is_some() && backup(&database.last_backup) == backup(&database.last_proven),
            rpo: Goal::of(database.rpo_seconds.map(|s| (s as f64, span(s))), overview.rpo_seconds),
            rto: Goal::of(
                database.rto_seconds.filter(|s| s.is_finite()).map(|s| (s, seconds(s))),
                overview.rto_seconds,
            ),
            calendar: Calendar::of(&database.days),
            plots: plots(&database.points),
            failures: Listed::of(&database.failures, LISTED, ShownFailure::of),
            backups: counted(database.backups, "backup"),
            stored: bytes(database.stored_bytes),
            cost: database.cost.and_then(|cost| money(cost, &overview.currency)),
            prunes: Listed::of(&database.prunes_next, LISTED, ShownPruned::of),
            frees: bytes(freed),
            audit: Listed::of(&database.audit, AUDITED, ShownAudited::of),
        }
    }
}

/// The first of many, and how many more there are.
#[derive(Serialize)]
struct Listed<T> {
    all: String,
    shown: Vec<T>,
    more: Option<String>,
}

impl<T> Listed<T> {
    fn of<S>(items: &[S], most: usize, show: impl Fn(&S) -> T) -> Self {
        let more = items.len().saturating_sub(most) as u64;
        Listed {
            all: count(items.len() as u64),
            shown: items.iter().take(most).map(show).collect(),
            more: (more > 0).then(|| count(more)),
        }
    }
}

#[derive(Serialize)]
struct ShownMoment {
    id: String,
    at: String,
    age: String,
}

impl ShownMoment {
    fn of(moment: &Moment) -> Self {
        ShownMoment { id: clip(&moment.id, NAME), at: when(&moment.at), age: clip(&moment.age, 60) }
    }
}

/// A measured time, and whether it keeps its goal.
#[derive(Serialize)]
struct Goal {
    is: Option<String>,
    goal: Option<String>,
    verdict: &'static str,
    /// Of the goal, in percent, at most 100.
    percent: u64,
}

impl Goal {
    fn of(is: Option<(f64, String)>, goal: Option<u64>) -> Self {
        let (verdict, percent) = match (&is, goal) {
            (Some((is, _)), Some(goal)) => {
                let kept = *is <= goal as f64;
                let percent = if kept && goal > 0 { (is / goal as f64 * 100.0).clamp(0.0, 100.0) as u64 } else { 100 };
                (if kept { "good" } else { "doubtful" }, if kept && goal == 0 { 0 } else { percent })
            }
            (None, _) => ("bad", 0),
            (_, None) => ("none", 0),
        };
        Goal { is: is.map(|(_, words)| words), goal: goal.map(span), verdict, percent }
    }
}

#[derive(Serialize)]
struct ShownFailure {
    at: String,
    kind: &'static str,
    phase: String,
    message: String,
    backup: Option<String>,
    run_url: Option<String>,
}

impl ShownFailure {
    fn of(failed: &Failed) -> Self {
        ShownFailure {
            at: when(&failed.at),
            kind: failed.kind.name(),
            phase: clip(&failed.phase, NAME),
            message: clip(&failed.message, LINE),
            backup: failed.backup.as_ref().map(|id| clip(id, NAME)),
            run_url: link(failed.run_url.as_deref()),
        }
    }
}

#[derive(Serialize)]
struct ShownPruned {
    id: String,
    age: String,
    stored: String,
}

impl ShownPruned {
    fn of(pruned: &Pruned) -> Self {
        ShownPruned { id: clip(&pruned.id, NAME), age: clip(&pruned.age, 60), stored: bytes(pruned.stored_bytes) }
    }
}

#[derive(Serialize)]
struct ShownAudited {
    id: String,
    at: String,
    kind: &'static str,
    rows: Option<String>,
    tables: Option<String>,
    stored: String,
    proof: &'static str,
    verdict: &'static str,
    level: Option<&'static str>,
    proven_at: Option<String>,
    manifest: Option<Shortened>,
    signed_by: Option<Shortened>,
    locked: Option<String>,
    repository: Option<String>,
    commit: Option<Shortened>,
    actor: Option<String>,
    run_url: Option<String>,
    damage: Vec<String>,
}

impl ShownAudited {
    fn of(audited: &Audited) -> Self {
        let name = |text: &Option<String>| text.as_ref().map(|text| clip(text, NAME));
        let short = |text: &Option<String>, most| text.as_ref().map(|text| Shortened::of(text, most));
        ShownAudited {
            id: clip(&audited.id, NAME),
            at: when(&audited.at),
            kind: audited.kind.name(),
            rows: audited.rows.map(count),
            tables: audited.tables.map(|tables| counted(tables, "table")),
            stored: bytes(audited.stored_bytes),
            proof: if audited.proof == "none" { "not proven" } else { audited.proof },
            verdict: match audited.proof {
                "passed" => "good",
                "none" => "none",
                _ => "bad",
            },
            level: audited.level.and_then(level),
            proven_at: audited.proven_at.as_deref().map(when),
            manifest: short(&audited.manifest_sha256, 12),
            signed_by: short(&audited.signed_by, 12),
            locked: name(&audited.locked),
            repository: name(&audited.repository),
            commit: short(&audited.commit, 7),
            actor: name(&audited.actor),
            run_url: link(audited.run_url.as_deref()),
            damage: audited.damage.iter().map(|line| clip(line, LINE)).collect(),
        }
    }
}

/// A digest or a key: its start, and the whole for whoever points at it.
#[derive(Serialize)]
struct Shortened {
    short: String,
    whole: String,
}

impl Shortened {
    fn of(text: &str, most: usize) -> Self {
        let whole = clip(text, NAME);
        Shortened { short: whole.chars().take(most).collect(), whole }
    }
}

/// What a proof covered, in words.
fn level(level: VerifyLevel) -> Option<&'static str> {
    match level {
        VerifyLevel::Content => Some("restored, all content compared"),
        VerifyLevel::Rows => Some("restored, rows counted"),
        VerifyLevel::Archive => Some("files read back, not restored"),
        VerifyLevel::Sent => Some("checked as sent, not restored"),
        VerifyLevel::None => None,
    }
}

/// The address of a run, if it is one that a page may link to: a store's text must not become `javascript:` or an
/// address whose host only seems to be another.
fn link(url: Option<&str>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#=&%+,".contains(c);
    let url = url.filter(|url| url.len() <= 2000 && url.chars().all(plain))?;
    let host = url.strip_prefix("https://")?;
    host.starts_with(|c: char| c.is_ascii_alphanumeric()).then(|| url.to_owned())
}

/// `2026-11-30 03:00 UTC`; what is no moment stays as it is.
fn when(at: &str) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let moment = OffsetDateTime::parse(at, &Rfc3339).ok();
    let moment = moment.and_then(|m| m.checked_to_offset(time::UtcOffset::UTC)).and_then(|m| m.format(&format).ok());
    moment.unwrap_or_else(|| clip(at, 60))
}

/// Whole seconds of any length: `45 s`, `12 min`, `5 h 30 min`, `3 d 4 h`, `24 h`.
fn span(time: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{} {unit}", count(large)),
        _ => format!("{} {unit} {small} {smaller}", count(large)),
    };
    match time {
        0..60 => format!("{time} s"),
        60..3600 => two(time / 60, "min", time % 60, "s"),
        3600..172_800 => two(time / 3600, "h", time % 3600 / 60, "min"),
        _ => two(time / 86_400, "d", time % 86_400 / 3600, "h"),
    }
}

/// An amount of money: `1,234.50 USD`.
fn money(amount: f64, currency: &str) -> Option<String> {
    let currency = clip(currency, 20);
    // The cast saturates, and what no price reaches is not worth a name.
    let cents = amount.is_finite().then(|| (amount.max(0.0) * 100.0).round() as u64)?;
    Some(match cents {
        0 if amount > 0.0 => format!("less than 0.01 {currency}"),
        _ => format!("{}.{:02} {currency}", count(cents / 100), cents % 100),
    })
}

/// The days, a column for each week.
#[derive(Serialize)]
struct Calendar {
    summary: String,
    width: usize,
    height: usize,
    cells: Vec<Cell>,
    months: Vec<Month>,
    /// The days on which something was, the newest first: for whoever cannot point at a cell.
    days: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Cell {
    class: &'static str,
    x: usize,
    y: usize,
    says: String,
}

#[derive(Serialize)]
struct Month {
    name: &'static str,
    /// Of the calendar's width, in percent.
    left: String,
}

impl Calendar {
    fn of(days: &[Day]) -> Self {
        let days = days.get(days.len().saturating_sub(DAYS)..).unwrap_or_default();
        let first = days.first().and_then(|d| date(&d.date));
        let before = first.map_or(0, |date| usize::from(date.weekday().number_days_from_monday()));
        let columns = (before + days.len()).div_ceil(7).max(1);
        let cells = days.iter().enumerate().map(|(i, day)| Cell {
            class: class(day),
            x: (before + i) / 7 * PITCH,
            y: (before + i) % 7 * PITCH,
            says: format!("{}: {}", clip(&day.date, 20), day_says(day)),
        });
        let said = days.iter().rev().filter(|day| class(day) != "nothing");
        Calendar {
            summary: calendar_says(days),
            width: columns * PITCH,
            height: 7 * PITCH,
            cells: cells.collect(),
            months: months(days, before, columns),
            days: said.map(|day| (clip(&day.date, 20), day_says(day))).collect(),
        }
    }
}

/// Names of the months over the columns in which they begin, none so near the next that they touch.
fn months(days: &[Day], before: usize, columns: usize) -> Vec<Month> {
    let mut placed: Vec<(usize, &'static str)> = Vec::new();
    for (i, day) in days.iter().enumerate() {
        let Some(date) = date(&day.date).filter(|date| i == 0 || date.day() == 1) else { continue };
        let column = (before + i) / 7;
        // The month that the first column ends gives way to the one that begins beside it.
        if placed.last().is_some_and(|(last, _)| column < last + 3) {
            placed.pop();
        }
        if column + 2 <= columns {
            placed.push((column, month(date)));
        }
    }
    let left = |column: usize| format!("{:.2}", column as f64 / columns as f64 * 100.0);
    placed.into_iter().map(|(column, name)| Month { name, left: left(column) }).collect()
}

fn month(date: Date) -> &'static str {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    NAMES.get(usize::from(u8::from(date.month())) - 1).copied().unwrap_or_default()
}

fn date(text: &str) -> Option<Date> {
    Date::parse(text, &format_description!("[year]-[month]-[day]")).ok()
}

/// The class of a day: its colour and its shape.
fn class(day: &Day) -> &'static str {
    match (day.proven, day.unproven, day.failed) {
        (0, 0, 0) => "nothing",
        (0, _, 0) => "stored",
        (0, ..) => "failed",
        (_, _, 0) => "proven",
        _ => "mixed",
    }
}

fn day_says(day: &Day) -> String {
    let parts = [(day.proven, "proven"), (day.unproven, "not proven"), (day.failed, "failed")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let said: Vec<_> = parts.map(|(number, what)| format!("{} {what}", count(u64::from(*number)))).collect();
    if said.is_empty() { "nothing".into() } else { said.join(", ") }
}

fn calendar_says(days: &[Day]) -> String {
    let recent = days.get(days.len().saturating_sub(30)..).unwrap_or_default();
    let of = |days: &[Day], is: fn(&Day) -> bool| days.iter().filter(|day| is(day)).count();
    let proven = |days: &[Day]| of(days, |day| day.proven > 0);
    if days.is_empty() {
        return "No days to show.".into();
    }
    let mut says = format!("Proven on {} of the last {}", proven(recent), counted(recent.len() as u64, "day"));
    if days.len() > recent.len() {
        let _ = write!(says, " and on {} of the last {}", proven(days), days.len());
    }
    match of(days, |day| day.failed > 0) {
        0 => says.push_str(". No failed run is recorded."),
        failed => {
            let _ = write!(says, ". Runs failed on {}.", counted(failed as u64, "day"));
        }
    }
    says
}

/// A plot: lines in a box of [`WIDTH`] by [`HEIGHT`], and what stands around it.
#[derive(Serialize)]
struct Plot {
    title: &'static str,
    /// The newest value of each line.
    latest: Vec<String>,
    says: String,
    /// The axis: its highest value, and its lowest unless all are the same.
    high: String,
    low: Option<String>,
    first: String,
    /// Absent where all lies on one day.
    last: Option<String>,
    lines: Vec<Line>,
}

/// A line's coordinates.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// `x,y x,y`
    points: String,
    /// The line, closed along the bottom.
    area: String,
    /// A path of dots: of each point where there are few, or of the newest alone.
    dots: String,
}

/// What a plot shows of each backup.
type Values = (&'static str, Vec<(i64, f64)>);

fn plots(points: &[Point]) -> Vec<Plot> {
    let of = |value: fn(&Point) -> Option<f64>| -> Vec<(i64, f64)> {
        let values = points.iter().filter_map(|p| value(p).filter(|v| v.is_finite()).map(|v| (p.unix, v.max(0.0))));
        values.collect()
    };
    let size = vec![("stored", of(|p| Some(p.stored_bytes as f64)))];
    let rows = vec![("rows", of(|p| Some(p.rows as f64)))];
    let time = vec![("backup", of(|p| p.seconds)), ("restore", of(|p| p.restore_seconds))];
    vec![
        plot("Stored size", size, |v| bytes(v as u64)),
        plot("Rows", rows, |v| count(v as u64)),
        plot("Time", time, seconds),
    ]
}

fn plot(title: &'static str, mut lines: Vec<Values>, words: fn(f64) -> String) -> Plot {
    // A line that is absent leaves the other its name: nobody could tell which of the two it is.
    let alone = lines.len() == 1;
    lines.retain(|(_, values)| !values.is_empty());
    let all = || lines.iter().flat_map(|(_, values)| values.iter().copied());
    let across = all().fold(None, |range, (x, _)| Some(wider(range, x as f64)));
    let up = all().fold(None, |range, (_, y)| Some(wider(range, y)));
    let (Some(across), Some(up)) = (across, up) else {
        let (says, none) = ("No numbers yet.".into(), String::new());
        return Plot {
            title,
            latest: vec![],
            says,
            high: none.clone(),
            low: None,
            first: none,
            last: None,
            lines: vec![],
        };
    };
    let day = |unix: f64| {
        OffsetDateTime::from_unix_timestamp(unix as i64).map_or_else(|_| "?".into(), |t| t.date().to_string())
    };
    let (first, last) = (day(across.0), day(across.1));
    let named = |name: &str, value| if alone { words(value) } else { format!("{name} {}", words(value)) };
    let latest: Vec<_> = lines.iter().filter_map(|(name, v)| v.last().map(|(_, y)| named(name, *y))).collect();
    let (low, high) = (words(up.0), words(up.1));
    let number = lines.iter().map(|(_, values)| values.len()).max().unwrap_or_default();
    let range = if low == high { format!("always {high}") } else { format!("from {low} to {high}") };
    let says = match number {
        1 => format!("One backup, on {first}: {}.", latest.join(", ")),
        _ => format!(
            "{} between {first} and {last}: {range}, newest {}.",
            counted(number as u64, "backup"),
            latest.join(", ")
        ),
    };
    Plot {
        title,
        says,
        // Two values that read the same are one label.
        low: (low != high).then_some(low),
        high,
        last: (first != last).then_some(last),
        first,
        lines: lines.iter().map(|(name, values)| Line::of(name, &thinned(values), across, up)).collect(),
        latest,
    }
}

fn wider(range: Option<(f64, f64)>, value: f64) -> (f64, f64) {
    range.map_or((value, value), |(low, high)| (low.min(value), high.max(value)))
}

/// Where a value lies on a side of this length; in its middle where all are the same.
fn place(value: f64, (low, high): (f64, f64), length: f64) -> f64 {
    let part = if high > low { (value - low) / (high - low) } else { 0.5 };
    MARGIN + part.clamp(0.0, 1.0) * (length - 2.0 * MARGIN)
}

impl Line {
    fn of(name: &'static str, values: &[(i64, f64)], across: (f64, f64), up: (f64, f64)) -> Self {
        let at = |&(x, y): &(i64, f64)| (place(x as f64, across, WIDTH), HEIGHT - place(y, up, HEIGHT));
        let (mut points, mut dots) = (String::new(), String::new());
        for (i, value) in values.iter().enumerate() {
            let (x, y) = at(value);
            let _ = write!(points, "{}{x:.1},{y:.1}", if i > 0 { " " } else { "" });
            if values.len() <= MARKED || i + 1 == values.len() {
                // No length and a round cap: a dot that stays round however the box is stretched.
                let _ = write!(dots, "M{x:.1} {y:.1}h0");
            }
        }
        let area = match (values.first().map(at), values.last().map(at)) {
            (Some((from, _)), Some((to, _))) if to > from => {
                format!("{from:.1},{HEIGHT:.1} {points} {to:.1},{HEIGHT:.1}")
            }
            _ => String::new(),
        };
        Line { name, points, area, dots }
    }
}

/// At most [`COORDINATES`] of the values: the first, the last, and the lowest and the highest of each stretch between
/// them, so that no outlier is lost.
fn thinned(values: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let [first, between @ .., last] = values else { return values.to_vec() };
    if values.len() <= COORDINATES {
        return values.to_vec();
    }
    let stretches = (COORDINATES - 2) / 2;
    let mut out = vec![*first];
    for stretch in between.chunks(between.len().div_ceil(stretches)) {
        let indexed = || stretch.iter().enumerate();
        let low = indexed().min_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(i, _)| i);
        let high = indexed().max_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(i, _)| i);
        let (low, high) = (low.unwrap_or_default(), high.unwrap_or_default());
        let both = [low.min(high), low.max(high)];
        out.extend(both.iter().take(if low == high { 1 } else { 2 }).filter_map(|i| stretch.get(*i)));
    }
    out.push(*last);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::BackupKind;
    use std::time::{Duration, Instant};

    /// The first second of the newest day of the samples.
    const TODAY: i64 = 1_795_996_800;
    const HOSTILE: &str =
        "\"><script>alert(1)</script>'</title><img src=x onerror=alert(1)>\r\n\u{1b}[31m\u{202e}{{ 7 * 7 }}{% raw %}";

    fn stamp(unix: i64) -> String {
        OffsetDateTime::from_unix_timestamp(unix).unwrap().format(&Rfc3339).unwrap()
    }

    fn day(back: i64) -> String {
        stamp(TODAY - back * 86_400)[..10].to_owned()
    }

    fn point(i: i64, of: i64) -> Point {
        let unix = TODAY - (of - 1 - i) * 86_400 + 10_800;
        let wave = (i as f64 / 9.0).sin();
        Point {
            at: stamp(unix),
            unix,
            rows: (1_200_000 + i * 4_300) as u64 + (wave * 9_000.0 + 9_000.0) as u64,
            bytes: (9_000_000_000 + i * 20_000_000) as u64,
            stored_bytes: (2_400_000_000 + i * 6_000_000) as u64 + (wave * 40e6 + 40e6) as u64,
            seconds: Some(48.0 + i as f64 / 10.0 + (i * 7 % 11) as f64),
            restore_seconds: (i % 2 == 0).then(|| 190.0 + i as f64 / 4.0 + (i * 5 % 17) as f64),
        }
    }

    fn moment(days: i64, age: &str) -> Option<Moment> {
        let at = stamp(TODAY - days * 86_400 + 10_800);
        Some(Moment { id: format!("{}T030000Z-scheduled-1a2b3c4", day(days).replace('-', "")), at, age: age.into() })
    }

    fn audited(days: i64) -> Audited {
        let moment = moment(days, "").unwrap();
        Audited {
            id: moment.id,
            kind: if days % 9 == 4 { BackupKind::Snapshot } else { BackupKind::Scheduled },
            tables: Some(48),
            rows: Some(1_700_000 - 4_300 * (days as u64 % 300)),
            stored_bytes: 3_100_000_000 - 6_000_000 * (days as u64 % 300),
            proof: if days % 17 == 5 { "none" } else { "passed" },
            level: (days % 17 != 5).then_some(VerifyLevel::Content),
            proven_at: (days % 17 != 5).then(|| moment.at.clone()),
            at: moment.at,
            manifest_sha256: Some(
                format!("{:016x}", 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(days as u64 + 3)).repeat(4),
            ),
            signed_by: Some("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".into()),
            locked: (days < 30).then(|| day(days - 30)),
            repository: Some("acme/shop".into()),
            commit: Some(format!("{:08x}", 0x1a2b_3c4d_u32.wrapping_mul(days as u32 + 1)).repeat(5)),
            actor: Some("octocat".into()),
            run_url: Some(format!("https://github.com/acme/shop/actions/runs/{}", 19_000_000_000 - days)),
            damage: vec![],
        }
    }

    fn days(history: i64, of: impl Fn(i64) -> (u32, u32, u32)) -> Vec<Day> {
        let back = (0..DAYS as i64).rev();
        let of = |back| if back < history { of(back) } else { (0, 0, 0) };
        back.map(|back| (day(back), of(back)))
            .map(|(date, (proven, unproven, failed))| Day { date, proven, unproven, failed })
            .collect()
    }

    fn empty(name: &str, standing: Standing) -> Database {
        Database {
            name: name.into(),
            standing,
            says: "no backup is proven".into(),
            last_backup: None,
            last_proven: None,
            rpo_seconds: None,
            rto_seconds: None,
            days: days(0, |_| (0, 0, 0)),
            points: vec![],
            failures: vec![],
            backups: 0,
            stored_bytes: 0,
            cost: None,
            prunes_next: vec![],
            audit: vec![],
        }
    }

    fn good(name: &str, history: i64) -> Database {
        Database {
            says: "proven 6 h ago; a restore takes 3 min 51 s".into(),
            last_backup: moment(0, "6 h"),
            last_proven: moment(0, "6 h"),
            rpo_seconds: Some(21_900),
            rto_seconds: Some(231.4),
            days: days(history, |back| match back {
                5 | 22 | 39 | 73 => (0, 1, 0),
                41 => (1, 0, 1),
                58 => (0, 0, 2),
                _ => (1 + u32::from(back % 9 == 4), 0, 0),
            }),
            points: (0..history).map(|i| point(i, history)).collect(),
            failures: [41, 58, 58].map(|back| failed(back, "the server closed the connection unexpectedly")).into(),
            backups: history as u64,
            stored_bytes: 331_000_000_000,
            cost: Some(7.09),
            prunes_next: (90..93)
                .rev()
                .map(|back| Pruned {
                    id: moment(back, "").unwrap().id,
                    age: format!("{back} d"),
                    stored_bytes: 2_500_000_000,
                })
                .collect(),
            audit: (0..history).map(audited).collect(),
            ..empty(name, Standing::Good)
        }
    }

    fn failed(back: i64, message: &str) -> Failed {
        Failed {
            at: stamp(TODAY - back * 86_400 + 11_100),
            kind: BackupKind::Scheduled,
            phase: "dump".into(),
            message: message.into(),
            backup: None,
            run_url: Some(format!("https://github.com/acme/shop/actions/runs/{}", 19_000_000_000 - back)),
        }
    }

    fn failing(name: &str) -> Database {
        let mut audit: Vec<_> = (2..40).map(audited).collect();
        audit[0].proof = "failed";
        audit[1].proof = "damaged";
        audit[1].damage =
            vec!["objects/0003.zst: 4.0 MiB are missing".into(), "the manifest's signature is wrong".into()];
        let disk = "the throwaway server has no space left: could not extend file \"base/16384/24801\"";
        let mut failures: Vec<_> = (0..27).map(|back| failed(back, disk)).collect();
        failures[0].backup = moment(0, "").map(|m| m.id);
        Database {
            says: "the newest run failed in restore 5 h ago; the newest proven backup is 3 d old".into(),
            last_backup: moment(0, "5 h"),
            last_proven: moment(3, "3 d"),
            rpo_seconds: Some(3 * 86_400 + 21_000),
            rto_seconds: Some(1284.0),
            days: days(60, |back| if back < 3 { (0, 1, 1) } else { (1, 0, u32::from(back < 27)) }),
            points: (0..2).map(|i| point(i * 30, 60)).collect(),
            failures,
            backups: 38,
            stored_bytes: 91_000_000_000,
            cost: Some(1.95),
            audit,
            ..empty(name, Standing::Failing)
        }
    }

    fn hostile() -> Database {
        let mut line = audited(1);
        for text in [&mut line.id, &mut line.at] {
            *text = HOSTILE.into();
        }
        for text in [
            &mut line.proven_at,
            &mut line.manifest_sha256,
            &mut line.signed_by,
            &mut line.locked,
            &mut line.repository,
            &mut line.commit,
            &mut line.actor,
            &mut line.run_url,
        ] {
            *text = Some(HOSTILE.into());
        }
        line.damage = vec![HOSTILE.into()];
        line.proof = "none";
        line.level = Some(VerifyLevel::None);
        let mut point = point(0, 1);
        point.restore_seconds = None;
        Database {
            says: format!("no backup is proven: {HOSTILE}"),
            last_backup: Some(Moment { id: HOSTILE.into(), at: HOSTILE.into(), age: "2 h".into() }),
            days: days(2, |back| (0, 1, back as u32)),
            points: vec![point],
            failures: vec![Failed {
                at: HOSTILE.into(),
                phase: HOSTILE.into(),
                backup: Some(HOSTILE.into()),
                run_url: Some("javascript:alert(1)".into()),
                ..failed(1, HOSTILE)
            }],
            backups: 1,
            stored_bytes: 1234,
            cost: Some(0.000_01),
            prunes_next: vec![Pruned { id: HOSTILE.into(), age: "1 d".into(), stored_bytes: 7 }],
            audit: vec![line],
            ..empty(&format!("{HOSTILE}{}", "very_long_name".repeat(9)), Standing::Unproven)
        }
    }

    fn overview(databases: Vec<Database>) -> Overview {
        Overview {
            made_at: stamp(TODAY + 32_700),
            tool_version: "0.1.0".into(),
            destination: "s3://acme-backups/shop".into(),
            rpo_seconds: Some(86_400),
            rto_seconds: Some(900),
            price_per_gib: Some(0.023),
            currency: "USD".into(),
            databases,
            warnings: vec![],
        }
    }

    /// What a browser would be shown in these tests.
    fn sample() -> Overview {
        let mut overview = overview(vec![good("shop", 120), failing("ledger"), hostile()]);
        overview.warnings = vec![
            "20261127T030000Z-scheduled-1a2b3c4: the manifest's signature is wrong".into(),
            format!("a name that is none: {HOSTILE}"),
        ];
        overview
    }

    /// Every coordinate of every line, as they stand in the page.
    fn coordinates(html: &str) -> Vec<(f64, f64)> {
        let lists = html.split("<polyline points=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let pairs = lists.flat_map(|list| list.split(' ')).map(|pair| pair.split_once(',').expect("a pair"));
        pairs.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
    }

    #[test]
    fn hostile_text_stays_text() {
        let mut sample = sample();
        sample.destination = HOSTILE.into();
        sample.currency = HOSTILE.into();
        sample.tool_version = HOSTILE.into();
        sample.made_at = HOSTILE.into();
        for day in &mut sample.databases[2].days {
            day.date = HOSTILE.into();
        }
        let html = html(&sample);
        for never in ["<script", "<img", "javascript:", "\u{1b}", "\u{202e}", "\r"] {
            assert!(!html.contains(never), "{never:?}");
        }
        assert!(html.contains("&lt;script&gt;") && html.contains("\\u{202e}") && html.contains("{{ 7 * 7 }}"));
        assert_eq!(html.matches("</title>").count() - 1, html.matches("<title").count() - 1);
        // Whatever stands in an attribute leaves it by its own quote alone.
        for attribute in html.split("aria-label=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!attribute.contains(['<', '>']), "{attribute}");
        }
    }

    #[test]
    fn only_plain_addresses_become_links() {
        let run = "https://github.com/acme/shop/actions/runs/19?a=1&b=%20#c";
        assert_eq!(link(Some(run)).as_deref(), Some(run));
        for odd in [
            "http://x.org",
            "javascript:alert(1)",
            "https://",
            "https:///x",
            "https://a b",
            "https://a\"b",
            "HTTPS://x.org",
            "https://github.com@x.org/",
            "https://x.org/\u{202e}",
            "https://x.org\\y",
            "//x.org",
            "",
        ] {
            assert_eq!(link(Some(odd)), None, "{odd}");
        }
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let html = html(&overview(vec![good("shop", 120), failing("ledger")]));
        for never in ["<link rel=\"stylesheet", "@import", "url(", "src=", "<script", " onload=", "http://"] {
            assert!(!html.contains(never), "{never}");
        }
        assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
        assert!(!html.contains("{%") && !html.contains("{{"));
    }

    #[test]
    fn the_worst_comes_first() {
        let sample = sample();
        let html = html(&sample);
        assert!(html.contains("<h1>2 of 3 databases need attention</h1>"), "{}", &html[..200]);
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}"));
        assert!(at("2 warnings") < at("Databases"));
        assert!(
            at("#db-1\"><bdi>&quot;") < at("#db-2\"><bdi>ledger")
                && at("#db-2\"><bdi>ledger") < at("#db-3\"><bdi>shop")
        );
        assert!(html.contains("Failures (27)") && html.contains("and 7 more"));
        assert!(html.contains("Proven on 28 of the last 30 days and on 115 of the last 182. Runs failed on 2 days."));
        assert!(html.contains("over the goal of 24 h") && html.contains("within the goal of 15 min"));
        assert!(html.contains("about <strong>7.09 USD</strong> a month") && html.contains("less than 0.01 USD"));
    }

    #[test]
    fn headlines() {
        let of = |standings: &[Standing], warnings| {
            let databases: Vec<_> = standings.iter().map(|s| empty("d", *s)).collect();
            let (text, verdict) = headline(&databases.iter().collect::<Vec<_>>(), warnings);
            format!("{verdict}: {text}")
        };
        assert_eq!(of(&[], 0), "doubtful: No backups yet");
        assert_eq!(of(&[Standing::Good], 0), "good: The database is as it should be");
        assert_eq!(of(&[Standing::Good; 3], 1), "doubtful: All 3 databases are as they should be");
        assert_eq!(of(&[Standing::Late], 0), "doubtful: The database needs attention");
        assert_eq!(of(&[Standing::Failing, Standing::Good], 0), "bad: 1 of 2 databases needs attention");
    }

    #[test]
    fn without_databases_it_says_what_to_do() {
        let html = html(&overview(vec![]));
        assert!(html.contains("Take the first backup") && html.contains("savepoint backup"));
        assert!(!html.contains("<section class=\"card\" id="));
    }

    #[test]
    fn plots_of_any_number_of_points() {
        let mut database = good("d", 1000);
        for (number, most) in [(0, 0), (1, 4), (2, 8), (1000, 4 * COORDINATES)] {
            database.points = (0..number).map(|i| point(i, number)).collect();
            let html = html(&overview(vec![database.clone()]));
            let found = coordinates(&html);
            assert!(found.len() <= most && (found.is_empty() == (number == 0)), "{number}: {}", found.len());
            assert_eq!(html.matches("No numbers yet.").count(), if number == 0 { 3 } else { 0 });
            for (x, y) in found {
                assert!((MARGIN..=WIDTH - MARGIN).contains(&x) && (MARGIN..=HEIGHT - MARGIN).contains(&y), "{x},{y}");
            }
            assert!(!html.contains("NaN") && !html.contains("inf,"));
        }
    }

    #[test]
    fn plots_of_values_that_are_the_same_or_senseless() {
        let mut zeros: Vec<_> = (0..5).map(|i| point(i, 5)).collect();
        for point in &mut zeros {
            (point.rows, point.stored_bytes, point.seconds, point.restore_seconds) = (0, 0, Some(f64::NAN), Some(-1.0));
        }
        let [size, rows, time] = &plots(&zeros)[..] else { panic!("three plots") };
        assert_eq!((size.high.as_str(), size.low.as_deref()), ("0 B", None));
        assert_eq!(rows.says, "5 backups between 2026-11-26 and 2026-11-30: always 0, newest 0.");
        assert_eq!((time.lines.len(), &time.latest[..]), (1, &["restore 0.00 s".to_owned()][..]));
        let mut ends = vec![point(0, 2), point(1, 2)];
        (ends[0].unix, ends[1].unix) = (i64::MIN, i64::MAX);
        (ends[0].rows, ends[1].rows) = (0, u64::MAX);
        assert_eq!(plots(&ends)[1].lines[0].points, "5.0,95.0 295.0,5.0");
        let same = vec![point(0, 1), point(0, 1)];
        assert_eq!(plots(&same)[1].lines[0].points, "150.0,50.0 150.0,50.0");
    }

    #[test]
    fn thinning_keeps_what_stands_out() {
        let mut values: Vec<_> = (0..1000).map(|i| (i, 5.0)).collect();
        (values[0].1, values[377].1, values[378].1, values[999].1) = (1.0, 99.0, 0.0, 2.0);
        let thin = thinned(&values);
        assert!(thin.len() <= COORDINATES && thin.is_sorted_by_key(|(x, _)| *x));
        for kept in [(0, 1.0), (377, 99.0), (378, 0.0), (999, 2.0)] {
            assert!(thin.contains(&kept), "{kept:?}");
        }
        assert_eq!(thinned(&values[..300]).len(), 300);
    }

    #[test]
    fn a_calendar_is_made_of_weeks() {
        let calendar = Calendar::of(&good("d", 120).days);
        // 2026-06-02, the first of the days, is a Tuesday.
        assert_eq!(calendar.cells.first().map(|c| (c.x, c.y)), Some((0, PITCH)));
        assert!(calendar.cells.iter().all(|c| c.x + 12 <= calendar.width && c.y + 12 <= calendar.height));
        assert_eq!((calendar.cells.len(), calendar.days.len()), (DAYS, 120));
        assert_eq!(calendar.months.first().map(|m| m.name), Some("Jun"));
        let says = |proven, unproven, failed| day_says(&Day { date: String::new(), proven, unproven, failed });
        assert_eq!((says(2, 0, 1), says(0, 0, 0)), ("2 proven, 1 failed".into(), "nothing".into()));
        assert_eq!(Calendar::of(&[]).summary, "No days to show.");
    }

    #[test]
    fn spans_and_money() {
        let spans: Vec<_> = [0, 90, 900, 86_400, 90_600, 172_800, 280_000].map(span).into();
        assert_eq!(spans, ["0 s", "1 min 30 s", "15 min", "24 h", "25 h 10 min", "2 d", "3 d 5 h"]);
        assert_eq!(money(1234.5, "USD").as_deref(), Some("1,234.50 USD"));
        assert_eq!(money(0.0, "USD").as_deref(), Some("0.00 USD"));
        assert_eq!(money(f64::NAN, "USD"), None);
    }

    #[test]
    fn a_thousand_backups_stay_small_and_quick() {
        let overview = overview((0..5).map(|i| good(&format!("database-{i}"), 200)).collect());
        let start = Instant::now();
        let page = html(&overview);
        // Generous: tests are built without optimisation and share their machine.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(page.len() < 1_500_000, "{}", page.len());
        let many = html(&self::overview(vec![good("d", 1003)]));
        assert!(
            many.contains("The newest 1000 are shown; there are 3 more.") && many.len() < 1_500_000,
            "{}",
            many.len()
        );
    }
}
