-- A large application as such grow over the years: a schema for each customer with the same tables, shared ones for money, people and
-- events, partitions by three keys, everything tied to everything. 1,000 tables and more.
CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gist; CREATE EXTENSION hstore;
CREATE SCHEMA core; CREATE SCHEMA money; CREATE SCHEMA events; CREATE SCHEMA audit;
CREATE ROLE app_role_reader; CREATE ROLE app_role_writer;

CREATE TYPE core.state AS ENUM ('draft', 'open', 'paid', 'void');
CREATE TYPE core.address AS (street text, city text, zip text);
CREATE DOMAIN core.email AS citext CHECK (VALUE ~ '^[^@]+@[^@]+$');
CREATE DOMAIN money.amount AS numeric(18, 4) CHECK (VALUE >= 0);
CREATE FUNCTION core.slug(text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
  AS $$ SELECT lower(regexp_replace($1, '[^a-zA-Z0-9]+', '-', 'g')) $$;
CREATE FUNCTION core.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE FUNCTION audit.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, audit AS $$
BEGIN INSERT INTO audit.log (at, relation, row) VALUES (clock_timestamp(), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, to_jsonb(NEW)); RETURN NULL; END $$;

CREATE TABLE core.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email core.email UNIQUE, name text NOT NULL,
  slug text GENERATED ALWAYS AS (core.slug(name)) STORED, tags text[] NOT NULL DEFAULT '{}', home core.address, extra hstore,
  manager bigint REFERENCES core.users DEFERRABLE INITIALLY DEFERRED, updated_at timestamptz);
CREATE TRIGGER touch BEFORE UPDATE ON core.users FOR EACH ROW EXECUTE FUNCTION core.touch();
CREATE INDEX ON core.users USING gin (tags); CREATE INDEX ON core.users USING gin (name gin_trgm_ops);
CREATE INDEX ON core.users (((home).city)) WHERE manager IS NOT NULL;
INSERT INTO core.users (email, name, tags, home, extra, manager) SELECT 'u' || g || '@example.com', 'User No. ' || g,
  ARRAY['a' || g % 7, 'b'], ROW('street ' || g, 'city ' || g % 20, g)::core.address, hstore('n', g::text), 1 + g % 400 FROM generate_series(1, 400) g;
-- Teams point at their leads and users at their teams: neither can be loaded first with its key in place.
CREATE TABLE core.teams (id int PRIMARY KEY, lead bigint NOT NULL REFERENCES core.users DEFERRABLE, name text COLLATE "C");
INSERT INTO core.teams SELECT g, g, 'team ' || g FROM generate_series(1, 30) g;
ALTER TABLE core.users ADD team int; UPDATE core.users SET team = 1 + id % 30;
ALTER TABLE core.users ADD FOREIGN KEY (team) REFERENCES core.teams DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE core.users DROP COLUMN extra, ADD extra jsonb DEFAULT '{"v": 1}';

CREATE TABLE money.invoices (id bigint, customer int, state core.state NOT NULL, history core.state[] NOT NULL, total money.amount,
  tax money.amount GENERATED ALWAYS AS (total * 0.2) STORED, lines jsonb, during daterange, issued date NOT NULL,
  PRIMARY KEY (state, issued, customer, id)) PARTITION BY LIST (state);
CREATE TABLE money.invoices_closed PARTITION OF money.invoices FOR VALUES IN ('paid', 'void') PARTITION BY RANGE (issued);
CREATE TABLE money.invoices_other PARTITION OF money.invoices DEFAULT PARTITION BY RANGE (issued);
DO $$ DECLARE o text; BEGIN FOR y IN 2020..2026 LOOP FOREACH o IN ARRAY ARRAY['closed', 'other'] LOOP
  EXECUTE format('CREATE TABLE money.invoices_%s_%s PARTITION OF money.invoices_%s FOR VALUES FROM (%L) TO (%L) PARTITION BY HASH (customer)',
    o, y, o, y || '-01-01', y + 1 || '-01-01');
  FOR h IN 0..3 LOOP EXECUTE format('CREATE TABLE money.invoices_%s_%s_h%s PARTITION OF money.invoices_%s_%s FOR VALUES WITH (MODULUS 4, REMAINDER %s)',
    o, y, h, o, y, h); END LOOP; END LOOP; END LOOP; END $$;
CREATE INDEX ON money.invoices (customer, issued DESC) INCLUDE (total); CREATE INDEX ON money.invoices USING brin (issued);
CREATE TRIGGER log AFTER INSERT ON money.invoices FOR EACH ROW WHEN (NEW.total > 900) EXECUTE FUNCTION audit.record();
CREATE TABLE audit.log (id uuid DEFAULT gen_random_uuid(), at timestamptz, relation text, row jsonb);
INSERT INTO money.invoices (id, customer, state, history, total, lines, during, issued)
  SELECT g, g % 97, (enum_range(NULL::core.state))[1 + g % 4], ARRAY['draft', 'open']::core.state[], g % 1000, jsonb_build_object('n', g),
    daterange(date '2020-01-01' + g % 2500, date '2020-01-01' + g % 2500 + 10), date '2020-01-01' + g % 2500 FROM generate_series(1, 4000) g;
CREATE TABLE money.bookings (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO money.bookings SELECT g % 9, tstzrange(t, t + interval '1 hour') FROM generate_series(1, 200) g, LATERAL (SELECT timestamptz '2026-01-01' + g * interval '2 hours' AS t) x;
CREATE MATERIALIZED VIEW money.by_state AS SELECT state, count(*) AS n, sum(total) AS total FROM money.invoices GROUP BY 1;
CREATE UNIQUE INDEX ON money.by_state (state);
CREATE VIEW money.open AS SELECT * FROM money.invoices WHERE state = ANY ('{draft,open}') WITH CASCADED CHECK OPTION;
CREATE RULE no_delete AS ON DELETE TO money.open DO INSTEAD NOTHING;

ALTER TABLE core.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON core.users FOR ALL TO app_role_reader USING (name = current_user) WITH CHECK (true);
CREATE POLICY all_writers ON core.users AS RESTRICTIVE TO app_role_writer USING (team IS NOT NULL);
GRANT USAGE ON SCHEMA core, money TO app_role_reader; GRANT SELECT (id, name) ON core.users TO app_role_reader;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA money TO app_role_writer WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA money GRANT SELECT ON TABLES TO app_role_reader;
CREATE STATISTICS core.team_of (dependencies, ndistinct) ON team, manager FROM core.users;
CREATE AGGREGATE core.product(numeric) (SFUNC = numeric_mul, STYPE = numeric, INITCOND = 1);
CREATE PROCEDURE core.nothing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE PUBLICATION changes FOR TABLE core.teams;
COMMENT ON TABLE core.users IS 'who''s who; the "first" table'; COMMENT ON COLUMN core.users.slug IS E'back\\slash';

-- A schema for each of 40 customers, with 24 tables each, which point at each other, at the shared ones, and round in a circle.
DO $$ DECLARE s text; BEGIN
FOR c IN 1..40 LOOP
  s := format('customer_%s', lpad(c::text, 3, '0'));
  EXECUTE format('CREATE SCHEMA %I', s);
  EXECUTE format('CREATE TYPE %I.mood AS ENUM (''good'', ''bad'')', s);
  EXECUTE format('CREATE TABLE %I."Settings" ("key" text PRIMARY KEY, "value" jsonb, mood %I.mood[] DEFAULT ''{good}'')', s, s);
  EXECUTE format('INSERT INTO %I."Settings" SELECT ''k'' || g, to_jsonb(g) FROM generate_series(1, %s) g', s, c % 5);
  FOR t IN 1..23 LOOP
    EXECUTE format('CREATE TABLE %I.t%s (id serial PRIMARY KEY, owner bigint REFERENCES core.users, parent int, note text DEFAULT %L,
      doubled int GENERATED ALWAYS AS (parent * 2) STORED, CHECK (note <> %L))', s, t, 'it''s ' || t, 'bad');
    EXECUTE format('INSERT INTO %I.t%s (owner, parent) SELECT 1 + g %% 400, 1 + g %% 3 FROM generate_series(1, 3) g', s, t);
  END LOOP;
  FOR t IN 1..23 LOOP
    EXECUTE format('ALTER TABLE %I.t%s ADD FOREIGN KEY (parent) REFERENCES %I.t%s DEFERRABLE INITIALLY DEFERRED', s, t, s, 1 + t % 23);
  END LOOP;
  EXECUTE format('CREATE VIEW %I.everything AS SELECT a.id, b.note FROM %I.t1 a JOIN %I.t2 b ON a.parent = b.id', s, s, s);
  EXECUTE format('CREATE TRIGGER touch AFTER INSERT ON %I.t1 FOR EACH ROW EXECUTE FUNCTION audit.record()', s);
END LOOP; END $$;
