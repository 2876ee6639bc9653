//! What is measured: one function per part of the report.

use crate::{
    data,
    distance::{self, Link},
    measure::{self, Job, Run},
    peers::{self, BASE, Dump, FILE},
    report::{Report, Table, exponent, figure, median, median_of, side_by_side},
    stage::{Place, Stage},
    support::{Result, pg::Server},
};
use anyhow::{Context, bail, ensure};
use serde_json::json;
use std::{
    collections::HashMap,
    fs, thread,
    time::{Duration, Instant},
};

/// Runs of each competitor, by round.
type Results = Vec<(String, Vec<Option<Run>>)>;

/// Databases that are there already: set and size of its COPY text.
pub type Loaded = HashMap<String, u64>;

/// Runs `count` competitors round by round, each round in another order. One that fails is reported and keeps
/// its row.
fn interleaved(
    stage: &Stage,
    report: &mut Report,
    what: &str,
    names: &[String],
    mut run: impl FnMut(usize) -> Result<Run>,
) -> Result<Results> {
    let mut results: Results = names.iter().map(|n| (n.clone(), Vec::new())).collect();
    let count = names.len();
    for round in 0..stage.options.rounds {
        for place in 0..count {
            // A third of the way each round: neighbours and the beginning change.
            let i = (place + round * count.div_ceil(3)) % count;
            let (name, runs) = &mut results[i];
            let began = Instant::now();
            let ended = run(i);
            if stage.is_stopped() {
                bail!("broken off");
            }
            match &ended {
                Ok(run) => stage.say(&format!("{what}, round {}: {name}: {:.2} s", round + 1, run.wall)),
                Err(e) => {
                    let text = format!(
                        "{what}, round {}: {name}: {e:#} (after {:.0} s)",
                        round + 1,
                        began.elapsed().as_secs_f64()
                    );
                    eprintln!("bench: FAILED: {text}");
                    report.failures.push(text);
                }
            }
            report.runs += usize::from(ended.is_ok());
            runs.push(ended.ok());
        }
    }
    Ok(results)
}

/// Those that can run; the others are named.
fn able(stage: &Stage, report: &mut Report, what: &str, all: Vec<Dump>) -> Vec<Dump> {
    let (able, lacking): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.lacks(stage).is_none());
    for peer in lacking {
        let text = format!("{what}: {}: there is no {}", peer.name(), peer.lacks(stage).unwrap_or_default());
        eprintln!("bench: SKIPPED: {text}");
        report.skipped.push(text);
    }
    able
}

fn names(peers: &[Dump]) -> Vec<String> {
    peers.iter().map(|p| p.name().to_owned()).collect()
}

/// Makes the database of a set at a share of the scale, unless it is there; its name and its COPY text in bytes.
fn loaded(stage: &Stage, loaded: &mut Loaded, set: &str, share: f64) -> Result<(String, u64)> {
    let scale = stage.options.scale * share;
    let db = if share == 1.0 { set.to_owned() } else { format!("{set}_{share}") };
    let bytes = match loaded.get(&db) {
        Some(&bytes) => bytes,
        None => stage.load(&db, set, scale)?,
    };
    loaded.insert(db.clone(), bytes);
    Ok((db, bytes))
}

/// Every set: dump, upload and, of savepoint, proof.
pub fn dump(stage: &Stage, report: &mut Report, sets: &mut Loaded) -> Result {
    for set in stage.options.sets.clone() {
        let (db, bytes) = loaded(stage, sets, &set, 1.0)?;
        // The quick form has every competitor once, and every set once.
        let peers = match (stage.options.quick, set.as_str()) {
            (false, _) if stage.options.brief => {
                let base = Dump::all(stage.options.jobs, true).into_iter().filter(|d| d.name() == BASE);
                base.chain(Dump::without_proof()).collect()
            }
            (false, _) | (true, "mixed") => Dump::all(stage.options.jobs, true),
            _ => vec![Dump::savepoint("none")],
        };
        let peers = able(stage, report, &set, peers);
        let results = interleaved(stage, report, &set, &names(&peers), |i| {
            stage.measure_fresh(|place| peers[i].job(stage, &stage.source.url(&db), &stage.s3.endpoint, place))
        })?;
        let about = format!(
            "{:.0} MB of COPY text. Ratio: wall time of `{BASE}` / this one's; above 1 is faster.",
            bytes as f64 / 1e6
        );
        report.add(stage, side_by_side(format!("Backup of {set}"), about, BASE, &results));
    }
    Ok(())
}

/// What a database holds, to compare a restored one by.
fn shape(stage: &Stage, server: &Server, db: &str, set: &str) -> Result<String> {
    let table = match set {
        "mixed" => "events",
        "wide" => "wide",
        "many" | "tables10k" | "tables50k" => "tiny_1",
        "lobs" | "lobs500k" => "files",
        "toast" => "documents",
        _ => "pgbench_accounts",
    };
    let sql = format!(
        "SELECT (SELECT count(*) FROM {table}), \
         (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace), \
         (SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace)"
    );
    stage.wait(server.psql(db, &sql))
}

/// Unpacks the packs of the archive that `$0` names.
const UNPACK: &str = r#"for pack in "$0"/pack-*.tar*; do if [ -e "$pack" ]; then tar -xf "$pack" -C "$0"; fi; done"#;

/// One archive, restored into a normal server: from S3 and, as a reference, from local files.
pub fn restore(stage: &Stage, report: &mut Report, sets: &mut Loaded) -> Result {
    let chosen: Vec<String> = stage
        .options
        .sets
        .iter()
        .filter(|s| stage.options.named_sets || ["mixed", "many"].contains(&s.as_str()))
        .cloned()
        .collect();
    for set in chosen.iter().take(if stage.options.quick { 1 } else { usize::MAX }) {
        let (db, bytes) = loaded(stage, sets, set, 1.0)?;
        let target = stage.target()?;
        let place = stage.place()?;
        let result = restore_set(stage, report, set, &db, bytes, target, &place);
        stage.clear(&place)?;
        result?;
    }
    Ok(())
}

fn restore_set(
    stage: &Stage,
    report: &mut Report,
    set: &str,
    db: &str,
    bytes: u64,
    target: &Server,
    place: &Place,
) -> Result {
    let endpoint = &stage.s3.endpoint;
    // Proven: an unproven one is not restored.
    let backup = Dump::savepoint("content").job(stage, &stage.source.url(db), endpoint, place);
    stage.measure(&backup, place, stage.servers(&stage.source)).context("the backup to restore")?;
    let objects = stage.wait(stage.s3.list(&place.bucket))?;
    let toc =
        objects.iter().find(|o| o.key.ends_with("/archive/toc.dat")).context("the backup has no archive/toc.dat")?;
    let archive = toc.key.trim_end_matches("/toc.dat").to_owned();
    let local = place.dir.join("local");
    stage.wait(stage.s3.download(&place.bucket, &archive, &local))?;
    let unpacked = std::process::Command::new("bash").args(["-ec", UNPACK]).arg(&local).status()?;
    ensure!(unpacked.success(), "the archive cannot be unpacked");

    let jobs = stage.options.jobs;
    let base = format!("aws cp, pg_restore -j{jobs}");
    let mut all = vec![
        base.clone(),
        format!("pg_restore -j{jobs} (local files)"),
        "savepoint, verify none".to_owned(),
        "savepoint".to_owned(),
    ];
    if stage.aws.is_none() {
        let text = format!("restore of {set}: {}: there is no aws", all.remove(0));
        eprintln!("bench: SKIPPED: {text}");
        report.skipped.push(text);
    }
    let url = target.url("restored");
    let meant = shape(stage, &stage.source, db, set)?;
    let results = interleaved(stage, report, &format!("restore of {set}"), &all, |i| {
        stage.wait(target.create_db("restored", "ENCODING 'UTF8' LOCALE 'C.UTF-8'"))?;
        let job = restore_job(stage, &all[i], &base, (&archive, db, &url), place);
        let run = stage.measure(&job, place, stage.servers(target));
        let found = run.as_ref().map(|_| shape(stage, target, "restored", set));
        stage.wait(target.drop_db("restored"))?;
        let _ = fs::remove_dir_all(place.dir.join("archive"));
        if let Ok(found) = found {
            let found = found?;
            ensure!(found == meant, "restored are {found} rows, relations, constraints in place of {meant}");
        }
        // Nothing was stored: what the table calls so is what was read.
        run
    })?;
    let about = format!(
        "{:.0} MB of COPY text, into an empty database of a server with default settings (fsync on). \
         Ratio: wall time of `{base}` / this one's. MB stored: the backup that was read.",
        bytes as f64 / 1e6
    );
    report.add(stage, side_by_side(format!("Restore of {set}"), about, &base, &results));
    Ok(())
}

fn restore_job(stage: &Stage, name: &str, base: &str, (archive, db, url): (&str, &str, &str), place: &Place) -> Job {
    let endpoint = &stage.s3.endpoint;
    if name.starts_with("savepoint") {
        let mut job = peers::savepoint(stage, "restore", endpoint, place);
        job.line.extend(["latest", "--database", db, "--jobs"].map(str::to_owned));
        job.line.push(stage.options.jobs.to_string());
        if name.ends_with("none") {
            job.line.extend(["--verify", "none"].map(str::to_owned));
        }
        job.env.push(("SAVEPOINT_TO".to_owned(), url.to_owned()));
        return job;
    }
    let line = if name == base {
        format!(
            r#"aws s3 cp --only-show-errors --recursive "s3://$BUCKET/$ARCHIVE" "$DIR/archive" &&
            bash -ec '{UNPACK}' "$DIR/archive" &&
            pg_restore --exit-on-error -j"$JOBS" -d "$URL" "$DIR/archive""#
        )
    } else {
        r#"pg_restore --exit-on-error -j"$JOBS" -d "$URL" "$DIR/local""#.to_owned()
    };
    let mut job = peers::shell(stage, &line, url, endpoint, place);
    job.env.push(("ARCHIVE".to_owned(), archive.to_owned()));
    job
}

/// The dump again, far from the database and from S3.
pub fn distance(stage: &Stage, report: &mut Report, sets: &mut Loaded) -> Result {
    let chosen =
        stage.options.sets.iter().filter(|s| stage.options.named_sets || ["mixed", "many"].contains(&s.as_str()));
    let chosen: Vec<String> = chosen.take(if stage.options.quick { 1 } else { usize::MAX }).cloned().collect();
    let rate = stage.options.rate;
    for round_trip in stage.round_trips() {
        let (ms, found) = stage.wait(distance::check(round_trip, rate))?;
        let measured = format!("a stopwatch says {ms:.1} ms, {found:.0} Mbit/s");
        stage.say(&format!("link of {} ms and {:.0} Mbit/s: {measured}", round_trip.as_millis(), rate / 1e6));
        for set in &chosen {
            // Many tables cost a round trip or more each: a tenth says as much as all.
            let share = if stage.options.quick {
                1.0
            } else if set == "many" {
                0.1
            } else {
                0.25
            };
            let (db, bytes) = loaded(stage, sets, set, share)?;
            let what = format!("{set} at {} ms", round_trip.as_millis());
            let peers = if stage.options.quick {
                vec![Dump::custom(), Dump::savepoint("none")]
            } else {
                Dump::all(stage.options.jobs, false)
            };
            let peers = able(stage, report, &what, peers);
            let results = interleaved(stage, report, &what, &names(&peers), |i| {
                // A link of its own for each run: nothing is under way from the one before.
                let links = async {
                    tokio::try_join!(
                        Link::start(stage.source.port, round_trip, rate),
                        Link::start(stage.s3.port, round_trip, rate)
                    )
                };
                let (postgres, s3) = stage.wait(links)?;
                let url = stage.source.url_at(postgres.port, "postgres", &db);
                stage.measure_fresh(|place| peers[i].job(stage, &url, &format!("http://127.0.0.1:{}", s3.port), place))
            })?;
            let about = format!(
                "{:.0} MB of COPY text at {share} of the scale. {} ms round trip and {:.0} Mbit/s per direction, \
                 all connections together, to the database and to S3 alike ({measured}). Ratio as above.",
                bytes as f64 / 1e6,
                round_trip.as_millis(),
                rate / 1e6,
            );
            let title = format!("Backup of {set} over {} ms, {:.0} Mbit/s", round_trip.as_millis(), rate / 1e6);
            report.add(stage, side_by_side(title, about, BASE, &results));
        }
    }
    Ok(())
}

/// How time grows with rows, tables, and the width of rows.
pub fn growth(stage: &Stage, report: &mut Report) -> Result {
    let factors: &[u64] = if stage.options.quick { &[1, 4] } else { &[1, 4, 16] };
    let (mut rows, mut figures) = (Vec::new(), Vec::new());
    let dimensions = ["rows", "tables", "width"];
    for &what in if stage.options.test { &dimensions[..1] } else { &dimensions } {
        let db = |factor: u64| format!("growth_{what}_{factor}");
        for &factor in factors {
            stage.fill(&db(factor), &data::growth_sql(what, factor, stage.options.scale))?;
        }
        let peers = [Dump::custom(), Dump::savepoint("none"), Dump::savepoint("content")];
        let peers = if stage.options.quick { vec![peers[1].clone()] } else { peers.to_vec() };
        let peers = able(stage, report, what, peers);
        let cases: Vec<(&Dump, u64)> = peers.iter().flat_map(|p| factors.iter().map(move |&f| (p, f))).collect();
        let labels: Vec<String> = cases.iter().map(|(p, f)| format!("{}, {f}x", p.name())).collect();
        let results = interleaved(stage, report, &format!("growth of {what}"), &labels, |i| {
            let (peer, factor) = cases[i];
            stage.measure_fresh(|place| peer.job(stage, &stage.source.url(&db(factor)), &stage.s3.endpoint, place))
        })?;
        for (p, peer) in peers.iter().enumerate() {
            let own = &results[p * factors.len()..(p + 1) * factors.len()];
            let walls: Vec<Option<f64>> = own.iter().map(|(_, runs)| median_of(runs, |r| r.wall)).collect();
            let cpus: Vec<Option<f64>> = own.iter().map(|(_, runs)| median_of(runs, Run::client_cpu)).collect();
            let fit = |values: &[Option<f64>]| {
                let points: Vec<(f64, f64)> =
                    factors.iter().zip(values).filter_map(|(&f, v)| Some((f as f64, (*v)?))).collect();
                exponent(&points)
            };
            let mut row = vec![format!("{what}: {}", peer.name())];
            row.extend(walls.iter().map(|w| figure(*w)));
            row.extend([figure(fit(&walls)), figure(fit(&cpus))]);
            rows.push(row);
            figures
                .push(json!({"what": what, "name": peer.name(), "factors": factors, "wall": walls, "client_cpu": cpus,
                "wall_exponent": fit(&walls), "cpu_exponent": fit(&cpus)}));
        }
        for &factor in factors {
            stage.wait(stage.source.drop_db(&db(factor)))?;
        }
    }
    let mut header = vec![String::new()];
    header.extend(factors.iter().map(|f| format!("{f}x, s")));
    header.extend(["exponent of wall", "exponent of client CPU"].map(str::to_owned));
    let about =
        "Wall time as one thing grows. Exponent e: cost ~ size^e by least squares of the logarithms; 1 is linear, \
        below 1 a fixed cost still shows."
            .to_owned();
    report.add(stage, Table { title: "Growth".to_owned(), about, header, rows, json: json!(figures) });
    Ok(())
}

/// Memory of savepoint's own process over time.
pub fn memory(stage: &Stage, report: &mut Report, sets: &mut Loaded) -> Result {
    const POINTS: usize = 10;
    let (mut rows, mut figures) = (Vec::new(), Vec::new());
    let chosen: Vec<String> =
        stage.options.sets.iter().filter(|s| ["wide", "toast"].contains(&s.as_str())).cloned().collect();
    for set in chosen {
        let (db, _) = loaded(stage, sets, &set, 1.0)?;
        let peers = [Dump::savepoint("none"), Dump::savepoint("content")];
        for peer in if stage.options.quick { &peers[..1] } else { &peers[..] } {
            let run = stage.measure_fresh(|place| peer.job(stage, &stage.source.url(&db), &stage.s3.endpoint, place));
            let run = run.with_context(|| format!("memory: {set}: {}", peer.name()))?;
            report.runs += 1;
            // The largest of each tenth of the time.
            let mut points = vec![None; POINTS];
            for &(at, bytes) in &run.rss {
                let tenth = ((at / run.wall * POINTS as f64) as usize).min(POINTS - 1);
                points[tenth] = points[tenth].max(Some(bytes));
            }
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let mut row = vec![format!("{set}: {}", peer.name()), figure(Some(run.wall))];
            row.extend(points.iter().map(|p| figure(p.map(mib))));
            row.push(figure(Some(mib(run.peak_process))));
            rows.push(row);
            figures.push(
                json!({"set": set, "name": peer.name(), "wall": run.wall, "bytes": points, "max": run.peak_process}),
            );
        }
    }
    let mut header = vec![String::new(), "wall s".to_owned()];
    header.extend((1..=POINTS).map(|i| format!("{}0 %", i)));
    header.push("max".to_owned());
    let about =
        "MiB resident of savepoint's own process (not its throwaway server's): the largest of each tenth of its time, \
        and of all."
            .to_owned();
    report.add(stage, Table { title: "Memory over time".to_owned(), about, header, rows, json: json!(figures) });
    Ok(())
}

/// What a backup costs those who work on the database: TPS of pgbench beside it.
pub fn tps(stage: &Stage, report: &mut Report) -> Result {
    const DB: &str = "tps";
    let seconds = if stage.options.quick { 1 } else { 30 };
    stage.load(DB, "pgbench", stage.options.scale)?;
    let mut others = vec![
        Dump::shell(FILE, r#"pg_dump -Fc -d "$URL" -f "$DIR/file""#),
        Dump::shell("pg_dump -Fd -j2 (no upload)", r#"rm -rf "$DIR/dump" && pg_dump -Fd -j2 -d "$URL" -f "$DIR/dump""#),
        Dump::savepoint_with(&["--jobs", "2"]),
        Dump::savepoint_with(&["--jobs", "1"]),
    ];
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_savepoint")).args(["backup", "--help"]).output()?;
    if String::from_utf8_lossy(&help.stdout).contains("--max-rate") {
        others.push(Dump::savepoint_with(&["--jobs", "2", "--max-rate", "20MB"]));
    }
    if stage.options.test {
        others.drain(..others.len() - 1);
    }
    let count = others.len() + 1;
    let (mut rates, mut walls) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for round in 0..stage.options.rounds {
        for place in 0..count {
            let i = (place + round * count.div_ceil(3)) % count;
            let name = if i == 0 { "alone" } else { others[i - 1].name() };
            stage.wait(stage.source.psql(DB, "VACUUM; CHECKPOINT"))?;
            let (rate, ended) = beside(stage, DB, seconds, i.checked_sub(1).map(|i| &others[i]))
                .with_context(|| format!("tps: {name}"))?;
            stage.say(&format!("tps, round {}: {name}: {rate:.0} TPS, {} backups", round + 1, ended.len()));
            report.runs += 1;
            rates[i].push(rate);
            walls[i].extend(ended);
        }
    }
    let (mut rows, mut figures) = (Vec::new(), Vec::new());
    for i in 0..count {
        let name = if i == 0 { "alone" } else { others[i - 1].name() };
        let ratios: Vec<f64> = rates[i].iter().zip(&rates[0]).map(|(r, alone)| r / alone).collect();
        let wall = match median(&walls[i]) {
            None if i > 0 => format!("> {seconds}"),
            wall => figure(wall),
        };
        rows.push(vec![
            name.to_owned(),
            figure(median(&rates[i])),
            figure(median(&ratios)),
            figure(ratios.iter().copied().reduce(f64::min)),
            figure(ratios.iter().copied().reduce(f64::max)),
            wall,
            walls[i].len().to_string(),
        ]);
        figures.push(json!({"name": name, "tps": rates[i], "ratios": ratios, "backup_seconds": walls[i]}));
    }
    let header = ["", "TPS", "of alone", "min", "max", "backup s", "backups"].map(str::to_owned).into();
    let about = format!(
        "pgbench -c 4 for {seconds} s on the source, scale {}, alone and while one backup after the other runs. \
         Of alone: 1 is no effect. Backup s: median of those that ended within this time.",
        data::pgbench_scale(stage.options.scale)
    );
    report.add(stage, Table { title: "What the source feels".to_owned(), about, header, rows, json: json!(figures) });
    Ok(())
}

/// TPS of pgbench while a competitor runs again and again; seconds of each of its runs that ended within this time.
fn beside(stage: &Stage, db: &str, seconds: u64, other: Option<&Dump>) -> Result<(f64, Vec<f64>)> {
    let place = stage.place()?;
    let enough = stage.stop.child_token();
    let url = stage.source.url(db);
    let outcome = thread::scope(|scope| {
        let load = other.map(|other| {
            let (job, log, enough) =
                (other.job(stage, &url, &stage.s3.endpoint, &place), place.dir.join("log"), enough.clone());
            scope.spawn(move || {
                let mut walls = Vec::new();
                loop {
                    match measure::run(&job, measure::Servers::default(), &log, &enough) {
                        Ok(run) if !enough.is_cancelled() => walls.push(run.wall),
                        Err(e) if !enough.is_cancelled() => return Err(e),
                        _ => return Ok(walls),
                    }
                }
            })
        });
        let time = seconds.to_string();
        let args = ["-n", "-c", "4", "-j", "2", "-T", &time, &url];
        let bound = Duration::from_secs(seconds * 3 + 60);
        let out = stage.wait(async {
            tokio::time::timeout(bound, stage.source.tool("pgbench", &args)).await.context("pgbench does not end")?
        });
        enough.cancel();
        let walls = load.map_or(Ok(Vec::new()), |l| {
            l.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the backups' thread panicked")))
        })?;
        let text = String::from_utf8_lossy(&out?).into_owned();
        let rate = text.lines().find_map(|l| l.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        Ok((rate.with_context(|| format!("pgbench says no tps: {text}"))?, walls))
    });
    stage.clear(&place)?;
    outcome
}
