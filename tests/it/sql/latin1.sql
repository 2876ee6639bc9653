-- A LATIN1 database: names and data that are no UTF-8 in the archive. This file is UTF-8; the server converts.
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
CREATE SCHEMA "Schéma";
CREATE TABLE "Schéma"."Tâble" (id integer PRIMARY KEY, "Größe" text);
INSERT INTO "Schéma"."Tâble" SELECT g, 'Ærøskøbing ½ ÿ ' || g FROM generate_series(1, 1000) g;
CREATE TABLE plain (id serial, t text DEFAULT 'défaut');
INSERT INTO plain (t) VALUES ('é'), (E'ligne\nñ\t¿'), (NULL), ('');
COMMENT ON TABLE plain IS 'commenté';
CREATE TYPE "Stimmung" AS ENUM ('glücklich', 'süß');
CREATE TABLE moods (m "Stimmung", a "Stimmung"[]);
INSERT INTO moods VALUES ('süß', '{glücklich,süß}');
CREATE MATERIALIZED VIEW "vué" AS SELECT count(*) AS n FROM "Schéma"."Tâble";
CREATE SEQUENCE "numéro";
SELECT setval('"numéro"', 77);
