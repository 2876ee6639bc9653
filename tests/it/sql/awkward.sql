-- One object of every kind that a backup can stumble over, for PostgreSQL 14 and later. Loaded into a UTF8 database.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET client_encoding = 'UTF8';

-- Roles belong to the server: other databases may have made them already.
DO $$
DECLARE r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['awk_owner', 'awk reader', 'awk"quoted', 'awk_Ünïcode', 'awk_writer', 'awk_grantor'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I', r);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END LOOP;
END $$;

-- Extensions, one of them with configuration tables.
CREATE SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION ltree SCHEMA ext;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION postgres_fdw SCHEMA ext;
CREATE EXTENSION file_fdw SCHEMA ext;
CREATE SCHEMA probe;
CREATE EXTENSION savepoint_probe;
INSERT INTO probe.settings VALUES ('ours', E'a value\twith a tab', false);
INSERT INTO probe.notes (note) VALUES ('one'), (NULL), ('three');
CREATE TABLE public.with_extensions (
  h ext.hstore, c ext.citext UNIQUE, l ext.ltree, t text
);
INSERT INTO with_extensions VALUES
  ('a=>1, "b c"=>NULL', 'MiXed', 'top.middle.leaf', 'trigram'), (NULL, 'other', '', '');
CREATE INDEX ON with_extensions USING gin (t ext.gin_trgm_ops);
CREATE INDEX ON with_extensions USING gist (l);

-- Types: enum, composite, domain with checks, range, arrays of them.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'so ''so''', 'naïve');
ALTER TYPE mood ADD VALUE 'meh' BEFORE 'ok';
CREATE TYPE pair AS (x integer, "odd name" text, m mood);
CREATE DOMAIN positive AS numeric(12, 3) NOT NULL DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN code AS varchar(20) CONSTRAINT code_form CHECK (VALUE ~ '^[A-Z]{2}-\d+$');
CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE shell_only;

-- Values.
CREATE TABLE numbers (
  id integer PRIMARY KEY, n numeric, r real, d double precision, s smallint, i integer, b bigint, m money
);
INSERT INTO numbers VALUES
  (1, 'NaN', 'NaN', 'NaN', -32768, -2147483648, -9223372036854775808, '-92233720368547758.08'),
  (2, 'Infinity', 'Infinity', 'Infinity', 32767, 2147483647, 9223372036854775807, '92233720368547758.07'),
  (3, '-Infinity', '-Infinity', '-Infinity', 0, 0, 0, '0'),
  (4, '0.0000000000000000000000000000000000000001', '1e-45', '5e-324', 1, 1, 1, '0.01'),
  (5, repeat('9', 1000)::numeric, '1.1754944e-38', '2.2250738585072011e-308', NULL, NULL, NULL, NULL),
  (6, 1.50, '-0', '-0', NULL, NULL, NULL, NULL),
  (7, 1.5000, 0.1, 0.1, NULL, NULL, NULL, NULL),
  (8, 0.30000000000000004, 3.4028235e38, 1.7976931348623157e308, NULL, NULL, NULL, NULL);

CREATE TABLE times (
  id integer PRIMARY KEY, d date, ts timestamp, tz timestamptz, t time, ttz timetz, i interval
);
INSERT INTO times VALUES
  (1, 'infinity', 'infinity', 'infinity', '00:00', '00:00+15:59', '0'),
  (2, '-infinity', '-infinity', '-infinity', '24:00', '24:00-15:59', '-1 year 2 mons -3 days 04:05:06.789'),
  (3, '4713-01-01 BC', '0044-03-15 12:00 BC', '0044-03-15 12:00:00+00 BC', '23:59:59.999999', '12:34:56.789+05:30:15',
   '178000000 years'),
  (4, '5874897-12-31', '294276-12-31 23:59:59.999999', '2026-03-29 02:30:00+02', '12:00', '12:00+00', '-00:00:00.000001'),
  (5, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE texts (id integer PRIMARY KEY, t text, v varchar(40), c char(5), n name, note text);
INSERT INTO texts VALUES
  (1, E'line one\nline two\r\nline three\n', E'\t', 'a', 'name', 'newlines'),
  (2, E'\\.', E'\\.', E'\\.', E'\\.', 'the end-of-data mark as a value'),
  (3, E'before\n\\.\nafter', NULL, NULL, NULL, 'the end-of-data mark alone on a line'),
  (4, E'\\N', E'\\N', E'\\N', E'\\N', 'what COPY writes for NULL, as text'),
  (5, NULL, NULL, NULL, NULL, NULL),
  (6, '', '', '', '', 'empty is not NULL'),
  (7, E'\\ \\\\ \\b \\x41 \b\f\v\x01\x1f\x7f', NULL, NULL, NULL, 'backslashes and control characters'),
  (8, 'Ünïcode 漢字 🐘 ' || U&'\200B\FEFF\0301', '漢字', 'é', 'ß', 'unicode, zero-width, combining'),
  (9, 'a,b;"c"''d''', '--', '/*', '$$', 'quotes and comments'),
  (10, repeat(' ', 40), ' ', '     ', ' ', 'blanks'),
  (11, E'1\t2\t3\n4\t5\t6', NULL, NULL, NULL, 'tabs');

CREATE TABLE others (
  id integer PRIMARY KEY, by bytea, j json, jb jsonb, x xml, u uuid, ip inet, net cidr, mac macaddr, mac8 macaddr8,
  b1 bit(5), bv bit varying(9), tsv tsvector, tsq tsquery, p point, pg polygon, ci circle, ln line, i4 int4range, nr numrange,
  tr tstzrange, mr int4multirange, fr floats, m mood, pr pair, po positive, co code, lsn pg_lsn, reg regclass, oid_ oid,
  jp jsonpath
);
INSERT INTO others (id, po) VALUES (0, 1);
INSERT INTO others VALUES (
  1, '\x000a0d5c5cff7f00', E'{"b" : 1,\n "a": [null, "\\u00e9"], "b": 2}', '{"b": 1, "a": [null, "\\u00e9\\n"], "n": 1e2}',
  '<a href="x">é &amp; <![CDATA[ ]] ]]></a>', '00000000-0000-0000-0000-000000000001', '10.0.0.1/24', '10.0.0.0/8',
  '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'1', 'fat:2,4 cat:3 rat:5A', '''fat'' & ( ''rat'' | ''c at'' )',
  '(1.5,-2)', '((0,0),(1,1),(1,0))', '<(0,0),2>', '{1,-1,0}', '[1,10)', '(,)', '[2026-01-01 00:00+00,infinity)',
  '{[1,3),[5,)}', '[0.1,0.2)', 'so ''so''', '(1,"a ""quoted"", thing",happy)', 12.345, 'AB-12', '16/B374D848',
  'pg_catalog.pg_class', 4294967295, '$.a[*] ? (@ > 1)'
);
INSERT INTO others (id, by, j, jb, nr, po) VALUES (2, '', 'null', 'null', 'empty', 0.001);

CREATE TABLE arrays (
  id integer PRIMARY KEY, i integer[], t text[], n numeric(5,2)[][], m mood[], p pair[], tr tstzrange[], b bytea[]
);
INSERT INTO arrays VALUES
  (1, '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
  (2, '[-2:0]={1,NULL,3}', ARRAY['', NULL, 'NULL', 'a,b', '{}', '"', E'\\', E'\n', ' '], '{{1.10,2.20},{3,4}}',
   ARRAY['sad', 'so ''so''']::mood[], ARRAY[ROW(1, E'a\\b"c', 'ok'), NULL]::pair[], '{"[2026-01-01,2026-02-01)",empty}',
   ARRAY['\x00'::bytea, '\x5c']),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- Big values: 1 MB that does not compress, 1 MB that does, external storage, a row wider than a page.
CREATE TABLE toasted (id integer PRIMARY KEY, noise text, blank text, ext text, raw bytea);
ALTER TABLE toasted ALTER ext SET STORAGE EXTERNAL;
INSERT INTO toasted
SELECT g, (SELECT string_agg(md5(g::text || '.' || h), '') FROM generate_series(1, 32768) h), repeat('x', 1048576),
  repeat(E'ext\n', 5000), decode(repeat(md5(g::text), 4000), 'hex')
FROM generate_series(1, 3) g;
CREATE TABLE wide (id integer PRIMARY KEY, filler text[]);
INSERT INTO wide SELECT g, array_agg(md5(g || '/' || h)) FROM generate_series(1, 20) g, generate_series(1, 400) h GROUP BY g;
-- Not each with a default: PostgreSQL compares all columns' names pairwise for each expression that it prints.
DO $$ BEGIN
  EXECUTE (SELECT 'CREATE TABLE many_columns (' ||
             string_agg(format('c%s integer', g) || CASE WHEN g % 10 = 1 THEN format(' DEFAULT %s', g) ELSE '' END, ', ') || ')'
           FROM generate_series(1, 900) g);
END $$;
INSERT INTO many_columns DEFAULT VALUES;
INSERT INTO many_columns (c1) VALUES (NULL);

-- Generated, identity, dropped and no columns.
CREATE TABLE generated (
  first text, id integer GENERATED ALWAYS AS IDENTITY (START 1000 INCREMENT 7), price numeric NOT NULL,
  gross numeric GENERATED ALWAYS AS (price * 1.19) STORED, tail text, low text GENERATED ALWAYS AS (lower(first)) STORED
);
INSERT INTO generated (first, price, tail) SELECT 'Row ' || g, g, 'tail' FROM generate_series(1, 50) g;
CREATE TABLE identity_default (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, t text);
INSERT INTO identity_default (t) VALUES ('a'), ('b');
INSERT INTO identity_default (id, t) VALUES (5000000000, 'by hand');
CREATE TABLE dropped (a integer, gone text, b text, gone2 integer, c date DEFAULT '2026-01-01');
INSERT INTO dropped VALUES (1, 'x', 'y', 2, NULL);
ALTER TABLE dropped DROP COLUMN gone, DROP COLUMN gone2;
ALTER TABLE dropped ADD COLUMN late integer NOT NULL DEFAULT 42;
INSERT INTO dropped (a, b) VALUES (2, 'after the drop');
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE emptied (a integer);
INSERT INTO emptied VALUES (1);
ALTER TABLE emptied DROP COLUMN a;
CREATE TABLE only_generated (g integer GENERATED ALWAYS AS (1 + 1) STORED);
INSERT INTO only_generated DEFAULT VALUES;
INSERT INTO only_generated DEFAULT VALUES;
CREATE TABLE no_rows (id serial PRIMARY KEY, t text);

-- Partitions: range, list, several levels, default, attached with other column order, empty parent.
CREATE TABLE events (id bigint, at timestamptz NOT NULL, kind text, payload jsonb) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2026_a PARTITION OF events_2026 FOR VALUES IN ('a', 'b');
CREATE TABLE events_2026_null PARTITION OF events_2026 FOR VALUES IN (NULL);
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
CREATE TABLE events_other (payload jsonb, junk integer, kind text, id bigint, at timestamptz NOT NULL);
ALTER TABLE events_other DROP COLUMN junk;
ALTER TABLE events ATTACH PARTITION events_other DEFAULT;
INSERT INTO events SELECT g, timestamptz '2024-06-01 00:00+00' + g * interval '1 day',
    CASE g % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN 'zz' END, jsonb_build_object('g', g)
  FROM generate_series(1, 1200) g;
CREATE INDEX ON events (at, id);
CREATE TABLE empty_parent (id integer) PARTITION BY RANGE (id);
CREATE TABLE by_text (t text COLLATE "C", n integer) PARTITION BY RANGE (t);
CREATE TABLE by_text_am PARTITION OF by_text FOR VALUES FROM (MINVALUE) TO ('n');
CREATE TABLE by_text_nz PARTITION OF by_text FOR VALUES FROM ('n') TO (MAXVALUE);
INSERT INTO by_text VALUES ('apple', 1), ('Zebra', 2), ('zebra', 3), ('é', 4);
CREATE TABLE by_hash (id integer, t text) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_hash SELECT g, 'h' || g FROM generate_series(1, 100) g;
-- An enum's hash depends on OIDs that differ after a restore.
CREATE TABLE by_mood (m mood, n integer) PARTITION BY HASH (m);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_mood_2 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 2) PARTITION BY RANGE (n);
CREATE TABLE by_mood_2_low PARTITION OF by_mood_2 FOR VALUES FROM (MINVALUE) TO (50);
CREATE TABLE by_mood_2_high PARTITION OF by_mood_2 FOR VALUES FROM (50) TO (MAXVALUE);
INSERT INTO by_mood SELECT (enum_range(NULL::mood))[1 + g % 6], g FROM generate_series(1, 120) g;
CREATE TABLE by_day_mood (d date, m mood, n integer) PARTITION BY RANGE (d);
CREATE TABLE by_day_mood_1 PARTITION OF by_day_mood FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY HASH (m);
CREATE TABLE by_day_mood_1_0 PARTITION OF by_day_mood_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_day_mood_1_1 PARTITION OF by_day_mood_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE by_day_mood_2 PARTITION OF by_day_mood DEFAULT;
INSERT INTO by_day_mood SELECT date '2026-01-01' + g % 60, (enum_range(NULL::mood))[1 + g % 6], g FROM generate_series(1, 90) g;

-- Inheritance: a child whose columns came in another order, and one with two parents.
CREATE TABLE parent (id integer NOT NULL, name text);
CREATE TABLE child (own text, id integer NOT NULL) INHERITS (parent);
ALTER TABLE parent ADD COLUMN late text DEFAULT 'later';
ALTER TABLE child ADD COLUMN own2 integer;
ALTER TABLE parent ADD COLUMN later_still integer;
CREATE TABLE parent2 (name text, extra integer);
CREATE TABLE grandchild (z integer) INHERITS (child, parent2);
INSERT INTO parent (id, name) VALUES (1, 'parent');
INSERT INTO child (own, id, name, own2, later_still) VALUES ('own', 2, 'child', 7, 8);
INSERT INTO grandchild (own, id, name, z, extra) VALUES ('g', 3, 'grandchild', 9, 10);
INSERT INTO parent2 VALUES ('p2', 1);

-- Row-level security: enabled without a policy, with policies, and forced.
CREATE TABLE rls_closed (id integer);
INSERT INTO rls_closed SELECT generate_series(1, 10);
ALTER TABLE rls_closed ENABLE ROW LEVEL SECURITY;
CREATE TABLE rls_policies (id integer, tenant name);
INSERT INTO rls_policies VALUES (1, 'awk_owner'), (2, 'nobody at all');
ALTER TABLE rls_policies ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON rls_policies USING (tenant = current_user);
CREATE POLICY "odd policy" ON rls_policies AS RESTRICTIVE FOR UPDATE TO awk_owner, "awk reader" USING (id > 0) WITH CHECK (id > 1);
CREATE TABLE rls_forced (id integer);
INSERT INTO rls_forced SELECT generate_series(1, 5);
ALTER TABLE rls_forced ENABLE ROW LEVEL SECURITY;
ALTER TABLE rls_forced FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON rls_forced USING (false);

-- Names.
CREATE SCHEMA "Odd Schema.with ""quotes""";
CREATE SCHEMA "select";
CREATE TABLE "Odd Schema.with ""quotes"""."Table with spaces" ("Col umn" integer, "select" text, "dot.ted" text);
INSERT INTO "Odd Schema.with ""quotes"""."Table with spaces" VALUES (1, 'a', 'b');
CREATE TABLE "Odd Schema.with ""quotes"""."quo""te" ("a""b" integer, "a'b" integer, "a\b" integer, "$1" integer);
INSERT INTO "Odd Schema.with ""quotes"""."quo""te" VALUES (1, 2, 3, 4);
CREATE TABLE "select"."table" ("from" integer, "where" integer);
INSERT INTO "select"."table" VALUES (1, 2);
CREATE TABLE "dot.ted.name" (id integer);
INSERT INTO "dot.ted.name" VALUES (1);
CREATE TABLE U&"new\000Aline" (id integer, U&"col\0009umn" integer, U&"carriage\000Dreturn" integer);
INSERT INTO U&"new\000Aline" VALUES (1, 2, 3);
CREATE TABLE "漢字テーブル" ("列" text);
INSERT INTO "漢字テーブル" VALUES ('値');
CREATE TABLE "UPPER" (id integer);
INSERT INTO "UPPER" VALUES (1);
CREATE TABLE upper (id integer);
INSERT INTO upper VALUES (2), (3);
CREATE TABLE "1st" (id integer);
INSERT INTO "1st" VALUES (1);
CREATE TABLE "sixty_three_bytes_long_name_that_fills_the_whole_of_namedatalen" (id integer);
INSERT INTO "sixty_three_bytes_long_name_that_fills_the_whole_of_namedatalen" VALUES (1);
CREATE TABLE "*" (id integer);
INSERT INTO "*" VALUES (1);
CREATE TABLE "wild?card[a-z]|(x)+$" (id integer);
INSERT INTO "wild?card[a-z]|(x)+$" VALUES (1);
CREATE TABLE "back\slash/and'quote" (id integer);
INSERT INTO "back\slash/and'quote" VALUES (1);
CREATE TABLE "%s;{}$(x)`y`" (id integer);
INSERT INTO "%s;{}$(x)`y`" VALUES (1);
CREATE TABLE " lead and trail " (id integer);
INSERT INTO " lead and trail " VALUES (1);

-- Keys in cycles, keys on the table itself, exclusion, CHECK lists.
CREATE TABLE chicken (id integer PRIMARY KEY, egg integer NOT NULL);
CREATE TABLE egg (id integer PRIMARY KEY, chicken integer NOT NULL REFERENCES chicken DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE chicken ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO chicken SELECT g, g FROM generate_series(1, 100) g;
INSERT INTO egg SELECT g, 101 - g FROM generate_series(1, 100) g;
COMMIT;
CREATE TABLE tree (id integer PRIMARY KEY, up integer REFERENCES tree ON DELETE CASCADE);
INSERT INTO tree VALUES (1, NULL);
INSERT INTO tree SELECT g, g / 2 FROM generate_series(2, 500) g;
UPDATE tree SET up = 500 WHERE id = 1;
CREATE TABLE bookings (
  room integer, during tstzrange, state varchar(10) CHECK (state IN ('open', 'paid', 'void')),
  CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (state <> 'void'),
  CONSTRAINT not_yet CHECK (room < 1000) NOT VALID
);
INSERT INTO bookings VALUES (1, '[2026-01-01,2026-01-02)', 'open'), (1, '[2026-01-02,2026-01-03)', 'paid'),
  (1, '[2026-01-01,2026-01-03)', 'void');
CREATE TABLE not_validated (id integer, ref integer);
INSERT INTO not_validated VALUES (1, 999999);
ALTER TABLE not_validated ADD FOREIGN KEY (ref) REFERENCES tree NOT VALID;
CREATE UNIQUE INDEX ON bookings (lower(state), room, during) INCLUDE (state) WHERE state = 'open';
CREATE INDEX brin ON events_2025 USING brin (at);
ALTER TABLE bookings REPLICA IDENTITY FULL;
CREATE TABLE clustered (id integer PRIMARY KEY) WITH (fillfactor = 70, autovacuum_enabled = false);
INSERT INTO clustered SELECT g FROM generate_series(10, 1, -1) g;
ALTER TABLE clustered CLUSTER ON clustered_pkey;
ALTER TABLE clustered ALTER id SET STATISTICS 250;
CREATE STATISTICS stats_on_bookings (ndistinct, dependencies, mcv) ON room, state FROM bookings;
CREATE STATISTICS stats_on_expression ON (room % 7), lower(state) FROM bookings;

-- Functions, procedures, aggregates, casts, operators, text search, collations, conversions.
CREATE FUNCTION add_one(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION sql_body(a integer DEFAULT 3, VARIADIC b integer[] DEFAULT '{}') RETURNS integer LANGUAGE sql
  BEGIN ATOMIC SELECT a + cardinality(b); END;
CREATE PROCEDURE proc(INOUT a integer) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $body$
BEGIN
  -- a comment; with 'quotes' and $$dollars$$
  a := a + 1;
END $body$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE AGGREGATE product(double precision) (SFUNC = float8mul, STYPE = double precision, INITCOND = 1);
CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).x || '/' || ($1)."odd name" $$;
CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair) AS ASSIGNMENT;
CREATE FUNCTION pair_lt(pair, pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT ($1).x < ($2).x $$;
CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_lt, COMMUTATOR = >>>);
CREATE FUNCTION int_cmp_rev(integer, integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT btint4cmp($2, $1) $$;
CREATE OPERATOR CLASS int_reverse FOR TYPE integer USING btree AS
  OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 int_cmp_rev(integer, integer);
CREATE INDEX tree_reverse ON tree (id int_reverse);
CREATE INDEX tree_expression ON tree (add_one(id));
CREATE COLLATION "Col C" FROM "C";
CREATE TABLE collated (t text COLLATE "Col C" PRIMARY KEY, u text COLLATE "C.utf8");
INSERT INTO collated VALUES ('a', 'B'), ('B', 'a'), ('ä', 'Ä');
CREATE TEXT SEARCH DICTIONARY plain_dict (TEMPLATE = pg_catalog.simple, ACCEPT = false);
CREATE TEXT SEARCH CONFIGURATION plain_search (PARSER = pg_catalog."default");
ALTER TEXT SEARCH CONFIGURATION plain_search ADD MAPPING FOR asciiword WITH plain_dict, pg_catalog.english_stem;
CREATE CONVERSION latin_again FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FUNCTION defaulted() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'from a function'::text $$;
CREATE TABLE with_defaults (
  id integer DEFAULT add_one(1), t text DEFAULT defaulted(), u uuid DEFAULT gen_random_uuid(), a integer[] DEFAULT '{1,2}',
  at timestamptz DEFAULT now()
);
INSERT INTO with_defaults DEFAULT VALUES;

-- Triggers (also disabled and for replicas), rules, views; a view and a function that need each other.
CREATE TABLE triggered (id integer, note text);
INSERT INTO triggered VALUES (1, 'before the triggers');
CREATE TRIGGER "Odd Trigger" BEFORE INSERT OR UPDATE OF note ON triggered FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION touch();
CREATE TRIGGER disabled AFTER DELETE ON triggered FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE triggered DISABLE TRIGGER disabled;
CREATE TRIGGER for_replica AFTER INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE triggered ENABLE REPLICA TRIGGER for_replica;
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON triggered DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a restore must not fire this'; END $$;
CREATE TABLE hostile (id integer);
INSERT INTO hostile VALUES (1), (2);
CREATE TRIGGER refuse BEFORE INSERT ON hostile FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE hostile ENABLE ALWAYS TRIGGER refuse;
CREATE TABLE ruled (id integer);
INSERT INTO ruled VALUES (1);
CREATE RULE swallow AS ON INSERT TO ruled DO INSTEAD NOTHING;
CREATE RULE also AS ON DELETE TO ruled DO ALSO NOTIFY "odd channel";
CREATE VIEW plain_view WITH (security_barrier) AS SELECT id, up FROM tree WHERE id > 1 WITH LOCAL CHECK OPTION;
CREATE VIEW view_a AS SELECT 1 AS id;
CREATE FUNCTION view_rows() RETURNS SETOF view_a LANGUAGE sql STABLE AS 'SELECT 1';
CREATE OR REPLACE VIEW view_a AS SELECT id FROM view_rows();
CREATE VIEW grouped AS SELECT id, up FROM tree GROUP BY id;
CREATE RECURSIVE VIEW numbers_up (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM numbers_up WHERE n < 5;

-- Materialized views: filled, not filled, on another one, with an index.
CREATE MATERIALIZED VIEW mv_filled AS SELECT kind, count(*) AS n FROM events GROUP BY kind;
CREATE UNIQUE INDEX ON mv_filled (kind);
CREATE MATERIALIZED VIEW mv_empty AS SELECT id FROM tree WITH NO DATA;
CREATE MATERIALIZED VIEW a_mv_on_mv AS SELECT sum(n) AS n FROM mv_filled;
CREATE MATERIALIZED VIEW mv_on_empty AS SELECT count(*) AS n FROM tree WITH NO DATA;

-- Sequences: not called, called, negative, at its ends, of other types, owned, cached.
CREATE SEQUENCE seq_new START 17;
CREATE SEQUENCE seq_called;
SELECT nextval('seq_called'), nextval('seq_called');
CREATE SEQUENCE seq_down INCREMENT -3 MINVALUE -1000 MAXVALUE -1 CYCLE;
SELECT nextval('seq_down'), nextval('seq_down');
CREATE SEQUENCE seq_max;
SELECT setval('seq_max', 9223372036854775807);
CREATE SEQUENCE seq_min MINVALUE -9223372036854775808;
SELECT setval('seq_min', -9223372036854775808, false);
CREATE SEQUENCE seq_small AS smallint CACHE 20;
SELECT nextval('seq_small');
CREATE SEQUENCE "Odd ""seq""" OWNED BY numbers.id;
SELECT setval('"Odd ""seq"""', 12345, false);

-- Unlogged, foreign, large objects.
CREATE UNLOGGED TABLE unlogged (id serial, t text);
INSERT INTO unlogged (t) VALUES ('one'), ('two');
CREATE SERVER "far away" FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1', dbname 'none');
CREATE USER MAPPING FOR awk_owner SERVER "far away" OPTIONS (user 'x', password 'mapped');
CREATE USER MAPPING FOR PUBLIC SERVER "far away" OPTIONS (user 'y');
CREATE FOREIGN TABLE foreign_rows (id integer OPTIONS (column_name 'ID'), t text) SERVER "far away" OPTIONS (table_name 'x');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE foreign_file (line text) SERVER files OPTIONS (filename '/nonexistent/file');
SELECT lo_from_bytea(70001, '\x00010203ff5c2e0a');
SELECT lo_from_bytea(70002, decode(repeat(md5('large'), 20000), 'hex'));
SELECT lo_create(70003);
SELECT lo_from_bytea(70004, 'owned and granted');
ALTER LARGE OBJECT 70004 OWNER TO "awk_Ünïcode";
GRANT SELECT ON LARGE OBJECT 70004 TO "awk reader";
GRANT UPDATE ON LARGE OBJECT 70001 TO PUBLIC;
COMMENT ON LARGE OBJECT 70001 IS 'it''s a large object';
CREATE TABLE points_at_lo (id integer, content oid);
INSERT INTO points_at_lo VALUES (1, 70001), (2, 70003);

-- Owners, grants, default privileges, comments, labels.
ALTER TABLE texts OWNER TO awk_owner;
ALTER TABLE egg OWNER TO "awk""quoted";
ALTER TABLE "漢字テーブル" OWNER TO "awk_Ünïcode";
ALTER SCHEMA "select" OWNER TO awk_owner;
ALTER FUNCTION add_one(integer) OWNER TO awk_owner;
ALTER SEQUENCE seq_new OWNER TO awk_writer;
ALTER TYPE floats OWNER TO awk_owner;
ALTER MATERIALIZED VIEW mv_filled OWNER TO awk_owner;
GRANT SELECT ON events, tree TO awk_owner;
REFRESH MATERIALIZED VIEW a_mv_on_mv;
GRANT SELECT ON texts TO "awk reader" WITH GRANT OPTION;
GRANT SELECT (id), UPDATE (note) ON triggered TO "awk reader", "awk""quoted";
GRANT ALL ON others TO awk_writer WITH GRANT OPTION;
SET ROLE awk_writer;
GRANT INSERT ON others TO "awk_Ünïcode";
RESET ROLE;
GRANT SELECT ON ALL TABLES IN SCHEMA "Odd Schema.with ""quotes""" TO PUBLIC;
GRANT USAGE ON SCHEMA "select" TO "awk reader";
REVOKE EXECUTE ON FUNCTION add_one(integer) FROM PUBLIC;
REVOKE ALL ON numbers FROM postgres;
GRANT USAGE ON SEQUENCE seq_called TO awk_writer;
GRANT USAGE ON FOREIGN SERVER "far away" TO awk_owner;
ALTER DEFAULT PRIVILEGES FOR ROLE awk_owner GRANT SELECT ON TABLES TO "awk reader";
ALTER DEFAULT PRIVILEGES FOR ROLE awk_grantor IN SCHEMA "select" GRANT EXECUTE ON FUNCTIONS TO awk_writer;
ALTER DEFAULT PRIVILEGES FOR ROLE awk_grantor REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
COMMENT ON TABLE texts IS E'a comment with ''quotes'', a newline\nand \\ backslashes; DROP TABLE texts; --';
COMMENT ON COLUMN "select"."table"."from" IS 'Ünïcode';
COMMENT ON SCHEMA "select" IS 'keyword';
COMMENT ON FUNCTION add_one(integer) IS 'adds';
COMMENT ON TYPE mood IS 'moods';
COMMENT ON CONSTRAINT no_overlap ON bookings IS 'rooms';
COMMENT ON TRIGGER "Odd Trigger" ON triggered IS 'odd';

-- Event triggers, publications.
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER awkward_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION on_ddl();
ALTER EVENT TRIGGER awkward_ddl DISABLE;
CREATE PUBLICATION pub_some FOR TABLE texts, "select"."table" WITH (publish = 'insert');
CREATE PUBLICATION pub_all FOR ALL TABLES WITH (publish_via_partition_root = true);

-- Settings of the database itself.
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET search_path = public, ext', current_database());
  EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'awkward');
END $$;

-- Dead rows and gaps in the heap.
CREATE TABLE churned (id integer PRIMARY KEY, t text);
INSERT INTO churned SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
DELETE FROM churned WHERE id % 3 = 0;
UPDATE churned SET t = 'moved' WHERE id % 5 = 0;
