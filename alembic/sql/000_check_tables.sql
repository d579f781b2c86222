{{check_server}}
(SELECT format('the tables of this database do not fit revision 000: %s; mend that and run the same command again',
               string_agg(fault, '; ' ORDER BY place))
   FROM (SELECT place, CASE
            WHEN to_regclass(tab) IS NULL THEN CASE WHEN col = 'id' THEN format('table %s is missing', tab) END
            WHEN attname IS NULL THEN format('column %s.%s (%s) is missing', tab, col, type)
            WHEN format_type(atttypid, NULL) <> ALL (string_to_array(fits, '|')) THEN
                format('column %s.%s is %s instead of %s', tab, col, format_type(atttypid, atttypmod), type)
            WHEN col <> 'age' AND NOT attnotnull THEN
                format('column %s.%s allows NULL (ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL)', tab, col)
            END
           FROM (VALUES
            (1, 'customers', 'id', 'integer', 'integer|bigint'),
            (2, 'customers', 'whatsapp_id', 'character varying(50)', 'character varying|text'),
            (3, 'customers', 'name', 'character varying(100)', 'character varying|text'),
            (4, 'customers', 'age', 'integer', 'integer|bigint|smallint'),
            (5, 'customers', 'created_at', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (6, 'customers', 'updated_at', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (7, 'conversations', 'id', 'integer', 'integer|bigint'),
            (8, 'conversations', 'whatsapp_id', 'character varying(50)', 'character varying|text'),
            (9, 'conversations', 'message', 'text', 'character varying|text'),
            (10, 'conversations', 'role', 'character varying(20)', 'character varying|text'),
            (11, 'conversations', 'timestamp', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (12, 'conversations', 'created_at', 'timestamp', 'timestamp without time zone|timestamp with time zone')
           ) AS wanted (place, tab, col, type, fits)
           LEFT JOIN pg_attribute ON attrelid = to_regclass(tab) AND attname = col
         UNION ALL SELECT 20, format('%s is not an ordinary table', relname) FROM pg_class
          WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind <> 'r') AS found (place, fault)
  WHERE to_regclass('customers') IS NOT NULL OR to_regclass('conversations') IS NOT NULL
 HAVING count(fault) > 0)
