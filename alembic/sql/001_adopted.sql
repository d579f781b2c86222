-- The form of an adopted table that revisions leave as it is, as the drift check words it, which takes it for no drift:
-- `object: aspect value`. Input: table.
WITH sequences AS (
    SELECT t.relname, t.relnamespace, a.attname, q.oid, q.relacl, q.relowner, q.relname AS sequence, q.relnamespace AS place, concat_ws(', ',
               'increment ' || seqincrement, CASE WHEN seqcycle THEN 'cycle' END,
               CASE WHEN seqmax < CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807 WHEN 'integer'::regtype THEN 2147483647
                                  ELSE 32767 END THEN 'maxvalue ' || seqmax END) AS options
      FROM pg_class AS t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 CROSS JOIN LATERAL (
               -- what numbers the column, by a DEFAULT or as an identity
               SELECT refobjid FROM pg_attrdef
                 JOIN pg_depend ON (classid, objid, refclassid) = ('pg_attrdef'::regclass, pg_attrdef.oid, 'pg_class'::regclass)
                WHERE adrelid = attrelid AND adnum = attnum
               UNION ALL SELECT objid FROM pg_depend WHERE (classid, refclassid, refobjid, refobjsubid, deptype)
                   = ('pg_class'::regclass, 'pg_class'::regclass, attrelid, attnum, 'i')
           ) AS numbers (oid) JOIN pg_sequence ON seqrelid = numbers.oid JOIN pg_class AS q ON q.oid = seqrelid
     WHERE t.oid = to_regclass('{{table}}')
)
SELECT format('column %s.%s: collation %s', '{{table}}', attname, (
           SELECT format('%I.%I', nspname, collname) FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = collnamespace WHERE k.oid = attcollation))
  FROM pg_attribute JOIN pg_type AS y ON y.oid = atttypid
 WHERE attrelid = to_regclass('{{table}}') AND attnum > 0 AND attcollation <> typcollation
UNION ALL
SELECT format('column %s.%s: type %s', '{{table}}', attname, format_type(atttypid, atttypmod))
  FROM pg_attribute WHERE attrelid = to_regclass('{{table}}') AND attnum > 0 AND atttypid = 'timestamptz'::regtype AND atttypmod >= 0
UNION ALL
SELECT format('table %s: persistence unlogged', relname) FROM pg_class WHERE oid = to_regclass('{{table}}') AND relpersistence <> 'p'
UNION ALL
SELECT format('table %s: owner %s', relname, relowner::regrole) FROM pg_class WHERE oid = to_regclass('{{table}}')
UNION ALL
SELECT format('privilege of the owner on %s: definition %s', name, string_agg(privilege_type, ', ' ORDER BY privilege_type))
  FROM (SELECT 'table ' || relname AS name, relacl, relowner FROM pg_class WHERE oid = to_regclass('{{table}}')
        UNION ALL SELECT format('sequence of %s.%s', relname, attname), relacl, relowner FROM sequences) AS o
 CROSS JOIN LATERAL aclexplode(relacl) WHERE grantee = relowner GROUP BY name
UNION ALL
SELECT format('sequence of %s.%s: options %s', relname, attname, options) FROM sequences WHERE options <> 'increment 1'
UNION ALL
SELECT format('column %s.%s: definition a default from the sequence %s', relname, attname,
              CASE WHEN place = relnamespace THEN quote_ident(sequence) ELSE format('%I.%I', nspname, sequence) END)
  FROM sequences JOIN pg_namespace AS n ON n.oid = place
