//! What the verbs of the command line do: every verb validates, runs and tells in one shape (`verb::Verb`, `tell::Stage`).

mod backup;
mod check;
mod copy;
mod diff;
mod list;
mod prune;
mod report;
mod restore;
mod setup_role;
mod show;
mod tell;
mod validate;
mod verb;
mod verify;

use crate::cancel::Cancel;
use crate::{
    action,
    cli::{self, ActionArgs, Command},
    error::{Error, Kind, Result},
    notify::heartbeat::Heartbeat,
    report::render::{self, Paper},
};
use std::{ffi::OsString, io::Write, path::Path};
use tell::{Stage, print};
use verb::{Env, Verb, monitor};

/// Every verb: its name, its variant of [`Command`], and what it does. A new one is a file here and a line.
macro_rules! verbs {
    ($($name:literal $variant:ident $verb:ty,)*) => {
        /// The verb that the input `command` names, with the other inputs as its options.
        fn of_action(action: &ActionArgs) -> Result<Command> {
            match action.command.trim() {
                $($name => Ok(Command::$variant(action.into())),)*
                other => Err(Error::new(Kind::Usage, format!("option command: {other:?} is not known"))
                    .hint(format!("use one of {}", [$($name),*].join(", ")))),
            }
        }

        async fn dispatch(command: Command, env: Env<'_>, cancel: Cancel) -> u8 {
            match command {
                $(Command::$variant(raw) => {
                    let stage = Stage {
                        verb: $name,
                        raw: <$verb>::output(&raw).clone(),
                        monitor: <$verb>::notify(&raw).and_then(|(notify, dry_run)| monitor(notify, dry_run)),
                        env,
                        cancel,
                    };
                    stage.run::<$verb>(&raw).await
                })*
                Command::Completions { .. } | Command::Man { .. } | Command::Action(_) => 2,
            }
        }
    };
}

verbs! {
    "backup" Backup backup::Backup,
    "check" Check check::Check,
    "restore" Restore restore::Restore,
    "verify" Verify verify::Verify,
    "validate" Validate validate::Validate,
    "list" List list::List,
    "show" Show show::Show,
    "diff" Diff diff::Diff,
    "copy" Copy copy::Copy,
    "prune" Prune prune::Prune,
    "report" Report report::StatusReport,
    "setup-role" SetupRole setup_role::SetupRole,
}

/// Runs a parsed command and returns the process's exit code. Everything that people or the runner read is printed here;
/// under `action` on standard output alone, so that masks stand in front of all else.
pub async fn run(command: Command, env: Env<'_>, cancel: Cancel) -> u8 {
    let raw = match command {
        Command::Action(raw) => raw,
        Command::Completions { shell } => {
            print(&cli::completions(shell));
            return 0;
        }
        Command::Man { dir } => return manual(&dir),
        command => return dispatch(command, env, cancel).await,
    };
    print(&action::masks(&raw, env));
    match of_action(&raw) {
        Ok(command) => dispatch(command, env, cancel).await,
        Err(error) => {
            let monitor = monitor(&raw.notify, "");
            Stage { verb: "action", raw: raw.output.clone(), monitor, env, cancel }.fail(&error).await
        }
    }
}

fn manual(dir: &Path) -> u8 {
    match cli::manual(dir) {
        Ok(pages) => {
            print(&format!("{pages} pages in {}\n", dir.display()));
            0
        }
        Err(error) => {
            let _ = std::io::stderr().write_all(render::terminal::error(&error, Paper::default()).as_bytes());
            error.exit_code()
        }
    }
}

/// Tells the monitor of a command line that is no command at all, so that a typo in a nightly job does not stay silent.
pub async fn unreadable(argv: &[OsString], env: Env<'_>) {
    if let Some(url) = cli::heartbeat_of(argv, env)
        && let Err(e) = Heartbeat::never_began(&url, "wrong usage".into()).await
    {
        let _ = std::io::stderr().write_all(format!("warning: {e}\n").as_bytes());
    }
}
