-- An index that equals one of ours gets its name; where there is none, one is built. Both are undone. Inputs: by_id and by_time, the equal index or NULL.
SELECT 'conversations', 'index name', CASE WHEN equal IS NULL THEN 'DROP INDEX IF EXISTS ' || name
            WHEN relname <> name THEN format('ALTER INDEX IF EXISTS %I RENAME TO %I', name, relname) END, NULL, NULL
  FROM (VALUES ('ix_conversations_whatsapp_id', {{by_id}}), ('ix_conversations_timestamp', {{by_time}})) AS ours (name, equal)
  LEFT JOIN pg_class ON pg_class.oid = equal
 WHERE to_regclass(quote_ident(current_schema()) || '.' || name) IS NULL
