-- What makes the role that runs the migration a member of the two roles.
SELECT format('GRANT %s TO %I', name, current_user) FROM ({{> missing_memberships.sql}}) AS missing
-- Where PUBLIC may not use the schema, the two roles need it said.
UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), rolname) FROM pg_roles
 WHERE rolname IN ('app_tenant', 'app_service') AND NOT has_schema_privilege(oid, current_schema(), 'USAGE')
