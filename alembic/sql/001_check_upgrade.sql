-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN {{both}} AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT string_agg(DISTINCT format('the sequence %1$s of %2$s belongs to another role, and %3$s or an administrator can give it away: run ALTER SEQUENCE %1$s OWNER TO %4$s;',
                                   s.oid::regclass, t.relname, s.relowner::regrole, t.relowner::regrole), E'\n')
   FROM pg_class AS t JOIN pg_attrdef ON adrelid = t.oid JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid
   JOIN pg_class AS s ON s.oid = refobjid AND s.relkind = 'S'
  WHERE t.oid IN {{both}} AND NOT pg_has_role(s.relowner, 'USAGE')),
CASE WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN
    format('role %1$s may not create tables in schema %2$s, whose owner can let it: run GRANT CREATE ON SCHEMA %2$I TO %3$I;',
           current_user, current_schema(), current_user) END,

-- Keys first, for what they refer to cannot go before them.
(SELECT string_agg(format('the foreign key %1$s of table %2$s refers to customers.whatsapp_id, which is no longer unique in a database of many businesses (after the upgrade a key of business_id and whatsapp_id can take its place): run ALTER TABLE %2$s DROP CONSTRAINT IF EXISTS %3$I;',
                          conname, conrelid::regclass, conname), E'\n' ORDER BY conname)
   FROM pg_constraint
  WHERE contype = 'f' AND confrelid = to_regclass('customers')
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'whatsapp_id')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname IN ('id', 'business_id'))),

-- What was made by hand: names that are taken.
(SELECT string_agg(format('the name %1$s is taken by a %2$s that this migration did not make (docs/hand-made.md shows how its rows come along): run %3$sALTER %4$s %1$I RENAME TO %1$s_before;',
                          name, kind, indexes, CASE WHEN kind = 'type' THEN 'TYPE' ELSE 'TABLE IF EXISTS' END), E'\n' ORDER BY place)
   FROM (SELECT place, name, CASE WHEN c.oid IS NULL THEN 'type' WHEN relkind IN ('r', 'p', 'f') THEN 'table' WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'relation' END AS kind,
                (SELECT string_agg(format('ALTER INDEX IF EXISTS %s RENAME TO %I; ', indexrelid::regclass, x.relname || '_before'), '' ORDER BY x.relname)
                   FROM pg_index JOIN pg_class AS x ON x.oid = indexrelid WHERE indrelid = c.oid AND x.relname IN (SELECT wanted.name FROM {{taken_names}})) AS indexes
           FROM unnest('{{{new_tables}}}'::text[]) WITH ORDINALITY AS taken (name, place)
           LEFT JOIN pg_class AS c ON c.oid = to_regclass(name)
          WHERE (c.oid IS NOT NULL OR EXISTS (SELECT FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(current_schema())) AND typname = name))
            AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')) AS taken),
(SELECT string_agg(format('the name of the index %1$s is taken by another one%2$s: run ALTER %3$s IF EXISTS %1$s RENAME TO %4$I;', c.oid::regclass,
                          coalesce(' on ' || indrelid::regclass, ''), CASE WHEN i.indexrelid IS NULL THEN 'TABLE' ELSE 'INDEX' END, left(relname, 56) || '_before'), E'\n' ORDER BY relname)
   FROM {{taken_names}} JOIN pg_class AS c ON c.oid = to_regclass(name) LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_constraint AS k ON conindid = c.oid AND contype <> 'f'
  WHERE (i.indrelid = to_regclass(tab) AND (indisprimary OR pg_get_indexdef(c.oid) ~ definition AND NOT indisexclusion)) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = i.indrelid AND polname = 'app_service' AND polrelid NOT IN {{both}})
    -- those of a table that is renamed itself go with it
    AND (i.indrelid IN {{new}}) IS NOT TRUE
    AND NOT (name LIKE '%\_pkey' AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(tab) AND relkind <> 'r'))),
(SELECT string_agg(format('the function %s was not made by this migration: run ALTER ROUTINE %s RENAME TO %I;', proname, pg_proc.oid::regprocedure, proname || '_before'), E'\n' ORDER BY proname)
   FROM pg_proc JOIN pg_roles AS maker ON maker.oid = proowner
  WHERE pg_proc.oid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
    AND (rolsuper OR rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE oid IN {{both}} AND relowner = proowner))  -- else see check_roles
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('businesses') AND polname = 'app_service')),
(SELECT string_agg(format('the trigger %1$s on %2$s was not made by this migration: run ALTER TRIGGER %1$I ON %2$s RENAME TO %3$I;', tgname, relname, tgname || '_before'), E'\n' ORDER BY relname)
   FROM pg_trigger JOIN ({{untouched}}) AS t ON tgrelid = relid WHERE tgname IN ('set_updated_at', 'single_business_only', 'single_business_update')),
(SELECT string_agg(format('the constraint %1$s of %2$s was not made by this migration: run ALTER TABLE %2$s RENAME CONSTRAINT %1$I TO %3$I;', conname, relname, left(conname, 56) || '_before'), E'\n' ORDER BY conname)
   FROM pg_constraint JOIN ({{untouched}}) AS t ON conrelid = relid
  WHERE conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') OR conname = 'uq_customers_business_id_whatsapp_id' AND contype NOT IN ('p', 'u', 'x')),
{{check_hand_made}},

-- What would keep two businesses from having one customer each of the same number.
(SELECT string_agg(format('%s on %s would go on keeping whatsapp_id unique across all businesses; create it again after the upgrade with business_id in it: run %s;',
               indexrelid::regclass, indrelid::regclass,
               CASE WHEN conname IS NULL THEN format('DROP INDEX IF EXISTS %s', indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', indrelid::regclass, conname) END), E'\n' ORDER BY indexrelid)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid IN {{both}} AND (indisunique OR indisexclusion) AND NOT indisprimary AND NOT (indrelid = to_regclass('customers') AND {{global_unique}})
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\mid\M' AND NOT (keys ~ '\mbusiness_id\M' AND indrelid NOT IN (SELECT relid FROM ({{untouched}}) AS t))),
{{check_both}}
{{dependents}},
(SELECT string_agg(format('%1$s is a partition of %2$s, and its columns cannot change: run ALTER TABLE %2$s DETACH PARTITION %1$s;', inhrelid::regclass, inhparent::regclass), E'\n')
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN {{both}} AND relispartition),
(SELECT string_agg(format('%1$s inherits columns of %2$s, which cannot change here: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass), E'\n')
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN {{both}} AND NOT relispartition),
(SELECT string_agg(format('%1$s is a table of the type %2$s, and its columns cannot change: run ALTER TABLE %1$s NOT OF;', relname, reloftype::regtype), E'\n')
   FROM pg_class WHERE oid IN {{both}} AND reloftype <> 0),
(SELECT string_agg(format('row level security is forced on %1$s, which hides rows from the migration: run ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY;', relname), E'\n' ORDER BY relname)
   FROM pg_class WHERE oid IN {{both}} AND relforcerowsecurity),
{{check_triggers}},
(SELECT string_agg(DISTINCT format('TimeZone is %s %s, and the UTC times that the running bot writes would be read in it; restart the bot after: run %s;', zone, place, command), E'\n')
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
         OR EXISTS (SELECT FROM pg_attribute WHERE attrelid IN {{both}} AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid <> 'timestamptz'::regtype))),

-- Whom row level security would cut off, or let through.
{{check_roles}}
