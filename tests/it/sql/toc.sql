-- One of each kind of object that a table of contents can name, and names that are hard to read back.
CREATE ROLE app_owner;
CREATE ROLE app_reader;
CREATE ROLE "Odd ""Role's";
CREATE ROLE in_policy;
CREATE ROLE in_mapping;
CREATE ROLE in_defaults;
CREATE ROLE unrelated_role;

CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION postgres_fdw;
COMMENT ON EXTENSION hstore IS 'of our own';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

CREATE SCHEMA odd AUTHORIZATION app_owner;
CREATE SCHEMA "a.b ""c""
d";
GRANT USAGE ON SCHEMA odd TO app_reader;

CREATE TYPE odd.mood AS ENUM ('sad', 'it''s ok', 'glück');
CREATE TYPE odd.pair AS (a int, b text);
CREATE TYPE odd.span AS RANGE (subtype = float8);
CREATE DOMAIN odd.positive AS int DEFAULT 1 NOT NULL CONSTRAINT is_positive CHECK (VALUE > 0);
CREATE COLLATION odd.bytes (provider = libc, locale = 'C');

CREATE FUNCTION odd.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION odd.twice(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 || $1';
CREATE FUNCTION odd.body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
CREATE PROCEDURE odd.act(INOUT x int) LANGUAGE plpgsql AS $$ BEGIN x := x + 1; END $$;
CREATE FUNCTION odd.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION odd.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION odd.nearly(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT abs($1 - $2) < 2';
CREATE OPERATOR odd.=~= (LEFTARG = int, RIGHTARG = int, FUNCTION = odd.nearly);
CREATE AGGREGATE odd.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION odd.pair_text(odd.pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.b';
CREATE CAST (odd.pair AS text) WITH FUNCTION odd.pair_text(odd.pair) AS ASSIGNMENT;
CREATE OPERATOR FAMILY odd.ints USING btree;
CREATE OPERATOR CLASS odd.int_ops FOR TYPE int USING btree FAMILY odd.ints AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE TEXT SEARCH CONFIGURATION odd.words (COPY = pg_catalog.simple);
CREATE TEXT SEARCH DICTIONARY odd.stems (TEMPLATE = snowball, LANGUAGE = german);

CREATE TABLE odd.orders (
    id bigint GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 7) PRIMARY KEY,
    customer text NOT NULL COLLATE odd.bytes DEFAULT 'it''s',
    dropped int,
    state odd.mood DEFAULT 'sad',
    amount odd.positive,
    twice int GENERATED ALWAYS AS (odd.twice(3)) STORED,
    tags hstore,
    parts odd.pair[],
    made timestamptz DEFAULT now(),
    CONSTRAINT long_name CHECK (length(customer) < 100)
);
ALTER TABLE odd.orders DROP COLUMN dropped;
ALTER TABLE odd.orders ALTER COLUMN customer SET STATISTICS 500, ALTER COLUMN customer SET STORAGE EXTERNAL;
ALTER TABLE odd.orders OWNER TO app_owner;
INSERT INTO odd.orders (customer, tags, parts)
    SELECT E'c\t\\\n' || n, 'a=>1', ARRAY[ROW(n, 'x')::odd.pair] FROM generate_series(1, 50) n;
CREATE INDEX orders_made ON odd.orders (made);
CREATE INDEX orders_trgm ON odd.orders USING gin (customer gin_trgm_ops) WHERE id > 5;
CREATE UNIQUE INDEX orders_expr ON odd.orders ((lower(customer)), (id % 7));
ALTER TABLE odd.orders CLUSTER ON orders_made;
CREATE STATISTICS odd.orders_stats (dependencies, ndistinct) ON customer, state FROM odd.orders;
CREATE TRIGGER "touch it" BEFORE UPDATE OF customer ON odd.orders FOR EACH ROW WHEN (OLD.id > 1) EXECUTE FUNCTION odd.touch();
ALTER TABLE odd.orders DISABLE TRIGGER "touch it";
CREATE RULE no_delete AS ON DELETE TO odd.orders WHERE OLD.id < 5 DO INSTEAD NOTHING;
ALTER TABLE odd.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON odd.orders TO in_policy USING (customer = CURRENT_USER);
GRANT SELECT, INSERT ON odd.orders TO app_reader WITH GRANT OPTION;
GRANT UPDATE (customer) ON odd.orders TO app_reader;
COMMENT ON TABLE odd.orders IS E'orders;\nof ''all'' sorts';
COMMENT ON COLUMN odd.orders.customer IS 'who';
COMMENT ON INDEX odd.orders_made IS 'when';

CREATE TABLE "a.b ""c""
d"."Tab.le ""x"" 'ü'" ("Col "" 1" int PRIMARY KEY, "select" text, "ü\n" text);
INSERT INTO "a.b ""c""
d"."Tab.le ""x"" 'ü'" VALUES (1, 'a', '\.'), (2, NULL, '');
ALTER TABLE "a.b ""c""
d"."Tab.le ""x"" 'ü'" OWNER TO "Odd ""Role's";
CREATE SEQUENCE "a.b ""c""
d"."s', 5, true);" INCREMENT -3 MINVALUE -1000 MAXVALUE 0 CYCLE;
SELECT setval('"a.b ""c""
d"."s'', 5, true);"', -7, false);
CREATE SEQUENCE odd.never;

CREATE TABLE odd.nothing ();
INSERT INTO odd.nothing DEFAULT VALUES;
CREATE UNLOGGED TABLE odd.fast (x int);
INSERT INTO odd.fast VALUES (1);
CREATE TABLE odd.typed OF odd.pair (b WITH OPTIONS NOT NULL);
INSERT INTO odd.typed VALUES (1, 'x');
-- Prints differently once it was read back.
CREATE TABLE odd.drift (kind varchar(10) CHECK (kind IN ('a', 'b')), n int CHECK (n IN (1, 2)));
INSERT INTO odd.drift VALUES ('a', 1);

CREATE TABLE odd.parent (a int, b text DEFAULT 'p', CHECK (a > 0));
CREATE TABLE odd.child (c int, b text DEFAULT 'c') INHERITS (odd.parent);
-- Its own column comes first here, and last once it was restored.
CREATE TABLE odd.late (c int, a int, b text, CHECK (a > 0));
ALTER TABLE odd.late ADD CONSTRAINT parent_a_check CHECK (a > 0);
ALTER TABLE odd.late INHERIT odd.parent;
INSERT INTO odd.parent VALUES (1);
INSERT INTO odd.child VALUES (2, 'x', 3);
INSERT INTO odd.late VALUES (7, 8, 'y');

CREATE TABLE odd.events (id int, at date, kind text, PRIMARY KEY (id, at, kind)) PARTITION BY RANGE (at);
CREATE TABLE odd.events_1 PARTITION OF odd.events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE odd.events_2 PARTITION OF odd.events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY LIST (kind);
CREATE TABLE odd.events_2a PARTITION OF odd.events_2 FOR VALUES IN ('a', 'b');
CREATE TABLE odd.events_rest PARTITION OF odd.events DEFAULT;
CREATE INDEX events_kind ON odd.events (kind);
INSERT INTO odd.events VALUES (1, '2026-01-05', 'x'), (2, '2026-02-05', 'a'), (3, '2030-01-01', 'z');
CREATE TABLE odd.hashed (x int) PARTITION BY HASH (x);
CREATE TABLE odd.hashed_0 PARTITION OF odd.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE odd.hashed_1 PARTITION OF odd.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO odd.hashed SELECT generate_series(1, 20);

CREATE TABLE odd.room (room int, during tstzrange, EXCLUDE USING gist (during WITH &&));
INSERT INTO odd.room VALUES (1, '[2026-01-01,2026-01-02)');
CREATE TABLE odd.chicken (id int PRIMARY KEY, egg int);
CREATE TABLE odd.egg (id int PRIMARY KEY, chicken int REFERENCES odd.chicken DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE odd.chicken ADD FOREIGN KEY (egg) REFERENCES odd.egg ON DELETE SET NULL NOT VALID;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO odd.egg VALUES (1, 1);
INSERT INTO odd.chicken VALUES (1, 1);
COMMIT;

CREATE VIEW odd.v AS SELECT id, customer FROM odd.orders WHERE state IN ('sad', 'glück') WITH CHECK OPTION;
CREATE VIEW odd.grouped AS SELECT id, customer, count(*) FROM odd.orders GROUP BY id;
CREATE MATERIALIZED VIEW odd.mv AS SELECT state, count(*) FROM odd.orders GROUP BY state;
CREATE UNIQUE INDEX mv_state ON odd.mv (state);
CREATE MATERIALIZED VIEW odd.mv_empty AS SELECT * FROM odd.mv WITH NO DATA;
-- Two views in a cycle.
CREATE VIEW odd.ring_a AS SELECT 1 AS x;
CREATE VIEW odd.ring_b AS SELECT x FROM odd.ring_a;
CREATE OR REPLACE VIEW odd.ring_a AS SELECT x FROM odd.ring_b WHERE false;

CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere');
CREATE USER MAPPING FOR in_mapping SERVER far OPTIONS (user 'x', password 'y');
CREATE FOREIGN TABLE odd.remote (a int, b text) SERVER far;
GRANT USAGE ON FOREIGN SERVER far TO app_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE app_owner IN SCHEMA odd GRANT SELECT ON TABLES TO in_defaults;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT EXECUTE ON FUNCTION odd.twice(int) TO "Odd ""Role's";
CREATE PUBLICATION changes FOR TABLE odd.orders, odd.room WITH (publish = 'insert');
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE SEQUENCE') EXECUTE FUNCTION odd.on_ddl();

SELECT lo_from_bytea(500001, '\x0102'), lo_from_bytea(500002, ''), lo_from_bytea(500003, 'x');
ALTER LARGE OBJECT 500002 OWNER TO app_owner;
GRANT SELECT ON LARGE OBJECT 500003 TO app_reader;
COMMENT ON LARGE OBJECT 500001 IS 'large';
