-- Columns of a multi-tenant schema that was made by hand. Rows of its other businesses would become the default one's:
-- they are put aside, where that deletes nothing of other tables.
(SELECT string_agg(CASE
           WHEN others AND atttypid = 'uuid'::regtype AND referring IS NULL THEN format('rows of %1$s belong to other businesses, by a column that this migration did not make; put them aside (docs/hand-made.md brings them back): run BEGIN; CREATE TABLE %1$s_before AS SELECT * FROM %1$s WHERE %2$I <> %3$L; DELETE FROM %1$s WHERE %2$I <> %3$L; COMMIT; ', relname, attname, '{{default}}') || renamed
           WHEN others THEN format('rows of %1$s belong to other businesses, by the column %2$s, which this migration did not make%3$s: move them to a table of your own first, as docs/hand-made.md shows', relname, attname, ', and ' || referring || ' refers to them')
           ELSE format('the column %1$s.%2$s was not made by this migration (docs/hand-made.md shows how its values come along): run ', relname, attname) || renamed END, E'\n' ORDER BY relname, attname)
   FROM (SELECT relname, attname, atttypid,
                CASE WHEN attname LIKE 'business_id%' AND has_table_privilege(relid, 'SELECT') THEN query_to_xml(
                     CASE WHEN atttypid = 'uuid'::regtype THEN format('SELECT 1 FROM %s WHERE %I <> %L LIMIT 1', relid::regclass, attname, '{{default}}')
                          ELSE format('SELECT 1 FROM %s HAVING count(DISTINCT %I::text) > 1', relid::regclass, attname) END, true, false, '')::text LIKE '%<row%' ELSE false END AS others,
                (SELECT string_agg(DISTINCT conrelid::regclass::text, ', ') FROM pg_constraint WHERE contype = 'f' AND confrelid = relid AND conrelid NOT IN {{both}}) AS referring,
                CASE WHEN attname LIKE '%\_before' THEN '' ELSE format('ALTER TABLE %1$s RENAME COLUMN %2$I TO %3$I;', relname, attname, attname || '_before')
                     || CASE WHEN attnotnull AND NOT atthasdef AND attidentity = '' THEN format(' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', relname, attname || '_before') ELSE '' END END AS renamed
           FROM pg_attribute JOIN ({{untouched}}) AS t ON attrelid = relid WHERE (attname IN {{new_columns}} OR attname = 'business_id_before') AND NOT attisdropped) AS made
  WHERE others OR attname <> 'business_id_before')
