//! Options of `savepoint setup-role`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    output::OutputArgs,
    part::{ExcludeArgs, PartArgs},
    role::RoleArgs,
    source::SourceArgs,
};
use clap::Args;

/// What stands below its help.
pub(super) const AFTER_HELP: &str = "The URL is that of an administrator, who is asked what he may hand on; nothing is changed. What stands on standard output \
    is for psql:\n  savepoint setup-role | psql \"$DATABASE_URL\"\nWhat the role will lack stands there as a comment, and on standard error.\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores (SAVEPOINT_ROLE). \
    An empty variable counts as not set.\n\n\
    Exit codes: 0 done; 1 failed; 2 wrong usage.";

/// Options of `savepoint setup-role`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct SetupRoleArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub role: RoleArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for SetupRoleArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        SetupRoleArgs {
            source: inputs.source,
            role: inputs.role,
            part: inputs.part,
            exclude: inputs.exclude,
            output: inputs.output,
        }
    }
}
