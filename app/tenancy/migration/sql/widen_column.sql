-- The table, the attribute numbers of the column and of its twin, whether it may be NULL and what else it brings: one row,
-- or none where the column is not to be widened.
-- Inputs of `Widening.fill`: column, t, wide.
(
    SELECT a.attrelid AS tab, a.attnum AS old, n.attnum AS new, a.attnotnull AS required, a.attacl AS acl, n.attacl AS new_acl,
           a.attidentity AS identity, a.attoptions AS settings, nullif(a.attstattarget, -1) AS target
      FROM pg_attribute AS a LEFT JOIN pg_attribute AS n ON n.attrelid = a.attrelid AND n.attname = {{'wide'}}
     WHERE a.attrelid = to_regclass({{'t'}}) AND a.attname = {{'column'}} AND a.atttypid IN ('int4'::regtype, 'int2'::regtype))
