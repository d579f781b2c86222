-- Whom row level security would cut off from the two tables, or let through. JSON of sentences.
-- Inputs: queries of app/tenancy/migration/access.py: acl_* (grantee, relowner, privilege_type, columns) and former_* (role); the
-- conditions to_ours and upgraded on a row of pg_policy.
SELECT jsonb_build_array(
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
 HAVING count(*) > 0)
) AS sentences
