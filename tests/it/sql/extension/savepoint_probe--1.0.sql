CREATE TABLE settings (name text PRIMARY KEY, value text, builtin boolean NOT NULL DEFAULT false);
INSERT INTO settings VALUES ('shipped', 'by the extension', true);
SELECT pg_catalog.pg_extension_config_dump('settings', 'WHERE NOT builtin');
CREATE SEQUENCE numbers;
SELECT pg_catalog.pg_extension_config_dump('numbers', '');
CREATE TABLE notes (id integer DEFAULT nextval('numbers'), note text);
SELECT pg_catalog.pg_extension_config_dump('notes', '');
CREATE TABLE internal (id integer, data text);
INSERT INTO internal VALUES (1, 'made by the script, not dumped');
