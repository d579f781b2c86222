-- Move the rows that one business cannot hold to the schema multi_tenant_archive, where there are any.
-- Inputs: conditions on rows, moved_* (they go), names and links (they lose something), changed, changed_tables; those of
-- 001_check_keys.sql and 001_team_triggers.sql.
DO $archive$
DECLARE
    kept text;
    question text;
    refusal text;
    numbers text;
    archived_ids bigint[];
    triggers_off text;
    triggers_on text;
BEGIN
    IF NOT (EXISTS (SELECT FROM businesses WHERE id <> '{{default}}' OR {{changed}}) OR EXISTS (SELECT FROM whatsapp_numbers)
            OR EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM user_businesses)
            OR EXISTS (SELECT FROM conversations WHERE {{links}}) OR EXISTS (SELECT FROM customers WHERE {{names}})
            OR EXISTS (SELECT FROM customers WHERE {{moved_customers}}) OR EXISTS (SELECT FROM conversations WHERE {{moved_conversations}})
            OR {{changed_tables}} OR EXISTS (SELECT FROM ({{later_customers}}) AS l WHERE again) OR EXISTS (SELECT FROM ({{later_conversations}}) AS l WHERE again)) THEN
        RETURN;
    END IF;
    CREATE SCHEMA multi_tenant_archive;
    EXECUTE format('COMMENT ON SCHEMA multi_tenant_archive IS %L', format(
        'What the single-business schema cannot hold, kept by the downgrade of revision 001 of whatsapp-bot-schema on %s. '
        'alembic upgrade head restores it. To delete it for good: DROP SCHEMA multi_tenant_archive CASCADE', now()));
    CREATE TABLE multi_tenant_archive.customers AS SELECT * FROM customers WITH NO DATA;
    CREATE TABLE multi_tenant_archive.conversations AS SELECT * FROM conversations WITH NO DATA;
    -- The same row again is one of the same id that was made at the same time: an id alone may be given out again.
    CREATE TABLE multi_tenant_archive.default_customers AS
        SELECT id, whatsapp_id, created_at, whatsapp_user_id, username FROM customers WHERE {{names}} AND NOT ({{moved_customers}});
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_id, created_at, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE {{links}} AND NOT ({{moved_conversations}});
    CREATE TABLE multi_tenant_archive.privileges AS
        SELECT DISTINCT format('GRANT %s%s ON %s TO %s%s', privilege_type, columns, object, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement, rolname AS needs_role
          FROM (SELECT * FROM ({{later_customers}}) AS l UNION ALL SELECT * FROM ({{later_conversations}}) AS l) AS later WHERE again;
    SELECT disable, enable INTO triggers_off, triggers_on FROM ({{> 001_team_triggers.sql}}) AS t;
    EXECUTE coalesce(triggers_off, '');  -- writers wait only where there are any
    -- Rows are locked, not tables: a new reference to one of them waits, and is refused after the move.
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        PERFORM FROM customers WHERE {{moved_customers}} FOR UPDATE;
        PERFORM FROM conversations WHERE {{moved_conversations}} FOR UPDATE;
    END IF;
    FOR question IN SELECT asked ->> 'query' FROM jsonb_array_elements(({{> 001_check_keys.sql}})) AS asked LOOP
        EXECUTE question INTO refusal;
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION '%', refusal;
        END IF;
    END LOOP;
    -- One statement: each row is archived as it was deleted, and a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE {{moved_conversations}} RETURNING *),
         people AS (DELETE FROM customers WHERE {{moved_customers}} RETURNING *),
         archived AS (INSERT INTO multi_tenant_archive.conversations SELECT * FROM messages)
        INSERT INTO multi_tenant_archive.customers SELECT * FROM people;
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE coalesce(triggers_on, '');
    -- No sequence hands out an archived id again, even one that was given by hand. What it can never reach, and its very
    -- last number, do not count: after that one no insert of the bot would get an id.
    FOR kept, archived_ids IN VALUES ('customers', ARRAY(SELECT id::bigint FROM multi_tenant_archive.customers UNION ALL SELECT id FROM multi_tenant_archive.default_customers)),
                                     ('conversations', ARRAY(SELECT id::bigint FROM multi_tenant_archive.conversations UNION ALL SELECT id FROM multi_tenant_archive.default_messages)) LOOP
        numbers := coalesce(pg_get_serial_sequence(kept, 'id'), (
            SELECT substring(pg_get_expr(adbin, adrelid) FROM $$^nextval\('(.*)'::regclass\)$$)
              FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = kept::regclass AND attname = 'id'));
        EXECUTE coalesce((
            SELECT format('SELECT setval(%L, %s) FROM %s WHERE last_value %s %2$s OR last_value = %2$s AND NOT is_called', numbers,
                          CASE WHEN seqincrement > 0 THEN max(id) ELSE min(id) END, numbers, CASE WHEN seqincrement > 0 THEN '<' ELSE '>' END)
              FROM pg_sequence, unnest(archived_ids) AS id
             WHERE seqrelid = numbers::regclass AND id BETWEEN seqmin AND seqmax AND id <> CASE WHEN seqincrement > 0 THEN seqmax ELSE seqmin END
             GROUP BY seqincrement), '');
    END LOOP;
END $archive$
