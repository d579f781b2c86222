(VALUES
    (1, 'customers', 'id', 'bigint', '{integer,bigint}', NULL, NULL, NULL),
    (2, 'customers', 'whatsapp_id', 'varchar(50)', '{character varying,text}', 50, 'gen_random_uuid()::text', NULL),
    (3, 'customers', 'name', 'varchar(100)', '{character varying,text}', 100, '''''', NULL),
    (4, 'customers', 'age', 'integer', '{integer,bigint}', NULL, NULL, NULL),
    (5, 'customers', 'created_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'updated_at'),
    (6, 'customers', 'updated_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'created_at'),
    (7, 'conversations', 'id', 'bigint', '{integer,bigint}', NULL, NULL, NULL),
    (8, 'conversations', 'whatsapp_id', 'varchar(50)', '{character varying,text}', 50, '''''', NULL),
    (9, 'conversations', 'message', 'text', '{character varying,text}', 10485761, '''''', NULL),
    (10, 'conversations', 'role', 'varchar(20)', '{character varying,text}', 20, '''user''', NULL),
    (11, 'conversations', 'timestamp', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'created_at'),
    (12, 'conversations', 'created_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'timestamp')
) AS wanted (place, tab, col, type, fits, length, filler, sibling)
