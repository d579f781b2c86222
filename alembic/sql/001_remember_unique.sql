-- What kept whatsapp_id unique in the whole database, built under a name of ours first and then given its own; and what the
-- index of the old bot's look-up was called. Inputs: equal, an index that is one of whatsapp_id alone, or NULL; global_unique.
WITH kept AS (
    SELECT index, definition, relname, place, conname, condeferrable, condeferred, said, indisclustered
      FROM (SELECT indexrelid AS index, left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS definition,
                   relname, row_number() OVER (ORDER BY relname) AS place, indisclustered
              FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
             CROSS JOIN LATERAL (SELECT pg_get_indexdef(indexrelid) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
             WHERE indrelid = 'customers'::regclass AND {{global_unique}}) AS i
      LEFT JOIN pg_constraint AS k ON conindid = index AND contype = 'u'
     CROSS JOIN obj_description(k.oid, 'pg_constraint') AS said
)
SELECT 'customers' AS phase, 'plain index' AS kind,
       CASE relname WHEN 'ix_customers_whatsapp_id_001' THEN 'DROP INDEX IF EXISTS ix_customers_whatsapp_id'
                    WHEN 'ix_customers_whatsapp_id' THEN NULL
                    ELSE format('ALTER INDEX IF EXISTS ix_customers_whatsapp_id RENAME TO %I', relname) END AS statement,
       NULL AS needs_column, NULL AS needs_role
  FROM pg_class WHERE oid = {{equal}}
UNION ALL (
    SELECT 'unique', 'index', replace(definition, format(' INDEX %I ON ', relname), format(' INDEX multi_tenant_rollback_%s ON ', place)), NULL, NULL
      FROM kept ORDER BY place
)
UNION ALL (
    SELECT 'customers', 'unique',
           CASE WHEN conname IS NULL THEN format('ALTER INDEX multi_tenant_rollback_%s RENAME TO %I', place, relname)
                ELSE format('ALTER TABLE customers ADD CONSTRAINT %I UNIQUE USING INDEX multi_tenant_rollback_%s%s%s', conname, place,
                            CASE WHEN condeferrable THEN ' DEFERRABLE' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' END)
           END || CASE WHEN obj_description(index, 'pg_class') IS NOT NULL THEN format('; COMMENT ON INDEX %I IS %L', relname, obj_description(index, 'pg_class')) ELSE '' END
               || CASE WHEN said IS NOT NULL THEN format('; COMMENT ON CONSTRAINT %I ON customers IS %L', conname, said) ELSE '' END
               || CASE WHEN indisclustered THEN format('; ALTER TABLE customers CLUSTER ON %I', relname) ELSE '' END, NULL, NULL
      FROM kept ORDER BY place
)
