//! The first process of a container: it waits for every process that loses its parent, and a child of it does the work.
//!
//! Without that, children of children (the throwaway server's, above all) would stay as zombies. Reaping them in the process that does
//! the work would take the exit status of its own children away from those who wait for it.

use crate::signals::Ends;
use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, kill_process, wait},
};
use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs this program again, with the same arguments and surroundings, as a child; passes INT, TERM and HUP on, and ends as the child ended.
///
/// # Errors
/// When there is no child to be had.
pub fn run() -> io::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Before the child: the first process of a container has no default action for signals, and no end may be missed.
        let mut ends = Ends::catch()?;
        let mut ended = signal(SignalKind::child())?;
        let mut args = std::env::args_os();
        let mut command = Command::new("/proc/self/exe");
        command.arg0(args.next().unwrap_or_default()).args(args);
        let child = Pid::from_child(&command.spawn()?);
        loop {
            let passed_on = tokio::select! {
                signal = ends.next() => Some(signal),
                _ = ended.recv() => None,
            };
            if let Some(signal) = passed_on {
                // It may have ended just now.
                let _ = kill_process(child, signal);
            }
            if let Some(status) = reap(child)? {
                return Ok(ExitCode::from(code(status)));
            }
        }
    })
}

/// Waits for all that have ended; the status of `child` if it was among them.
fn reap(child: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => return Ok(Some(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
    }
}

/// As a shell tells of a signal.
fn code(status: WaitStatus) -> u8 {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
