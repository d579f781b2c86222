-- Policies and unique indexes that open the tables and that no model declares, as the rows of openings.sql. Asked only where
-- it is known what the models declare: everything else would look undeclared.
-- Inputs (binds): those of openings_common.sql; policy_tables and policies, the declared policies; index_tables and indexes,
-- the declared indexes and constraints.
WITH RECURSIVE {{> openings_common.sql}}
SELECT 'policy' AS kind, relname AS tab, polname AS name, '' AS role, NULL AS expected,
       {{> policy.sql}}
           || coalesce(' using ' || pg_get_expr(polqual, polrelid), '')
           || coalesce(' with check ' || pg_get_expr(polwithcheck, polrelid), '') AS found,
       format('DROP POLICY %I ON %s', polname, sql) AS fix, NULL AS by_hand
  FROM closed JOIN pg_policy AS p ON polrelid = closed.oid
 WHERE (relname, polname) NOT IN (SELECT * FROM unnest(CAST(:policy_tables AS text[]), CAST(:policies AS text[])))
   AND (polpermissive OR polname = :single_business)  -- what only restricts opens nothing
   AND (polroles && ARRAY(SELECT oid FROM watched WHERE rolname <> ALL (:public_api)) OR polname = :single_business
        OR polpermissive AND EXISTS (
            SELECT FROM pg_policy AS k WHERE k.polrelid = p.polrelid AND k.polname = :single_business AND k.polpermissive
               AND k.polroles && p.polroles))
UNION ALL
SELECT 'index', closed.relname, i.relname, '', NULL, 'unique across businesses', NULL,
       CASE WHEN conname IS NULL THEN format('DROP INDEX CONCURRENTLY %I.%I', :schema, i.relname)
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', sql, conname) END || ', and create it again with business_id in it'
  FROM closed JOIN pg_index AS x ON indrelid = closed.oid AND (indisunique OR indisexclusion)
  JOIN pg_class AS i ON i.oid = indexrelid
  JOIN pg_attribute AS b ON b.attrelid = closed.oid AND b.attname = 'business_id' AND NOT b.attisdropped
  LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('u', 'x')
 WHERE NOT indisprimary
   AND (closed.relname, coalesce(conname, i.relname))
       NOT IN (SELECT * FROM unnest(CAST(:index_tables AS text[]), CAST(:indexes AS text[])))
   AND b.attnum <> ALL ((indkey::int2[])[0:indnkeyatts - 1])
   AND NOT EXISTS (SELECT FROM pg_index AS k WHERE k.indrelid = closed.oid AND k.indisprimary
                      AND (k.indkey::int2[]) <@ (x.indkey::int2[])[0:x.indnkeyatts - 1])
