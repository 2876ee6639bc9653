-- What PostgreSQL 15 and 16 added.
\set ON_ERROR_STOP on
CREATE TABLE nulls_equal (a integer, b integer, UNIQUE NULLS NOT DISTINCT (a, b));
INSERT INTO nulls_equal VALUES (1, NULL), (NULL, 1);
CREATE VIEW invoker WITH (security_invoker = true) AS SELECT id FROM public.tree;
CREATE PUBLICATION pub_filtered FOR TABLE public.tree (id) WHERE (id > 10);
CREATE PUBLICATION pub_schema FOR TABLES IN SCHEMA "select";
CREATE TABLE compressed (id integer PRIMARY KEY, t text STORAGE MAIN COMPRESSION pglz);
INSERT INTO compressed SELECT g, repeat('compressible ', 500) FROM generate_series(1, 50) g;
CREATE TABLE numbers_16 (n numeric(3, -2), i integer DEFAULT 0x1F, u numeric(3, 5));
INSERT INTO numbers_16 (n, u) VALUES (12345, 0.00123);
CREATE FUNCTION typed(t public.pair) RETURNS public.pair LANGUAGE sql RETURN t;
