SELECT attrelid, attnum, attname <> 'whatsapp_id', false FROM pg_attribute
 WHERE attrelid IN {{both}}
   AND (attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype
        OR attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258)
