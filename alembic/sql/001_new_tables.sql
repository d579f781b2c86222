CREATE TABLE businesses (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    name varchar(255) NOT NULL,
    business_type varchar(50) NOT NULL DEFAULT 'barberia',
    settings jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE businesses IS 'Businesses: the tenants of the bot';
COMMENT ON COLUMN businesses.name IS 'Name as customers know it';
COMMENT ON COLUMN businesses.business_type IS 'Kind of business';
COMMENT ON COLUMN businesses.settings IS 'Services with prices, hours, barbers, ai_personality; unknown keys are kept';
COMMENT ON COLUMN businesses.is_active IS 'Whether the bot serves the business';

CREATE TABLE whatsapp_numbers (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    phone_number_id varchar(255) CONSTRAINT uq_whatsapp_numbers_phone_number_id UNIQUE,
    phone_number varchar(50) NOT NULL
        CONSTRAINT ck_whatsapp_numbers_phone_number_is_e164 CHECK (phone_number ~ '^\+[1-9][0-9]{7,14}$'),
    access_token text
        CONSTRAINT ck_whatsapp_numbers_access_token_is_ciphertext CHECK (access_token ~ '^gAAAA[A-Za-z0-9_-]{93,}={0,2}$'),
    is_active boolean NOT NULL DEFAULT true,
    business_id uuid NOT NULL DEFAULT {{in_scope}}
        CONSTRAINT fk_whatsapp_numbers_businesses REFERENCES businesses (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_whatsapp_numbers_business_id_id UNIQUE (business_id, id)
);
CREATE UNIQUE INDEX uq_whatsapp_numbers_phone_number_active ON whatsapp_numbers (phone_number) WHERE is_active;
COMMENT ON TABLE whatsapp_numbers IS 'WhatsApp numbers, each of one business';
COMMENT ON COLUMN whatsapp_numbers.phone_number_id IS 'Meta''s phone_number_id; empty for numbers of other providers';
COMMENT ON COLUMN whatsapp_numbers.phone_number IS 'The number in E.164, such as +573001234567';
COMMENT ON COLUMN whatsapp_numbers.access_token IS 'Meta''s access token, as Fernet ciphertext only';
COMMENT ON COLUMN whatsapp_numbers.is_active IS 'Whether messages to the number are served';

CREATE TABLE users (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    email varchar(255) NOT NULL,
    password_hash text NOT NULL CONSTRAINT ck_users_password_hash_is_a_hash CHECK (password_hash ~ '{{password_hash}}'),
    full_name varchar(255),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX uq_users_email_lower ON users (lower(email));
COMMENT ON TABLE users IS 'People who manage businesses';
COMMENT ON COLUMN users.email IS 'Login, unique without regard to case';
COMMENT ON COLUMN users.password_hash IS 'Hash of the password, never the password';
COMMENT ON COLUMN users.full_name IS 'Name to show';
COMMENT ON COLUMN users.is_active IS 'Whether the user may log in';

CREATE TABLE user_businesses (
    user_id uuid NOT NULL CONSTRAINT fk_user_businesses_users REFERENCES users (id) ON DELETE CASCADE,
    role varchar(50) NOT NULL DEFAULT 'staff'
        CONSTRAINT ck_user_businesses_role_is_known CHECK (role IN ('owner', 'admin', 'staff')),
    business_id uuid NOT NULL DEFAULT {{in_scope}}
        CONSTRAINT fk_user_businesses_businesses REFERENCES businesses (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, business_id)
);
CREATE INDEX ix_user_businesses_business_id ON user_businesses (business_id);
COMMENT ON TABLE user_businesses IS 'Which user has which role in which business';
COMMENT ON COLUMN user_businesses.user_id IS 'The user';
COMMENT ON COLUMN user_businesses.role IS 'owner, admin or staff';

DO $comments$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT name, attname, about FROM (VALUES
            ('id', 'Identifier'),
            ('business_id', 'The business that the row belongs to'),
            ('created_at', 'When the row was inserted'),
            ('updated_at', 'When the row was last changed; set by the trigger set_updated_at')) AS c (col, about)
          CROSS JOIN unnest('{businesses,whatsapp_numbers,users,user_businesses}'::text[]) AS name
          JOIN pg_attribute ON attrelid = name::regclass AND attname = col LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', found.name, found.attname, found.about);
    END LOOP;
END $comments$;
