-- The sequences that number the column: its own, and those that its DEFAULT draws from.
    SELECT q.*, c.relname, d.deptype, c.relacl, c.relowner, c.oid
      FROM {{> widen_column.sql}} AS w JOIN pg_depend AS d ON d.refobjid = w.tab AND d.refobjsubid = w.old AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
      JOIN pg_sequence AS q ON seqrelid = d.objid JOIN pg_class AS c ON c.oid = seqrelid
    UNION
    SELECT q.*, c.relname, 'n', c.relacl, c.relowner, c.oid
      FROM {{> widen_column.sql}} AS w JOIN pg_attrdef AS f ON adrelid = w.tab AND adnum = w.old
      JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_sequence AS q ON seqrelid = d.refobjid JOIN pg_class AS c ON c.oid = seqrelid
