-- Roles belong to the whole server: whoever joined them for another database must not come into this one.
-- Input: strangers, a query of app/tenancy/migration/access.py (role, database, closing).
SELECT format('role %s is a member of app_tenant or app_service, which belong to the whole server, and would come into this database as anyone may: if it works here, run GRANT CONNECT ON DATABASE %2$s TO %1$s; if it does not: run %3$s;',
               string_agg(role, ', ' ORDER BY role), min(database), min(closing))
   FROM ({{strangers}}) AS stranger HAVING count(*) > 0
