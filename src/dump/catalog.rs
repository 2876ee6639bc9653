//! What the source's catalog says about the things that a backup takes.

use super::pattern;
use crate::{
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{Raw, Session},
    },
    vault::{
        Filter,
        manifest::{Extension, Matview, Role, Source},
    },
};
use std::collections::HashMap;
use tokio_postgres::{Row, types::Type};

/// A table, partitioned table or leaf, as the catalog shows it.
#[derive(Clone, Debug)]
pub struct Relation {
    /// OID.
    pub oid: u32,
    /// Schema name; bytes that are no UTF-8 are replaced.
    pub schema: String,
    /// Name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// `schema.name`, quoted where needed, in the session's encoding.
    pub sql_name: String,
    /// The same in the database's encoding, as the archive wants it.
    pub raw_sql_name: Vec<u8>,
    /// Columns that COPY reads: no dropped and no generated ones.
    pub columns: Vec<String>,
    /// The same, quoted and joined by commas, in the session's encoding.
    pub column_list: String,
    /// The same in the database's encoding.
    pub raw_column_list: Vec<u8>,
    /// False when a name holds bytes that are no UTF-8: we cannot name it in a statement.
    pub utf8: bool,
    /// Whether it is a plain table (relkind r); else a partitioned one.
    pub plain: bool,
    /// Unlogged.
    pub unlogged: bool,
    /// Stored by the heap access method: only there, ctid ranges are read by page.
    pub heap: bool,
    /// `pg_class.relfilenode` as this session's snapshot shows it.
    pub filenode_seen: u32,
    /// `pg_relation_filenode` at this moment; `None` when the table is gone.
    pub filenode_now: Option<u32>,
    /// Whether the filter takes the table.
    pub taken: bool,
    /// Whether the filter takes its rows.
    pub rows_taken: bool,
    /// Belongs to an extension.
    pub extension_member: bool,
    /// Condition on the rows of an extension's configuration table; empty for all rows.
    pub condition: Option<String>,
    /// The topmost table of which this is a partition.
    pub root: Option<u32>,
    /// Whether pg_dump loads this leaf through its root, because a hash partition on an enum stands above it.
    pub load_via_root: bool,
    /// A partitioned table with a foreign table among its partitions.
    pub has_foreign: bool,
    /// Has generated columns that are stored.
    pub generated: bool,
    /// Whether the role may read it.
    pub readable: bool,
    /// Whether row-level security would filter or refuse.
    pub filtered: bool,
}

impl Relation {
    /// `schema.name` for people.
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The statement that pg_restore runs, in the database's encoding, as pg_dump writes it
    /// (no columns: two spaces).
    pub fn copy_from(&self) -> Vec<u8> {
        let columns: Vec<u8> = match self.raw_column_list.as_slice() {
            [] => Vec::new(),
            list => [b"(", list, b")"].concat(),
        };
        [b"COPY ", self.raw_sql_name.as_slice(), b" ", &columns, b" FROM stdin;\n"].concat()
    }
}

fn raw(row: &Row, column: usize) -> Result<Vec<u8>> {
    row.try_get::<_, Raw>(column).map(|r| r.0).map_err(|e| answer::error("cannot read the catalog", e))
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: &str) -> Result<T> {
    row.try_get(column).map_err(|e| answer::error("cannot read the catalog", e))
}

/// Runs a catalog query.
async fn query(session: &Session, what: &str, sql: &str) -> Result<Vec<Row>> {
    // In one round trip, where preparing it would take another.
    session.query_typed(sql, &[]).await.map_err(|e| session.explain(&format!("cannot read {what}"), e))
}

/// The names in a list of libraries, which may stand in double quotes.
fn libraries(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Every ordinary and partitioned table outside the system schemas, and those that an extension put there. Takes no lock and calls nothing that does.
/// A table that goes away meanwhile counts as readable: who locks it next sees that it is gone.
pub async fn relations(session: &Session, filter: &Filter) -> Result<Vec<Relation>> {
    let (taken, rows_taken) = pattern::conditions(filter)?;
    let encoding = "pg_catalog.getdatabaseencoding()";
    let name = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)";
    let sql = format!(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, {name},
                pg_catalog.convert_to({name}, {encoding}),
                coalesce(l.list, ''), pg_catalog.convert_to(coalesce(l.list, ''), {encoding}), coalesce(l.names, ''),
                c.oid, c.relkind = 'r' AS plain, c.relpersistence = 'u' AS unlogged,
                coalesce(am.amname = 'heap', true) AS heap,
                c.relfilenode, pg_catalog.pg_relation_filenode(c.oid) AS filenode_now,
                {taken} AS taken, {rows_taken} AS rows_taken,
                e.oid IS NOT NULL AS extension_member,
                e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] AS condition,
                CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid END AS root,
                CASE WHEN c.relkind = 'p' THEN EXISTS (SELECT FROM pg_catalog.pg_class f WHERE f.relkind = 'f' AND f.relispartition
                       AND pg_catalog.pg_partition_root(f.oid) = c.oid) ELSE false END AS has_foreign,
                coalesce(l.generated, false) AS generated,
                CASE WHEN c.relispartition THEN EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) up
                       JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.relid AND p.partrelid <> c.oid
                       JOIN pg_catalog.pg_opclass o ON o.oid = ANY (p.partclass) AND o.opcname = 'enum_ops'
                      WHERE p.partstrat = 'h') ELSE false END AS load_via_root,
                coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), true) AS readable,
                pg_catalog.row_security_active(c.oid) AS filtered
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
           LEFT JOIN LATERAL (
                SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '') AS list,
                       pg_catalog.string_agg(pg_catalog.replace(a.attname, ',', E'\\x01'), ',' ORDER BY a.attnum)
                         FILTER (WHERE a.attgenerated = '') AS names,
                       pg_catalog.bool_or(a.attgenerated = 's') AS generated
                  FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) l ON true
           LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                AND d.objsubid = 0 AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
           LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
          WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
            AND (n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' OR e.oid IS NOT NULL)
          ORDER BY n.nspname, c.relname"
    );
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Vec::new();
    for row in query(session, "the list of tables", &sql).await? {
        let (schema, name, sql_name, list, columns) =
            (raw(&row, 0)?, raw(&row, 1)?, raw(&row, 2)?, raw(&row, 4)?, raw(&row, 6)?);
        let utf8 = [&sql_name, &list].iter().all(|b| std::str::from_utf8(b).is_ok());
        let columns = match columns.as_slice() {
            [] => Vec::new(),
            joined => text(joined).split(',').map(|c| c.replace('\u{1}', ",")).collect(),
        };
        found.push(Relation {
            oid: get(&row, "oid")?,
            schema: text(&schema),
            name: text(&name),
            sql_name: text(&sql_name),
            raw_sql_name: raw(&row, 3)?,
            columns,
            column_list: text(&list),
            raw_column_list: raw(&row, 5)?,
            utf8,
            plain: get(&row, "plain")?,
            unlogged: get(&row, "unlogged")?,
            heap: get(&row, "heap")?,
            filenode_seen: get(&row, "relfilenode")?,
            filenode_now: get(&row, "filenode_now")?,
            taken: get(&row, "taken")?,
            rows_taken: get(&row, "rows_taken")?,
            extension_member: get(&row, "extension_member")?,
            condition: get::<Option<String>>(&row, "condition")?.filter(|c| !c.trim().is_empty()),
            root: get(&row, "root")?,
            load_via_root: get(&row, "load_via_root")?,
            has_foreign: get(&row, "has_foreign")?,
            generated: get(&row, "generated")?,
            readable: get(&row, "readable")?,
            filtered: get(&row, "filtered")?,
        });
    }
    Ok(found)
}

/// Size of a table's own storage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Heap and TOAST, bytes.
    pub bytes: u64,
    /// Heap pages.
    pub pages: u32,
    /// The planner's row estimate; -1 when it has none.
    pub rows_estimate: i64,
}

/// Sizes of these tables by OID. Opens each table, so it would wait behind an exclusive lock: call it with the tables
/// locked.
pub async fn sizes(session: &Session, tables: &[u32]) -> Result<HashMap<u32, Size>> {
    // pg_table_size looks at ten files of each table.
    let sql = "SELECT c.oid, coalesce(pg_catalog.pg_relation_size(c.oid), 0)
                        + coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0) AS bytes,
                      coalesce(pg_catalog.pg_relation_size(c.oid), 0)
                        / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS pages,
                      c.reltuples::pg_catalog.int8 AS estimate
                 FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)";
    let rows = session.query_typed(sql, &[(&tables, Type::OID_ARRAY)]).await;
    let mut sizes = HashMap::new();
    for row in rows.map_err(|e| session.explain("cannot read the sizes of the tables", e))? {
        let size = Size {
            bytes: get::<i64>(&row, "bytes")?.max(0) as u64,
            pages: get::<i64>(&row, "pages")?.clamp(0, i64::from(u32::MAX)) as u32,
            rows_estimate: get(&row, "estimate")?,
        };
        sizes.insert(get(&row, "oid")?, size);
    }
    Ok(sizes)
}

/// Facts about the server and the database. `host`, `snapshot` and `database_bytes` are filled in by the caller.
pub async fn source(session: &Session) -> Result<Source> {
    let major: u32 = {
        let rows = query(
            session,
            "the server's version",
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4",
        )
        .await?;
        let number: i32 = rows.first().map(|r| r.get(0)).unwrap_or_default();
        (number / 10_000) as u32
    };
    // Columns of pg_database by major: datlocprovider from 15, daticulocale 15 and 16, datlocale from 17.
    let provider = if major >= 15 {
        "CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END"
    } else {
        "'libc'"
    };
    let locale = match major {
        17.. => "d.datlocale",
        15 | 16 => "d.daticulocale",
        _ => "NULL::pg_catalog.text",
    };
    let sql = format!(
        "SELECT d.datname::pg_catalog.text AS database, current_user::pg_catalog.text AS user,
                pg_catalog.current_setting('server_version') AS version,
                pg_catalog.getdatabaseencoding()::pg_catalog.text AS encoding,
                {provider} AS provider, d.datcollate::pg_catalog.text AS collate, d.datctype::pg_catalog.text AS ctype, {locale} AS locale,
                pg_catalog.current_setting('lc_monetary') AS lc_monetary,
                (SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE oid = 10) AS bootstrap,
                pg_catalog.pg_is_in_recovery() AS standby,
                -- Shown to some roles only.
                (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries') AS preloaded
           FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    );
    let rows = query(session, "facts about the database", &sql).await?;
    let row =
        rows.first().ok_or_else(|| Error::new(Kind::Database, "the server does not list the current database"))?;
    Ok(Source {
        host: String::new(),
        port: 0,
        database: get(row, "database")?,
        user: get(row, "user")?,
        server_version: get(row, "version")?,
        major,
        encoding: get(row, "encoding")?,
        locale_provider: get(row, "provider")?,
        collate: get(row, "collate")?,
        ctype: get(row, "ctype")?,
        locale: get(row, "locale")?,
        lc_monetary: get(row, "lc_monetary")?,
        database_bytes: 0,
        snapshot: String::new(),
        bootstrap_role: get::<Option<String>>(row, "bootstrap")?.unwrap_or_else(|| "postgres".into()),
        standby: get(row, "standby")?,
        preloaded: libraries(get::<Option<&str>>(row, "preloaded")?.unwrap_or_default()),
    })
}

/// Bytes of the database on the server's disk. The server looks at every file of it.
pub async fn database_bytes(session: &Session) -> Result<u64> {
    let sql = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()) AS bytes";
    let rows = query(session, "the size of the database", sql).await?;
    let row =
        rows.first().ok_or_else(|| Error::new(Kind::Database, "the server does not tell the size of the database"))?;
    Ok(get::<i64>(row, "bytes")?.max(0) as u64)
}

/// Installed extensions but plpgsql, which every database has.
pub async fn extensions(session: &Session) -> Result<Vec<Extension>> {
    let sql = "SELECT e.extname::pg_catalog.text AS name, e.extversion AS version, n.nspname::pg_catalog.text AS schema
                 FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
                WHERE e.extname <> 'plpgsql' ORDER BY 1";
    let rows = query(session, "the extensions", sql).await?;
    rows.iter()
        .map(|r| Ok(Extension { name: get(r, "name")?, version: get(r, "version")?, schema: get(r, "schema")? }))
        .collect()
}

/// Materialized views outside the system schemas, with the filter's answer in `.0`.
pub async fn matviews(session: &Session, filter: &Filter) -> Result<Vec<Matview>> {
    let (taken, rows_taken) = pattern::conditions(filter)?;
    let sql = format!(
        "SELECT n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name, c.relispopulated AND {rows_taken} AS populated
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'm' AND n.nspname !~ '^pg_' AND {taken}
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                               AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
    );
    let rows = query(session, "the materialized views", &sql).await?;
    let text = |r: &Row, column| Ok::<_, Error>(String::from_utf8_lossy(&raw(r, column)?).into_owned());
    rows.iter()
        .map(|r| Ok(Matview { schema: text(r, 0)?, name: text(r, 1)?, populated: get(r, "populated")? }))
        .collect()
}

/// Schema and name of something, in the database's encoding.
pub type RawName = (Vec<u8>, Vec<u8>);

/// Sequences by their names in the database's encoding, with the same as text. Those whose names are no UTF-8 are left out.
pub async fn sequence_names(session: &Session) -> Result<HashMap<RawName, (String, String)>> {
    let sql = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
                      pg_catalog.convert_to(n.nspname, pg_catalog.getdatabaseencoding()),
                      pg_catalog.convert_to(c.relname, pg_catalog.getdatabaseencoding())
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'";
    let mut names = HashMap::new();
    for row in query(session, "the sequences", sql).await? {
        if let (Ok(schema), Ok(name)) = (String::from_utf8(raw(&row, 0)?), String::from_utf8(raw(&row, 1)?)) {
            names.insert((raw(&row, 2)?, raw(&row, 3)?), (schema, name));
        }
    }
    Ok(names)
}

/// All roles but the predefined ones.
pub async fn roles(session: &Session) -> Result<Vec<Role>> {
    let sql = "SELECT rolname::pg_catalog.text AS name, rolsuper AS superuser FROM pg_catalog.pg_roles
                WHERE rolname !~ '^pg_' ORDER BY 1";
    let rows = query(session, "the roles", sql).await?;
    rows.iter().map(|r| Ok(Role { name: get(r, "name")?, superuser: get(r, "superuser")? })).collect()
}

/// The database's subscriptions.
pub async fn subscriptions(session: &Session) -> Result<Vec<String>> {
    let sql = "SELECT s.subname::pg_catalog.text AS name FROM pg_catalog.pg_subscription s WHERE s.subdbid =
                 (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) ORDER BY 1";
    let rows = query(session, "the subscriptions", sql).await?;
    rows.iter().map(|r| Ok(String::from_utf8_lossy(&raw(r, 0)?).into_owned())).collect()
}

/// A large object's owner and privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeObjectMeta {
    /// OID.
    pub oid: u32,
    /// Owner's name.
    pub owner: String,
    /// Privileges, sorted; `None` for the default ones.
    pub acl: Option<Vec<String>>,
}

/// Every large object.
pub async fn large_objects(session: &Session) -> Result<Vec<LargeObjectMeta>> {
    let sql = "SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text AS owner,
                      CASE WHEN m.lomacl IS NOT NULL THEN
                        ARRAY(SELECT a::pg_catalog.text FROM pg_catalog.unnest(m.lomacl) a ORDER BY 1) END AS acl
                 FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid";
    let rows = query(session, "the large objects", sql).await?;
    rows.iter()
        .map(|r| Ok(LargeObjectMeta { oid: get(r, "oid")?, owner: get(r, "owner")?, acl: get(r, "acl")? }))
        .collect()
}
