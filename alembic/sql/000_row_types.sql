-- What stores a row of one of the two tables as one value, by itself or inside of arrays, domains, ranges and other row
-- types: that keeps the table's row type from changing.
WITH RECURSIVE holding (typ, depth) AS (
    SELECT reltype, 1 FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
    UNION
    SELECT next.typ, depth + 1 FROM holding CROSS JOIN LATERAL (
        SELECT typarray FROM pg_type WHERE oid = holding.typ AND typarray <> 0
        UNION ALL SELECT oid FROM pg_type WHERE typbasetype = holding.typ
        UNION ALL SELECT unnest(ARRAY[rngtypid, rngmultitypid]) FROM pg_range WHERE rngsubtype = holding.typ
        UNION ALL SELECT reltype FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE atttypid = holding.typ AND NOT attisdropped AND reltype <> 0
    ) AS next (typ)
)
SELECT jsonb_agg(CASE
           WHEN relkind = 'm' THEN format('the table cannot change while its row type is used by the materialized view %1$s; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
           WHEN relkind IN ('i', 'I') THEN format('the table cannot change while its row type is used by the index %1$s; create it again afterwards: run DROP INDEX %1$s;', attrelid::regclass)
           ELSE format('the table cannot change while its row type is used by column %1$s.%2$I; as jsonb it keeps its values: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END ORDER BY relkind IN ('i', 'I') DESC, depth DESC, attrelid, attnum)
  FROM (SELECT typ, max(depth) AS depth FROM holding GROUP BY typ) AS held
  JOIN pg_attribute ON atttypid = typ JOIN pg_class ON pg_class.oid = attrelid
 WHERE relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT relispartition AND NOT attisdropped
