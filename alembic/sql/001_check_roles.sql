-- Whom row level security would cut off, or let through, and what the roles could do. A sentence a line.
-- Inputs: queries of app/tenancy/migration/access.py: acl_* (grantee, relowner, privilege_type, columns), former_* (role),
-- strangers and new_strangers (role, database, closing); the conditions to_ours and upgraded on a row of pg_policy.
SELECT concat_ws(E'\n',
(SELECT format('PUBLIC holds %s, and row level security would cut off whoever works through it: run %sREVOKE ALL ON customers, conversations FROM PUBLIC;',
               string_agg(format('%s on %s', privilege, place), ', '),
               string_agg('GRANT ' || privilege || ' ON ' || place || ' TO ' || logins || '; ', ''))
   FROM (SELECT string_agg(privilege_type || columns, ', ' ORDER BY privilege_type, columns) AS privilege, 'customers' AS place
           FROM ({{acl_customers}}) AS acl WHERE grantee = 0 HAVING count(*) > 0
         UNION ALL SELECT string_agg(privilege_type || columns, ', ' ORDER BY privilege_type, columns), 'conversations'
           FROM ({{acl_conversations}}) AS acl WHERE grantee = 0 HAVING count(*) > 0) AS held
  CROSS JOIN (SELECT string_agg(quote_ident(rolname), ', ' ORDER BY rolname) AS logins FROM pg_roles AS r
               WHERE rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND has_schema_privilege(oid, current_schema(), 'USAGE')
                 AND has_database_privilege(oid, current_database(), 'CONNECT') AND rolname NOT IN ('anon', 'authenticated')
                 AND NOT EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND pg_has_role(r.oid, relowner, 'USAGE'))) AS bots
 HAVING count(*) > 0),
-- A policy of the team's for former roles goes on deciding where it decided before; one for ours, or for all, opens or closes.
(SELECT format('the policy %s would decide what app_tenant or app_service sees, or has the name of one of theirs: run %s;',
               string_agg(format('%I on %s', polname, polrelid::regclass), ', '),
               string_agg(CASE WHEN NOT {{to_ours}} THEN format('ALTER POLICY %I ON %s RENAME TO %I', polname, polrelid::regclass, polname || '_before')
                               WHEN relrowsecurity AND others IS NOT NULL THEN format('ALTER POLICY %I ON %s TO %s', polname, polrelid::regclass, others)
                               ELSE format('DROP POLICY %I ON %s', polname, polrelid::regclass) END, '; '))
   FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
  CROSS JOIN LATERAL (
      SELECT string_agg(role, ', ' ORDER BY role) AS others
        FROM (SELECT role FROM ({{former_customers}}) AS f WHERE polrelid = to_regclass('customers') AND 0 = ANY (polroles)
              UNION SELECT role FROM ({{former_conversations}}) AS f WHERE polrelid = to_regclass('conversations') AND 0 = ANY (polroles)
              UNION SELECT oid::regrole::text FROM pg_roles WHERE oid = ANY (polroles) AND rolname NOT IN ('app_tenant', 'app_service')) AS r) AS o
  WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT {{upgraded}}
    AND ({{to_ours}} OR polname IN ('app_tenant', 'app_service', 'single_business'))
 HAVING count(*) > 0),
(SELECT format('row level security is off on %s, and its policy %s would come into force for a role that works there: run %s;',
               string_agg(DISTINCT polrelid::regclass::text, ' and '), string_agg(polname, ', '),
               string_agg(format('DROP POLICY %I ON %s', polname, polrelid::regclass), '; '))
   FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
  WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relrowsecurity AND NOT {{upgraded}}
    AND NOT {{to_ours}} AND polname NOT IN ('app_tenant', 'app_service', 'single_business')
    AND EXISTS (
        SELECT FROM pg_roles AS works
          JOIN (SELECT role, to_regclass('customers') AS place FROM ({{former_customers}}) AS f
                UNION ALL SELECT role, to_regclass('conversations') FROM ({{former_conversations}}) AS f) AS f
            ON place = polrelid AND pg_has_role(works.oid, to_regrole(role), 'USAGE')
         WHERE NOT rolsuper AND NOT rolbypassrls
           AND EXISTS (SELECT FROM unnest(polroles) AS named (oid) JOIN pg_roles USING (oid) WHERE pg_has_role(works.oid, named.oid, 'USAGE')))
 HAVING count(*) > 0),
(SELECT format('app_tenant or app_service could do more than its tables allow, which an administrator can change: run %s;',
               string_agg(format('ALTER ROLE %s%s', rolname, more), '; '))
   FROM pg_roles CROSS JOIN concat(CASE WHEN rolsuper THEN ' NOSUPERUSER' END, CASE WHEN rolbypassrls THEN ' NOBYPASSRLS' END,
                                   CASE WHEN rolcanlogin THEN ' NOLOGIN' END, CASE WHEN rolcreaterole THEN ' NOCREATEROLE' END,
                                   CASE WHEN rolcreatedb THEN ' NOCREATEDB' END, CASE WHEN rolreplication THEN ' NOREPLICATION' END) AS more
  WHERE rolname IN ('app_tenant', 'app_service') AND more <> '' HAVING count(*) > 0),
(SELECT format('app_tenant or app_service is a member of another role and would not be confined, which an administrator can change: run %s;',
               string_agg(format('REVOKE %s FROM %s', roleid::regrole, member::regrole), '; '))
   FROM (SELECT DISTINCT roleid, member FROM pg_auth_members
          WHERE member IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service'))) AS m HAVING count(*) > 0),
(SELECT format('role %s may not create or grant the roles app_tenant and app_service, which an administrator can do: run %sGRANT app_tenant, app_service TO %I;',
               current_user, string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) END, ''), current_user)
   FROM pg_roles AS me CROSS JOIN (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles AS r ON r.rolname = name
  WHERE me.rolname = current_user AND NOT me.rolsuper AND NOT CASE WHEN r.oid IS NULL THEN me.rolcreaterole
        ELSE (me.rolcreaterole AND current_setting('server_version_num')::int < 160000) OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
             OR name NOT IN ({{> 001_missing_memberships.sql}}) END
 HAVING count(*) > 0),

-- Roles belong to the whole server: whoever joins them for one database must not come into another.
(SELECT format('role %s is a member of app_tenant or app_service, which belong to the whole server, and would come into this database as anyone may: if it works here, run GRANT CONNECT ON DATABASE %2$s TO %1$s; if it does not: run %3$s;',
               string_agg(role, ', ' ORDER BY role), min(database), min(closing))
   FROM ({{strangers}}) AS stranger HAVING count(*) > 0),
(SELECT format('role %s will be a member of app_tenant and app_service, which %s uses too, and would come into that database as anyone may; its owner can close it: run %s;',
               string_agg(DISTINCT role, ', '), string_agg(DISTINCT 'database ' || database, ', '), string_agg(DISTINCT closing, '; '))
   FROM ({{new_strangers}}) AS stranger HAVING count(*) > 0),
(SELECT format('%s of role %s, which could change it at will, has the name of one that the upgrade makes: run %s;',
               string_agg(DISTINCT p.oid::regprocedure::text, ' and '), min(proowner::regrole::text), string_agg(format('DROP ROUTINE %s', p.oid::regprocedure), '; '))
   FROM pg_proc AS p JOIN pg_roles AS maker ON maker.oid = proowner
  WHERE pronamespace = quote_ident(current_schema())::regnamespace AND pronargs = 0 AND proname IN ('current_business_id', 'set_updated_at', 'single_business_only')
    AND NOT rolsuper AND rolname <> current_user AND NOT EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relowner = proowner)
 HAVING count(*) > 0),
-- A function or an operator that somebody plants in the schema could be taken for one of PostgreSQL's.
(SELECT format('anybody, or a tenant, may create objects in schema %I, such as functions that later migrations would call; its owner can close it: run %s%s;',
               nspname, string_agg(format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), '; '), keep)
   FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl LEFT JOIN pg_roles ON pg_roles.oid = grantee
  CROSS JOIN LATERAL (
      SELECT (SELECT format('; GRANT CREATE ON SCHEMA %I TO %s', nspname, string_agg(quote_ident(rolname), ', ' ORDER BY rolname))
                FROM pg_roles AS maker
               WHERE NOT rolsuper AND maker.oid <> nspowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
                 AND (rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relowner = maker.oid)
                      OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_namespace.oid AND proowner = maker.oid)) HAVING count(*) > 0) AS keep) AS k
  WHERE nspname = current_schema() AND privilege_type = 'CREATE' AND (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated'))
  GROUP BY nspname, keep)
) AS sentences
