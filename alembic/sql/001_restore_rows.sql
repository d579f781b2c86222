-- Bring the archived rows back. Inputs: default, the id of the default business; those of 001_team_triggers.sql.
DO $restore$
DECLARE
    triggers_off text;
    triggers_on text;
    restored bigint;
    lost bigint;
BEGIN
    SELECT disable, enable INTO triggers_off, triggers_on FROM ({{> 001_team_triggers.sql}}) AS t;
    EXECUTE coalesce(triggers_off, '');  -- writers wait only where there are any
    -- One statement: keys between the two tables, a team's own too, are asked at its end. Columns go by their names.
    EXECUTE (SELECT 'WITH ' || string_agg(format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)',
                                                 relname, columns), ', ') || ' SELECT'
               FROM (SELECT relname, string_agg(quote_ident(old.attname), ', ') AS columns
                       FROM pg_class AS c JOIN pg_attribute AS old ON old.attrelid = c.oid AND old.attnum > 0 AND NOT old.attisdropped
                       JOIN pg_attribute AS new ON new.attrelid = to_regclass(relname) AND new.attname = old.attname AND new.attgenerated = ''
                      WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname IN ('customers', 'conversations') GROUP BY relname) AS t);
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d
     WHERE (d.id, d.whatsapp_id, d.created_at) = (c.id, c.whatsapp_id, c.created_at) AND c.business_id = '{{default}}';
    GET DIAGNOSTICS restored = ROW_COUNT;
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE coalesce(triggers_on, '');
    SELECT nullif(count(*) - restored, 0) INTO lost FROM multi_tenant_archive.default_messages;
    IF lost IS NOT NULL THEN
        RAISE NOTICE '% archived links were dropped: their messages were deleted since', lost;
    END IF;
    DROP TABLE multi_tenant_archive.customers, multi_tenant_archive.conversations, multi_tenant_archive.default_messages;
EXCEPTION WHEN integrity_constraint_violation THEN
    RAISE EXCEPTION 'a row of the schema multi_tenant_archive does not fit (%): change that row there, or the constraint, and run alembic upgrade head again', SQLERRM;
END $restore$
