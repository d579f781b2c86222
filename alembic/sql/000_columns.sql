-- The columns that revision 000 needs, with what is found: `fits` are the types that do, `length` is the least that a
-- varchar must hold, `filler` stands where there was nothing, `sibling` is the other time of the row.
SELECT wanted.*, t.relid, attnum, atttypid, attnotnull, attgenerated, typcategory, pg_get_expr(adbin, adrelid) AS value,
       format_type(atttypid, atttypmod) AS actual,
       NOT (format_type(atttypid, NULL) = ANY (fits::text[]) AND attgenerated = ''
            AND NOT (atttypid = 'varchar'::regtype AND atttypmod BETWEEN 0 AND length + 3)
            AND NOT (atttypid = 'timestamp'::regtype AND atttypmod >= 0)) AS misfit
  FROM {{wanted}}
  JOIN (SELECT oid AS relid, relname FROM pg_class WHERE relkind = 'r' AND oid IN (to_regclass('customers'), to_regclass('conversations'))) AS t ON relname = tab
  LEFT JOIN pg_attribute ON attrelid = relid AND attname = col
  LEFT JOIN pg_type ON pg_type.oid = atttypid
  LEFT JOIN pg_attrdef ON adrelid = relid AND adnum = attnum
