"""What opens the tables, or shuts their users out, beside what the models declare: each a line, most with their fix.

The query runs with nothing but pg_catalog in sight. Its rows are (object, found, fix, by_hand): `fix` is the statement
that `python -m app.tenancy.repair` runs; where there is none, `by_hand` says what to do instead.
"""

from sqlalchemy import text

from app.tenancy.migration import access, distribution

# closed: the tables of ours that row level security closes; confined: roles that must not get around it.
COMMON = r"""
WITH RECURSIVE s AS (
    SELECT * FROM pg_namespace WHERE nspname = :schema
), t AS (
    SELECT c.*, format('%I.%I', :schema, relname) AS sql FROM pg_class AS c JOIN s ON relnamespace = s.oid WHERE relname = ANY (:tables)
), closed AS (
    SELECT * FROM t WHERE relname = ANY (:closed)
), two AS (
    SELECT * FROM pg_roles WHERE rolname = ANY (:roles)
), owners AS (
    SELECT DISTINCT relowner AS oid FROM t
), former AS (
    SELECT DISTINCT r.oid, r.rolname FROM closed JOIN pg_policy ON polrelid = closed.oid AND polname = :single_business
      JOIN pg_roles AS r ON r.oid = ANY (polroles) WHERE NOT rolsuper AND NOT rolbypassrls AND r.oid NOT IN (SELECT oid FROM owners)
), confined AS (
    SELECT oid, rolname FROM pg_roles WHERE rolname = ANY (:closed_roles) UNION SELECT * FROM former
), watched (oid, rolname) AS (
    SELECT oid, quote_ident(rolname) FROM pg_roles WHERE rolname = ANY (:watched)
    UNION ALL SELECT 0::oid, 'PUBLIC'
), workers AS (
    SELECT r.oid, rolname FROM pg_roles AS r
     WHERE rolname = ANY (:roles) OR oid IN (SELECT oid FROM owners)
        OR NOT rolsuper AND EXISTS (SELECT FROM two WHERE pg_has_role(r.oid, two.oid, 'MEMBER'))
        OR NOT rolsuper AND EXISTS (SELECT FROM t WHERE has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE'))
), routines AS MATERIALIZED (  -- the team's, which run as their owner or are called by one that does
    SELECT p.oid, proname, prosrc FROM pg_proc AS p
     WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
), reached (class, oid, name, via) AS (
    SELECT 'pg_class'::regclass::oid, oid, relname, relname FROM closed
    UNION
    SELECT next.class, next.oid, next.name, reached.via FROM reached CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass::oid AS class, c.oid, relname AS name
          FROM pg_depend JOIN pg_rewrite AS r ON (classid, objid) = ('pg_rewrite'::regclass, r.oid) JOIN pg_class AS c ON c.oid = ev_class
         WHERE (refclassid, refobjid) = (reached.class, reached.oid)
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, proname FROM routines AS p
         WHERE (reached.class, reached.oid) IN (SELECT refclassid, refobjid FROM pg_depend WHERE (classid, objid) = ('pg_proc'::regclass, p.oid))
            OR prosrc ~* CASE WHEN reached.class = 'pg_class'::regclass
                    THEN '(^|[^[:alnum:]_."])("?' || regexp_replace(:schema, '(\W)', '\\\1', 'g') || '"?\s*\.\s*)?"?'
                         || regexp_replace(reached.name, '(\W)', '\\\1', 'g') || '"?($|[^[:alnum:]_"])'
                    ELSE '(^|[^[:alnum:]_])' || regexp_replace(reached.name, '(\W)', '\\\1', 'g') || '"?\s*\(' END
    ) AS next
), named AS (
    SELECT c.*, CASE WHEN nspname = :schema THEN quote_ident(relname) ELSE format('%I.%I', nspname, relname) END AS shown,
           format('%I.%I', nspname, relname) AS sql
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
)
"""

ROLES = r"""
SELECT format('role %s', name) AS object, 'missing' AS found, format('CREATE ROLE %s NOLOGIN', name) AS fix, NULL AS by_hand
  FROM unnest(CAST(:roles AS text[])) AS name WHERE to_regrole(name) IS NULL
UNION ALL
-- Citus's coordinator connects to the workers as the role that works.
SELECT 'role app_tenant', 'NOLOGIN, with which Citus cannot reach its workers', 'ALTER ROLE app_tenant LOGIN', NULL
  FROM pg_roles WHERE rolname = :tenant AND :distributed AND NOT rolcanlogin
UNION ALL
SELECT format('role %s', rolname),
       concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolcanlogin THEN 'LOGIN' END,
                 CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END),
       format('ALTER ROLE %s ', rolname) || concat_ws(' ', CASE WHEN rolsuper THEN 'NOSUPERUSER' END, CASE WHEN rolbypassrls THEN 'NOBYPASSRLS' END,
                 CASE WHEN rolcanlogin THEN 'NOLOGIN' END, CASE WHEN rolcreaterole THEN 'NOCREATEROLE' END, CASE WHEN rolcreatedb THEN 'NOCREATEDB' END,
                 CASE WHEN rolreplication THEN 'NOREPLICATION' END), NULL
  FROM (SELECT rolname, rolsuper, rolbypassrls, rolcanlogin AND NOT (rolname = :tenant AND :distributed) AS rolcanlogin,
               rolcreaterole, rolcreatedb, rolreplication FROM two) AS two
 WHERE rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication
UNION ALL
-- In whose name a membership was granted counts from PostgreSQL 16 on.
SELECT format('role %s', m.rolname), format('membership of %s', g.rolname),
       format('REVOKE %I FROM %I', g.rolname, m.rolname) || CASE WHEN :version >= 160000 THEN format(' GRANTED BY %I', a.grantor::regrole) ELSE '' END, NULL
  FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = member JOIN pg_roles AS g ON g.oid = roleid
 WHERE m.rolname = ANY (:roles)
    OR m.rolname = ANY (:public_api) AND EXISTS (
           SELECT FROM pg_roles AS inner_role WHERE pg_has_role(g.oid, inner_role.oid, 'MEMBER')
              AND (inner_role.rolname = ANY (:roles) OR inner_role.oid IN (SELECT oid FROM owners)))
UNION ALL
-- Who made the roles may grant them, and so may the owner of the tables.
SELECT format('role %s', g.rolname), format('ADMIN OPTION for %s', m.rolname),
       format('REVOKE ADMIN OPTION FOR %I FROM %I', g.rolname, m.rolname)
           || CASE WHEN :version >= 160000 THEN format(' GRANTED BY %I', a.grantor::regrole) ELSE '' END || ' CASCADE', NULL
  FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = member JOIN two AS g ON g.oid = roleid
 WHERE admin_option AND NOT m.rolsuper AND NOT m.rolcreaterole
   AND NOT EXISTS (SELECT FROM owners WHERE pg_has_role(m.oid, owners.oid, 'MEMBER'))
"""

PRIVILEGES = r"""
SELECT format('privilege of %s on schema %I', w.rolname, nspname), 'CREATE', format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE', nspname, w.rolname), NULL
  FROM s CROSS JOIN aclexplode(nspacl) AS e JOIN watched AS w ON w.oid = grantee WHERE privilege_type = 'CREATE'
UNION ALL
SELECT format('privilege of %s on schema %I', rolname, nspname), 'missing, expected USAGE', format('GRANT USAGE ON SCHEMA %I TO %I', nspname, rolname), NULL
  FROM s CROSS JOIN two WHERE NOT has_schema_privilege(two.oid, s.oid, 'USAGE')
UNION ALL
SELECT format('privilege of %s on database %I', w.rolname, datname), 'CREATE', format('REVOKE CREATE ON DATABASE %I FROM %s CASCADE', datname, w.rolname), NULL
  FROM pg_database CROSS JOIN aclexplode(datacl) AS e JOIN watched AS w ON w.oid = grantee
 WHERE datname = current_database() AND privilege_type = 'CREATE'
UNION ALL
SELECT format('privilege of %s on parameter %s', w.rolname, parname), privilege_type,
       format('REVOKE %s ON PARAMETER %s FROM %s CASCADE', privilege_type, parname, w.rolname), NULL
  FROM pg_parameter_acl CROSS JOIN aclexplode(paracl) AS e JOIN watched AS w ON w.oid = grantee
UNION ALL
SELECT format('privilege of %I on table %s', r.rolname, relname), string_agg(privilege_type, ', ' ORDER BY privilege_type) || ', which row level security does not confine',
       format('REVOKE %s ON %s FROM %I CASCADE', string_agg(privilege_type, ', ' ORDER BY privilege_type), sql, r.rolname), NULL
  FROM closed CROSS JOIN aclexplode(relacl) AS e JOIN pg_roles AS r ON r.oid = grantee
 WHERE privilege_type = ANY (:unconfined) AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls
   AND grantee NOT IN (SELECT oid FROM watched)
 GROUP BY relname, sql, r.rolname
UNION ALL
SELECT format('default privileges of %I%s', d.defaclrole::regrole, ' in schema ' || nspname),
       format('%s on %s for %s', string_agg(privilege_type, ', ' ORDER BY privilege_type), kind, w.rolname),
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %s %s REVOKE ALL ON %s FROM %s', d.defaclrole::regrole, 'IN SCHEMA ' || quote_ident(nspname), kind, w.rolname), NULL
  FROM pg_default_acl AS d LEFT JOIN s ON s.oid = defaclnamespace CROSS JOIN aclexplode(defaclacl) AS e JOIN watched AS w ON w.oid = grantee
 CROSS JOIN LATERAL (SELECT CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES'
                            WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END) AS k (kind)
 WHERE (defaclnamespace = 0 OR s.oid IS NOT NULL) AND w.rolname <> ALL (:public_api)
   AND (grantee <> 0 OR defaclobjtype = 'r' OR defaclobjtype = 'S')
 GROUP BY d.defaclrole, nspname, kind, w.rolname
UNION ALL
SELECT pg_describe_object(d.classid, d.objid, d.objsubid), 'owned by ' || d.refobjid::regrole, NULL, 'give it to its rightful owner with ALTER ... OWNER TO, or drop it'
  FROM pg_shdepend AS d JOIN confined ON refobjid = confined.oid
 WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND confined.rolname = ANY (:closed_roles)
   AND (dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        OR classid = 'pg_database'::regclass AND objid = (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND NOT (classid = 'pg_class'::regclass AND objid IN (SELECT oid FROM t))
"""

# A search_path may name the schema behind others as long as nothing there is taken for what is ours.
SETTINGS = r"""
SELECT whom, 'SET ' || setting, format('ALTER %s RESET %s', CASE WHEN setrole <> 0 AND setdatabase <> 0 THEN format('%s IN DATABASE %I', whom, current_database()) ELSE whom END, name),
       NULL
  FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting CROSS JOIN split_part(setting, '=', 1) AS name
 CROSS JOIN LATERAL (SELECT CASE WHEN setrole <> 0 THEN format('role %s', setrole::regrole) WHEN setdatabase <> 0 THEN format('database %I', current_database())
                            ELSE 'role ALL' END) AS w (whom)
 CROSS JOIN LATERAL (
    SELECT array_agg(CASE WHEN element LIKE '"%' THEN replace(btrim(element, '"'), '""', '"') ELSE lower(element) END ORDER BY place) AS path
      FROM (SELECT btrim(m[1]) AS element, place FROM regexp_matches(substr(setting, length(name) + 2), '\s*("(?:[^"]|"")*"|[^,]+)\s*', 'g') WITH ORDINALITY AS g (m, place)) AS e
     WHERE element NOT IN ('"$user"', '$user', 'pg_catalog', '')) AS p
 WHERE (setdatabase = 0 OR setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND (setrole = 0 OR setrole IN (SELECT oid FROM workers))
   AND (name IN ('app.business_id', 'session_replication_role', 'row_security')
        OR name = 'role' AND (setrole = 0 OR NOT EXISTS (  -- a login that migrates as the owner
            SELECT FROM owners WHERE oid = to_regrole(quote_ident(substr(setting, 6))) AND pg_has_role(setrole, oid, 'MEMBER')))
        OR name = 'search_path' AND (
            setrole IN (SELECT oid FROM two)
            OR (setrole = 0 OR setrole IN (SELECT oid FROM owners) OR EXISTS (SELECT FROM two WHERE pg_has_role(setrole, two.oid, 'MEMBER')))
               AND path[1] IS DISTINCT FROM :schema
            OR EXISTS (SELECT FROM named JOIN pg_namespace AS n ON n.oid = relnamespace
                        WHERE relname = ANY (:tables) AND array_position(path, nspname) < coalesce(array_position(path, :schema), 0))))
UNION ALL
SELECT 'configuration of the server', format('%s = %s', name, reset_val), NULL, format('ALTER SYSTEM RESET %s; SELECT pg_reload_conf(), or take it out of postgresql.conf', name)
  FROM pg_settings WHERE source IN ('configuration file', 'command line')
   AND (name, reset_val) IN (('session_replication_role', 'replica'), ('session_replication_role', 'local'), ('row_security', 'off'))
"""

TABLES = r"""
SELECT format('policy %s on %s', polname, relname),
       format('%s for %s to %s', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
              CASE polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' ELSE 'delete' END,
              (SELECT string_agg(coalesce(rolname, 'PUBLIC'), ', ' ORDER BY rolname) FROM unnest(polroles) AS r LEFT JOIN pg_roles ON pg_roles.oid = r))
           || coalesce(' using ' || pg_get_expr(polqual, polrelid), '') || coalesce(' with check ' || pg_get_expr(polwithcheck, polrelid), ''),
       format('DROP POLICY %I ON %s', polname, sql), NULL
  FROM closed JOIN pg_policy AS p ON polrelid = closed.oid
 WHERE format('policy %s on %s', polname, relname) <> ALL (:policies)
   AND (polroles && ARRAY(SELECT oid FROM watched WHERE rolname <> ALL (:public_api)) OR polname = :single_business
        OR polpermissive AND EXISTS (SELECT FROM pg_policy AS k WHERE k.polrelid = p.polrelid AND k.polname = :single_business AND k.polpermissive
                                        AND k.polroles && p.polroles))
UNION ALL
SELECT format('rule %s on %s', rulename, relname), pg_get_ruledef(r.oid), NULL, format('DROP RULE %I ON %s, if you do not mean it', rulename, sql)
  FROM t JOIN pg_rewrite AS r ON ev_class = t.oid WHERE relkind IN ('r', 'p')
UNION ALL
SELECT format('table %s', c.shown), format('%s of %s', CASE WHEN c.relispartition THEN 'a partition' ELSE 'an inheritance child' END, p.shown),
       NULL, CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', p.sql, c.sql) ELSE format('ALTER TABLE %s NO INHERIT %s', c.sql, p.sql) END
  FROM pg_inherits JOIN named AS c ON c.oid = inhrelid JOIN named AS p ON p.oid = inhparent
 WHERE inhparent IN (SELECT oid FROM t) OR inhrelid IN (SELECT oid FROM t)
UNION ALL
SELECT format('view %s', v.shown), format('a reading of %s without security_invoker that %s may use', string_agg(DISTINCT via::text, ' and '), w.rolname),
       NULL, CASE v.relkind WHEN 'v' THEN format('ALTER VIEW %s SET (security_invoker = true), or REVOKE ALL ON %1$s FROM %s', v.sql, w.rolname)
                  ELSE format('REVOKE ALL ON %s FROM %s', v.sql, w.rolname) END
  FROM reached JOIN named AS v ON reached.class = 'pg_class'::regclass AND v.oid = reached.oid AND v.relkind IN ('v', 'm') CROSS JOIN confined AS w
 WHERE NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(v.reloptions) WHERE option_name = 'security_invoker'), false)
   AND (has_any_column_privilege(w.oid, v.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(w.oid, v.oid, 'DELETE, TRUNCATE, TRIGGER'))
 GROUP BY v.shown, v.sql, v.relkind, w.rolname
UNION ALL
SELECT format('table %s', v.shown), format('a rule that reaches %s, and %s may use the table', string_agg(DISTINCT via::text, ' and '), w.rolname),
       NULL, format('REVOKE ALL ON %s FROM %s, or drop its rule', v.sql, w.rolname)
  FROM reached JOIN named AS v ON reached.class = 'pg_class'::regclass AND v.oid = reached.oid AND v.relkind IN ('r', 'p') CROSS JOIN confined AS w
 WHERE v.oid NOT IN (SELECT oid FROM t)
   AND (has_any_column_privilege(w.oid, v.oid, 'INSERT, UPDATE') OR has_table_privilege(w.oid, v.oid, 'DELETE'))
 GROUP BY v.shown, v.sql, w.rolname
UNION ALL
SELECT format('function %s(%s)', CASE WHEN n.nspname = :schema THEN quote_ident(proname) ELSE format('%I.%I', n.nspname, proname) END, pg_get_function_identity_arguments(p.oid)),
       format('SECURITY DEFINER, names %s, and %s may call it', string_agg(DISTINCT via::text, ' and '), w.rolname),
       NULL, format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I, or ALTER FUNCTION %1$s SECURITY INVOKER', p.oid::regprocedure, w.rolname)
  FROM reached JOIN pg_proc AS p ON reached.class = 'pg_proc'::regclass AND p.oid = reached.oid AND prosecdef
  JOIN pg_namespace AS n ON n.oid = pronamespace CROSS JOIN confined AS w
 WHERE has_function_privilege(w.oid, p.oid, 'EXECUTE')
 GROUP BY n.nspname, proname, p.oid, w.rolname
UNION ALL
SELECT format('table %s', c.shown), 'a business_id that app_tenant may reach without row level security', NULL,
       format('REVOKE ALL ON %s FROM PUBLIC, app_tenant, or give its model the mixin TenantOwned', c.sql)
  FROM named AS c JOIN pg_attribute AS a ON attrelid = c.oid AND attname = 'business_id' AND NOT attisdropped JOIN two ON two.rolname = :tenant
 WHERE relkind IN ('r', 'p', 'f') AND NOT relrowsecurity AND c.oid NOT IN (SELECT oid FROM closed)
   AND (has_any_column_privilege(two.oid, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(two.oid, c.oid, 'DELETE, TRUNCATE'))
UNION ALL
SELECT format('index %s on %s', i.relname, closed.relname), 'unique across businesses', NULL,
       CASE WHEN conname IS NULL THEN format('DROP INDEX CONCURRENTLY %I.%I', :schema, i.relname) ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', sql, conname) END
           || ', and create it again with business_id in it'
  FROM closed JOIN pg_index AS x ON indrelid = closed.oid AND (indisunique OR indisexclusion) JOIN pg_class AS i ON i.oid = indexrelid
  JOIN pg_attribute AS b ON b.attrelid = closed.oid AND b.attname = 'business_id' AND NOT b.attisdropped
  LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('u', 'x')
 WHERE NOT indisprimary AND coalesce('constraint ' || conname, 'index ' || i.relname) || ' on ' || closed.relname <> ALL (:indexes)
   AND b.attnum <> ALL ((indkey::int2[])[0:indnkeyatts - 1])
   AND NOT EXISTS (SELECT FROM pg_index AS k WHERE k.indrelid = closed.oid AND k.indisprimary
                      AND (k.indkey::int2[]) <@ (x.indkey::int2[])[0:x.indnkeyatts - 1])
UNION ALL
SELECT format('column %s.%s', t.relname, attname), format('a default from the sequence %s', q.shown), NULL,
       format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(''%s'')', t.sql, attname, o.sql)
  FROM t JOIN pg_attribute ON attrelid = t.oid JOIN pg_attrdef AS d ON adrelid = t.oid AND adnum = attnum
  JOIN pg_depend AS n ON (n.classid, n.objid, n.refclassid) = ('pg_attrdef'::regclass, d.oid, 'pg_class'::regclass)
  JOIN named AS q ON q.oid = n.refobjid AND q.relkind = 'S'
  LEFT JOIN pg_depend AS own ON (own.classid, own.refclassid, own.refobjid, own.refobjsubid) = ('pg_class'::regclass, 'pg_class'::regclass, t.oid, attnum) AND own.deptype IN ('a', 'i')
  LEFT JOIN named AS o ON o.oid = own.objid AND o.relkind = 'S'
 WHERE o.oid IS NOT NULL AND o.oid <> q.oid
    OR EXISTS (SELECT FROM pg_depend AS other WHERE (other.classid, other.objid, other.refclassid) = ('pg_class'::regclass, q.oid, 'pg_class'::regclass)
                  AND other.deptype IN ('a', 'i') AND (other.refobjid, other.refobjsubid) <> (t.oid, attnum::int))
UNION ALL
SELECT format('publication %s', pubname), format('sends %s out, which holds secrets', tablename), NULL,
       format('ALTER PUBLICATION %I DROP TABLE %I.%I, or publish the tables that you mean', pubname, schemaname, tablename)
  FROM pg_publication_tables WHERE schemaname = :schema AND tablename = ANY (:secret)
"""

NAMES: dict[str, object] = {
    "tenant": access.TENANT,
    "roles": [access.TENANT, access.SERVICE],
    "public_api": list(access.PUBLIC_API),
    "closed_roles": [access.TENANT, *access.PUBLIC_API],
    "watched": list(access.WATCHED),
    "unconfined": list(access.UNCONFINED_PRIVILEGES),
    "single_business": access.SINGLE_BUSINESS,
}
"""The values of OPENINGS that do not depend on the database."""

OPENINGS = text(COMMON + "UNION ALL".join((ROLES, PRIVILEGES, SETTINGS, TABLES)))

# Asked where the tables are distributed, with the names of the distributed and of the other tables' catalogue in sight.
CITUS_OPENINGS = rf"""
SELECT format('node %s:%s', nodename, nodeport) AS object, 'the coordinator, and takes shards, to which COPY and INSERT ... SELECT write past row level security' AS found,
       format('DO %L', format('BEGIN PERFORM citus_set_node_property(%L, %s, ''shouldhaveshards'', false); END', nodename, nodeport)) AS fix, NULL AS by_hand
  FROM pg_dist_node WHERE groupid = 0 AND shouldhaveshards
UNION ALL
SELECT format('table %s', logicalrelid), count(*) || ' shards on the coordinator, to which COPY and INSERT ... SELECT write past row level security', NULL,
       format('move them to a worker: SELECT citus_move_shard_placement(%s, ...), or drain the coordinator with SELECT citus_drain_node(host, port)', min(shardid))
  FROM pg_dist_partition JOIN pg_dist_shard USING (logicalrelid) JOIN pg_dist_placement AS p USING (shardid)
 WHERE partmethod = 'h' AND groupid = 0 GROUP BY logicalrelid
UNION ALL
SELECT 'what Citus shows of others', replace(substr(closing, 15), ' FROM PUBLIC', ', which everybody may use'), closing, NULL FROM ({distribution.CLOSING}) AS open
UNION ALL
SELECT format('database %I', current_database()), 'missing, expected SET citus.propagate_set_commands=local',
       format('ALTER DATABASE %I SET citus.propagate_set_commands = local', current_database()), NULL
 WHERE NOT {distribution.SETTING_IS_THERE}"""

# Needs the right to ask the workers, which tenants do not have.
SHARDS = """
SELECT DISTINCT format('shards of %s', name), format('%s: %s', nodename || ':' || nodeport, coalesce(nullif(result, ''), 'no answer')), NULL,
       'move the shard to another node (citus_move_shard_placement), which makes it anew'
  FROM unnest(CAST(:distributed_tables AS text[])) AS name CROSS JOIN LATERAL run_command_on_placements(name::regclass, format($$
       SELECT CASE WHEN NOT relrowsecurity THEN 'row level security is off'
                   WHEN (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) <> %s THEN 'its policies are not those of the table' ELSE 'closed' END
         FROM pg_class AS c WHERE oid = '%%s'::regclass$$, (SELECT count(*) FROM pg_policy WHERE polrelid = name::regclass))) AS answer
 WHERE result IS DISTINCT FROM 'closed'"""
