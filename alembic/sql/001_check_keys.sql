-- No row is deleted under a foreign key, whatever its ON DELETE says.
DO $check$
DECLARE
    refusal text;
    query text;
BEGIN
    IF {{when}} THEN
        FOR query IN
            WITH moving (oid, longest) AS (VALUES (to_regclass('customers'), {{longest_customers}}), (to_regclass('conversations'), {{longest_conversations}}))
            SELECT format($query$ SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE (%s) %s) $query$,
                          format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                 conname, conrelid::regclass, confrelid::regclass),
                          conrelid::regclass, confrelid::regclass,
                          (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                             JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                             JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                          format({{moved_format}}, 't', it.longest),
                          CASE WHEN own.oid IS NOT NULL THEN format('AND NOT (%s)', format({{moved_format}}, 'o', own.longest)) END)
              FROM pg_constraint JOIN moving AS it ON it.oid = confrelid LEFT JOIN moving AS own ON own.oid = conrelid
             WHERE contype = 'f' LOOP
            EXECUTE query INTO refusal;
            IF refusal IS NOT NULL THEN
                RAISE EXCEPTION '%', refusal;
            END IF;
        END LOOP;
    END IF;
END $check$
