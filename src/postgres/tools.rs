//! pg_dump, pg_restore, initdb and postgres of one major version, and running them without leaking anything.
