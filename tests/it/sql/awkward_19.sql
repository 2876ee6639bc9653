-- What PostgreSQL 19 brought.
CREATE TABLE public.stays_19 (id int, room text, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE public.meals_19 (id int, stay int, during daterange, note text,
  PRIMARY KEY (id, during WITHOUT OVERLAPS), FOREIGN KEY (stay, PERIOD during) REFERENCES public.stays_19 (id, PERIOD during));
INSERT INTO public.stays_19 VALUES (1, 'a', '[2026-01-01,2026-07-01)'), (1, 'b', '[2026-07-01,2027-01-01)');
INSERT INTO public.meals_19 VALUES (1, 1, '[2026-02-01,2026-09-01)', 'over both');
-- A rewrite that takes no lock for long.
REPACK public.stays_19;
CREATE TABLE public.checked_19 (a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) VIRTUAL,
  CONSTRAINT positive CHECK (a > 0) NOT ENFORCED);
INSERT INTO public.checked_19 SELECT g FROM generate_series(1, 50) g;
CREATE PUBLICATION sequences_19 FOR ALL SEQUENCES;
CREATE VIEW public.windows_19 AS SELECT a, lag(a) IGNORE NULLS OVER (ORDER BY a) AS before FROM public.checked_19;
