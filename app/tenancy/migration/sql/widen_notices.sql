-- Sentences (place, said) about what the widening needs, and what is to be looked at.
-- Inputs of `Widening.fill`: column, table, wide.
SELECT 1, format('{{table}}.{{column}}: about %s rows are written anew, which takes about %s min and, for as long as it runs, up to %s more on disk; {{column}} becomes the last column of {{table}}',
                 to_char(greatest(reltuples, 0), 'FM999,999,999,990'), ceil(greatest(reltuples, 1) / 600000), pg_size_pretty(pg_total_relation_size(tab)))
  FROM {{> widen_column.sql}} AS w JOIN pg_class ON oid = tab
UNION ALL
SELECT DISTINCT 2, format('{{table}}.{{column}}: %s.%I, which refers to it, is %s: widen it too before ids reach %s', conrelid::regclass, attname, format_type(atttypid, NULL),
                          CASE atttypid WHEN 'int2'::regtype THEN '32,767' ELSE '2,147,483,647' END)
  FROM {{> widen_column.sql}} AS w JOIN pg_constraint ON contype = 'f' AND confrelid = tab AND conparentid = 0
  JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[array_position(confkey, old)] WHERE atttypid IN ('int4'::regtype, 'int2'::regtype)
UNION ALL
SELECT 3, format('{{table}}.{{column}}: look at function %s, which reads {{table}} and returns integers: a bigint does not fit RETURN QUERY', p.oid::regprocedure)
  FROM {{> widen_column.sql}} AS w, pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname = 'plpgsql' AND prosrc ~* ('\m' || {{'table'}} || '\M') AND prosrc ~* 'return\s+query'
   AND ('int4'::regtype = ANY (proallargtypes) OR prorettype = 'int4'::regtype)
UNION ALL
SELECT 4, format('{{table}}.{{column}}: look at function %s, which takes rows of {{table}} apart: {{column}} becomes the last column, and a list of columns for a whole row goes by place', p.oid::regprocedure)
  FROM {{> widen_column.sql}} AS w JOIN pg_class AS c ON c.oid = tab JOIN pg_type AS t ON t.oid = reltype CROSS JOIN pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname NOT IN ('sql', 'c', 'internal') AND prorettype <> 'trigger'::regtype
   AND (prorettype IN (t.oid, t.typarray) OR prosrc ~* ('\m(?!(from|join|into|update|table|only|delete|insert)\M)\w+\s+(\w+\.)?"?' || {{'table'}} || '"?\s*(%\s*rowtype\s*)?(;|:=|=|\mdefault\M)'))
UNION ALL
SELECT 5, format('{{table}}.{{column}}: publication %s sends {{table}}: a subscriber''s table needs the column {{wide}} bigint before, and the swap of names after', pubname)
  FROM pg_publication_tables WHERE to_regclass(format('%I.%I', schemaname, tablename)) IN (SELECT tab FROM {{> widen_column.sql}} AS w)
