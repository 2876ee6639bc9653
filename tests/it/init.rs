//! The program as the first process of a container.

use crate::support::{
    Result, pg,
    run::{Savepoint, processes},
    scratch,
};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// As a container's runtime begins a process: number 1 of its own, with a /proc of its own.
const AS_FIRST: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];

/// False, loudly, where this machine grants no such thing.
fn possible() -> bool {
    let tried = std::process::Command::new(AS_FIRST[0]).args(&AS_FIRST[1..]).arg("true").output();
    let possible = tried.as_ref().is_ok_and(|out| out.status.success());
    if !possible {
        eprintln!("SKIPPED: this machine grants no process namespaces, so no test as first process: {tried:?}");
    }
    possible
}

/// PostgreSQL's programs, where pg_dump first leaves an orphan behind that ends soon.
fn with_an_orphan(bin: &Path, dir: &Path) -> Result {
    for program in std::fs::read_dir(bin)? {
        let program = program?.path();
        let link = dir.join(program.file_name().context("has a name")?);
        if link.ends_with("pg_dump") {
            let script = format!(
                "#!/bin/sh\ncase \"$*\" in *--version*) ;; *) (sleep 0.3 &); sleep 2;; esac\nexec {} \"$@\"\n",
                program.display()
            );
            std::fs::write(&link, script)?;
            std::fs::set_permissions(&link, std::fs::Permissions::from_mode(0o755))?;
        } else {
            std::os::unix::fs::symlink(&program, &link)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_loses_its_parent_is_waited_for() -> Result {
    if !possible() {
        return Ok(());
    }
    let server = pg::server(17).await?;
    server.create_db("it_first", "").await?;
    server.psql("it_first", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id").await?;
    let dir = scratch()?;
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin)?;
    with_an_orphan(&server.bin, &bin)?;
    let run = Savepoint::backup(&server.url("it_first"), &bin)?
        .to_folder(&dir.path().join("backups"))
        .args(["--verify", "rows"])
        .under(&AS_FIRST)
        .spawn()?;
    let worker = run.descendant("savepoint backup").await?;
    let first = processes().into_iter().find(|p| p.pid == worker).context("is there")?;
    let (pid, mut adopted, mut zombies) = (first.pid, 0, BTreeMap::<u32, u32>::new());
    let watch = async {
        loop {
            let all = processes();
            adopted += u32::from(all.iter().any(|p| p.parent == pid && p.cmdline.starts_with("sleep 0.3")));
            for zombie in all.iter().filter(|p| p.zombie && p.parent == pid) {
                *zombies.entry(zombie.pid).or_default() += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::select! { ended = run.wait() => ended?, () = watch => unreachable!() };
    ended.expect(0)?.left_nothing()?;
    ensure!(adopted > 0, "nothing was adopted, so nothing was tested");
    let stayed: Vec<_> = zombies.iter().filter(|(_, seen)| **seen > 10).collect();
    ensure!(stayed.is_empty(), "zombies stayed: {stayed:?}");
    Ok(())
}

#[tokio::test]
async fn exit_codes_and_interrupts_pass_through() -> Result {
    if !possible() {
        return Ok(());
    }
    let wrong = Savepoint::new(["backup", "--jobs", "many"])?.under(&AS_FIRST).run().await?.expect(2)?;
    ensure!(wrong.stderr.starts_with("error: option"), "{}", wrong.output());

    let server = pg::server(17).await?;
    server.create_db("it_first_interrupted", "").await?;
    server.psql("it_first_interrupted", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id").await?;
    let dir = scratch()?;
    let run =
        Savepoint::backup(&server.url("it_first_interrupted"), &server.bin)?.to_folder(&dir.path().join("backups"));
    let run = run.under(&AS_FIRST).spawn()?;
    let first = run.descendant("savepoint backup").await?;
    run.descendant("initdb").await?;
    crate::support::run::kill(first, Signal::TERM)?;
    let ended = run.wait().await?.expect(1)?;
    ensure!(ended.stderr.contains("interrupted by a signal"), "{}", ended.output());
    ended.left_nothing()?;
    ensure!(!dir.path().join("backups").exists(), "an interrupted first run leaves no empty folder behind");
    Ok(())
}
