-- Where the migrating role, once a member of app_tenant and app_service, could read another database (role, database, closing).
-- Inputs: joins_as_anyone, a condition on joins and there; closing_there, the statements that close a database.
SELECT format('%I', joins.rolname) AS role, format('%I', there.datname) AS database, {{closing_there}} AS closing
  FROM pg_roles AS me, pg_roles AS joins, pg_database AS there
 WHERE me.rolname = current_user AND NOT me.rolsuper AND pg_has_role(joins.oid, me.oid, 'MEMBER')
   AND joins.rolcanlogin AND NOT joins.rolsuper AND there.datname <> current_database()
   AND EXISTS (SELECT FROM pg_shdepend WHERE dbid = there.oid AND refclassid = 'pg_authid'::regclass
                  AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service')))
   AND {{joins_as_anyone}}
