-- The server, and where its tables are.
SELECT concat_ws(E'\n',
CASE WHEN current_setting('server_version_num')::int < 150000 THEN
    format('the server is PostgreSQL %s, but this schema needs 15 or later: upgrade the server first', current_setting('server_version')) END,
(SELECT format('%1$s is in schema %2$s, but new tables would go to %3$s (a role that sets its own search_path needs another): run ALTER DATABASE %4$I SET search_path TO %2$s, %5$s;',
               relname, nspname, current_schema(), current_database(), current_setting('search_path'))
   FROM (SELECT relname, quote_ident(nspname) AS nspname, nspname AS there FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
          WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS t
  WHERE there <> current_schema() LIMIT 1)
) AS sentences
