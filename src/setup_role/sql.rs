//! The SQL, by what the server said. Everything that whoever asked may not do stands in it as a comment for those who may.

use super::facts::{Existing, Facts, Relation, Right, Schema};
use crate::{postgres::quote::literal, report::format::counted, vault::Filter};
use std::collections::{BTreeMap, BTreeSet};

/// The SQL and what it cannot give.
pub(super) struct Sql {
    /// For psql.
    pub text: String,
    /// A line each.
    pub lacking: Vec<String>,
}

/// From this major on `pg_read_all_data` covers large objects.
const READS_LARGE_OBJECTS: u32 = 19;
/// From this major on large objects that are made later have default privileges.
const LARGE_OBJECT_DEFAULTS: u32 = 18;
/// Connections that a backup with the default number of jobs opens at most, one that asks about the others among them.
const CONNECTIONS: i32 = 8;

/// The SQL for this role.
pub(super) fn of(facts: &Facts, role: &str, filter: &Filter) -> Sql {
    let mut script = Script { facts, filter, plain: role, role: name(role), out: Vec::new(), lacking: Vec::new() };
    script.head();
    script.line("BEGIN;");
    script.the_role();
    script.settings();
    script.connect();
    script.read();
    script.row_security();
    script.line("");
    script.line("COMMIT;");
    script.large_objects();
    script.tail();
    Sql { text: script.out.join("\n") + "\n", lacking: script.lacking }
}

struct Script<'a> {
    facts: &'a Facts,
    filter: &'a Filter,
    /// The role's name for people.
    plain: &'a str,
    /// The same as SQL writes it.
    role: String,
    out: Vec<String>,
    lacking: Vec<String>,
}

impl Script<'_> {
    fn line(&mut self, text: impl Into<String>) {
        self.out.push(text.into());
    }

    fn note(&mut self, text: &str) {
        self.line(format!("-- {}", tame(text)));
    }

    /// A paragraph begins.
    fn about(&mut self, text: &str) {
        self.line("");
        self.note(text);
    }

    /// The role will lack something.
    fn lacks(&mut self, text: String) {
        self.note(&format!("LACKING: {text}"));
        self.lacking.push(tame(&text));
    }

    /// A statement for somebody else.
    fn for_others(&mut self, statement: &str) {
        self.note(&format!("  {statement}"));
    }

    fn head(&mut self) {
        let Facts { server_version, database, caller, .. } = self.facts;
        let (database, caller) = (tame(database), tame(&caller.name));
        self.note(&format!(
            "A role that reads what savepoint backs up of database {database}, and changes nothing: {}",
            self.plain
        ));
        self.note(&format!("Made for PostgreSQL {server_version} and what is there now, asked as {caller}. Run it by psql, in this database:"));
        self.note("  savepoint setup-role | psql \"$DATABASE_URL\"");
        self.note("It may be run again. Nothing was changed so far.");
        if self.facts.standby {
            self.lacks("this server is a standby: run it on its primary".into());
        }
        self.line("");
        self.line("\\set ON_ERROR_STOP on");
    }

    fn the_role(&mut self) {
        let role = self.role.clone();
        self.about(&format!(
            "The role. It has no password yet: \\password {role} in psql, or ALTER ROLE {role} PASSWORD '…'"
        ));
        self.line(format!(
            "SELECT {} WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) \\gexec",
            literal(&format!("CREATE ROLE {role} LOGIN")),
            literal(self.plain)
        ));
        match self.facts.role.clone() {
            Some(existing) => self.as_it_is(&existing),
            None if !self.facts.caller.superuser && !self.facts.caller.create_role => {
                self.lacks(format!(
                    "{} may not make roles: run this as one that has CREATEROLE",
                    self.facts.caller.name
                ));
            }
            None => {}
        }
        let limit = self.facts.database_limit;
        if (0..CONNECTIONS).contains(&limit) {
            self.lacks(format!(
                "database {} takes {}, a backup opens up to {CONNECTIONS} (ALTER DATABASE … CONNECTION LIMIT)",
                self.facts.database,
                counted(limit.unsigned_abs().into(), "connection")
            ));
        }
    }

    fn as_it_is(&mut self, existing: &Existing) {
        let role = self.role.clone();
        if existing.superuser {
            self.lacks(format!("role {} is there and is a superuser: it can change everything", self.plain));
        }
        if !existing.alterable {
            self.lacks(format!(
                "{} may not alter role {}: run this as one that may",
                self.facts.caller.name, self.plain
            ));
        }
        if !existing.can_log_in {
            self.line(format!("ALTER ROLE {role} LOGIN;"));
        }
        if (0..CONNECTIONS).contains(&existing.connection_limit) {
            self.line(format!("ALTER ROLE {role} CONNECTION LIMIT {CONNECTIONS};"));
        }
    }

    fn settings(&mut self) {
        let role = self.role.clone();
        self.about("No limit of the server or the database cuts a dump off, and nothing is written by mistake.");
        let mut names = vec!["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        if self.facts.major >= 14 {
            names.push("idle_session_timeout");
        }
        if self.facts.major >= 17 {
            names.push("transaction_timeout");
        }
        for name in names {
            self.line(format!("ALTER ROLE {role} SET {name} = 0;"));
        }
        self.line(format!("ALTER ROLE {role} SET default_transaction_read_only = on;"));
    }

    fn connect(&mut self) {
        let (database, Right { there, grantable }) = (name(&self.facts.database), self.facts.connect);
        let statement = format!("GRANT CONNECT ON DATABASE {database} TO {};", self.role);
        if grantable {
            self.about("It may connect, whatever everybody may.");
            self.line(statement);
        } else if !there {
            self.about("It has to connect.");
            self.lacks(format!("{} may not grant CONNECT on database {}", self.facts.caller.name, self.facts.database));
            self.for_others(&statement);
        }
    }

    /// Tables, sequences and the schemas that they lie in.
    fn read(&mut self) {
        let role = self.role.clone();
        match self.facts.read_all {
            Some(Right { grantable: true, .. }) => {
                self.about("Schemas, tables and sequences, those that come later too.");
                self.line(format!("GRANT pg_read_all_data TO {role};"));
            }
            Some(Right { there: true, .. }) => {
                self.about("Schemas, tables and sequences: it is in pg_read_all_data already.");
            }
            no => {
                let why = match no {
                    Some(_) => format!("{} may not grant pg_read_all_data", self.facts.caller.name),
                    None => "this server has no pg_read_all_data".to_owned(),
                };
                self.about(&format!("Schemas, tables and sequences, one by one: {why}."));
                for schema in &self.facts.schemas {
                    self.schema(schema);
                }
                self.later();
            }
        }
    }

    fn schema(&mut self, schema: &Schema) {
        let (role, quoted) = (self.role.clone(), name(&schema.name));
        if !schema.relations.iter().any(|r| r.read) {
            return;
        }
        let usage = format!("GRANT USAGE ON SCHEMA {quoted} TO {role};");
        if schema.usage.grantable {
            self.line(usage);
        } else if !schema.usage.there {
            self.lacks(format!("schema {}: {} has to grant its use", schema.name, schema.owner));
            self.for_others(&usage);
        }
        self.relations(schema, false, "TABLES", "TABLE");
        self.relations(schema, true, "SEQUENCES", "SEQUENCE");
    }

    /// All tables, or all sequences, of a schema: by one statement where all of them may be granted.
    fn relations(&mut self, schema: &Schema, sequences: bool, all: &str, one: &str) {
        let (role, quoted) = (self.role.clone(), name(&schema.name));
        let here: Vec<&Relation> = schema.relations.iter().filter(|r| r.sequence == sequences).collect();
        if !here.iter().any(|r| r.read) {
            return;
        }
        if here.iter().all(|r| r.select.grantable) {
            return self.line(format!("GRANT SELECT ON ALL {all} IN SCHEMA {quoted} TO {role};"));
        }
        let mut elsewhere: BTreeMap<&str, Vec<&Relation>> = BTreeMap::new();
        for relation in here.into_iter().filter(|r| r.read) {
            if relation.select.grantable {
                self.line(format!("GRANT SELECT ON {one} {quoted}.{} TO {role};", name(&relation.name)));
            } else if !relation.select.there {
                elsewhere.entry(&relation.owner).or_default().push(relation);
            }
        }
        for (owner, relations) in elsewhere {
            let what = counted(relations.len() as u64, &one.to_lowercase());
            self.lacks(format!("{what} in schema {}: {owner} has to grant SELECT", schema.name));
            for relation in relations {
                self.for_others(&format!("GRANT SELECT ON {one} {quoted}.{} TO {role};", name(&relation.name)));
            }
        }
    }

    /// What owners make later.
    fn later(&mut self) {
        let mut owners: BTreeSet<(String, &str)> = BTreeSet::new();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for schema in self.facts.schemas.iter().filter(|s| s.relations.iter().any(|r| r.read)) {
            for relation in schema.relations.iter().filter(|r| r.read) {
                match relation.ours {
                    true => drop(owners.insert((name(&relation.owner), schema.name.as_str()))),
                    false => drop(others.insert(relation.owner.as_str())),
                }
            }
        }
        if !owners.is_empty() {
            self.about("The same for what their owners make later.");
        }
        for (owner, schema) in owners {
            let (role, schema) = (self.role.clone(), name(schema));
            for what in ["TABLES", "SEQUENCES"] {
                self.line(format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON {what} TO {role};"
                ));
            }
        }
        if !others.is_empty() {
            let names = others.into_iter().collect::<Vec<_>>().join(", ");
            self.about(&format!("What others make later ({names}) is granted when this is run again by them, or by ALTER DEFAULT PRIVILEGES of their own."));
        }
    }

    fn row_security(&mut self) {
        let tables = &self.facts.row_security;
        let caller = &self.facts.caller;
        if tables.is_empty() {
            return self.about("No table has row-level security, so BYPASSRLS is not needed.");
        }
        let shown = tables.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if tables.len() > 5 { format!(" and {} more", tables.len() - 5) } else { String::new() };
        self.about(&format!("Row-level security would hide rows of {shown}{more}."));
        let statement = format!("ALTER ROLE {} BYPASSRLS;", self.role);
        // From 16 on whoever has it may give it.
        let may = caller.superuser || (self.facts.major >= 16 && caller.create_role && caller.bypass_rls);
        if may {
            self.line(statement);
        } else if self.facts.role.as_ref().is_some_and(|role| role.bypass_rls) {
            self.note("It has BYPASSRLS already.");
        } else {
            self.lacks(format!(
                "{} may not give BYPASSRLS, without which the backup is refused: leave the tables out by exclude-tables, or let one do it who may",
                caller.name
            ));
            self.for_others(&statement);
        }
    }

    fn large_objects(&mut self) {
        let objects = &self.facts.large_objects;
        let covered =
            self.facts.major >= READS_LARGE_OBJECTS && self.facts.read_all.is_some_and(|r| r.there || r.grantable);
        if covered || !self.filter.takes_large_objects() {
            return;
        }
        if objects.is_empty() {
            let again = "No large objects are there. When there are some, run this again: before PostgreSQL 19 each has to be granted.";
            return self.about(again);
        }
        let role = self.role.clone();
        let sum = objects.iter().map(|of| of.count.unsigned_abs()).sum::<u64>();
        let has_defaults = self.facts.major >= LARGE_OBJECT_DEFAULTS;
        let later = if has_defaults { "" } else { " Run this again when others have come." };
        self.about(&format!("{}: before PostgreSQL 19 each has to be granted.{later}", counted(sum, "large object")));
        let ours: Vec<String> = objects.iter().filter(|of| of.ours).map(|of| literal(&of.owner)).collect();
        if !ours.is_empty() {
            self.line(format!(
                "SELECT 'GRANT SELECT ON LARGE OBJECT ' || m.oid || {} FROM pg_catalog.pg_largeobject_metadata m\n \
                 WHERE pg_catalog.pg_has_role(m.lomowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a\n   \
                 WHERE a.privilege_type = 'SELECT' AND a.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {})) \\gexec",
                literal(&format!(" TO {role}")),
                literal(self.plain)
            ));
        }
        for of in objects {
            let owner = name(&of.owner);
            let default = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON LARGE OBJECTS TO {role};");
            match (of.ours, has_defaults) {
                (true, true) => self.line(default),
                (true, false) => {}
                (false, _) => {
                    let what = counted(of.count.unsigned_abs(), "large object");
                    self.lacks(format!("{what} of {}: their owner has to grant them, by running this", of.owner));
                }
            }
        }
    }

    /// What no read-only role sees.
    fn tail(&mut self) {
        let Facts { user_mappings, subscriptions, .. } = self.facts;
        let whole = !self.filter.names_a_part();
        if *user_mappings > 0 && whole && !self.filter.no_user_mappings {
            self.about(&format!(
                "{} (foreign servers): the role does not see their options, so the backup has none of their passwords.",
                counted(user_mappings.unsigned_abs(), "user mapping")
            ));
        }
        if *subscriptions > 0 && whole && !self.filter.no_subscriptions {
            self.about(&format!(
                "{}: pg_dump takes them for a superuser alone, so the backup has none.",
                counted(subscriptions.unsigned_abs(), "subscription")
            ));
        }
    }
}

/// Text that is safe in a comment, and on a terminal.
fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A name as SQL writes it, without a control character even where the name has some.
fn name(text: &str) -> String {
    let quoted = text.replace('"', "\"\"");
    if !text.chars().any(char::is_control) {
        return format!("\"{quoted}\"");
    }
    let escaped = quoted.replace('\\', "\\\\");
    let hidden = |c: char| if c.is_control() { format!("\\+{:06X}", u32::from(c)) } else { c.to_string() };
    format!("U&\"{}\"", escaped.chars().map(hidden).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::{
        super::facts::{Caller, ObjectsOf},
        *,
    };

    fn facts() -> Facts {
        Facts {
            server_version: "17.5".into(),
            major: 17,
            database: "app".into(),
            standby: false,
            database_limit: -1,
            caller: Caller { name: "postgres".into(), superuser: true, ..Caller::default() },
            connect: Right { there: true, grantable: true },
            read_all: Some(Right { there: false, grantable: true }),
            role: None,
            row_security: Vec::new(),
            large_objects: Vec::new(),
            schemas: Vec::new(),
            user_mappings: 0,
            subscriptions: 0,
        }
    }

    fn relation(name: &str, owner: &str, ours: bool) -> Relation {
        let (sequence, read) = (name.ends_with("_seq"), !name.starts_with("v_"));
        Relation {
            name: name.into(),
            sequence,
            read,
            owner: owner.into(),
            ours,
            select: Right { there: false, grantable: ours },
        }
    }

    /// As a superuser sees a plain database, one with everything, and as whoever is no superuser sees it on a managed server.
    #[test]
    fn the_sql_of_each_kind_of_server() {
        let shown = |facts: &Facts| of(facts, "savepoint", &Filter::default()).text;
        insta::assert_snapshot!("plain", shown(&facts()));
        let objects = vec![
            ObjectsOf { owner: "app".into(), count: 1, ours: true },
            ObjectsOf { owner: "other".into(), count: 2000, ours: false },
        ];
        let mut all = facts();
        all.row_security = (0..7).map(|n| format!("public.t{n}")).collect();
        all.large_objects = vec![objects[0].clone()];
        (all.user_mappings, all.subscriptions) = (1, 2);
        insta::assert_snapshot!("superuser", shown(&all));
        let mut managed = Facts {
            major: 18,
            server_version: "18.1".into(),
            caller: Caller { name: "admin".into(), create_role: true, ..Caller::default() },
            connect: Right { there: false, grantable: false },
            read_all: Some(Right::default()),
            large_objects: objects,
            database_limit: 4,
            ..all
        };
        managed.schemas = vec![
            Schema {
                name: "public".into(),
                owner: "admin".into(),
                usage: Right { there: true, grantable: true },
                relations: vec![relation("a", "app", true), relation("a_id_seq", "app", true)],
            },
            Schema {
                name: "Mixed \"up\"\n".into(),
                owner: "other".into(),
                usage: Right::default(),
                relations: vec![relation("a", "app", true), relation("b", "other", false), relation("v_c", "x", false)],
            },
        ];
        insta::assert_snapshot!("managed", shown(&managed));
        managed.role = Some(Existing { connection_limit: 1, ..Existing::default() });
        managed.caller.create_role = false;
        managed.standby = true;
        let Sql { text, lacking } = of(&managed, "it's", &Filter::default());
        assert!(text.contains("rolname = 'it''s'") && text.contains("'CREATE ROLE \"it''s\" LOGIN'"), "{text}");
        assert!(text.contains("ALTER ROLE \"it's\" LOGIN;\nALTER ROLE \"it's\" CONNECTION LIMIT 8;"), "{text}");
        insta::assert_snapshot!("lacking", lacking.join("\n"));
    }

    #[test]
    fn no_name_leaves_its_line() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(name("a\\\n\u{1b}\""), "U&\"a\\\\\\+00000A\\+00001B\"\"\"");
        assert_eq!(tame("a\nb"), "a b");
    }
}
