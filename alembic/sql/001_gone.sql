SELECT attrelid, attnum, false, true FROM pg_attribute WHERE attrelid IN {{both}} AND attname IN {{new_columns}}
UNION ALL SELECT attrelid, attnum, true, false FROM pg_attribute JOIN pg_class AS t ON t.oid = attrelid
            JOIN {{memory}} ON phase = relname || ' times' AND kind = 'type' AND needs_column = attname
           WHERE attrelid IN {{both}}
