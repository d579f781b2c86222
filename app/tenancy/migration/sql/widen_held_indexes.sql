-- Valid indexes that hold the column, with the constraint over each, and the name of the twin.
    SELECT x.*, i.relname AS name, 'widened_' || md5(i.relname) AS twin, con.conname, con.contype, con.oid AS con,
           con.condeferrable, con.condeferred, i.reltablespace
      FROM {{> widen_column.sql}} AS w JOIN pg_index AS x ON indrelid = w.tab AND indisvalid JOIN pg_class AS i ON i.oid = indexrelid
      LEFT JOIN pg_constraint AS con ON conindid = indexrelid AND conrelid = w.tab AND contype IN ('p', 'u', 'x')
     WHERE w.old = ANY (indkey::int2[]) OR EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = w.tab AND refobjsubid = w.old)
