-- The server, and where its tables are.
WITH tables AS (
    SELECT relname, quote_ident(nspname) AS nspname, nspname AS there, min(relname) FILTER (WHERE nspname = current_schema()) OVER () AS here
      FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations')))
SELECT jsonb_build_array(
CASE WHEN current_setting('server_version_num')::int < 150000 THEN
    format('the server is PostgreSQL %s, but this schema needs 15 or later: upgrade the server first', current_setting('server_version')) END,
(SELECT format('%1$s is in schema %2$s, but new tables would go to %3$s (a role that sets its own search_path needs another): run ALTER DATABASE %4$I SET search_path TO %2$s, %5$s;',
               relname, nspname, current_schema(), current_database(), current_setting('search_path'))
   FROM tables
  WHERE there <> current_schema() AND here IS NULL LIMIT 1),
(SELECT format('%1$s is in schema %2$s, and %3$s only in schema %4$s, where it may be another application''s; if it is the bot''s, run ALTER TABLE %4$I.%3$I SET SCHEMA %2$I, else let the bot make its own in %2$I', here, current_schema(), relname, there)
   FROM tables WHERE there <> current_schema() AND here IS NOT NULL)
) AS sentences
