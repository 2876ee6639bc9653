//! What was restored takes its place, or is kept for study.

use super::{
    config::Owners,
    plan::{self, Way},
    run::{Archive, Ground, Run},
    target::MARK,
    traces::with,
};
use crate::{
    archive::database::Database,
    error::Result,
    postgres::quote::{literal, quote},
    progress::{Event, Progress},
    report::{
        format::counted,
        page::{Page, Verdict},
    },
    verify,
};

impl Run<'_> {
    /// The restored database differs: it stays beside the old one, marked, and nothing takes its place.
    pub(super) async fn keep_for_study(&self, ground: &Ground, dbname: &str, page: &mut Page) -> Result<()> {
        with(&self.traces, |t| t.undo.clear());
        page.verdict = Verdict::Bad;
        page.exit_code = 3;
        let db = &ground.target.dbname;
        match &ground.plan.way {
            Way::Create(_) | Way::Swap { .. } | Way::Replace { .. } => {
                let mark = format!("{MARK}{} not equal to the backup", ground.what.label);
                ground.maintenance.comment(dbname, Some(&mark)).await?;
                let stays = match &ground.plan.way {
                    Way::Create(_) => String::new(),
                    _ => format!("database {db} was not touched; "),
                };
                page.notices.push(format!(
                    "{stays}what was restored is kept as {dbname}: DROP DATABASE {} when you have looked at it",
                    quote(dbname)
                ));
            }
            Way::Into | Way::Wipe => {}
        }
        Ok(())
    }

    /// The database's own settings, grants and comment, where they are wanted. What the server refuses is told: the rows are whole.
    async fn properties(&self, ground: &Ground, archive: &Archive, dbname: &str, page: &mut Page) -> Result<()> {
        let Archive::Stored(backup) = archive else { return Ok(()) };
        let Some(database) = Database::of(&backup.toc).filter(|_| ground.plan.properties) else { return Ok(()) };
        let mut statements = database.statements(dbname);
        statements.retain(|s| !s.is_grant || self.config.owners != Owners::Skip);
        let session = ground.maintenance.session().await?;
        let refused = verify::database::apply(&session, &statements).await?;
        let given = counted((statements.len() - refused.len()) as u64, "statement");
        page.facts.push(("properties", format!("{given} (owner, settings, limit, grants, comment of the source)")));
        for (label, code) in refused {
            let line = format!(
                "the server refused {label} (SQLSTATE {code}): an administrator finds it in database.sql of the backup"
            );
            self.progress.event(Event::Warning(&line));
        }
        Ok(())
    }

    /// All is equal: the new database loses its mark and, where asked for, takes the target's place.
    pub(super) async fn put_into_place(
        &self,
        ground: &Ground,
        archive: &Archive,
        dbname: &str,
        page: &mut Page,
    ) -> Result<()> {
        let (maintenance, db) = (&ground.maintenance, &ground.target.dbname);
        match &ground.plan.way {
            Way::Into | Way::Wipe => self.properties(ground, archive, dbname, page).await?,
            Way::Create(_) => {
                maintenance.comment(dbname, None).await?;
                self.properties(ground, archive, dbname, page).await?;
            }
            Way::Swap { new, aside } | Way::Replace { new, aside } => {
                maintenance.carry_over(db, new).await?;
                self.properties(ground, archive, new, page).await?;
                maintenance.swap(db, aside, new).await?;
            }
        }
        with(&self.traces, |t| t.undo.clear());
        let quote = quote;
        match &ground.plan.way {
            Way::Swap { aside, .. } => {
                page.facts.push(("old database", format!("kept as {aside}")));
                let end = |name: &str| {
                    format!(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {} AND pid <> pg_backend_pid();",
                        literal(name)
                    )
                };
                let undone = plan::name_with(db, "_undone");
                page.commands.push((
                    "the way back (SQL, in another database, such as postgres)",
                    vec![
                        end(db),
                        format!(
                            "BEGIN; ALTER DATABASE {} RENAME TO {}; ALTER DATABASE {} RENAME TO {}; COMMIT;",
                            quote(db),
                            quote(&undone),
                            quote(aside),
                            quote(db)
                        ),
                    ],
                ));
                page.commands.push((
                    "when the old database is no longer needed (SQL)",
                    vec![format!("DROP DATABASE {};", quote(aside))],
                ));
            }
            Way::Replace { aside, .. } => {
                if let Err(e) = maintenance.remove(aside).await {
                    self.progress
                        .event(Event::Warning(&format!("the old database is left as {aside}: {}", e.one_line())));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
