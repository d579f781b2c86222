-- What kept whatsapp_id unique in the whole database, built under a name of ours first. {{part}}: index or name.
SELECT CASE '{{part}}'
       WHEN 'index' THEN replace(definition, format(' INDEX %I ON ', relname), format(' INDEX multi_tenant_rollback_%s ON ', place))
       ELSE CASE WHEN k.oid IS NULL THEN format('ALTER INDEX multi_tenant_rollback_%s RENAME TO %I', place, relname)
                 ELSE format('ALTER TABLE customers ADD CONSTRAINT %I UNIQUE USING INDEX multi_tenant_rollback_%s%s%s', conname, place,
                             CASE WHEN condeferrable THEN ' DEFERRABLE' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' END)
            END || coalesce(format('; COMMENT ON INDEX %I IS %L', relname, obj_description(index, 'pg_class')), '')
       END, NULL, NULL
  FROM (SELECT indexrelid AS index, pg_get_indexdef(indexrelid) AS definition, relname, row_number() OVER (ORDER BY relname) AS place
          FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE indrelid = 'customers'::regclass AND {{global_unique}}) AS i
  LEFT JOIN pg_constraint AS k ON conindid = index AND contype = 'u'
 ORDER BY place
