//! What a throwaway server lacks to hold the source's extensions.

use super::answer::Answer;
use crate::{error::Result, postgres::extension::special, vault::manifest::Extension, verify::server::Server};

/// Extensions that the server cannot create, and why.
pub(crate) async fn missing_extensions(server: &Server, wanted: &[Extension]) -> Result<Vec<(String, String)>> {
    let (available, loaded) = server.extensions().await?;
    let mut missing = Vec::new();
    for extension in wanted {
        let name = &extension.name;
        if !available.contains(name) {
            missing.push((name.clone(), "it is not installed there".into()));
        } else if let Some(known) = special(name)
            && !known.preload.iter().all(|library| loaded.split(',').any(|l| l.trim() == *library))
        {
            missing.push((name.clone(), "its library is not in shared_preload_libraries".into()));
        }
    }
    Ok(missing)
}

/// The line for one that is missing.
pub(super) fn lacks(name: &str, why: &str) -> Answer {
    Answer::no(
        format!("the throwaway server lacks extension {name}: {why}"),
        "point verify-url at a server that has it, such as a service container of the image that you use in production; or verify: archive",
    )
}
