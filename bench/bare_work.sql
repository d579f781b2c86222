-- What cannot be avoided, alone: statements before the mark prepare it and are not timed, each after it is.
CREATE TABLE businesses (id uuid PRIMARY KEY);
INSERT INTO businesses VALUES ('00000000-0000-0000-0000-000000000001');
CREATE TABLE whatsapp_numbers (id uuid PRIMARY KEY, business_id uuid NOT NULL, UNIQUE (business_id, id));
SET timezone = 'UTC';
DROP INDEX ix_conversations_timestamp;
ALTER TABLE customers ALTER created_at TYPE timestamptz, ALTER updated_at TYPE timestamptz,
    ADD business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001',
    ADD CONSTRAINT c1 FOREIGN KEY (business_id) REFERENCES businesses (id) NOT VALID;
ALTER TABLE conversations ALTER created_at TYPE timestamptz, ALTER "timestamp" TYPE timestamptz,
    ADD business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001',
    ADD whatsapp_number_id uuid, ADD whatsapp_message_id varchar(255),
    ADD CONSTRAINT c2 FOREIGN KEY (business_id) REFERENCES businesses (id) NOT VALID,
    ADD CONSTRAINT c3 FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) NOT VALID;
-- timed
CREATE INDEX CONCURRENTLY i1 ON conversations ("timestamp");
CREATE INDEX CONCURRENTLY i2 ON conversations (business_id, whatsapp_id, "timestamp");
CREATE INDEX CONCURRENTLY i3 ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY i4 ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL;
CREATE UNIQUE INDEX CONCURRENTLY i5 ON customers (business_id, whatsapp_id);
CREATE INDEX CONCURRENTLY i6 ON customers (whatsapp_id);
ALTER TABLE customers VALIDATE CONSTRAINT c1;
ALTER TABLE conversations VALIDATE CONSTRAINT c2;
ALTER TABLE conversations VALIDATE CONSTRAINT c3;
