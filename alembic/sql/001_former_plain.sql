SELECT CASE relname WHEN 'ix_customers_whatsapp_id_001' THEN 'DROP INDEX IF EXISTS ix_customers_whatsapp_id'
                    WHEN 'ix_customers_whatsapp_id' THEN NULL
                    ELSE format('ALTER INDEX IF EXISTS ix_customers_whatsapp_id RENAME TO %I', relname) END, NULL, NULL
  FROM pg_class WHERE oid = {{equal}}
