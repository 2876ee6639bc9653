//! Figures into tables: for the terminal, as Markdown, and as JSON.

use crate::{measure::Run, options::Options, stage::Stage, support::Result};
use anyhow::Context;
use serde_json::{Value, json};
use std::{fmt::Write, fs, path::Path, process::Command};

/// One table.
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How it was taken, in a sentence.
    pub about: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows, each as long as the header.
    pub rows: Vec<Vec<String>>,
    /// The same and more for machines.
    pub json: Value,
}

/// Everything that was found.
#[derive(Default)]
pub struct Report {
    /// Tables in the order in which they were made.
    pub tables: Vec<Table>,
    /// Competitors that failed: what, and why.
    pub failures: Vec<String>,
    /// Competitors that could not run: what, and which program is missing.
    pub skipped: Vec<String>,
    /// Runs that were measured.
    pub runs: usize,
}

impl Table {
    /// Plain text with aligned columns: the first to the left, figures to the right.
    pub fn text(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = format!("{}\n  {}\n", self.title, self.about);
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> =
                cells.map(|(i, (c, &w))| if i == 0 { format!("{c:<w$}") } else { format!("{c:>w$}") }).collect();
            let _ = writeln!(out, "  {}", line.join("  ").trim_end());
        }
        out
    }

    fn markdown(&self) -> String {
        let cells = |row: &[String]| {
            format!("| {} |\n", row.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let mut out = format!("### {}\n\n{}\n\n{}", self.title, self.about, cells(&self.header));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(self.header.len() - 1));
        self.rows.iter().for_each(|r| out += &cells(r));
        out
    }
}

impl Report {
    /// Adds a table; a person sees it at once.
    pub fn add(&mut self, stage: &Stage, table: Table) {
        if !stage.options.test {
            println!("{}", table.text());
        }
        self.tables.push(table);
    }

    /// Writes report.json and report.md into `dir`.
    pub fn write(&self, dir: &Path, stage: &Stage) -> Result {
        let machine = machine(stage)?;
        let options = &stage.options;
        let tables: Vec<Value> = self
            .tables
            .iter()
            .map(|t| json!({"title": t.title, "about": t.about, "header": t.header, "rows": t.rows, "figures": t.json}))
            .collect();
        let all = json!({
            "machine": machine, "scale": options.scale, "rounds": options.rounds, "jobs": options.jobs,
            "quick": options.quick,
            "tables": tables, "failures": self.failures, "skipped": self.skipped,
        });
        let mut text = described(&machine, options);
        for table in &self.tables {
            let _ = write!(text, "\n{}", table.markdown());
        }
        for (what, lines) in [("Failed", &self.failures), ("Skipped", &self.skipped)] {
            if !lines.is_empty() {
                let _ = write!(text, "\n### {what}\n\n");
                lines.iter().for_each(|l| {
                    let _ = writeln!(text, "- {l}");
                });
            }
        }
        fs::create_dir_all(dir)?;
        fs::write(dir.join("report.json"), format!("{all:#}\n"))?;
        fs::write(dir.join("report.md"), text).with_context(|| dir.display().to_string())
    }
}

/// Middle of some figures (of an even number, the mean of the two).
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A figure with so many digits that it says something; a dash for none.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v.abs() >= 100.0 => format!("{v:.0}"),
        Some(v) if v.abs() >= 10.0 => format!("{v:.1}"),
        Some(v) => format!("{v:.2}"),
    }
}

/// The median of something over the runs that ended well.
pub fn median_of(runs: &[Option<Run>], of: impl Fn(&Run) -> f64) -> Option<f64> {
    median(&runs.iter().flatten().map(of).collect::<Vec<_>>())
}

/// A table of competitors over rounds. Ratios are those of each round to the base of the same round.
pub fn side_by_side(title: String, about: String, base: &str, results: &[(String, Vec<Option<Run>>)]) -> Table {
    let header = [
        "",
        "ratio",
        "min",
        "max",
        "wall s",
        "client CPU s",
        "of it its tools",
        "server CPU s",
        "MB stored",
        "peak MB, process",
        "peak MB, all",
        "S3 requests",
    ];
    let base_runs = results.iter().find(|(name, _)| name == base).map(|(_, runs)| runs.as_slice()).unwrap_or_default();
    let (mut rows, mut figures) = (Vec::new(), Vec::new());
    for (name, runs) in results {
        let pairs = base_runs.iter().zip(runs).filter_map(|(b, r)| Some(b.as_ref()?.wall / r.as_ref()?.wall));
        let ratios: Vec<f64> = pairs.collect();
        let failed = runs.iter().filter(|r| r.is_none()).count();
        let label = if failed > 0 { format!("{name} (failed: {failed})") } else { name.clone() };
        // Of a shell, the programs are all there is.
        let own_and_tools = name.starts_with("savepoint");
        let mb = |of: fn(&Run) -> u64| figure(median_of(runs, |r| of(r) as f64 / 1e6));
        let requests: Vec<f64> = runs.iter().flatten().filter_map(|r| r.requests).map(|n| n as f64).collect();
        rows.push(vec![
            label,
            figure(median(&ratios)),
            figure(ratios.iter().copied().reduce(f64::min)),
            figure(ratios.iter().copied().reduce(f64::max)),
            figure(median_of(runs, |r| r.wall)),
            figure(median_of(runs, Run::client_cpu)),
            if own_and_tools { figure(median_of(runs, |r| r.children_cpu)) } else { "-".to_owned() },
            figure(median_of(runs, |r| r.server_cpu)),
            mb(|r| r.stored),
            mb(|r| r.peak_process),
            mb(|r| r.peak_tree),
            median(&requests).map_or("-".to_owned(), |n| format!("{n:.0}")),
        ]);
        figures.push(json!({"name": name, "ratios": ratios, "runs": runs}));
    }
    Table {
        title,
        about,
        header: header.map(str::to_owned).into(),
        rows,
        json: json!({"base": base, "competitors": figures}),
    }
}

/// The exponent of a power law through some points, by least squares of the logarithms.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mean_x, mean_y) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = logs.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let slope = logs.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    slope.is_finite().then_some(slope)
}

fn machine(stage: &Stage) -> Result<Value> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key)).and_then(|l| l.split_once(':'));
        line.map_or(String::new(), |(_, v)| v.trim().to_owned())
    };
    let memory = after(&read("/proc/meminfo"), "MemTotal");
    let kb: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let version = |program: &str| {
        let env = stage.env("");
        let out = Command::new("bash").args(["-c", program]).env_clear().envs(env).output().ok();
        let out = out.filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        out.filter(|o| !o.is_empty()).unwrap_or_else(|| "not there".to_owned())
    };
    let weed = crate::support::stack().join("weed");
    let profile = if env!("CARGO_BIN_EXE_savepoint").contains("/release/") { "release" } else { "debug" };
    Ok(json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": after(&read("/proc/cpuinfo"), "model name"),
        "memory_gib": (kb / 1024.0 / 1024.0 * 10.0).round() / 10.0,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before_report": read("/proc/loadavg").trim(),
        "savepoint": format!("{} ({profile} build)", version(concat!(env!("CARGO_BIN_EXE_savepoint"), " --version"))),
        "postgresql": version("postgres --version"),
        "pg_dump": version("pg_dump --version"),
        "aws": version("aws --version"),
        "zstd": version("zstd --version | grep -o 'v[0-9.]*'"),
        "s3_server": version(&format!("{} version | grep -o 'version.*' | head -1", weed.display())),
    }))
}

fn described(machine: &Value, options: &Options) -> String {
    let text = |key: &str| machine[key].as_str().map_or_else(|| machine[key].to_string(), str::to_owned);
    let mut out = String::new();
    if options.quick {
        out += "**Quick form: tiny data and one round. These figures mean nothing.**\n\n";
    }
    let _ = writeln!(
        out,
        "Everything on one machine, client, database and S3 server on the same cores, over TCP on loopback: {} cores ({}), \
         {} GiB of memory, Linux {}. {}; {}; {}; {}; zstd {}; SeaweedFS {}. Scale {}, {} rounds, {} jobs; competitors in turn \
         within each round, in another order each round.",
        text("cores"),
        text("processor"),
        text("memory_gib"),
        text("kernel"),
        text("savepoint"),
        text("postgresql"),
        text("pg_dump"),
        text("aws"),
        text("zstd"),
        text("s3_server"),
        options.scale,
        options.rounds,
        options.jobs,
    );
    out
}
