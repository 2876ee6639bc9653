//! What the server says: what there is to be read, and what whoever asks may hand on. It is asked in one transaction that can only read.

use super::config::SetupRoleConfig;
use crate::{
    dump::pattern,
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Raw, Session},
        quote::literal,
    },
};
use tokio_postgres::{Row, types::FromSql};

/// What the SQL depends on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub server_version: String,
    pub major: u32,
    pub database: String,
    pub standby: bool,
    /// How many connections the database takes; negative: as many as the server.
    pub database_limit: i32,
    pub caller: Caller,
    pub connect: Right,
    /// Membership in `pg_read_all_data`; `None` where the server has no such role.
    pub read_all: Option<Right>,
    /// The role, where it is there already.
    pub role: Option<Existing>,
    /// Tables whose rows are taken and whose row-level security counts for whoever does not own them.
    pub row_security: Vec<String>,
    /// Owners of the large objects that are taken.
    pub large_objects: Vec<ObjectsOf>,
    /// Schemas and what is in them, as far as it is taken; not asked for where `pg_read_all_data` does.
    pub schemas: Vec<Schema>,
    /// User mappings of foreign servers.
    pub user_mappings: i64,
    pub subscriptions: i64,
}

/// Whoever asks, and what it may do about roles.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub name: String,
    pub superuser: bool,
    pub create_role: bool,
    pub bypass_rls: bool,
}

/// Something that a role can be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Right {
    /// The role has it: by itself, or as everybody has.
    pub there: bool,
    /// Whoever asks may give it.
    pub grantable: bool,
}

/// The role as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Existing {
    pub superuser: bool,
    pub can_log_in: bool,
    pub bypass_rls: bool,
    /// Negative: no limit.
    pub connection_limit: i32,
    /// Whoever asks may alter it.
    pub alterable: bool,
}

/// The large objects of an owner.
#[derive(Clone, Debug)]
pub(super) struct ObjectsOf {
    pub owner: String,
    pub count: i64,
    /// Whoever asks acts for the owner.
    pub ours: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub name: String,
    pub owner: String,
    pub usage: Right,
    /// Tables, sequences and what is granted with them.
    pub relations: Vec<Relation>,
}

#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub name: String,
    pub sequence: bool,
    /// A backup reads or locks it; views and foreign tables are only granted along with the others.
    pub read: bool,
    pub owner: String,
    /// Whoever asks acts for the owner.
    pub ours: bool,
    pub select: Right,
}

impl Facts {
    /// Asks everything.
    pub async fn ask(config: &SetupRoleConfig) -> Result<Facts> {
        let session = connect::connect(&config.source, "savepoint").await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";
        session.batch_execute(begin).await.map_err(|e| session.explain("cannot ask the server", e))?;
        let ask = Ask { session, config };
        let role = ask.role().await?;
        let mut facts = ask.server(role).await?;
        facts.row_security = ask.row_security().await?;
        if config.filter.takes_large_objects() {
            facts.large_objects = ask.large_objects().await?;
        }
        if !facts.read_all.is_some_and(|right| right.there || right.grantable) {
            facts.schemas = ask.schemas(facts.role.is_some()).await?;
        }
        Ok(facts)
    }
}

struct Ask<'a> {
    session: Session,
    config: &'a SetupRoleConfig,
}

/// Schemas that pg_dump looks into.
const OWN_SCHEMAS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
/// What comes by CREATE EXTENSION, of which pg_dump takes no more than configuration tables.
const OF_EXTENSION: &str = "EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND NOT coalesce(c.oid = ANY (e.extconfig), false))";

fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T> {
    row.try_get(column).map_err(|e| answer::error("cannot read the catalog", e))
}

/// A name; bytes that are no UTF-8 are replaced.
fn text(row: &Row, column: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&get::<Raw>(row, column)?.0).into_owned())
}

impl Ask<'_> {
    async fn rows(&self, what: &str, sql: &str) -> Result<Vec<Row>> {
        let failed = |e| self.session.explain(&format!("cannot read {what}"), e);
        self.session.query_typed(sql, &[]).await.map_err(failed)
    }

    /// The role's name as SQL writes a value.
    fn role_name(&self) -> String {
        literal(&self.config.role)
    }

    async fn role(&self) -> Result<Option<Existing>> {
        let sql = format!(
            "SELECT r.rolsuper AS super, r.rolcanlogin AS login, r.rolbypassrls AS bypass, r.rolconnlimit AS connections,
                    me.rolsuper OR me.rolcreaterole AND NOT r.rolsuper AND (me.major < 16
                      OR pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')) AS alterable
               FROM pg_catalog.pg_roles r,
                    (SELECT rolsuper, rolcreaterole, pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000 AS major
                       FROM pg_catalog.pg_roles WHERE rolname = current_user) me
              WHERE r.rolname = {}",
            self.role_name()
        );
        let rows = self.rows("the role", &sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Existing {
            superuser: get(row, "super")?,
            can_log_in: get(row, "login")?,
            bypass_rls: get(row, "bypass")?,
            connection_limit: get(row, "connections")?,
            alterable: get(row, "alterable")?,
        }))
    }

    async fn server(&self, role: Option<Existing>) -> Result<Facts> {
        let role_name = self.role_name();
        // Before 16 whoever makes roles may put them into any that is no superuser.
        let sql = format!(
            "SELECT pg_catalog.current_setting('server_version') AS version,
                    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 / 10000 AS major,
                    d.datname::pg_catalog.text AS database, pg_catalog.pg_is_in_recovery() AS standby, d.datconnlimit AS connections,
                    current_user::pg_catalog.text AS caller, me.rolsuper AS super, me.rolcreaterole AS creates, me.rolbypassrls AS bypass,
                    pg_catalog.has_database_privilege(d.oid, 'CONNECT WITH GRANT OPTION') AS may_connect,
                    coalesce((SELECT pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') FROM pg_catalog.pg_roles r WHERE r.rolname = {role_name}),
                      pg_catalog.has_database_privilege('public', d.oid, 'CONNECT')) AS connects,
                    a.oid IS NOT NULL AS has_read_all,
                    coalesce(me.rolsuper OR pg_catalog.pg_has_role(a.oid, 'MEMBER WITH ADMIN OPTION')
                      OR me.rolcreaterole AND pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 160000, false) AS may_read_all,
                    coalesce((SELECT pg_catalog.pg_has_role(r.oid, a.oid, 'USAGE') FROM pg_catalog.pg_roles r WHERE r.rolname = {role_name}), false) AS reads_all,
                    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_user_mappings) AS mappings,
                    (SELECT pg_catalog.count(*) FROM (SELECT s.oid FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid) s) AS subscriptions
               FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles me ON me.rolname = current_user
               LEFT JOIN pg_catalog.pg_roles a ON a.rolname = 'pg_read_all_data'
              WHERE d.datname = pg_catalog.current_database()"
        );
        let rows = self.rows("what the server is", &sql).await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::new(Kind::Database, "the server does not list the current database and user"))?;
        let read_all = Right { there: get(row, "reads_all")?, grantable: get(row, "may_read_all")? };
        Ok(Facts {
            server_version: get(row, "version")?,
            major: get::<i32>(row, "major")?.unsigned_abs(),
            database: text(row, "database")?,
            standby: get(row, "standby")?,
            database_limit: get(row, "connections")?,
            caller: Caller {
                name: text(row, "caller")?,
                superuser: get(row, "super")?,
                create_role: get(row, "creates")?,
                bypass_rls: get(row, "bypass")?,
            },
            connect: Right { there: get(row, "connects")?, grantable: get(row, "may_connect")? },
            read_all: get::<bool>(row, "has_read_all")?.then_some(read_all),
            role,
            row_security: Vec::new(),
            large_objects: Vec::new(),
            schemas: Vec::new(),
            user_mappings: get(row, "mappings")?,
            subscriptions: get(row, "subscriptions")?,
        })
    }

    async fn row_security(&self) -> Result<Vec<String>> {
        let (taken, rows_taken) = pattern::conditions(&self.config.filter)?;
        let sql = format!(
            "SELECT n.nspname || '.' || c.relname AS name FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind = 'r' AND c.relrowsecurity AND c.relpersistence <> 't' AND {OWN_SCHEMAS} AND {taken} AND {rows_taken}
                AND NOT {OF_EXTENSION} ORDER BY 1"
        );
        self.rows("the tables with row-level security", &sql).await?.iter().map(|row| text(row, "name")).collect()
    }

    async fn large_objects(&self) -> Result<Vec<ObjectsOf>> {
        let sql =
            "SELECT pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text AS owner, pg_catalog.count(*) AS count,
                          pg_catalog.pg_has_role(m.lomowner, 'USAGE') AS ours
                     FROM pg_catalog.pg_largeobject_metadata m GROUP BY m.lomowner ORDER BY 1";
        let of = |row: &Row| {
            Ok(ObjectsOf { owner: text(row, "owner")?, count: get(row, "count")?, ours: get(row, "ours")? })
        };
        self.rows("the large objects", sql).await?.iter().map(of).collect()
    }

    /// Who is asked about where the role is not there yet: what everybody may, it may.
    async fn schemas(&self, role_is_there: bool) -> Result<Vec<Schema>> {
        let who = if role_is_there { self.role_name() } else { "'public'".to_owned() };
        let (taken, _) = pattern::conditions(&self.config.filter)?;
        let sql = format!(
            "SELECT n.nspname AS schema, pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text AS schema_owner,
                    pg_catalog.has_schema_privilege({who}, n.oid, 'USAGE') AS uses,
                    pg_catalog.has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') AS may_use,
                    c.relname AS name, c.relkind = 'S' AS sequence, c.relkind IN ('r', 'p', 'S') AND NOT {OF_EXTENSION} AS read,
                    pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text AS owner, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS ours,
                    pg_catalog.has_table_privilege({who}, c.oid, 'SELECT') AS selects,
                    pg_catalog.has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION') AS may_select
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND {OWN_SCHEMAS} AND {taken}
              ORDER BY n.nspname, c.relname"
        );
        let mut schemas: Vec<Schema> = Vec::new();
        for row in self.rows("the schemas and what is in them", &sql).await? {
            let name = text(&row, "schema")?;
            let relation = Relation {
                name: text(&row, "name")?,
                sequence: get(&row, "sequence")?,
                read: get(&row, "read")?,
                owner: text(&row, "owner")?,
                ours: get(&row, "ours")?,
                select: Right { there: get(&row, "selects")?, grantable: get(&row, "may_select")? },
            };
            match schemas.last_mut().filter(|last| last.name == name) {
                Some(last) => last.relations.push(relation),
                None => schemas.push(Schema {
                    name,
                    owner: text(&row, "schema_owner")?,
                    usage: Right { there: get(&row, "uses")?, grantable: get(&row, "may_use")? },
                    relations: vec![relation],
                }),
            }
        }
        Ok(schemas)
    }
}
