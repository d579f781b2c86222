(SELECT format('PUBLIC holds %s, and row level security would cut off whoever works through it: run GRANT %s ON customers, conversations TO the role of the bot; REVOKE ALL ON customers, conversations FROM PUBLIC',
               string_agg(DISTINCT format('%s on %s', privilege_type, name), ', '), string_agg(DISTINCT privilege_type, ', '))
   FROM (SELECT oid::regclass AS name, (aclexplode(relacl)).* FROM pg_class WHERE oid IN {{both}}
         UNION ALL SELECT attrelid::regclass, (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid IN {{both}}) AS acl
  WHERE grantee = 0 HAVING count(*) > 0),
(SELECT format('the policy %s would show every business to app_tenant: name its roles with ALTER POLICY ... TO, or drop it',
               string_agg(format('%I on %s', polname, polrelid::regclass), ', '))
   FROM pg_policy WHERE polrelid IN {{both}} AND polpermissive AND polname NOT IN ('app_tenant', 'app_service')
    AND (0 = ANY (polroles) OR to_regrole('app_tenant') = ANY (polroles)) HAVING count(*) > 0),
(SELECT format('app_tenant or app_service would bypass row level security: as an administrator run %s',
               string_agg(format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS', rolname), '; '))
   FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') AND (rolsuper OR rolbypassrls) HAVING count(*) > 0),
(SELECT format('row level security would cut off a role that is to work as a member of app_service but inherits nothing: run %s',
               string_agg(format('ALTER ROLE %s INHERIT', name), '; '))
   FROM ({{bot_roles}}) AS bot (name) JOIN pg_roles ON oid = to_regrole(name) WHERE NOT rolinherit HAVING count(*) > 0),
(SELECT format('role app_tenant is a member of %s and would not be confined: as an administrator run REVOKE %1$s FROM app_tenant',
               string_agg(roleid::regrole::text, ', '))
   FROM pg_auth_members WHERE member = to_regrole('app_tenant') HAVING count(*) > 0),
(SELECT format('role %s may not create or grant the roles app_tenant and app_service: as an administrator run %sGRANT app_tenant, app_service TO %I WITH ADMIN OPTION',
               current_user, string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) END, ''), current_user)
   FROM pg_roles AS me CROSS JOIN (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles AS r ON r.rolname = name
  WHERE me.rolname = current_user AND NOT CASE WHEN r.oid IS NULL THEN me.rolsuper OR me.rolcreaterole
        ELSE (me.rolcreaterole AND current_setting('server_version_num')::int < 160000) OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
             OR (pg_has_role(r.oid, 'MEMBER') AND (name = 'app_tenant' OR NOT EXISTS ({{bot_roles}}))) END
 HAVING count(*) > 0)
