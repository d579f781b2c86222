-- One statement: keys between these tables, a team's own too, are asked at its end. Columns go by their names.
SELECT 'WITH ' || string_agg(format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)',
                                    relname, columns), ', ') || ' SELECT'
  FROM (SELECT relname, string_agg(quote_ident(old.attname), ', ') AS columns
          FROM pg_class AS c JOIN pg_attribute AS old ON old.attrelid = c.oid AND old.attnum > 0 AND NOT old.attisdropped
          JOIN pg_attribute AS new ON new.attrelid = to_regclass(relname) AND new.attname = old.attname AND new.attgenerated = ''
         WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname = ANY ('{{{tables}}}') GROUP BY relname) AS t
