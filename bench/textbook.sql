-- The same change as most guides write it: one transaction, every row updated, keys and indexes made under its locks.
BEGIN;
CREATE TABLE businesses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    business_type varchar(50) NOT NULL DEFAULT 'barberia',
    settings jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO businesses (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Default business');
CREATE TABLE whatsapp_numbers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses (id) ON DELETE CASCADE,
    phone_number varchar(50) NOT NULL,
    UNIQUE (business_id, id)
);

ALTER TABLE customers ADD COLUMN business_id uuid;
UPDATE customers SET business_id = '00000000-0000-0000-0000-000000000001';
ALTER TABLE customers ALTER COLUMN business_id SET NOT NULL;
ALTER TABLE customers ADD FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE;
ALTER TABLE customers ALTER COLUMN created_at TYPE timestamptz, ALTER COLUMN updated_at TYPE timestamptz;
ALTER TABLE customers ADD UNIQUE (business_id, whatsapp_id);
DROP INDEX ix_customers_whatsapp_id;
CREATE INDEX ix_customers_whatsapp_id ON customers (whatsapp_id);

ALTER TABLE conversations ADD COLUMN business_id uuid;
ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid;
ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255);
UPDATE conversations SET business_id = '00000000-0000-0000-0000-000000000001';
ALTER TABLE conversations ALTER COLUMN business_id SET NOT NULL;
ALTER TABLE conversations ADD FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE;
ALTER TABLE conversations ADD FOREIGN KEY (business_id, whatsapp_number_id)
    REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id);
ALTER TABLE conversations ALTER COLUMN "timestamp" TYPE timestamptz, ALTER COLUMN created_at TYPE timestamptz;
CREATE INDEX ON conversations (business_id, whatsapp_id, "timestamp");
CREATE INDEX ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL;
CREATE UNIQUE INDEX ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL;
COMMIT;
