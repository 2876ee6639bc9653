//! Told: how a run ended, and what was pruned behind it, as a report.

use super::{
    BackupConfig,
    recorder::{self, Kept},
    traces,
};
use crate::cancel::Cancel;
use crate::{
    error::Error,
    progress::{Phase, Progress},
    prune,
    report::{BackupReport, CopyState, Failure, Outcome, Past, Pruned, StoredCopy},
    vault::Proof,
};
use std::time::Instant;

/// A run that has ended and is cleaned up.
pub(super) struct Ended {
    /// What was told on the way.
    pub kept: Kept,
    /// What it came to.
    pub came_to: traces::CameTo,
    /// What broke it off.
    pub error: Option<Error>,
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
}

impl Ended {
    /// The report. Prunes before, where that was asked for and the backup is proven.
    pub async fn report(
        mut self,
        config: &BackupConfig,
        begun: Instant,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> BackupReport {
        let (failure, outcome) = (self.failure(config), self.outcome());
        let pruned = self.prune(config, outcome, progress, cancel).await;
        let Ended { kept, came_to, started_at, .. } = self;
        BackupReport {
            outcome,
            database: config.source.dbname.clone(),
            source: config.source_label(),
            destination: config.destination.label(),
            reached_by: reached_by(config, &came_to.copies),
            kind: config.kind,
            verify: config.verify,
            backup: came_to.committed,
            proof: came_to.proof,
            rehearsal: came_to.rehearsal,
            copies: came_to.copies,
            failure,
            anomalies: came_to.anomalies,
            before: came_to.before,
            past: Past::default(),
            fail_on_anomaly: config.anomaly.fail,
            pruned,
            warnings: kept.warnings,
            notices: kept.notices,
            started_at,
            seconds: begun.elapsed().as_secs_f64(),
            phases: recorder::times(&kept.phases),
            context: config.context.clone(),
        }
    }

    fn failure(&self, config: &BackupConfig) -> Option<Failure> {
        let e = self.error.as_ref()?;
        let shown = |text: String| match config.redact_host {
            true => text.replace(&config.source.host, &config.source.host_label(true)),
            false => text,
        };
        Some(Failure {
            phase: self.kept.phase.unwrap_or(Phase::Preflight).name().to_owned(),
            message: shown(e.one_line()),
            hint: e.hint_text().map(str::to_owned),
            exit_code: e.exit_code(),
        })
    }

    fn outcome(&self) -> Outcome {
        match (&self.came_to.committed, &self.came_to.proof, &self.error) {
            (None, ..) => Outcome::Failed,
            // A rehearsal begins behind a proof that passed.
            _ if self.came_to.rehearsal.is_some() => Outcome::Proven,
            (Some(_), _, Some(_)) => Outcome::ProofFailed,
            (Some(_), Some(proof), None) if proof.passed && !proof.level.reads_back() => Outcome::Stored,
            (Some(_), Some(proof), None) if proof.passed => Outcome::Proven,
            (Some(_), Some(_), None) => Outcome::ProofFailed,
            (Some(_), None, None) => Outcome::Stored,
        }
    }

    /// Prunes behind a backup that is proven by a restore; that nothing was pruned is told.
    async fn prune(
        &mut self,
        config: &BackupConfig,
        outcome: Outcome,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Option<Pruned> {
        let retention = config.prune.as_ref()?;
        let warnings = &mut self.kept.warnings;
        let proven = outcome == Outcome::Proven && self.came_to.proof.as_ref().is_some_and(Proof::proves_a_restore);
        let Some(own) = self.came_to.committed.as_ref().filter(|_| proven) else {
            warnings.push("nothing was pruned: this run's own backup is not proven by a restore".into());
            return None;
        };
        if !self.came_to.anomalies.is_empty() {
            // The older ones may be what is needed to find out, or to get back.
            warnings.push("nothing was pruned: this backup differs too much from the one before".into());
            return None;
        }
        let (all, copies) = (config.destination.each(), &self.came_to.copies);
        let good = |n: usize| copies.get(n).is_none_or(|copy| copy.state != CopyState::Failed);
        let places: Vec<_> = all.into_iter().enumerate().filter(|(n, _)| good(*n)).map(|(_, place)| place).collect();
        let pruned = prune::behind(&places, retention, &own.manifest, progress, cancel).await;
        let mut pruned = pruned.unwrap_or_else(|e| Pruned {
            failure: Some(e.one_line()),
            hint: e.hint_text().map(str::to_owned),
            ..Pruned::default()
        });
        warnings.append(&mut pruned.warnings);
        Some(pruned)
    }
}

/// How the place is reached whose address is told: the first that holds a good copy.
fn reached_by(config: &BackupConfig, copies: &[StoredCopy]) -> Vec<(&'static str, String)> {
    let good = copies.iter().position(|copy| copy.state != CopyState::Failed).unwrap_or(0);
    config.destination.each().get(good).map(|place| place.options()).unwrap_or_default()
}
