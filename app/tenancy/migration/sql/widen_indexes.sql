-- CREATE INDEX statements of the twins. Needs widen_scratch.sql.
-- Inputs of `Widening.fill`: t.
SELECT format('CREATE %sINDEX %I ON {{t}}%s%s%s', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, twin,
              left(definition, length(definition) - length(filter)), ' TABLESPACE ' || quote_ident(spcname), filter)
  FROM ({{> widen_held_indexes.sql}}) AS x JOIN pg_temp.widen_indexes ON original = x.indexrelid
  JOIN pg_index AS s ON s.indexrelid = scratch LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT substr(pg_get_indexdef(scratch), strpos(pg_get_indexdef(scratch), ' USING ')) AS definition,
                            coalesce(' WHERE ' || pg_get_expr(s.indpred, s.indrelid), '') AS filter) AS d
