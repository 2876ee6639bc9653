-- What PostgreSQL 17 added.
\set ON_ERROR_STOP on
CREATE COLLATION builtin_c (PROVIDER = builtin, LOCALE = 'C.UTF-8');
CREATE TABLE collated_17 (t text COLLATE builtin_c PRIMARY KEY);
INSERT INTO collated_17 VALUES ('a'), ('B'), ('ß');
CREATE TABLE times_17 (id integer, i interval);
INSERT INTO times_17 VALUES (1, 'infinity'), (2, '-infinity');
CREATE TABLE identity_parts (id bigint GENERATED ALWAYS AS IDENTITY, k integer) PARTITION BY RANGE (k);
CREATE TABLE identity_parts_1 PARTITION OF identity_parts FOR VALUES FROM (0) TO (100);
INSERT INTO identity_parts (k) SELECT generate_series(1, 50);
GRANT MAINTAIN ON collated_17 TO awk_writer;
CREATE TABLE json_17 (j jsonb, CHECK (JSON_EXISTS(j, '$.a')));
INSERT INTO json_17 VALUES ('{"a": 1}');
