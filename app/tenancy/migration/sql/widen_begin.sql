-- Statements that keep the wide column equal. Triggers that an UPDATE of it alone would fire name all columns that were
-- there before for as long as it is filled: the copy fires none of them, and an UPDATE of anything else does. The
-- keeper's arguments say which.
-- Inputs of `Widening.fill`: c, grantee, keeper, kept, n, t, wide.
WITH t AS (
    SELECT g.oid, tgname, tgenabled, format('CREATE TRIGGER %I ', tgname) AS head,
           substr(pg_get_triggerdef(g.oid), length(format('CREATE TRIGGER %I ', tgname)) + 1) AS rest
      FROM pg_trigger AS g WHERE tgrelid = {{'t'}}::regclass AND NOT tgisinternal AND tgtype & 16 > 0 AND tgattr::text = '' AND tgname <> {{'kept'}}
), p AS (
    SELECT *, (regexp_match(rest, '^(?:BEFORE|AFTER) (?:INSERT OR )?(?:DELETE OR )?UPDATE'))[1] AS event,
           (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
             WHERE attrelid = {{'t'}}::regclass AND attnum > 0 AND NOT attisdropped AND attname <> {{'wide'}}
               AND attgenerated = '') AS columns FROM t  -- a BEFORE trigger that names a generated column fires on every UPDATE
)
SELECT statement FROM (
    SELECT 1, format('ALTER TABLE {{t}} ADD CONSTRAINT {{keeper}} CHECK (%s) NOT VALID', CASE WHEN required
             THEN '{{n}} IS NOT NULL AND {{n}} = {{c}}' ELSE '{{n}} IS NOT DISTINCT FROM {{c}}' END) FROM {{> widen_column.sql}} AS w
    UNION ALL SELECT 2, format('GRANT %s ({{n}}) ON {{t}} TO %s%s', privilege_type, {{grantee}},
             CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM {{> widen_column.sql}} AS w, aclexplode(acl)
    UNION ALL SELECT 3, format('CREATE OR REPLACE %s%s OF %s%s', substr(head, 8), event, columns, substr(rest, length(event) + 1)) FROM p
    UNION ALL SELECT 4, format('ALTER TABLE {{t}} %s TRIGGER %I', CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
      FROM t WHERE tgenabled <> 'O'
    UNION ALL SELECT 5, format('CREATE TRIGGER {{keeper}} BEFORE INSERT OR UPDATE ON {{t}} FOR EACH ROW EXECUTE FUNCTION {{keeper}}(%s)',
                               (SELECT string_agg(quote_literal(tgname), ', ') FROM t))
    UNION ALL SELECT 6, 'ALTER TABLE {{t}} ENABLE ALWAYS TRIGGER {{keeper}}'
) AS s (place, statement) ORDER BY place
