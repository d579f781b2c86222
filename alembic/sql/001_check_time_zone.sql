-- Whose times without a zone would be read in another one. JSON of sentences.
SELECT jsonb_agg(DISTINCT format('TimeZone is %s %s, and the UTC times that the running bot writes would be read in it; restart the bot after: run %s;', zone, place, command))
   FROM (SELECT reset_val, 'here', format('ALTER DATABASE %I SET timezone TO ''UTC''', current_database()) FROM pg_settings WHERE name = 'TimeZone'
         UNION ALL
         SELECT split_part(setting, '=', 2), CASE WHEN setrole = 0 THEN 'here' ELSE 'for role ' || setrole::regrole END,
                CASE WHEN setrole = 0 THEN format('ALTER DATABASE %I SET timezone TO ''UTC''', current_database())
                     ELSE format('ALTER ROLE %s%s SET timezone TO ''UTC''', setrole::regrole, CASE WHEN setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) END) END
           FROM pg_db_role_setting, unnest(setconfig) AS setting
          WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND setting ILIKE 'timezone=%' AND (setrole = 0 OR has_table_privilege(setrole, to_regclass('conversations'), 'INSERT'))
        ) AS zones (zone, place, command)
  WHERE lower(zone) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'
    AND (to_regclass('customers') IS NULL  -- revision 000 makes them without a zone
         OR EXISTS (SELECT FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid <> 'timestamptz'::regtype))
