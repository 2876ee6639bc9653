//! The overview as metrics: for node_exporter's text folder, or whatever else reads Prometheus' text format or OpenMetrics
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).

use crate::report::overview::{Database, Overview, Standing};
use prometheus_client::{
    encoding::text::encode,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// What a gauge of a database shows; `None`: nothing is known.
type Value = fn(&Database) -> Option<f64>;

/// Name, help, unit, value.
const GAUGES: &[(&str, &str, Option<Unit>, Value)] = &[
    ("good", "1 where everything is as it should be, else 0", None, |d| Some(f64::from(d.standing == Standing::Good))),
    ("backups", "Finished backups", None, |d| Some(d.backups as f64)),
    ("stored", "All that is stored", Some(Unit::Bytes), |d| Some(d.stored_bytes as f64)),
    ("last_backup_timestamp", "When the newest backup was taken, in seconds since 1970", Some(Unit::Seconds), |d| {
        unix(&d.last_backup.as_ref()?.at)
    }),
    (
        "last_proven_timestamp",
        "When the newest backup that is proven by a restore was taken, in seconds since 1970",
        Some(Unit::Seconds),
        |d| unix(&d.last_proven.as_ref()?.at),
    ),
    ("restore", "What the last proof's restore took", Some(Unit::Seconds), |d| d.rto_seconds),
    ("newest_rows", "Rows of the newest backup", None, |d| Some(d.points.last()?.rows as f64)),
    ("newest_content", "Content of the newest backup", Some(Unit::Bytes), |d| Some(d.points.last()?.bytes as f64)),
    ("newest_stored", "What the newest backup's files take", Some(Unit::Bytes), |d| {
        Some(d.points.last()?.stored_bytes as f64)
    }),
    ("newest_duration", "What the newest backup took until it was stored", Some(Unit::Seconds), |d| {
        d.points.last()?.seconds
    }),
    ("failed_runs_since_backup", "Runs that failed since the newest backup", None, |d| {
        let newest = d.last_backup.as_ref().map(|m| m.at.as_str()).unwrap_or_default();
        Some(d.failures.iter().filter(|run| run.at.as_str() > newest).count() as f64)
    }),
];

fn unix(at: &str) -> Option<f64> {
    crate::clock::moment(at).map(|at| at.unix_timestamp() as f64)
}

/// As OpenMetrics.
pub fn openmetrics(overview: &Overview) -> String {
    let mut registry = Registry::with_prefix("savepoint");
    let mut register = |name: &str, help: &str, unit: Option<&Unit>, values: Vec<(Labels, f64)>| {
        let gauges = Gauges::default();
        for (labels, value) in values {
            gauges.get_or_create(&labels).set(value);
        }
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit.clone(), gauges),
            None => registry.register(name, help, gauges),
        }
    };
    for (name, help, unit, value) in GAUGES {
        let of = |d: &Database| Some((vec![("database", d.name.clone())], value(d)?));
        register(name, help, unit.as_ref(), overview.databases.iter().filter_map(of).collect());
    }
    let made = unix(&overview.made_at).unwrap_or_default();
    register(
        "looked_timestamp",
        "When this was looked at, in seconds since 1970",
        Some(&Unit::Seconds),
        vec![(Vec::new(), made)],
    );
    register(
        "warnings",
        "What could not be looked at, or is damaged",
        None,
        vec![(Vec::new(), overview.warnings.len() as f64)],
    );
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut out, &registry);
    // A family keeps its databases in no order; two looks at the same are to be the same.
    let mut lines: Vec<&str> = out.lines().collect();
    lines.chunk_by_mut(|a, b| a.starts_with('#') == b.starts_with('#')).for_each(|chunk| {
        if chunk.first().is_some_and(|line| !line.starts_with('#')) {
            chunk.sort_unstable();
        }
    });
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// As Prometheus' text format, which knows neither units nor an end
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
pub fn prometheus(overview: &Overview) -> String {
    let text = openmetrics(overview);
    let lines = text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF");
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn metrics_as_scrapers_see_them() {
        insta::assert_snapshot!("openmetrics", openmetrics(&fixture::overview()));
        let text = prometheus(&fixture::overview());
        assert!(!text.contains("# EOF") && !text.contains("# UNIT") && text.contains("# TYPE"), "{text}");
    }

    #[test]
    fn a_name_stays_in_its_label() {
        let mut overview = fixture::overview();
        overview.databases[0].name = "a\"} 1\nsavepoint_good 0 \\".into();
        let text = prometheus(&overview);
        assert!(text.contains(r#"savepoint_good{database="a\"} 1\nsavepoint_good 0 \\"} 1"#), "{text}");
    }
}
