//! What the program says about itself: a start for newcomers, completions, manual pages.

use super::Cli;
use crate::error::{Error, Kind, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// What `savepoint` alone says: the three commands that a newcomer needs.
pub const START: &str = "savepoint backs up a PostgreSQL database, and proves the backup by a throwaway restore.\n
Start with these three, DATABASE_URL set to your database:
  savepoint check --destination ./backups           ask whether all is there that a backup needs
  savepoint backup --destination ./backups          take a backup and prove it
  savepoint restore latest --destination ./backups --to \"$DATABASE_URL\" --create restored
                                                    bring it back, beside what is there\n
A destination may be s3://bucket/prefix as well. savepoint --help names all commands, savepoint backup --help the options of one.
";

/// The completions of a shell.
pub fn completions(shell: Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command().disable_help_subcommand(true), "savepoint", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a manual page for the program and one for each verb. Returns how many.
///
/// # Errors
/// [`Kind::Io`] when they cannot be written.
pub fn manual(dir: &Path) -> Result<usize> {
    let failed = |e: std::io::Error| {
        Error::new(Kind::Io, format!("cannot write manual pages into {}", dir.display()))
            .because(e)
            .hint("name a folder that you may write to")
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), dir).map_err(failed)?;
    Ok(std::fs::read_dir(dir).map_err(failed)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn the_start_names_commands_that_there_are() {
        let lines: Vec<&str> = START.lines().filter(|line| line.starts_with("  savepoint ")).collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            let words = line.trim().split("   ").next().unwrap_or_default().split_whitespace();
            let words = words
                .map(|word| word.trim_matches('"').replace("$DATABASE_URL", "postgresql://u@h/app").into())
                .collect();
            let parsed =
                cli::parse(words, &|name| (name == "SAVEPOINT_DATABASE_URL").then(|| "postgresql://u@h/app".into()));
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
    }

    #[test]
    fn shells_and_man_know_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completions(shell);
            assert!(text.contains("setup-role") && text.contains("encrypt-to"), "{shell}");
        }
        let dir = tempfile::tempdir().expect("makes a folder");
        assert!(manual(dir.path()).expect("writes") > 10);
        let page = std::fs::read_to_string(dir.path().join("savepoint-backup.1")).expect("is there");
        assert!(page.contains("max\\-rate"), "{page}");
        assert!(!dir.path().join("savepoint-action.1").exists(), "hidden");
    }
}
