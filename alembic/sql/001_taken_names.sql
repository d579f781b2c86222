-- Every name that the schema takes in the place of another relation: those on the two old tables with what they are.
(VALUES
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
) AS wanted (name, tab, definition)
