{{check_server}}

-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN {{both}} AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
CASE WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN
    format('role %s may not create tables in schema %s: as its owner run GRANT CREATE ON SCHEMA %2$I TO %I',
           current_user, current_schema(), current_user) END,

-- What was made by hand, or depends on what changes.
(SELECT format('this database has tables named %s that this migration did not make: rename them (ALTER TABLE %s RENAME TO ...), upgrade, then copy their rows',
               string_agg(name, ', '), min(name))
   FROM unnest('{{{new_tables}}}'::text[]) AS name
  WHERE to_regclass(name) IS NOT NULL
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(name) AND polname = 'app_service') HAVING count(*) > 0),
(SELECT format('the column %s was not made by this migration: rename it (ALTER TABLE ... RENAME COLUMN), upgrade, then copy its values',
               string_agg(format('%s.%s', attrelid::regclass, attname), ', '))
   FROM pg_attribute WHERE attrelid IN {{both}} AND attname IN {{new_columns}}
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND conname = 'fk_' || attrelid::regclass || '_businesses')
 HAVING count(*) > 0),
(SELECT format('the foreign key %s refers to customers.whatsapp_id, which is no longer unique in a database of many businesses: let it refer to customers.id',
               string_agg(format('%s of table %s', conname, conrelid::regclass), ', '))
   FROM pg_constraint JOIN pg_attribute ON attrelid = confrelid AND confkey = ARRAY[attnum]
  WHERE contype = 'f' AND confrelid = to_regclass('customers') AND attname = 'whatsapp_id' HAVING count(*) > 0),
(SELECT format('%s on customers would go on keeping whatsapp_id unique across all businesses: run %s, upgrade, then create it again with business_id in it',
               indexrelid::regclass, CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE customers DROP CONSTRAINT %I', conname) END)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid = to_regclass('customers') AND (indisunique OR indisexclusion) AND NOT {{global_unique}}
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\m(business_id|id)\M'
  LIMIT 1),
{{check_both}}
(SELECT format('the type of a timestamp column cannot change while this depends on it: %s; drop it, upgrade, then create it again',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
  WHERE refobjid IN {{both}} AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype AND (deptype = 'n' OR {{rebuilt}})
 HAVING count(*) > 0),
(SELECT format('TimeZone is %s here, and the UTC times that the running bot writes would be read in it: run ALTER DATABASE %I SET timezone TO ''UTC'' (and ALTER ROLE ... SET for a role that sets it), restart the bot, and run the same command again',
               min(zone), current_database())
   FROM (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'
         UNION ALL
         SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting
          WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND setting ILIKE 'timezone=%' AND (setrole = 0 OR has_table_privilege(setrole, to_regclass('conversations'), 'INSERT'))
        ) AS zones (zone)
  WHERE lower(zone) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'
    AND (to_regclass('customers') IS NULL  -- revision 000 makes them so
         OR EXISTS (SELECT FROM pg_attribute WHERE attrelid IN {{both}} AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype))
 HAVING count(*) > 0),

-- Whom row level security would cut off, or let through.
{{check_roles}}
