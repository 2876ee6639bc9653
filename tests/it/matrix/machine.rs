//! Faults of this machine: its files, its disks, its processes.

use super::{Case, Left, Row, Skipped, folder, row, write};
use crate::support::{
    Result, is_root,
    run::{Ended, Savepoint, kill},
};
use anyhow::{bail, ensure};
use rustix::process::Signal;

/// Runs it where these shell commands, which may mount something on `$place`, came first; what lies in `$place` behind it is printed.
async fn mounted(run: Savepoint, place: &std::path::Path, commands: &str) -> Result<Ended> {
    // A private view of the file systems needs a right that only root has, and not in each container.
    let may =
        is_root() && std::process::Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !may {
        bail!(Skipped("nothing can be mounted here"));
    }
    let script = format!(
        "place={}; {commands}\n\"$0\" \"$@\"; code=$?; find \"$place\" -type f ! -name filler | sed 's/^/left: /'; exit $code",
        place.display()
    );
    run.under(&["unshare", "-m", "/bin/sh", "-c", &script]).run().await
}

/// The throwaway server is killed once the run has said these words.
async fn without_its_server(case: &Case, words: &str) -> Result<Ended> {
    let run = case.usual()?.args(["--max-rate", "20K"]);
    run.when_it_says(words, async |run| kill(run.descendant("bin/postgres -D").await?, Signal::KILL)).await
}

/// Into a folder that lies on a file system of its own.
async fn to_folder(case: &Case, commands: &str) -> Result<Ended> {
    let place = folder()?;
    let run = Savepoint::backup(&case.server.url(&case.db), &case.server.bin)?.to_folder(place.path());
    // What does not compress.
    let rows = "CREATE TABLE u AS SELECT g, (SELECT string_agg(md5(g || '/' || i), '') FROM generate_series(1, 20) i) FROM \
                generate_series(1, 300000) g";
    if commands.contains("size=") {
        case.server.psql(&case.db, rows).await?;
    }
    let ended = mounted(run, place.path(), commands).await?;
    ensure!(!ended.stdout.contains("left: "), "{}", ended.output());
    Ok(ended)
}

/// With the scratch folder on a file system of its own.
async fn in_scratch(case: &Case, commands: &str) -> Result<Ended> {
    let place = folder()?;
    let run = case.usual()?.args(["--scratch-dir", &place.path().display().to_string()]);
    let ended = mounted(run, place.path(), commands).await?;
    ensure!(!ended.stdout.contains("left: "), "{}", ended.output());
    Ok(ended)
}

pub fn rows() -> Vec<Row> {
    let nothing = (1, Left::Nothing);
    let unproven = (3, Left::Unproven);
    vec![
        row("40 open files", "preflight", nothing, "files may be open at a time", "ulimit -n", |case| {
            Box::pin(
                async move { case.usual()?.under(&["/bin/sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""]).run().await },
            )
        }),
        row(
            "no PostgreSQL programs",
            "preflight",
            nothing,
            "are not installed",
            "apt-get install postgresql",
            |case| {
                Box::pin(async move {
                    let none = folder()?;
                    let run = case.usual()?.args(["--pg-bin-dir", &none.path().display().to_string()]);
                    run.without("--pg-bin-dir").run().await
                })
            },
        ),
        row(
            "the scratch folder is a file",
            "preflight",
            nothing,
            "the scratch folder",
            "--scratch-dir names another folder",
            |case| {
                Box::pin(async move {
                    let dir = folder()?;
                    let file = dir.path().join("file");
                    write(&file, "")?;
                    case.usual()?.args(["--scratch-dir", &file.display().to_string()]).run().await
                })
            },
        ),
        row(
            "the scratch folder does not exist",
            "preflight",
            nothing,
            "the folder",
            "--scratch-dir names another folder",
            |case| Box::pin(async move { case.usual()?.args(["--scratch-dir", "/no/such/folder"]).run().await }),
        ),
        row(
            "the scratch folder is on a read-only file system",
            "preflight",
            nothing,
            "Read-only file system",
            "",
            |case| Box::pin(in_scratch(case, "mount -t tmpfs -o ro none $place")),
        ),
        row("the scratch folder's disk is too small", "preflight", nothing, "free", "with scratch-dir", |case| {
            Box::pin(in_scratch(case, "mount -t tmpfs -o size=20m none $place"))
        }),
        row(
            "the scratch folder's disk fills up",
            "restore",
            unproven,
            "No space left on device",
            "with scratch-dir",
            |case| {
                Box::pin(async move {
                    let rows =
                        "CREATE TABLE u AS SELECT g, repeat(md5(g::text), 30) AS t FROM generate_series(1, 200000) g";
                    case.server.psql(&case.db, rows).await?;
                    in_scratch(
                    case,
                    "mount -t tmpfs -o size=600m none $place; (until ls $place/*/throwaway/data/postmaster.pid; do sleep 0.1; done; \
                     head -c 480m /dev/zero >$place/filler; sleep 30; rm $place/filler) >/dev/null 2>&1 &",
                )
                .await
                })
            },
        ),
        row("the destination's folder is read-only", "preflight", nothing, "Read-only file system", "", |case| {
            Box::pin(to_folder(case, "mount -t tmpfs -o ro none $place"))
        }),
        row("the destination's disk is full", "preflight", nothing, "of free space", "free some space", |case| {
            Box::pin(to_folder(case, "mount -t tmpfs -o size=10m none $place"))
        }),
        row("the destination's disk fills up", "dump", nothing, "No space left on device", "", |case| {
            Box::pin(to_folder(case, "mount -t tmpfs -o size=70m none $place"))
        }),
        row("the throwaway server is killed", "dump", unproven, "throwaway", "", |case| {
            Box::pin(without_its_server(case, "restore begins"))
        }),
        row("the throwaway server is killed", "compare", unproven, "", "", |case| {
            Box::pin(without_its_server(case, "compare begins"))
        }),
    ]
}
