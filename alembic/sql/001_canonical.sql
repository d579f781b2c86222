-- What an upgrade of the canonical form would have remembered.
SELECT 'customers times' AS phase, 'type' AS kind, format('ALTER TABLE customers ALTER COLUMN %s DROP DEFAULT, ALTER COLUMN %1$s TYPE timestamp', c) AS statement, c AS needs_column
  FROM unnest('{created_at,updated_at}'::text[]) AS c
 UNION ALL SELECT 'conversations times', 'type', format('ALTER TABLE conversations ALTER COLUMN "%s" DROP DEFAULT, ALTER COLUMN "%1$s" TYPE timestamp', c), c
             FROM unnest('{created_at,timestamp}'::text[]) AS c
 UNION ALL SELECT t || ' whatsapp_id', 'type', format('ALTER TABLE %s ALTER COLUMN whatsapp_id TYPE varchar(50)', t), 'whatsapp_id'
             FROM unnest('{customers,conversations}'::text[]) AS t
 UNION ALL SELECT t, 'comment', format('COMMENT ON TABLE %s IS NULL', t), NULL FROM unnest('{customers,conversations}'::text[]) AS t
 UNION ALL SELECT relname, 'comment', format('COMMENT ON COLUMN %I.%I IS NULL', relname, attname), attname
             FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attnum > 0 AND attname = ANY (string_to_array('{{columns_customers}},{{columns_conversations}}', ','))
 UNION ALL SELECT 'fact', format('role of %s', polrelid::regclass), rolname, NULL
             FROM pg_policy JOIN pg_roles AS r ON r.oid = ANY (polroles) WHERE polname = 'single_business' AND polrelid IN (to_regclass('customers'), to_regclass('conversations'))
 UNION ALL SELECT 'fact', format('role of %s', t), rolname, NULL FROM unnest('{customers,conversations}'::text[]) AS t, pg_roles WHERE rolsuper OR rolbypassrls
 UNION ALL SELECT 'customers', 'plain index', 'DROP INDEX IF EXISTS ix_customers_whatsapp_id', NULL
 UNION ALL SELECT 'unique', 'index', 'CREATE UNIQUE INDEX multi_tenant_rollback_1 ON customers (whatsapp_id)', NULL
 UNION ALL SELECT 'customers', 'unique', 'ALTER INDEX multi_tenant_rollback_1 RENAME TO ix_customers_whatsapp_id', NULL
