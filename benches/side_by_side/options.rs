//! The command line: our own arguments after `--bench`, libtest's without.

use crate::{
    data::{SETS, USUAL},
    support::Result,
};
use anyhow::{Context, bail};

/// Names of all parts.
pub const PARTS: [&str; 6] = ["dump", "restore", "distance", "growth", "memory", "tps"];

const HELP: &str = "\
savepoint against pg_dump and friends, side by side.

  --quick          tiny data, one round, everything once, no figures worth reading
  --sets LIST      of mixed, wide, many, toast, pgbench, lobs, tables10k, tables50k, lobs500k [default: all but the
                   last two]
  --parts LIST     of dump, restore, distance, growth, memory, tps [default: all]
  --rounds N       rounds, in which every competitor runs once [default: 3]
  --brief          in `dump`, only what the ratios refer to and savepoint without a proof
  --scale F        size of the data [default: 1.0]
  --rate MBIT      rate of the link of `distance`, Mbit/s [default: 200]
  --jobs N         connections of pg_dump -Fd, pg_restore and savepoint [default: the cores, at least 2]";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tiny, once, no thresholds.
    pub quick: bool,
    /// Run by `cargo test`: as quick, and quiet.
    pub test: bool,
    /// Data sets.
    pub sets: Vec<String>,
    /// True when the sets were named on the command line.
    pub named_sets: bool,
    /// Parts.
    pub parts: Vec<String>,
    /// Rounds.
    pub rounds: usize,
    /// Factor of all sizes.
    pub scale: f64,
    /// Fewer competitors in `dump`.
    pub brief: bool,
    /// Rate of the imitated link, bits per second and direction.
    pub rate: f64,
    /// Connections.
    pub jobs: usize,
}

impl Options {
    /// `None`: there is nothing to do (help, a list of tests, a filter that does not mean this one).
    pub fn parse(args: &[String]) -> Result<Option<Self>> {
        let list = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let mut options = Self {
            quick: false,
            test: false,
            sets: list(&SETS[..USUAL]),
            named_sets: false,
            parts: list(&PARTS),
            rounds: 3,
            scale: 1.0,
            brief: false,
            rate: 200e6,
            jobs: cores.max(2),
        };
        if !args.iter().any(|a| a == "--bench") {
            options.test = true;
            return Ok(as_libtest(args).then(|| options.quickened()));
        }
        let mut rest = args.iter().filter(|a| *a != "--bench");
        while let Some(arg) = rest.next() {
            let (name, joined) = arg.split_once('=').map_or((arg.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
            let mut value =
                || joined.clone().or_else(|| rest.next().cloned()).with_context(|| format!("{name} needs a value"));
            match name {
                "--quick" => options = Self { quick: true, ..options },
                "--brief" => options.brief = true,
                "--sets" => (options.sets, options.named_sets) = (chosen(&value()?, &SETS)?, true),
                "--parts" => options.parts = chosen(&value()?, &PARTS)?,
                "--rounds" => {
                    options.rounds =
                        value()?.parse::<usize>().ok().filter(|&n| n > 0).context("--rounds is no count")?
                }
                "--jobs" => {
                    options.jobs = value()?.parse::<usize>().ok().filter(|&n| n > 0).context("--jobs is no count")?
                }
                "--scale" => {
                    let scale = value()?.parse::<f64>().ok().filter(|&f| f > 0.0 && f <= 100.0);
                    options.scale = scale.context("--scale is no factor above 0, up to 100")?;
                }
                "--rate" => {
                    let rate = value()?.parse::<f64>().ok().filter(|&r| (1.0..=10_000.0).contains(&r));
                    options.rate = rate.context("--rate is no rate from 1 to 10000 Mbit/s")? * 1e6;
                }
                "-h" | "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => bail!("there is no {arg}\n{HELP}"),
            }
        }
        Ok(Some(if options.quick { options.quickened() } else { options }))
    }

    fn quickened(self) -> Self {
        Self { quick: true, rounds: 1, scale: 0.002, jobs: 2, ..self }
    }
}

fn chosen(list: &str, all: &[&str]) -> Result<Vec<String>> {
    let chosen: Vec<String> = list.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
    match chosen.iter().find(|s| !all.contains(&s.as_str())) {
        Some(unknown) => bail!("there is no {unknown}; there are {}", all.join(", ")),
        None => Ok(chosen),
    }
}

/// `cargo test` hands its arguments to every target: true when they mean this one.
fn as_libtest(args: &[String]) -> bool {
    let (mut filters, mut skipped, mut exact) = (Vec::new(), Vec::new(), false);
    let (mut list, mut ignored) = (false, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--list" => list = true,
            "--ignored" => ignored = true,
            "--exact" => exact = true,
            "--skip" => skipped.extend(rest.next()),
            "--test-threads" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => {
                rest.next();
            }
            flag if flag.starts_with('-') => {}
            _ => filters.push(arg),
        }
    }
    const NAME: &str = "side_by_side";
    let fits = |filter: &String| if exact { filter == NAME } else { NAME.contains(filter.as_str()) };
    let wanted = !ignored && (filters.is_empty() || filters.into_iter().any(fits)) && !skipped.into_iter().any(fits);
    if list && wanted {
        println!("{NAME}: test");
    }
    wanted && !list
}
