//! What is backed up beside the archive: files of the backup's folder that are not in `archive/`.
//!
//! Each of them is taken while the dump runs, stands in the manifest's list of files, and is read back by the proof. A new one is a type
//! here and a line in [`all`].

use super::ground::Ground;
use crate::{
    error::{Error, Result},
    postgres::{
        conninfo::{self, Target},
        tools::{Run, Tools},
    },
    vault::{Folder, manifest::File},
};
use async_trait::async_trait;

/// How a thing beside the archive came out.
pub(super) enum Taken {
    /// Its files are stored.
    Stored(Vec<File>),
    /// It was left out, and why; that is no failure of the backup.
    LeftOut(String),
}

/// A thing that is backed up beside the archive.
#[async_trait]
pub(super) trait Beside: Send + Sync {
    /// Takes it into the backup's folder.
    ///
    /// # Errors
    /// What fails here fails the backup.
    async fn take(&self, folder: &Folder) -> Result<Taken>;
}

/// Everything that is taken beside the archive.
fn all<'a>(ground: &'a Ground<'_>) -> Vec<Box<dyn Beside + 'a>> {
    vec![Box::new(Globals { tools: &ground.tools, target: &ground.target })]
}

/// Takes all of it, one beside the other.
pub(super) async fn take(ground: &Ground<'_>, folder: &Folder) -> Result<Vec<Taken>> {
    futures_util::future::try_join_all(all(ground).iter().map(|beside| beside.take(folder))).await
}

/// Takes once more what was left out, now that the dump's connections are free.
pub(super) async fn retry(ground: &Ground<'_>, folder: &Folder, taken: Vec<Taken>) -> Result<Vec<Taken>> {
    let mut again = Vec::new();
    for (beside, taken) in all(ground).iter().zip(taken) {
        again.push(match taken {
            Taken::LeftOut(_) => beside.take(folder).await?,
            stored @ Taken::Stored(_) => stored,
        });
    }
    Ok(again)
}

/// `globals.sql`: roles without passwords, and tablespaces. A role that may not read them is told so.
struct Globals<'a> {
    tools: &'a Tools,
    target: &'a Target,
}

#[async_trait]
impl Beside for Globals<'_> {
    async fn take(&self, folder: &Folder) -> Result<Taken> {
        let Some(pg_dumpall) = &self.tools.pg_dumpall else {
            return Ok(Taken::LeftOut("globals.sql: pg_dumpall is not installed".into()));
        };
        let dbname = format!("dbname={}", conninfo::quoted(&self.target.dbname));
        let run = Run::new(pg_dumpall)
            .args(["--globals-only", "--no-role-passwords", "--dbname"])
            .arg(dbname)
            .target(self.target);
        let why = |e: Error| format!("globals.sql: the roles of the server could not be read ({})", e.one_line());
        Ok(match run.output().await {
            Ok(output) => Taken::Stored(vec![folder.put("globals.sql", output.stdout.into()).await?]),
            Err(e) => Taken::LeftOut(why(e)),
        })
    }
}
