(indisunique AND NOT indisprimary AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')
