-- What stands in the way of the upgrade of the two tables: rights and keys first. JSON of sentences; a query gives one.
WITH untouched AS ({{> 001_untouched.sql}})
SELECT jsonb_build_array(
-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT jsonb_agg(DISTINCT format('the sequence %1$s of %2$s belongs to another role, and %3$s or an administrator can give it away: run ALTER SEQUENCE %1$s OWNER TO %4$s;',
                                   s.oid::regclass, t.relname, s.relowner::regrole, t.relowner::regrole))
   FROM pg_class AS t JOIN pg_attrdef ON adrelid = t.oid JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid
   JOIN pg_class AS s ON s.oid = refobjid AND s.relkind = 'S'
  WHERE t.oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(s.relowner, 'USAGE')),
-- Keys first, for what they refer to cannot go before them.
(SELECT jsonb_agg(format('the foreign key %1$s of table %2$s refers to customers.whatsapp_id, which is no longer unique in a database of many businesses (after the upgrade a key of business_id and whatsapp_id can take its place): run ALTER TABLE %2$s DROP CONSTRAINT IF EXISTS %3$I;',
                          conname, conrelid::regclass, conname) ORDER BY conname)
   FROM pg_constraint
  WHERE contype = 'f' AND confrelid = to_regclass('customers')
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'whatsapp_id')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname IN ('id', 'business_id'))),

-- What was made by hand.
(SELECT jsonb_agg(format('the trigger %1$s on %2$s was not made by this migration: run ALTER TRIGGER %1$I ON %2$s RENAME TO %3$I;', tgname, relname, tgname || '_before') ORDER BY relname)
   FROM pg_trigger JOIN untouched AS t ON tgrelid = relid WHERE tgname IN ('set_updated_at', 'single_business_only', 'single_business_update')),
(SELECT jsonb_agg(format('the constraint %1$s of %2$s was not made by this migration: run ALTER TABLE %2$s RENAME CONSTRAINT %1$I TO %3$I;', conname, relname, left(conname, 56) || '_before') ORDER BY conname)
   FROM pg_constraint JOIN untouched AS t ON conrelid = relid
  WHERE conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') OR conname = 'uq_customers_business_id_whatsapp_id' AND contype NOT IN ('p', 'u', 'x')),
-- Columns of a multi-tenant schema that was made by hand. Rows of its other businesses would become the default one's:
-- they are put aside, where that deletes nothing of other tables.
(SELECT jsonb_agg(CASE WHEN attname LIKE 'business_id%' AND has_table_privilege(relid, 'SELECT')
                        THEN jsonb_build_object('query', format('SELECT CASE WHEN EXISTS (%s) THEN %L ELSE %L END', others, aside, renamed)) ELSE to_jsonb(renamed) END ORDER BY relname, attname)
   FROM (SELECT *, CASE WHEN atttypid = 'uuid'::regtype THEN format('SELECT FROM %s WHERE %I <> %L', relid::regclass, attname, '{{default}}')
                        ELSE format('SELECT FROM %s HAVING count(DISTINCT %I::text) > 1', relid::regclass, attname) END AS others,
                CASE WHEN atttypid = 'uuid'::regtype AND referring IS NULL THEN
                    format('rows of %1$s belong to other businesses, by a column that this migration did not make; put them aside (docs/hand-made.md brings them back): run BEGIN; LOCK TABLE %1$s IN SHARE ROW EXCLUSIVE MODE; CREATE TABLE %1$s_before AS SELECT * FROM %1$s WHERE %2$I <> %3$L; DELETE FROM %1$s WHERE %2$I <> %3$L; COMMIT;%4$s', relname, attname, '{{default}}', ' ' || rename)
                ELSE format('rows of %1$s belong to other businesses, by the column %2$s, which this migration did not make%3$s: move them to a table of your own first, as docs/hand-made.md shows', relname, attname, ', and ' || referring || ' refers to them') END AS aside,
                format('the column %1$s.%2$s was not made by this migration (docs/hand-made.md shows how its values come along): run ', relname, attname) || rename AS renamed
           FROM (SELECT relid, relname, attname, atttypid,
                        (SELECT string_agg(DISTINCT conrelid::regclass::text, ', ') FROM pg_constraint WHERE contype = 'f' AND confrelid = relid AND conrelid NOT IN (to_regclass('customers'), to_regclass('conversations'))) AS referring,
                        CASE WHEN attname <> 'business_id_before' THEN format('ALTER TABLE %1$s RENAME COLUMN %2$I TO %3$I;', relname, attname, attname || '_before')
                             || CASE WHEN attnotnull AND NOT atthasdef AND attidentity = '' THEN format(' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', relname, attname || '_before') ELSE '' END END AS rename
                   FROM pg_attribute JOIN untouched AS t ON attrelid = relid WHERE (attname IN {{new_columns}} OR attname = 'business_id_before') AND NOT attisdropped) AS made) AS made),

-- What would keep two businesses from having one customer each of the same number.
(SELECT jsonb_agg(format('%s on %s would go on keeping whatsapp_id unique across all businesses; create it again after the upgrade with business_id in it: run %s;',
               indexrelid::regclass, indrelid::regclass,
               CASE WHEN conname IS NULL THEN format('DROP INDEX IF EXISTS %s', indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', indrelid::regclass, conname) END) ORDER BY indexrelid)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND (indisunique OR indisexclusion) AND NOT indisprimary AND NOT (indrelid = to_regclass('customers') AND {{global_unique}})
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\mid\M' AND NOT (keys ~ '\mbusiness_id\M' AND indrelid NOT IN (SELECT relid FROM untouched)))
) AS sentences
