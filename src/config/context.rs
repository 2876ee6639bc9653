//! Where a run comes from.

use super::read::Env;
use crate::vault::RunContext;

/// Source of the variables:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables#default-environment-variables>.
pub(crate) fn context(env: Env<'_>) -> RunContext {
    let run_url = || {
        let (server, repository) = (env("GITHUB_SERVER_URL")?, env("GITHUB_REPOSITORY")?);
        let run = env("GITHUB_RUN_ID")?;
        let attempt = env("GITHUB_RUN_ATTEMPT").filter(|a| a != "1").map(|a| format!("/attempts/{a}"));
        Some(format!("{server}/{repository}/actions/runs/{run}{}", attempt.unwrap_or_default()))
    };
    RunContext {
        repository: env("GITHUB_REPOSITORY"),
        commit: env("GITHUB_SHA"),
        git_ref: env("GITHUB_REF_NAME").or_else(|| env("GITHUB_REF")),
        actor: env("GITHUB_ACTOR"),
        event: env("GITHUB_EVENT_NAME"),
        workflow: env("GITHUB_WORKFLOW"),
        run_url: run_url(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_comes_from_the_runner() {
        let env = [
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_REF_NAME", "main"),
        ];
        let found = context(&|key| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string()));
        assert_eq!(found.run_url.as_deref(), Some("https://github.com/acme/shop/actions/runs/7/attempts/2"));
        assert_eq!(found.git_ref.as_deref(), Some("main"));
        assert_eq!(found.commit, None);
    }
}
