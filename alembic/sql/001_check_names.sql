-- Whether the new tables can be made: the right to, and the names that are taken. JSON of sentences.
WITH wanted (name, tab, definition) AS (VALUES
    ('businesses_pkey', NULL, NULL), ('whatsapp_numbers_pkey', NULL, NULL), ('users_pkey', NULL, NULL), ('user_businesses_pkey', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_id', NULL, NULL), ('uq_whatsapp_numbers_business_id_id', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_active', NULL, NULL), ('uq_users_email_lower', NULL, NULL), ('ix_user_businesses_business_id', NULL, NULL),
    ('customers_pkey', 'customers', NULL),
    ('ix_customers_whatsapp_id', 'customers', '^CREATE (UNIQUE )?INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_000', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_001', 'customers', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_user_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_user_id\) WHERE \(whatsapp_user_id IS NOT NULL\)$'),
    ('conversations_pkey', 'conversations', NULL),
    ('ix_conversations_whatsapp_id', 'conversations', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_conversations_timestamp', 'conversations', '^CREATE INDEX .* USING btree \("timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_id_timestamp', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_id, "timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_number_id', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_number_id\) WHERE \(whatsapp_number_id IS NOT NULL\)$'),
    ('uq_conversations_business_id_whatsapp_message_id', 'conversations', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_message_id\) WHERE \(whatsapp_message_id IS NOT NULL\)$')
-- Every name that the schema takes in the place of another relation: those on the two old tables with what they are.
)
SELECT jsonb_build_array(
CASE WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN
    format('role %1$s may not create tables in schema %2$s, whose owner can let it: run GRANT CREATE ON SCHEMA %2$I TO %3$I;',
           current_user, current_schema(), current_user) END,

-- What was made by hand: names that are taken.
(SELECT jsonb_agg(format('the name %1$s is taken by a %2$s that this migration did not make (docs/hand-made.md shows how its rows come along): run %3$sALTER %4$s %1$I RENAME TO %1$s_before;',
                          name, kind, indexes, CASE WHEN kind = 'type' THEN 'TYPE' ELSE 'TABLE IF EXISTS' END) ORDER BY place)
   FROM (SELECT place, name, CASE WHEN c.oid IS NULL THEN 'type' WHEN relkind IN ('r', 'p', 'f') THEN 'table' WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'relation' END AS kind,
                (SELECT string_agg(format('ALTER INDEX IF EXISTS %s RENAME TO %I; ', indexrelid::regclass, x.relname || '_before'), '' ORDER BY x.relname)
                   FROM pg_index JOIN pg_class AS x ON x.oid = indexrelid WHERE indrelid = c.oid AND x.relname IN (SELECT wanted.name FROM wanted)) AS indexes
           FROM unnest('{user_businesses,users,whatsapp_numbers,businesses}'::text[]) WITH ORDINALITY AS taken (name, place)
           LEFT JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(current_schema()) || '.' || name)
          WHERE (c.oid IS NOT NULL OR EXISTS (SELECT FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(current_schema())) AND typname = name))
            AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')) AS taken),
(SELECT jsonb_agg(format('the name of the index %1$s is taken by another one%2$s: run ALTER %3$s IF EXISTS %1$s RENAME TO %4$I;', c.oid::regclass,
                          coalesce(' on ' || indrelid::regclass, ''), CASE WHEN i.indexrelid IS NULL THEN 'TABLE' ELSE 'INDEX' END, left(relname, 56) || '_before') ORDER BY relname)
   FROM wanted JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(current_schema()) || '.' || name) LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_constraint AS k ON conindid = c.oid AND contype <> 'f'
  WHERE (i.indrelid = to_regclass(tab) AND (indisprimary OR pg_get_indexdef(c.oid) ~ definition AND NOT indisexclusion)) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = i.indrelid AND polname = 'app_service' AND polrelid NOT IN (to_regclass('customers'), to_regclass('conversations')))
    -- those of a table that is renamed itself go with it
    AND (i.indrelid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))) IS NOT TRUE
    AND NOT (name LIKE '%\_pkey' AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(tab) AND relkind <> 'r'))),
(SELECT jsonb_agg(format('the function %s was not made by this migration: run ALTER ROUTINE %s RENAME TO %I;', proname, pg_proc.oid::regprocedure, proname || '_before') ORDER BY proname)
   FROM pg_proc JOIN pg_roles AS maker ON maker.oid = proowner
  WHERE pronamespace = to_regnamespace(quote_ident(current_schema())) AND pronargs = 0 AND proname IN ('current_business_id', 'set_updated_at')
    AND (rolsuper OR rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relowner = proowner))  -- else see planted.py
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('businesses') AND polname = 'app_service'))
) AS sentences
