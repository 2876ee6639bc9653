//! Extensions that want to know that a restore is going on.

use crate::{
    error::Result,
    postgres::{
        answer, connect,
        conninfo::Target,
        extension::{Special, around},
        quote::quote,
    },
};

/// Functions that were called before a restore, and are owed their counterpart.
#[derive(Debug, Default)]
#[must_use = "the extensions wait for the end of the restore"]
pub struct Restoring(Vec<(&'static Special, &'static str)>);

impl Restoring {
    /// Calls what extensions want called before anything but themselves is restored. Each is created first where it is not there.
    ///
    /// # Errors
    /// When one of them cannot be created or called.
    pub async fn begin<'a>(&mut self, target: &Target, extensions: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for (special, before, behind) in around(extensions) {
            // A session of its own for each: their libraries look at a session's beginning.
            let failed =
                |e| answer::error(&format!("extension {} cannot be made ready for a restore", special.name), e);
            let session = connect::connect(target, "savepoint proof").await?;
            let create = format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE", quote(special.name));
            session.batch_execute(&create).await.map_err(failed)?;
            let session = connect::connect(target, "savepoint proof").await?;
            session.batch_execute(&format!("SELECT {before}")).await.map_err(failed)?;
            self.0.push((special, behind));
        }
        Ok(())
    }

    /// Of a database in which a restore was broken off.
    ///
    /// # Errors
    /// When it cannot be asked for its extensions.
    pub async fn left(target: &Target) -> Result<Restoring> {
        let session = connect::connect(target, "savepoint proof").await?;
        let sql = "SELECT extname::pg_catalog.text FROM pg_catalog.pg_extension";
        let rows = session.query(sql, &[]).await.map_err(|e| answer::error("cannot list the extensions", e))?;
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let known = around(names.iter().map(String::as_str)).into_iter();
        Ok(Restoring(known.map(|(special, _, behind)| (special, behind)).collect()))
    }

    /// Calls what they want called at the end. Returns what failed, a line each.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn end(self, target: &Target) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for (special, behind) in self.0 {
            let session = connect::connect(target, "savepoint proof").await?;
            if let Err(e) = session.batch_execute(&format!("SELECT {behind}")).await {
                let what = format!("extension {}: {behind}", special.name);
                problems.push(answer::error(&what, e).one_line());
            }
        }
        Ok(problems)
    }
}
