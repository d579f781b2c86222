-- Statements that add what is missing: foreign keys and CHECKs of the wide column, not yet validated. A key's columns are
-- put together, what follows them is as PostgreSQL writes it down. Needs widen_scratch.sql.
-- Inputs of `Widening.fill`: n, t.
SELECT format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s(%s)%s%s', conrelid::regclass, twin, new_from, confrelid::regclass, new_to,
              replace(rest, ' NOT VALID', ''), CASE WHEN rest LIKE '% NOT ENFORCED%' THEN '' ELSE ' NOT VALID' END)
  FROM (SELECT *, substr(pg_get_constraintdef(k.oid), length(format('FOREIGN KEY (%s) REFERENCES %s(%s)', old_from, confrelid::regclass, old_to)) + 1) AS rest
          FROM ({{> widen_held_constraints.sql}}) AS k CROSS JOIN LATERAL (
               SELECT string_agg(quote_ident(f.attname), ', ' ORDER BY place) AS old_from, string_agg(quote_ident(t.attname), ', ' ORDER BY place) AS old_to,
                      string_agg(CASE WHEN (f.attrelid, f.attnum) = (tab, old) THEN {{'n'}} ELSE quote_ident(f.attname) END, ', ' ORDER BY place) AS new_from,
                      string_agg(CASE WHEN (t.attrelid, t.attnum) = (tab, old) THEN {{'n'}} ELSE quote_ident(t.attname) END, ', ' ORDER BY place) AS new_to
                 FROM unnest(conkey, confkey) WITH ORDINALITY AS key (a, b, place)
                 JOIN pg_attribute AS f ON f.attrelid = conrelid AND f.attnum = a JOIN pg_attribute AS t ON t.attrelid = confrelid AND t.attnum = b) AS columns
         WHERE contype = 'f') AS k
 WHERE NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin)
UNION ALL
SELECT format('ALTER TABLE {{t}} ADD CONSTRAINT %I %s%s', twin, replace(pg_get_constraintdef(s.oid), ' NOT VALID', ''),
              CASE WHEN pg_get_constraintdef(s.oid) LIKE '% NOT ENFORCED%' THEN '' ELSE ' NOT VALID' END)
  FROM ({{> widen_held_constraints.sql}}) AS k JOIN pg_constraint AS s ON s.conrelid = to_regclass('pg_temp.widen_scratch') AND s.conname = k.conname
 WHERE k.contype = 'c' AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = k.conrelid AND c.conname = twin)
