-- The indexes of the times as statements that build them again, and what an index carries beside its definition.
-- Inputs: table; times; retyped, a condition on a row of pg_attribute. A kind that begins with "mark" ends with the index.
SELECT 'index of {{table}}' AS kind,
       left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS statement
  FROM ({{> 001_time_indexes.sql}}) AS t (i) JOIN pg_index AS x ON indexrelid = i JOIN pg_class AS c ON c.oid = i
  LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT pg_get_indexdef(i) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
UNION ALL
SELECT format('mark of {{table}} %s', i), mark
  FROM ({{> 001_time_indexes.sql}}) AS t (i) CROSS JOIN LATERAL (
    SELECT format('COMMENT ON INDEX %s IS %L', i, obj_description(i, 'pg_class')) WHERE obj_description(i, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE {{table}} CLUSTER ON %s', (SELECT quote_ident(relname) FROM pg_class WHERE oid = i)) FROM pg_index WHERE indexrelid = i AND indisclustered
    UNION ALL SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i, attnum, attstattarget) FROM pg_attribute WHERE attrelid = i AND attstattarget >= 0
  ) AS marks (mark)
