//! Rehearse: a migration on the proven copy. However it ends, the backup is stored and proven.

use super::{ground::Ground, prove::Proven};
use crate::{
    error::Result,
    progress::{Event, Progress},
    rehearse::{self, Address, Copy},
    report::Rehearsal,
};
use std::sync::Arc;

/// Rehearses, where that was asked for.
///
/// # Errors
/// When the throwaway server is gone.
pub(super) async fn rehearse(ground: &Ground<'_>, proven: Option<Proven>) -> Result<()> {
    let Some(config) = &ground.config.rehearse else { return Ok(()) };
    let Some(Proven { target, toc, manifest }) = proven else {
        ground.progress.event(Event::Warning("nothing was rehearsed: the backup is not proven"));
        return Ok(());
    };
    // Should it be broken off, this is what is known of it.
    let not_ended = Rehearsal::unfinished(&config.command, "the rehearsal was broken off");
    ground.traces.result(|r| r.rehearsal = Some(not_ended));
    let mut held = ground.traces.hold_server();
    let on = Copy {
        server: held.server()?,
        target,
        toc,
        manifest: &manifest,
        source: Address {
            host: ground.config.source.host.clone(),
            port: ground.config.source.port,
            user: ground.config.source.user.clone(),
            password: ground.config.source.password.clone(),
        },
        tools: &ground.tools,
        scratch: &ground.scratch,
        jobs: ground.config.engine.jobs,
    };
    let progress: Arc<dyn Progress> = ground.progress.clone();
    let found = rehearse::rehearse(on, config, &progress).await;
    ground.traces.result(|r| r.rehearsal = Some(found));
    Ok(())
}
