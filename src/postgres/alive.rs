//! Whether a program that has connected to a server and says nothing still works: the same question as [`watch`](super::watch) has of our
//! own connections, put over another one.
//!
//! A program that waits is not run by the kernel: its threads are not switched to. One that was not for
//! [`stall`](super::conninfo::Target::stall) waits for the server, unless what it wrote waits for us.

use super::{
    connect,
    conninfo::Target,
    watch::{CUT, SILENT_LOOKS, SWALLOWED, Said},
};
use crate::{
    clock::STALL,
    error::{Error, Kind},
    procfs,
};
use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// How often it is looked at, at most.
const TICK: Duration = Duration::from_secs(5);

/// The cure where no network is in between.
const STOPPED: &str = "somebody stopped the program, or this machine is short of memory: look at its processes";

/// A program at work.
pub(super) struct Program<'a> {
    /// As it is called.
    pub name: &'a str,
    /// Its process.
    pub pid: u32,
    /// Where it is connected to, and the name that its sessions have; `None`: it works alone.
    pub connects: Option<&'a (Target, String)>,
    /// The reading end of what it writes.
    pub pipe: Option<OwnedFd>,
}

impl Program<'_> {
    /// Returns when there is nothing to be waited for any more, and why.
    pub async fn is_dead(&self) -> Error {
        let stall = self.connects.map_or(STALL, |(target, _)| target.stall);
        let (mut seen, mut since, mut untold) = (self.switches(), Instant::now(), 0);
        loop {
            tokio::time::sleep((stall / 4).min(TICK)).await;
            let now = self.switches();
            if now != seen || self.waits_for_us() {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() >= stall {
                let Some((target, application_name)) = self.connects else {
                    let message = format!("{} stands still: it has not run for {:.0?}", self.name, since.elapsed());
                    return Error::new(Kind::Tool, message).hint(STOPPED);
                };
                let said = connect::look_by_name(target, application_name).await;
                untold = if matches!(said, Said::Nothing) { untold + 1 } else { 0 };
                if self.switches() != seen {
                    continue;
                }
                if let Some((why, hint)) = dead(said, untold, target.is_socket()) {
                    let message = format!("{} of {} stands still: {why}", self.name, target.redacted());
                    return Error::new(Kind::Tool, message).hint(hint);
                }
                since = Instant::now();
            }
        }
    }

    fn waits_for_us(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| rustix::io::ioctl_fionread(pipe).is_ok_and(|waiting| waiting > 0))
    }

    /// How often the kernel has switched to it and to its children.
    fn switches(&self) -> u64 {
        let of = |pid| {
            ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
                .map(|name| procfs::status(pid, name).unwrap_or(0))
        };
        procfs::tree(self.pid).into_iter().map(|pid| of(pid).into_iter().sum::<u64>() + 1).sum()
    }
}

/// Why it is dead, and the cure; `None`: it is worth waiting.
fn dead(said: Said, untold: u32, here: bool) -> Option<(String, &'static str)> {
    let lost = if here { STOPPED } else { SWALLOWED };
    match said {
        Said::Works => None,
        Said::Nothing if untold <= SILENT_LOOKS => None,
        Said::Nothing => Some(("the server does not tell what it does".into(), CUT)),
        Said::Reads | Said::Writes | Said::Idle => {
            Some(("the server waits for it, and nothing of either arrives".into(), lost))
        }
        Said::Gone => Some(("the server knows no session of it".into(), lost)),
        Said::Unreachable(why) => Some((format!("nor does the server answer on another connection: {why}"), CUT)),
    }
}
