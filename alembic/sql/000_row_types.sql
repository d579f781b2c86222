-- Columns and materialized views that use the row type of one of the two tables: that keeps it from changing.
SELECT string_agg(CASE WHEN relkind = 'm' THEN format('the table cannot change while its row type is used by the materialized view %1$s; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
                       ELSE format('the table cannot change while its row type is used by column %1$s.%2$I; as jsonb it keeps its values: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END, E'\n' ORDER BY attrelid, attnum)
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
 WHERE atttypid = ANY (ARRAY(SELECT unnest(ARRAY[oid, typarray]) FROM pg_type
                              WHERE typrelid IN (to_regclass('customers'), to_regclass('conversations')) AND typtype = 'c'))
   AND relkind IN ('r', 'p', 'm') AND NOT attisdropped
