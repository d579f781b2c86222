DO $check$
DECLARE
    faults text;
    doubles text;
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'the server is PostgreSQL %, but this schema needs 15 or later: upgrade the server first',
            current_setting('server_version');
    END IF;
    IF to_regclass('customers') IS NULL AND to_regclass('conversations') IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(fault, '; ' ORDER BY place) INTO faults FROM (
        SELECT place, CASE
            WHEN to_regclass(wanted.tab) IS NULL THEN
                CASE WHEN place IN (1, 7) THEN format('table %s is missing', wanted.tab) END
            WHEN a.attname IS NULL THEN format('column %s.%s (%s) is missing', wanted.tab, wanted.col, wanted.type)
            WHEN replace(format_type(a.atttypid, NULL), ' ', '_') <> ALL (wanted.fits) THEN
                format('column %s.%s is %s instead of %s', wanted.tab, wanted.col, format_type(a.atttypid, a.atttypmod), wanted.type)
            WHEN wanted.col <> 'age' AND NOT a.attnotnull THEN
                format('column %s.%s allows NULL (ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL)', wanted.tab, wanted.col)
            END AS fault
          FROM (VALUES
            (1, 'customers', 'id', 'integer', '{integer,bigint}'::text[]),
            (2, 'customers', 'whatsapp_id', 'character varying(50)', '{character_varying,text}'),
            (3, 'customers', 'name', 'character varying(100)', '{character_varying,text}'),
            (4, 'customers', 'age', 'integer', '{integer,bigint,smallint}'),
            (5, 'customers', 'created_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (6, 'customers', 'updated_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (7, 'conversations', 'id', 'integer', '{integer,bigint}'),
            (8, 'conversations', 'whatsapp_id', 'character varying(50)', '{character_varying,text}'),
            (9, 'conversations', 'message', 'text', '{character_varying,text}'),
            (10, 'conversations', 'role', 'character varying(20)', '{character_varying,text}'),
            (11, 'conversations', 'timestamp', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (12, 'conversations', 'created_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}')
          ) AS wanted (place, tab, col, type, fits)
          LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(wanted.tab) AND a.attname = wanted.col AND NOT a.attisdropped
        UNION ALL
        SELECT 20, format('%s is not an ordinary table', relname) FROM pg_class
         WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind <> 'r'
    ) AS found WHERE fault IS NOT NULL;
    IF faults IS NOT NULL THEN
        RAISE EXCEPTION 'the tables of this database do not fit revision 000: %; mend that and run the same command again', faults;
    END IF;
    -- A unique index on whatsapp_id alone, or with the business, says that there are no doubles; else they are counted.
    IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass('customers') AND i.indisunique AND i.indisvalid
                      AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
                            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
                          IN ('{whatsapp_id}', '{business_id,whatsapp_id}')) THEN
        SELECT string_agg(format('%s (%s rows)', whatsapp_id, n), ', ') INTO doubles FROM (
            SELECT whatsapp_id, count(*) AS n FROM customers GROUP BY whatsapp_id HAVING count(*) > 1
             ORDER BY n DESC, whatsapp_id LIMIT 5) AS d;
        IF doubles IS NOT NULL THEN
            RAISE EXCEPTION 'customers.whatsapp_id must be unique, but is not: %; merge those rows and run the same command again', doubles;
        END IF;
    END IF;
END $check$
