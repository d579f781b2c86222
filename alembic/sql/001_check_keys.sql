-- No row is deleted under a foreign key, whatever its ON DELETE says.
DO $check$
DECLARE
    refusal text;
    query text;
BEGIN
    FOR query IN SELECT format($query$ SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> '{{default}}' %s) $query$,
                               format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                      conname, conrelid::regclass, confrelid::regclass),
                               conrelid::regclass, confrelid::regclass,
                               (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                                  JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                                  JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                               CASE WHEN conrelid IN {{both}} THEN 'AND o.business_id <> t.business_id' END)
                   FROM pg_constraint WHERE contype = 'f' AND confrelid IN {{both}} AND {{fresh}} LOOP
        EXECUTE query INTO refusal;
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION '%', refusal;
        END IF;
    END LOOP;
END $check$
