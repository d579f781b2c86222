-- What stands in the way of the upgrade: rights, keys and names first. A sentence a line; a line that is a query gives one.
WITH untouched AS ({{> 001_untouched.sql}}),
wanted (name, tab, definition) AS (VALUES
    ('businesses_pkey', NULL, NULL), ('whatsapp_numbers_pkey', NULL, NULL), ('users_pkey', NULL, NULL), ('user_businesses_pkey', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_id', NULL, NULL), ('uq_whatsapp_numbers_business_id_id', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_active', NULL, NULL), ('uq_users_email_lower', NULL, NULL), ('ix_user_businesses_business_id', NULL, NULL),
    ('customers_pkey', 'customers', NULL),
    ('ix_customers_whatsapp_id', 'customers', '^CREATE (UNIQUE )?INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_000', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_001', 'customers', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_user_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_user_id\) WHERE \(whatsapp_user_id IS NOT NULL\)$'),
    ('conversations_pkey', 'conversations', NULL),
    ('ix_conversations_whatsapp_id', 'conversations', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_conversations_timestamp', 'conversations', '^CREATE INDEX .* USING btree \("timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_id_timestamp', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_id, "timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_number_id', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_number_id\) WHERE \(whatsapp_number_id IS NOT NULL\)$'),
    ('uq_conversations_business_id_whatsapp_message_id', 'conversations', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_message_id\) WHERE \(whatsapp_message_id IS NOT NULL\)$')
-- Every name that the schema takes in the place of another relation: those on the two old tables with what they are.
)
SELECT concat_ws(E'\n',
-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT string_agg(DISTINCT format('the sequence %1$s of %2$s belongs to another role, and %3$s or an administrator can give it away: run ALTER SEQUENCE %1$s OWNER TO %4$s;',
                                   s.oid::regclass, t.relname, s.relowner::regrole, t.relowner::regrole), E'\n')
   FROM pg_class AS t JOIN pg_attrdef ON adrelid = t.oid JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid
   JOIN pg_class AS s ON s.oid = refobjid AND s.relkind = 'S'
  WHERE t.oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(s.relowner, 'USAGE')),
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
                   FROM pg_index JOIN pg_class AS x ON x.oid = indexrelid WHERE indrelid = c.oid AND x.relname IN (SELECT wanted.name FROM wanted)) AS indexes
           FROM unnest('{user_businesses,users,whatsapp_numbers,businesses}'::text[]) WITH ORDINALITY AS taken (name, place)
           LEFT JOIN pg_class AS c ON c.oid = to_regclass(name)
          WHERE (c.oid IS NOT NULL OR EXISTS (SELECT FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(current_schema())) AND typname = name))
            AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')) AS taken),
(SELECT string_agg(format('the name of the index %1$s is taken by another one%2$s: run ALTER %3$s IF EXISTS %1$s RENAME TO %4$I;', c.oid::regclass,
                          coalesce(' on ' || indrelid::regclass, ''), CASE WHEN i.indexrelid IS NULL THEN 'TABLE' ELSE 'INDEX' END, left(relname, 56) || '_before'), E'\n' ORDER BY relname)
   FROM wanted JOIN pg_class AS c ON c.oid = to_regclass(name) LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_constraint AS k ON conindid = c.oid AND contype <> 'f'
  WHERE (i.indrelid = to_regclass(tab) AND (indisprimary OR pg_get_indexdef(c.oid) ~ definition AND NOT indisexclusion)) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = i.indrelid AND polname = 'app_service' AND polrelid NOT IN (to_regclass('customers'), to_regclass('conversations')))
    -- those of a table that is renamed itself go with it
    AND (i.indrelid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))) IS NOT TRUE
    AND NOT (name LIKE '%\_pkey' AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(tab) AND relkind <> 'r'))),
(SELECT string_agg(format('the function %s was not made by this migration: run ALTER ROUTINE %s RENAME TO %I;', proname, pg_proc.oid::regprocedure, proname || '_before'), E'\n' ORDER BY proname)
   FROM pg_proc JOIN pg_roles AS maker ON maker.oid = proowner
  WHERE pg_proc.oid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
    AND (rolsuper OR rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relowner = proowner))  -- else see check_roles
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('businesses') AND polname = 'app_service')),
(SELECT string_agg(format('the trigger %1$s on %2$s was not made by this migration: run ALTER TRIGGER %1$I ON %2$s RENAME TO %3$I;', tgname, relname, tgname || '_before'), E'\n' ORDER BY relname)
   FROM pg_trigger JOIN untouched AS t ON tgrelid = relid WHERE tgname IN ('set_updated_at', 'single_business_only', 'single_business_update')),
(SELECT string_agg(format('the constraint %1$s of %2$s was not made by this migration: run ALTER TABLE %2$s RENAME CONSTRAINT %1$I TO %3$I;', conname, relname, left(conname, 56) || '_before'), E'\n' ORDER BY conname)
   FROM pg_constraint JOIN untouched AS t ON conrelid = relid
  WHERE conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') OR conname = 'uq_customers_business_id_whatsapp_id' AND contype NOT IN ('p', 'u', 'x')),
-- Columns of a multi-tenant schema that was made by hand. Rows of its other businesses would become the default one's:
-- they are put aside, where that deletes nothing of other tables.
(SELECT string_agg(CASE WHEN attname LIKE 'business_id%' AND has_table_privilege(relid, 'SELECT')
                        THEN format('SELECT CASE WHEN EXISTS (%s) THEN %L ELSE %L END', others, aside, renamed) ELSE renamed END, E'\n' ORDER BY relname, attname)
   FROM (SELECT *, CASE WHEN atttypid = 'uuid'::regtype THEN format('SELECT FROM %s WHERE %I <> %L', relid::regclass, attname, '{{default}}')
                        ELSE format('SELECT FROM %s HAVING count(DISTINCT %I::text) > 1', relid::regclass, attname) END AS others,
                CASE WHEN atttypid = 'uuid'::regtype AND referring IS NULL THEN
                    format('rows of %1$s belong to other businesses, by a column that this migration did not make; put them aside (docs/hand-made.md brings them back): run BEGIN; CREATE TABLE %1$s_before AS SELECT * FROM %1$s WHERE %2$I <> %3$L; DELETE FROM %1$s WHERE %2$I <> %3$L; COMMIT;%4$s', relname, attname, '{{default}}', ' ' || rename)
                ELSE format('rows of %1$s belong to other businesses, by the column %2$s, which this migration did not make%3$s: move them to a table of your own first, as docs/hand-made.md shows', relname, attname, ', and ' || referring || ' refers to them') END AS aside,
                format('the column %1$s.%2$s was not made by this migration (docs/hand-made.md shows how its values come along): run ', relname, attname) || rename AS renamed
           FROM (SELECT relid, relname, attname, atttypid,
                        (SELECT string_agg(DISTINCT conrelid::regclass::text, ', ') FROM pg_constraint WHERE contype = 'f' AND confrelid = relid AND conrelid NOT IN (to_regclass('customers'), to_regclass('conversations'))) AS referring,
                        CASE WHEN attname <> 'business_id_before' THEN format('ALTER TABLE %1$s RENAME COLUMN %2$I TO %3$I;', relname, attname, attname || '_before')
                             || CASE WHEN attnotnull AND NOT atthasdef AND attidentity = '' THEN format(' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', relname, attname || '_before') ELSE '' END END AS rename
                   FROM pg_attribute JOIN untouched AS t ON attrelid = relid WHERE (attname IN {{new_columns}} OR attname = 'business_id_before') AND NOT attisdropped) AS made) AS made),

-- What would keep two businesses from having one customer each of the same number.
(SELECT string_agg(format('%s on %s would go on keeping whatsapp_id unique across all businesses; create it again after the upgrade with business_id in it: run %s;',
               indexrelid::regclass, indrelid::regclass,
               CASE WHEN conname IS NULL THEN format('DROP INDEX IF EXISTS %s', indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', indrelid::regclass, conname) END), E'\n' ORDER BY indexrelid)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND (indisunique OR indisexclusion) AND NOT indisprimary AND NOT (indrelid = to_regclass('customers') AND {{global_unique}})
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\mid\M' AND NOT (keys ~ '\mbusiness_id\M' AND indrelid NOT IN (SELECT relid FROM untouched)))
) AS sentences
