-- An SQL_ASCII database: bytes that are no valid UTF-8, in data and in one table's name.
\set ON_ERROR_STOP on
SET client_encoding = 'SQL_ASCII';
CREATE TABLE bytes_in_text (id integer PRIMARY KEY, t text);
INSERT INTO bytes_in_text VALUES (1, E'\xff\xfe'), (2, E'caf\xe9'), (3, E'caf\xc3\xa9'), (4, E'\x80\\n\n'), (5, 'plain');
INSERT INTO bytes_in_text SELECT g, E'\xe9' || g FROM generate_series(6, 2000) g;
DO $$ BEGIN
  EXECUTE E'CREATE TABLE "tabl\xe9" (id integer, "c\xf4l" text)';
  EXECUTE E'INSERT INTO "tabl\xe9" SELECT g, E''\\xe8'' || g FROM generate_series(1, 100) g';
END $$;
CREATE TABLE plain (id integer);
INSERT INTO plain SELECT generate_series(1, 10);
CREATE SEQUENCE counted;
SELECT nextval('counted');
