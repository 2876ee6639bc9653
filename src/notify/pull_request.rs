//! The pull request that a run belongs to: one comment, written anew in its place, and a check run
//! (<https://docs.github.com/en/rest/issues/comments>, <https://docs.github.com/en/rest/checks/runs>).

use super::{
    channel::{Channel, Given, PullRequest, Told},
    http::{Answer, ask, retried},
};
use crate::{
    error::{Error, Kind, Result},
    report::{
        Report,
        format::clip,
        page::Verdict,
        render::{Renderer, comment::Comment},
    },
    roots::Roots,
    secret::Secret,
};
use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// One request's time, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Comments that are listed at once, and lists that are asked for: who has more gets another comment.
const PAGE: usize = 100;
const PAGES: usize = 20;
/// Characters of a check run's title.
const TITLE: usize = 200;

/// What of a pull request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportTo {
    /// A comment.
    Pr,
    /// A check run of its commit.
    Check,
}

/// The channel.
#[derive(Debug)]
pub(super) struct Github {
    at: PullRequest,
    to: Vec<ReportTo>,
    token: Secret,
    roots: Option<Roots>,
}

#[derive(Deserialize)]
struct Posted {
    id: u64,
    body: Option<String>,
}

impl Github {
    /// As the options say; `None` without them, and where the run belongs to no pull request.
    ///
    /// # Errors
    /// [`Kind::Usage`] when there is no token, or no runner to say what the run belongs to.
    pub fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let Some(words) = given.secret("report-to") else { return Ok(None) };
        let words = words.expose().split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
        let to = words.map(|word| crate::value::choice("report-to", word)).collect::<Result<Vec<ReportTo>>>()?;
        let usage = |message: &str| Error::new(Kind::Usage, format!("option report-to: {message}"));
        let at = given.pull_request.cloned().ok_or_else(|| {
            usage("nothing says which repository this is")
                .hint("it is for GitHub Actions, where GITHUB_REPOSITORY is set")
        })?;
        let token = given.secret("github-token").cloned().ok_or_else(|| {
            usage("there is no github-token").hint(
                "github-token: ${{ github.token }}, and in the job permissions: pull-requests: write, checks: write",
            )
        })?;
        let to: Vec<_> = to.into_iter().filter(|to| *to == ReportTo::Check || at.number.is_some()).collect();
        match to.is_empty() {
            // A push to a branch has none, and its run is none the worse.
            true => Ok(None),
            false => Ok(Some(Box::new(Github { at, to, token, roots: given.roots.cloned() }))),
        }
    }

    /// One request to the repository's part of the API, asked again where that may help; the answer.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<String> {
        let url = format!("{}/repos/{}/{path}", self.at.api.trim_end_matches('/'), self.at.repository);
        let attempt = || async {
            let request = |client: reqwest::Client| {
                let request = client
                    .request(method.clone(), &url)
                    .bearer_auth(self.token.expose())
                    .header("accept", "application/vnd.github+json")
                    .header("x-github-api-version", "2022-11-28")
                    .header("user-agent", "savepoint");
                match &body {
                    Some(body) => request.header("content-type", "application/json").body(body.to_string()),
                    None => request,
                }
            };
            let hint = "check that this machine may reach GitHub's API";
            ask("GitHub was not reached", hint, TIMEOUT, self.roots.as_ref(), request).await
        };
        let (_, _, text): Answer = retried(attempt, |status, body| self.refused(status, body)).await?;
        Ok(text)
    }

    fn refused(&self, status: StatusCode, body: &str) -> Error {
        let error = Error::new(Kind::Notify, format!("GitHub refused the report: {status}, {:?}", clip(body, 100)));
        match status {
            StatusCode::UNAUTHORIZED => error.hint("github-token is not valid: use ${{ github.token }}"),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => error.hint(
                "give the job permissions: pull-requests: write (and checks: write for a check run); a pull request from a fork has none",
            ),
            _ => error,
        }
    }

    /// The comment that an earlier run left.
    async fn earlier(&self, number: u64, mark: &str) -> Result<Option<u64>> {
        for page in 1..=PAGES {
            let path = format!("issues/{number}/comments?per_page={PAGE}&page={page}");
            let text = self.call(Method::GET, &path, None).await?;
            let all: Vec<Posted> = serde_json::from_str(&text)
                .map_err(|e| Error::new(Kind::Notify, "GitHub's list of comments cannot be read").because(e))?;
            if let Some(found) = all.iter().find(|c| c.body.as_deref().is_some_and(|body| body.starts_with(mark))) {
                return Ok(Some(found.id));
            }
            if all.len() < PAGE {
                break;
            }
        }
        Ok(None)
    }

    async fn comment(&self, number: u64, told: &Told<'_>) -> Result<()> {
        let mark = mark(told.report);
        let body = json!({ "body": format!("{mark}\n{}", Comment.render(told.report, told.context)) });
        match self.earlier(number, &mark).await? {
            Some(id) => self.call(Method::PATCH, &format!("issues/comments/{id}"), Some(body)).await,
            None => self.call(Method::POST, &format!("issues/{number}/comments"), Some(body)).await,
        }
        .map(drop)
    }

    async fn check_run(&self, told: &Told<'_>) -> Result<()> {
        let message = told.message();
        let conclusion = match message.verdict {
            _ if told.failed() => "failure",
            Verdict::Good => "success",
            Verdict::Doubtful | Verdict::Bad => "neutral",
        };
        let body = json!({
            "name": format!("savepoint: {}", subject(told.report)), "head_sha": self.at.commit, "status": "completed",
            "conclusion": conclusion, "details_url": message.run_url,
            "output": { "title": message.headline_in(TITLE), "summary": Comment.render(told.report, told.context) },
        });
        self.call(Method::POST, "check-runs", Some(body)).await.map(drop)
    }
}

/// What a report is about: the database and the verb, which tell one comment from another.
fn subject(report: &Report) -> String {
    match report {
        Report::Backup(report) => format!("backup of {}", clip(&report.database, 100)),
        Report::Page(page) => page.verb.to_owned(),
        Report::Plan(_) | Report::Checks(_) => "check".to_owned(),
    }
}

/// Begins our comment, and is not shown.
fn mark(report: &Report) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_. ".contains(c) { c } else { '_' };
    format!("<!-- savepoint: {} -->", subject(report).chars().map(plain).collect::<String>())
}

#[async_trait]
impl Channel for Github {
    fn name(&self) -> &'static str {
        "the pull request"
    }

    /// It is no alert: whoever reads the pull request wants to see the newest.
    fn of_every_run(&self) -> bool {
        true
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        let mut failed = None;
        for to in &self.to {
            let told = match (to, self.at.number) {
                (ReportTo::Pr, Some(number)) => self.comment(number, told).await,
                (ReportTo::Pr, None) => Ok(()),
                (ReportTo::Check, _) => self.check_run(told).await,
            };
            failed = told.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        notify::tests::{Got, server, told},
        report::fixture,
        vault::RunContext,
    };

    fn at(api: &Secret, number: Option<u64>) -> PullRequest {
        let api = api.expose().to_owned();
        PullRequest { api, repository: "acme/shop".into(), number, commit: Some("1a2b3c".into()) }
    }

    fn open(at: &PullRequest, to: &str) -> Result<Option<Box<dyn Channel>>> {
        let secrets = [("report-to", Secret::new(to)), ("github-token", Secret::new("ghs_s3cret"))];
        Github::open(&Given { secrets: &secrets, roots: None, pull_request: Some(at) })
    }

    fn lines(got: &Got) -> Vec<String> {
        got.lock().expect("no panic").iter().map(|request| request.line().to_owned()).collect()
    }

    #[tokio::test]
    async fn one_comment_is_written_and_then_written_anew() {
        let report: Report = fixture::proven().into();
        let context = RunContext::default();
        let mark = mark(&report);
        let others = json!([{ "id": 3, "body": "nice" }, { "id": 4, "body": null }]);
        let ours = json!([{ "id": 3, "body": "nice" }, { "id": 7, "body": format!("{mark}\nold") }]);
        let full = Value::Array((0..PAGE).map(|n| json!({ "id": n, "body": "x" })).collect());
        for (lists, last) in [
            (vec![others], "POST /services/T0/B0/s3cret/repos/acme/shop/issues/12/comments HTTP/1.1"),
            (vec![full, ours], "PATCH /services/T0/B0/s3cret/repos/acme/shop/issues/comments/7 HTTP/1.1"),
        ] {
            let answers: Vec<String> =
                lists.iter().map(|list| format!("200 OK|{list}")).chain(["201 Created|{}".to_owned()]).collect();
            let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
            let (api, got) = server(&answers).await;
            let mut channel = open(&at(&api, Some(12)), "pr").expect("is valid").expect("has a pull request");
            channel.end(&told(&report, &context)).await.expect("is taken");
            assert_eq!((lines(&got).len(), lines(&got).last().map(String::as_str)), (answers.len(), Some(last)));
            let got = got.lock().expect("no panic");
            let request = got.last().expect("a request");
            assert_eq!(request.header("authorization"), Some("Bearer ghs_s3cret"));
            let body: Value = serde_json::from_str(&request.body).expect("JSON");
            let text = body["body"].as_str().expect("text");
            assert!(text.starts_with(&mark) && text.contains("stored and proven"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_check_run_says_how_it_ended() {
        for (report, conclusion) in [(fixture::proven(), "success"), (fixture::proof_failed(), "failure")] {
            let (api, got) = server(&["201 Created|{}"]).await;
            // A push has no pull request: only its commit is told.
            let mut channel = open(&at(&api, None), "pr, check").expect("is valid").expect("has a commit");
            channel.end(&told(&report.into(), &RunContext::default())).await.expect("is taken");
            assert_eq!(lines(&got), ["POST /services/T0/B0/s3cret/repos/acme/shop/check-runs HTTP/1.1"]);
            let body: Value = serde_json::from_str(&got.lock().expect("no panic")[0].body).expect("JSON");
            assert_eq!((body["conclusion"].as_str(), body["head_sha"].as_str()), (Some(conclusion), Some("1a2b3c")));
            assert!(body["output"]["summary"].as_str().is_some_and(|text| text.len() < 65_536));
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_said_and_no_secret_with_it() {
        let (api, _) = server(&["403 Forbidden|{\"message\":\"Resource not accessible by integration\"}"]).await;
        let mut channel = open(&at(&api, Some(1)), "pr").expect("is valid").expect("has a pull request");
        let error =
            channel.end(&told(&fixture::proven().into(), &RunContext::default())).await.expect_err("is refused");
        assert!(error.one_line().contains("not accessible by integration"), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("pull-requests: write")), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        assert!(open(&at(&api, None), "pr").expect("is valid").is_none());
        let none =
            Given { secrets: &[("report-to", Secret::new("pr"))], roots: None, pull_request: Some(&at(&api, None)) };
        assert!(Github::open(&none).expect_err("no token").one_line().contains("no github-token"));
        let nowhere = Given { secrets: &[("report-to", Secret::new("pr"))], roots: None, pull_request: None };
        assert!(Github::open(&nowhere).expect_err("no runner").one_line().contains("which repository"));
        assert!(open(&at(&api, None), "mail").expect_err("is unknown").one_line().contains("report-to"));
    }
}
