//! How the last backups grew, as charts that GitHub draws (<https://mermaid.js.org/syntax/xyChart.html>).

use crate::report::{overview::Point, render::markdown::block};
use std::fmt::Write as _;

/// From so many backups on there is a line to draw.
const LEAST: usize = 3;

/// A line that can be seen in light and dark, unlike the first colour of the default palette, and a chart that is no taller than it needs.
const LOOKS: &str =
    r##"%%{init: {"xyChart": {"height": 260}, "themeVariables": {"xyChart": {"plotColorPalette": "#2f81f7"}}}}%%"##;

/// A chart for each of size, rows and time; nothing where a line says nothing.
pub(super) fn charts(trend: &[Point]) -> String {
    let mut out = String::new();
    let (Some(first), Some(last)) = (trend.first(), trend.last()) else { return out };
    if trend.len() < LEAST {
        return out;
    }
    let day = |point: &Point| point.at.get(..10).unwrap_or_default().to_owned();
    let (n, from, to) = (trend.len(), day(first), day(last));
    let _ = writeln!(out, "\n<details><summary>The last {n} backups, {from} to {to}</summary>\n");
    let sizes = trend.iter().map(|p| Some(p.stored_bytes as f64));
    let rows = trend.iter().map(|p| Some(p.rows as f64));
    out.push_str(&chart(
        "stored",
        &scaled(sizes, &[("KiB", 1024.0), ("MiB", 1024.0), ("GiB", 1024.0), ("TiB", 1024.0)], "B"),
    ));
    out.push_str(&chart(
        "rows",
        &scaled(rows, &[("thousand rows", 1e3), ("million rows", 1e3), ("billion rows", 1e3)], "rows"),
    ));
    let times =
        [trend.iter().map(|p| p.seconds).collect::<Vec<_>>(), trend.iter().map(|p| p.restore_seconds).collect()];
    for (name, times) in ["until it was stored", "a restore took"].into_iter().zip(times) {
        if times.iter().flatten().count() >= LEAST {
            out.push_str(&chart(name, &scaled(times.into_iter(), &[("min", 60.0), ("h", 60.0)], "s")));
        }
    }
    out.push_str("</details>\n");
    out
}

/// Values in the largest unit in which the greatest is above 2, and its name. What is not known is left out.
fn scaled(
    values: impl Iterator<Item = Option<f64>>,
    units: &[(&'static str, f64)],
    base: &'static str,
) -> (Vec<f64>, &'static str) {
    let mut values: Vec<f64> = values.flatten().filter(|v| v.is_finite()).collect();
    let mut unit = base;
    for (name, factor) in units {
        if values.iter().copied().fold(0.0, f64::max) < 2.0 * factor {
            break;
        }
        values.iter_mut().for_each(|v| *v /= factor);
        unit = name;
    }
    (values, unit)
}

fn chart(name: &str, (values, unit): &(Vec<f64>, &str)) -> String {
    let top = values.iter().copied().fold(0.0, f64::max);
    // A line at the very top, or one of zeros, would not be seen.
    let top = if top > 0.0 { top * 1.1 } else { 1.0 };
    let line: Vec<String> = values.iter().map(|v| format!("{v:.3}")).collect();
    let text = format!(
        "{LOOKS}\nxychart-beta\n    title \"{name} ({unit})\"\n    x-axis 1 --> {}\n    y-axis \"{unit}\" 0 --> {top:.3}\n    line [{}]",
        values.len(),
        line.join(", ")
    );
    format!("{}\n", block("mermaid", &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_line_needs_points_and_a_unit_that_fits() {
        let trend = fixture::grown().past.trend;
        assert_eq!(charts(&trend[..2]), "");
        insta::assert_snapshot!("trend", charts(&trend));
        let unit = |values: &[f64]| scaled(values.iter().map(|v| Some(*v)), &[("min", 60.0), ("h", 60.0)], "s").1;
        assert_eq!((unit(&[0.0, 100.0]), unit(&[120.0]), unit(&[7200.0, 1.0]), unit(&[])), ("s", "min", "h", "s"));
    }
}
