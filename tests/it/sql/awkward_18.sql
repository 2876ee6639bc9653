-- What PostgreSQL 18 added.
\set ON_ERROR_STOP on
CREATE TABLE virtual_18 (a integer, b integer GENERATED ALWAYS AS (a * 2) VIRTUAL, c text, d text GENERATED ALWAYS AS (c || 'x') STORED);
INSERT INTO virtual_18 (a, c) SELECT g, 'c' || g FROM generate_series(1, 30) g;
CREATE TABLE only_virtual (a integer GENERATED ALWAYS AS (7));
INSERT INTO only_virtual DEFAULT VALUES;
CREATE TABLE periods (
  id integer, valid tstzrange, CONSTRAINT periods_key PRIMARY KEY (id, valid WITHOUT OVERLAPS)
);
INSERT INTO periods VALUES (1, '[2026-01-01,2026-02-01)'), (1, '[2026-02-01,2026-03-01)');
CREATE TABLE period_refs (
  id integer, valid tstzrange, FOREIGN KEY (id, PERIOD valid) REFERENCES periods (id, PERIOD valid)
);
INSERT INTO period_refs VALUES (1, '[2026-01-15,2026-02-15)');
CREATE TABLE not_null_18 (a integer, CONSTRAINT a_there NOT NULL a NO INHERIT);
INSERT INTO not_null_18 VALUES (1);
CREATE TABLE not_enforced (a integer CHECK (a > 0) NOT ENFORCED, ref integer REFERENCES public.tree NOT ENFORCED);
INSERT INTO not_enforced VALUES (-1, 123456789);
CREATE TABLE uuid_18 (u uuid DEFAULT uuidv7());
INSERT INTO uuid_18 DEFAULT VALUES;
