-- And whoever joins them for this database must not come into another. Inputs: those of 001_new_strangers.sql.
SELECT format('role %s will be a member of app_tenant and app_service, which %s uses too, and would come into that database as anyone may; its owner can close it: run %s;',
               string_agg(DISTINCT role, ', '), string_agg(DISTINCT 'database ' || database, ', '), string_agg(DISTINCT closing, '; '))
   FROM (
{{> 001_new_strangers.sql}}
) AS stranger HAVING count(*) > 0
