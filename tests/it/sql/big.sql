-- One table of more than 120 MB, a part of it TOASTed, and 40 small ones.
\set ON_ERROR_STOP on
CREATE TABLE big (id bigint, grp integer, noise text, note text);
INSERT INTO big
SELECT g, g % 97, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) || md5((g + 3)::text),
  CASE WHEN g % 4 = 0 THEN E'a note\twith a tab' END
FROM generate_series(1, 500000) g;
ALTER TABLE big ADD COLUMN wide text;
ALTER TABLE big ALTER wide SET STORAGE EXTERNAL;
INSERT INTO big
SELECT g, -1, 'toasted', NULL, (SELECT string_agg(md5(g::text || h), '') FROM generate_series(1, 1250) h)
FROM generate_series(1000001, 1000800) g;
ALTER TABLE big ADD PRIMARY KEY (id);
DO $$ BEGIN
  FOR i IN 1..40 LOOP
    EXECUTE format('CREATE TABLE small_%s AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, %s) g', i, i * 25);
  END LOOP;
END $$;
