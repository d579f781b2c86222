-- A database whose team made a multi-tenant schema by hand: the bot's own tables, and what 001_multi_tenant_schema.sql
-- of its first README made. Load after canonical.sql and sample.sql.
CREATE TABLE businesses (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    business_type varchar(100) DEFAULT 'barberia',
    settings jsonb DEFAULT '{}',
    is_active boolean DEFAULT true,
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now()
);
CREATE TABLE whatsapp_numbers (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    business_id uuid NOT NULL REFERENCES businesses (id) ON DELETE CASCADE,
    phone_number varchar(50) NOT NULL,
    phone_number_id varchar(255) NOT NULL UNIQUE,
    access_token text,
    is_active boolean DEFAULT true,
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now()
);
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(255) NOT NULL UNIQUE,
    password_hash varchar(255) NOT NULL,
    full_name varchar(255),
    is_active boolean DEFAULT true,
    created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now()
);
CREATE TABLE user_businesses (
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    business_id uuid REFERENCES businesses (id) ON DELETE CASCADE,
    role varchar(50) DEFAULT 'staff',
    created_at timestamp DEFAULT now(),
    PRIMARY KEY (user_id, business_id)
);
INSERT INTO businesses (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Barbería Central'),
                                         ('00000000-0000-0000-0000-0000000000b0', 'Barbería Norte');
INSERT INTO whatsapp_numbers (id, business_id, phone_number, phone_number_id, access_token) VALUES
    ('00000000-0000-0000-0000-0000000000c1', '00000000-0000-0000-0000-000000000001', 'whatsapp:+57 300 123 4567', '101', 'EAAG-one'),
    ('00000000-0000-0000-0000-0000000000c2', '00000000-0000-0000-0000-0000000000b0', '573007654321', '102', NULL);
INSERT INTO users (id, email, password_hash) VALUES
    ('00000000-0000-0000-0000-0000000000d1', 'ana@example.com', '$2b$12$abcdefghijklmnopqrstuvABCDEFGHIJKLMNOPQRSTUVWXYZ01234');
INSERT INTO user_businesses (user_id, business_id, role) VALUES
    ('00000000-0000-0000-0000-0000000000d1', '00000000-0000-0000-0000-0000000000b0', 'owner');
ALTER TABLE customers ADD COLUMN business_id uuid REFERENCES businesses (id) ON DELETE CASCADE;
ALTER TABLE conversations ADD COLUMN business_id uuid REFERENCES businesses (id) ON DELETE CASCADE,
                          ADD COLUMN whatsapp_number_id uuid REFERENCES whatsapp_numbers (id) ON DELETE SET NULL;
UPDATE customers SET business_id = '00000000-0000-0000-0000-000000000001';
UPDATE conversations SET business_id = '00000000-0000-0000-0000-000000000001',
                         whatsapp_number_id = '00000000-0000-0000-0000-0000000000c1';
ALTER TABLE customers ALTER COLUMN business_id SET NOT NULL;
ALTER TABLE conversations ALTER COLUMN business_id SET NOT NULL;
DROP INDEX ix_customers_whatsapp_id;
CREATE UNIQUE INDEX idx_customers_business_whatsapp ON customers (business_id, whatsapp_id);
CREATE INDEX idx_conversations_business_id ON conversations (business_id);
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER update_businesses_updated_at BEFORE UPDATE ON businesses FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_customers_updated_at BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
INSERT INTO customers (business_id, whatsapp_id, name, created_at, updated_at)
SELECT '00000000-0000-0000-0000-0000000000b0', whatsapp_id, 'of the other', created_at, updated_at FROM customers WHERE id <= 5;
INSERT INTO conversations (business_id, whatsapp_number_id, whatsapp_id, message, role, timestamp, created_at)
SELECT '00000000-0000-0000-0000-0000000000b0', '00000000-0000-0000-0000-0000000000c2', whatsapp_id, 'of the other', role, timestamp, created_at
  FROM conversations WHERE id <= 50;
