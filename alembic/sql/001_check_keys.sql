-- No row is deleted under a foreign key, whatever its ON DELETE says: a query for each key finds its rows.
SELECT jsonb_agg(jsonb_build_object('query', format('SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE (%s) %s)',
                         format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                conname, conrelid::regclass, confrelid::regclass),
                         conrelid::regclass, confrelid::regclass,
                         (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                            JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                            JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                         format({{moved_format}}, 't', it.longest),
                         CASE WHEN own.oid IS NOT NULL THEN format('AND NOT (%s)', format({{moved_format}}, 'o', own.longest)) END)))
  FROM pg_constraint
  JOIN (VALUES (to_regclass('customers'), {{longest_customers}}), (to_regclass('conversations'), {{longest_conversations}})) AS it (oid, longest)
    ON it.oid = confrelid
  LEFT JOIN (VALUES (to_regclass('customers'), {{longest_customers}}), (to_regclass('conversations'), {{longest_conversations}})) AS own (oid, longest)
    ON own.oid = conrelid
 WHERE contype = 'f'
