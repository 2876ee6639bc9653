//! From the command line, action inputs and variables to a [`Command`].

use super::{Cli, Command};
use crate::{crypt::is_key, secret::Secret, sign::is_secret};
use clap::{CommandFactory, Parser, parser::ValueSource};
use std::ffi::OsString;

/// Parses the command line, then fills what it does not give: under `action` from `INPUT_<NAME>` (upper case, hyphens
/// kept, as the runner sets it), then from `SAVEPOINT_<NAME>` (hyphens as underscores). Empty values count as absent,
/// and so does an input at its default, because the runner always hands that in and a variable could never speak.
///
/// # Errors
/// As clap: wrong usage, but also `--help` and `--version`. Show them by [`safe_message`].
pub fn parse(argv: Vec<OsString>, env: &dyn Fn(&str) -> Option<String>) -> Result<Command, clap::Error> {
    let matches = Cli::command().try_get_matches_from(&argv)?;
    for (option, variable) in [("identity", "SAVEPOINT_IDENTITY"), ("sign_key", "SAVEPOINT_SIGN_KEY")] {
        let given = matches.subcommand().and_then(|(_, given)| given.try_get_one::<Secret>(option).ok().flatten());
        if given.is_some_and(|text| is_key(text.expose()) || is_secret(text.expose())) {
            let what = format!(
                "a private key on the command line can be read by everybody on this machine\nhint: name its file, or set the variable {variable}"
            );
            return Err(Cli::command().error(clap::error::ErrorKind::InvalidValue, what));
        }
    }
    // What a variable of the shell was to say must not be taken from somewhere else, or for the newest.
    for (option, id) in [("database-url", "database_url"), ("against", "against")] {
        let given = matches.subcommand().and_then(|(_, given)| given.try_get_raw(id).ok().flatten());
        if given.is_some_and(|mut all| all.all(|value| value.to_string_lossy().trim().is_empty())) {
            let what = format!(
                "option {option} is empty\nhint: the variable that it was to come from is not set; leave it out where it is not needed"
            );
            return Err(Cli::command().error(clap::error::ErrorKind::InvalidValue, what));
        }
    }
    let mut filled = argv;
    if let Some((verb, given)) = matches.subcommand() {
        let cli = Cli::command();
        let options = cli.find_subcommand(verb).into_iter().flat_map(clap::Command::get_arguments);
        let values: Vec<OsString> = options
            .filter(|arg| given.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine))
            .filter_map(|arg| {
                let value = from_environment(arg, verb == "action", env)?;
                Some(format!("--{}={value}", arg.get_long()?).into())
            })
            .collect();
        // Right behind the verb: a `--` that the user gave ends the options.
        let behind_verb = filled.len().min(2);
        filled.splice(behind_verb..behind_verb, values);
    }
    let mut command = Cli::try_parse_from(filled)?.command;
    if let Command::Action(action) = &mut command {
        action.output.in_action = true;
        action.database.of_url.clone_from(&action.source.database_url);
    }
    Ok(command)
}

/// What an input or a variable says.
fn from_environment(arg: &clap::Arg, in_action: bool, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let set = |variable: String| env(&variable).filter(|value| !value.trim().is_empty());
    if !arg.get_action().takes_values() {
        return None;
    }
    let name = arg.get_long()?.to_uppercase();
    let default = arg.get_default_values().first().and_then(|d| d.to_str());
    let input = in_action.then(|| set(format!("INPUT_{name}"))).flatten();
    input.filter(|value| Some(value.trim()) != default).or_else(|| set(format!("SAVEPOINT_{}", name.replace('-', "_"))))
}

/// The verb that has the options of a run because it asks about them. No monitor waits for it.
const ASKS_ALONE: &str = "check";

/// The heartbeat's URL of a command line that [`parse`] refuses, as far as it can be told, for the verbs that have one.
pub fn heartbeat_of(argv: &[OsString], env: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let argv: Vec<&str> = argv.iter().filter_map(|a| a.to_str()).collect();
    let verb = *argv.get(1).filter(|verb| **verb != ASKS_ALONE)?;
    let cli = Cli::command();
    let option = cli.find_subcommand(verb)?.get_arguments().find(|arg| arg.get_long() == Some("heartbeat-url"))?;
    let given = |(at, arg): (usize, &&str)| match arg.strip_prefix("--heartbeat-url")? {
        "" => argv.get(at + 1).map(|value| (*value).to_owned()),
        value => value.strip_prefix('=').map(str::to_owned),
    };
    let line = argv.iter().enumerate().find_map(given);
    let url = line.or_else(|| from_environment(option, verb == "action", env))?;
    Some(Secret::new(url.trim()))
}

/// A usage error as text, without any argument that may hold a password: clap quotes what it did not expect, and a
/// database URL is easily given without its option.
pub fn safe_message(error: &clap::Error, argv: &[OsString]) -> String {
    let mut text = error.to_string();
    for arg in argv.iter().filter_map(|a| a.to_str()) {
        let value = if arg.starts_with('-') { arg.split_once('=').map_or("", |(_, value)| value) } else { arg };
        if value.contains("://") || value.contains("password=") {
            text = text.replace(value, "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BackupArgs;

    fn run(argv: &[&str], env: &[(&str, &str)]) -> Result<Command, clap::Error> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let lookup = move |key: &str| env.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        parse(argv.iter().map(|a| OsString::from(*a)).collect(), &lookup)
    }

    fn backup(argv: &[&str], env: &[(&str, &str)]) -> BackupArgs {
        match run(argv, env).expect("parses") {
            Command::Backup(args) => args,
            Command::Check(args) => args.backup,
            Command::Action(args) => (&*args).into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_beats_inputs_and_inputs_beat_variables() {
        let env = [("INPUT_DESTINATION", "s3://input"), ("SAVEPOINT_DESTINATION", "s3://variable")];
        let argv = ["savepoint", "action", "--destination", "s3://line"];
        assert_eq!(backup(&argv, &env).destination.destination, ["s3://line"]);
        assert_eq!(backup(&argv[..2], &env).destination.destination, ["s3://input"]);
        assert_eq!(backup(&argv[..2], &env[1..]).destination.destination, ["s3://variable"]);
        // Inputs belong to the action verb alone.
        assert_eq!(backup(&["savepoint", "backup"], &env).destination.destination, ["s3://variable"]);
    }

    #[test]
    fn empty_values_and_defaulted_inputs_count_as_not_set() {
        let env = [("INPUT_JOBS", "4"), ("SAVEPOINT_JOBS", "9"), ("INPUT_KIND", ""), ("SAVEPOINT_KIND", " \n")];
        let args = backup(&["savepoint", "action"], &env);
        assert_eq!(args.engine.jobs, "9");
        assert_eq!(args.kind.kind, None);
        assert_eq!(backup(&["savepoint", "action"], &[("INPUT_JOBS", "6"), ("SAVEPOINT_JOBS", "9")]).engine.jobs, "6");
    }

    #[test]
    fn a_variable_of_the_shell_that_is_not_set_is_told() {
        let env = [("SAVEPOINT_DATABASE_URL", "postgresql://u@production/app")];
        for argv in [["savepoint", "backup", "--database-url="], ["savepoint", "validate", "--against="]] {
            let error = run(&argv, &env).expect_err("is refused").to_string();
            assert!(error.contains("is empty"), "{error}");
        }
        // The runner hands in each input, given or not.
        assert!(run(&["savepoint", "action"], &[("INPUT_DATABASE-URL", ""), env[0]]).is_ok());
    }

    #[test]
    fn flags_take_an_optional_value_from_everywhere() {
        assert_eq!(backup(&["savepoint", "backup"], &[]).dry.dry_run, "false");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run", "-v"], &[]).dry.dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "-v"], &[]).output.verbose, "true");
        let env = [("SAVEPOINT_DRY_RUN", "true")];
        assert_eq!(backup(&["savepoint", "backup"], &env).dry.dry_run, "true");
        assert_eq!(backup(&["savepoint", "backup", "--dry-run=false"], &env).dry.dry_run, "false");
    }

    #[test]
    fn values_with_dashes_line_breaks_and_a_double_dash_arrive_whole() {
        let env = [("SAVEPOINT_TABLES", "a\n-b"), ("INPUT_DATABASE-URL", "postgresql://u:p%20w@h/d\n")];
        let args = backup(&["savepoint", "action", "--"], &env);
        assert_eq!(args.part.tables, ["a\n-b"]);
        assert_eq!(args.source.database_url.expect("is set").expose(), "postgresql://u:p%20w@h/d");
    }

    #[test]
    fn errors_hold_no_password() {
        for argv in [
            ["savepoint", "backup", "postgresql://u:s3cret@h/d"],
            ["savepoint", "backup", "--databse-url=postgresql://u:s3cret@h/d"],
            ["savepoint", "backup", "host=h password=s3cret"],
            ["savepoint", "postgresql://u:s3cret@h/d", "backup"],
        ] {
            let error = run(&argv, &[]).expect_err("is wrong usage");
            let text = safe_message(&error, &argv.map(OsString::from));
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn help_is_as_reviewed() {
        let mut cli = Cli::command().term_width(100);
        // Now the usage lines name the program too.
        cli.build();
        insta::assert_snapshot!("help", cli.render_help().to_string());
        for verb in cli.get_subcommands_mut().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
            let help = verb.render_help();
            insta::assert_snapshot!(format!("help_{}", verb.get_name()), help.to_string());
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_names_its_monitor_where_the_verb_has_one() {
        let of = |line: &str, env: &[(&str, &str)]| {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let lookup = |key: &str| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string());
            heartbeat_of(&argv, &lookup).map(|url| url.expose().to_owned())
        };
        let variable = [("SAVEPOINT_HEARTBEAT_URL", "https://variable ")];
        for verb in ["backup", "restore", "verify", "prune", "action"] {
            assert_eq!(of(&format!("savepoint {verb} --typo"), &variable).as_deref(), Some("https://variable"));
        }
        for verb in ["check", "list", "show", "diff", "backups"] {
            assert_eq!(of(&format!("savepoint {verb} --typo --heartbeat-url=https://line"), &variable), None);
        }
        assert_eq!(of("savepoint", &variable), None);
        assert_eq!(
            of("savepoint prune --heartbeat-url https://line --typo", &variable).as_deref(),
            Some("https://line")
        );
        let input = [("INPUT_HEARTBEAT-URL", "https://input"), variable[0]];
        assert_eq!(of("savepoint action --typo", &input).as_deref(), Some("https://input"));
        assert_eq!(of("savepoint backup --typo", &input).as_deref(), Some("https://variable"));
    }
}
