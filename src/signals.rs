//! The signals by which people, terminals and schedulers ask a program to end.

use rustix::process::Signal;
use std::{fs, io};
use tokio::signal::unix::{SignalKind, signal};

/// Catches INT, TERM and HUP from here on.
#[derive(Debug)]
pub struct Ends {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    /// `None` where it is ignored, as `nohup` asks: the run is to outlive its terminal.
    hup: Option<tokio::signal::unix::Signal>,
}

impl Ends {
    /// Begins to catch them.
    ///
    /// # Errors
    /// When they cannot be caught.
    pub fn catch() -> io::Result<Self> {
        let hup = match ignored(Signal::HUP) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self { int: signal(SignalKind::interrupt())?, term: signal(SignalKind::terminate())?, hup })
    }

    /// Waits for the next.
    pub async fn next(&mut self) -> Signal {
        let hup = async {
            match &mut self.hup {
                Some(hup) => hup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.int.recv() => Signal::INT,
            _ = self.term.recv() => Signal::TERM,
            _ = hup => Signal::HUP,
        }
    }
}

/// Whether whoever started this process had it ignore a signal (proc(5), `SigIgn`); no where the system does not tell.
fn ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
}
