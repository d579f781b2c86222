-- Every object of a schema, aspect by aspect: kind, tab, name, role (as `catalogue.Item` names them), aspect, value, deparse, oid.
-- Inputs (binds): schema, its name; roles, whose privileges are listed beside those of PUBLIC and the owner.
-- value is what the object is, or for what is to be written down (deparse, oid): NOT VALID, the options of an index, the
-- argument of the trigger, which are left out. A column's privileges are listed where it has any of its own.
WITH s AS (
    SELECT oid FROM pg_namespace WHERE nspname = :schema
), t AS (
    SELECT c.* FROM pg_class AS c JOIN s ON relnamespace = s.oid WHERE relkind IN ('r', 'p')
), f AS (
    SELECT p.*, format('%s(%s)', proname, pg_get_function_identity_arguments(p.oid)) AS name
      FROM pg_proc AS p JOIN s ON pronamespace = s.oid WHERE prokind = 'f'
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
), sequences AS (
    SELECT q.oid, q.relacl, q.relowner, t.relname, attname, seqcycle, seqincrement, seqmax, seqtypid
      FROM t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0
      CROSS JOIN LATERAL (  -- what numbers the column, by a DEFAULT or as an identity
        SELECT refobjid FROM pg_attrdef
          JOIN pg_depend ON (classid, objid, refclassid) = ('pg_attrdef'::regclass, pg_attrdef.oid, 'pg_class'::regclass)
          JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum
        UNION ALL SELECT objid FROM pg_depend WHERE (classid, refclassid, refobjid, refobjsubid, deptype)
            = ('pg_class'::regclass, 'pg_class'::regclass, attrelid, attnum, 'i')) AS numbers (sequence)
      JOIN pg_class AS q ON q.oid = sequence JOIN pg_sequence ON seqrelid = sequence
), acl (kind, tab, name, acl, owner) AS (
    SELECT 'table', relname, '', coalesce(relacl, acldefault('r', relowner)), relowner FROM t
    UNION ALL SELECT 'column', t.relname, attname, attacl, relowner
      FROM t JOIN pg_attribute ON attrelid = t.oid AND NOT attisdropped
    UNION ALL SELECT 'sequence', relname, attname, coalesce(relacl, acldefault('s', relowner)), relowner FROM sequences
    UNION ALL SELECT 'function', '', name, coalesce(proacl, acldefault('f', proowner)), proowner FROM f
)
SELECT 'table' AS kind, relname AS tab, '' AS name, '' AS role, aspect, value, NULL AS deparse, NULL::oid AS oid
  FROM t CROSS JOIN LATERAL (VALUES
    ('definition', CASE relkind WHEN 'r' THEN 'a table' ELSE 'a partitioned table' END),
    ('row level security', CASE WHEN relforcerowsecurity THEN 'forced' WHEN relrowsecurity THEN 'on' ELSE 'off' END),
    ('persistence', CASE relpersistence WHEN 'p' THEN 'logged' ELSE 'unlogged' END),
    ('owner', relowner::regrole::text),
    ('comment', obj_description(oid, 'pg_class'))) AS v (aspect, value)
UNION ALL
SELECT 'column', t.relname, attname, '', aspect, value, deparse, d.oid
  FROM t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 AND NOT attisdropped
  JOIN pg_type AS y ON y.oid = atttypid
  LEFT JOIN pg_attrdef AS d ON adrelid = t.oid AND adnum = attnum CROSS JOIN LATERAL (VALUES
    ('definition', 'a column', NULL),
    ('type', format_type(atttypid, atttypmod), NULL),
    ('collation', CASE WHEN attcollation <> typcollation THEN (
        SELECT format('%I.%I', n.nspname, collname)
          FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = collnamespace WHERE k.oid = attcollation)
        ELSE 'default' END, NULL),
    ('nullability', CASE WHEN NOT attnotnull THEN 'NULL' WHEN EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = t.oid AND contype = 'n' AND conkey = ARRAY[attnum] AND NOT convalidated)
        THEN 'NOT NULL, not valid' ELSE 'NOT NULL' END, NULL),
    ('default', CASE WHEN attidentity <> '' THEN 'identity' END, CASE WHEN d.oid IS NOT NULL THEN 'default' END),
    ('kind', CASE WHEN attgenerated <> '' THEN 'generated' ELSE 'stored as written' END, NULL),
    ('comment', col_description(t.oid, attnum), NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT 'sequence', relname, attname, '', 'options',
       concat_ws(', ', 'increment ' || seqincrement, CASE WHEN seqcycle THEN 'cycle' END,
                 CASE WHEN seqmax < CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807
                                                  WHEN 'integer'::regtype THEN 2147483647 ELSE 32767 END
                      THEN 'maxvalue ' || seqmax END), NULL, NULL
  FROM sequences
UNION ALL
SELECT CASE contype WHEN 'p' THEN 'primary key' ELSE 'constraint' END, t.relname,
       CASE contype WHEN 'p' THEN '' ELSE conname END, '', aspect, value, deparse, c.oid
  FROM t JOIN pg_constraint AS c ON conrelid = t.oid AND contype <> 'n'
  LEFT JOIN pg_index ON indexrelid = conindid AND contype IN ('p', 'u', 'x')
 CROSS JOIN LATERAL (VALUES
    ('definition', CASE WHEN NOT convalidated THEN ' NOT VALID' END, 'constraint'),
    ('state', CASE WHEN NOT convalidated THEN 'not valid' WHEN NOT indisvalid OR NOT indisready THEN 'invalid'
                   ELSE 'valid' END, NULL),
    ('enforcement', (SELECT CASE WHEN bool_and(tgenabled = 'O') THEN 'on'
                                 ELSE 'off: triggers of the key are not plainly enabled' END
                       FROM pg_trigger WHERE tgconstraint = c.oid AND tgisinternal HAVING count(*) > 0), NULL))
    AS v (aspect, value, deparse)
UNION ALL
SELECT 'index', t.relname, i.relname, '', aspect, value, deparse, i.oid
  FROM t JOIN pg_index AS x ON indrelid = t.oid JOIN pg_class AS i ON i.oid = indexrelid CROSS JOIN LATERAL (VALUES
    ('definition', (SELECT format(' WITH (%s)', string_agg(format('%s=%s', option_name,
                        CASE WHEN quote_ident(option_value) = option_value THEN option_value
                             ELSE quote_literal(option_value) END), ', '))
                      FROM pg_options_to_table(i.reloptions) HAVING count(*) > 0), 'index'),
    ('state', CASE WHEN indisvalid AND indisready THEN 'valid' ELSE 'invalid' END, NULL)) AS v (aspect, value, deparse)
 WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'trigger', t.relname, tgname, '', aspect, value, deparse, g.oid
  FROM t JOIN pg_trigger AS g ON tgrelid = t.oid AND NOT tgisinternal CROSS JOIN LATERAL (VALUES
    ('definition', CASE WHEN tgname = 'set_updated_at' AND tgnargs > 0 THEN '(''generated'')' END, 'trigger'),
    ('firing', CASE tgenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'always'
                              ELSE 'on replicas' END, NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT 'policy', t.relname, polname, '', aspect, value, deparse, p.oid
  FROM t JOIN pg_policy AS p ON polrelid = t.oid CROSS JOIN LATERAL (VALUES
    ('definition', {{> policy.sql}}, NULL),
    ('using', NULL, 'using'),
    ('with check', NULL, 'with check')) AS v (aspect, value, deparse)
UNION ALL
SELECT 'function', '', name, '', aspect, value, deparse, f.oid
  FROM f JOIN pg_language AS l ON l.oid = prolang CROSS JOIN LATERAL (VALUES
    ('definition', concat_ws(' ', lanname, CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable'
                                                            ELSE 'volatile' END,
        'parallel ' || CASE proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
        CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'security definer' END,
        CASE WHEN proleakproof THEN 'leakproof' END, CASE WHEN proretset THEN 'set' END,
        'set ' || array_to_string(proconfig, ', set ')), NULL),
    ('arguments', NULL, 'arguments'),
    ('result', NULL, 'result'),
    ('body', NULL, 'body'),
    ('owner', proowner::regrole::text, NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT kind, tab, name, CASE e.grantee WHEN 0 THEN 'PUBLIC' WHEN owner THEN 'the owner' ELSE rolname END, 'definition',
       string_agg(privilege_type || CASE WHEN is_grantable AND e.grantee <> owner THEN ' with grant option' ELSE '' END,
                  ', ' ORDER BY privilege_type), NULL, NULL
  FROM acl CROSS JOIN aclexplode(acl) AS e LEFT JOIN pg_roles AS r ON r.oid = e.grantee
 WHERE e.grantee IN (0, owner) OR rolname = ANY (:roles)
 GROUP BY 1, 2, 3, 4
