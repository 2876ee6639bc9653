//! Extensions that want more than CREATE EXTENSION: a library at the server's start, or functions around a restore.

/// What is known of one.
#[derive(Clone, Copy, Debug)]
pub struct Special {
    /// Its name.
    pub name: &'static str,
    /// Libraries that must be in `shared_preload_libraries`, in the order in which they want to be loaded.
    pub preload: &'static [&'static str],
    /// Called in the database behind its CREATE EXTENSION and before anything else is restored, and when all is restored.
    pub around: Option<(&'static str, &'static str)>,
    /// Why no dump of one database holds its rows.
    pub elsewhere: Option<&'static str>,
}

const fn preloaded(name: &'static str, preload: &'static [&'static str]) -> Special {
    Special { name, preload, around: None, elsewhere: None }
}

/// All of them.
pub const SPECIAL: [Special; 7] = [
    // https://docs.timescale.com/api/latest/administration/#timescaledb_pre_restore
    Special {
        name: "timescaledb",
        preload: &["timescaledb"],
        around: Some(("timescaledb_pre_restore()", "timescaledb_post_restore()")),
        elsewhere: None,
    },
    Special {
        name: "citus",
        preload: &["citus"],
        around: None,
        elsewhere: Some(
            "the rows of distributed tables lie on other nodes, and pg_dump of one node does not hold them",
        ),
    },
    preloaded("pg_stat_kcache", &["pg_stat_statements", "pg_stat_kcache"]),
    preloaded("pgaudit", &["pgaudit"]),
    preloaded("pg_cron", &["pg_cron"]),
    preloaded("pg_squeeze", &["pg_squeeze"]),
    preloaded("pglogical", &["pglogical"]),
];

/// What is known of the extension of this name.
pub fn special(name: &str) -> Option<&'static Special> {
    SPECIAL.iter().find(|s| s.name == name)
}

/// Functions around a restore of a database with these extensions: before, and behind.
pub fn around<'a>(
    extensions: impl IntoIterator<Item = &'a str>,
) -> Vec<(&'static Special, &'static str, &'static str)> {
    let known = extensions.into_iter().filter_map(special);
    known.filter_map(|s| s.around.map(|(before, behind)| (s, before, behind))).collect()
}
