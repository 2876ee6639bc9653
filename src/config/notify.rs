//! Who is told.

use super::read::Env;
use crate::{
    cli::NotifyArgs,
    error::Result,
    notify::{Channels, Given, PullRequest},
    roots::Roots,
    secret::Secret,
    value::choice,
};
use serde_json::Value;

/// `env`: for what a runner says of the pull request. `roots`: those that webhooks and mail servers may be signed by besides the machine's own.
pub(super) fn notify(raw: &NotifyArgs, env: Env<'_>, roots: Option<Roots>) -> Result<Channels> {
    let secrets = raw.secrets().into_iter().filter_map(|(name, secret)| Some((name, secret.clone()?)));
    let names = raw.names().into_iter().filter_map(|(name, text)| Some((name, Secret::new(text?.trim()))));
    let all: Vec<_> = secrets.chain(names).filter(|(_, text)| !text.expose().is_empty()).collect();
    let at = if raw.report_to.is_empty() { None } else { pull_request(env) };
    let given = Given { secrets: &all, roots: roots.as_ref(), pull_request: at.as_ref() };
    Channels::of(&given, choice("notify-on", &raw.notify_on)?)
}

/// What a runner says of the pull request that a run belongs to: by the event, else by the ref (`refs/pull/7/merge`); `None` without a
/// runner. The event is described at <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.
fn pull_request(env: Env<'_>) -> Option<PullRequest> {
    let repository = env("GITHUB_REPOSITORY")?;
    let event = env("GITHUB_EVENT_PATH").and_then(|path| std::fs::read(path).ok());
    let event: Value = event.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let of_ref = || env("GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok();
    // An issue's comment is a pull request's where the issue is one.
    let of_issue = || event["issue"]["pull_request"].is_object().then(|| event["issue"]["number"].as_u64()).flatten();
    Some(PullRequest {
        api: env("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".into()),
        repository,
        number: event["pull_request"]["number"].as_u64().or_else(of_issue).or_else(of_ref),
        commit: event["pull_request"]["head"]["sha"].as_str().map(str::to_owned).or_else(|| env("GITHUB_SHA")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_belongs_to_the_pull_request_that_its_runner_names() {
        let found = |event: &str, git_ref: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), event).expect("writes");
            let path = file.path().display().to_string();
            let env = |name: &str| match name {
                "GITHUB_REPOSITORY" => Some("acme/shop".to_owned()),
                "GITHUB_EVENT_PATH" => Some(path.clone()),
                "GITHUB_REF" => Some(git_ref.to_owned()),
                "GITHUB_SHA" => Some("merge".to_owned()),
                _ => None,
            };
            let found = pull_request(&env).expect("is a runner");
            (found.number, found.commit.expect("has one"))
        };
        let event = r#"{ "pull_request": { "number": 7, "head": { "sha": "abc" } } }"#;
        assert_eq!(found(event, "refs/heads/main"), (Some(7), "abc".into()));
        assert_eq!(found(r#"{ "issue": { "number": 8, "pull_request": {} } }"#, ""), (Some(8), "merge".into()));
        assert_eq!(found(r#"{ "issue": { "number": 8 } }"#, ""), (None, "merge".into()));
        assert_eq!(found("no JSON", "refs/pull/9/merge"), (Some(9), "merge".into()));
        assert_eq!(found("{}", "refs/heads/pull"), (None, "merge".into()));
        assert_eq!(pull_request(&|_| None), None);
    }
}
