DO $restore$
DECLARE
    triggers_off text;
    triggers_on text;
    restored bigint;
    lost bigint;
BEGIN
    {{team_triggers}}
    EXECUTE ({{bring_back}});
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d WHERE d.id = c.id AND c.business_id = '{{default}}';
    GET DIAGNOSTICS restored = ROW_COUNT;
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE coalesce(triggers_on, '');
    SELECT nullif(count(*) - restored, 0) INTO lost FROM multi_tenant_archive.default_messages;
    IF lost IS NOT NULL THEN
        RAISE NOTICE '% archived links were dropped: their messages were deleted since', lost;
    END IF;
    SET LOCAL client_min_messages = warning;
    DROP SCHEMA multi_tenant_archive CASCADE;
    SET LOCAL client_min_messages = notice;
EXCEPTION WHEN integrity_constraint_violation THEN
    RAISE EXCEPTION 'a row of the schema multi_tenant_archive does not fit (%): change that row there, or the constraint, and run alembic upgrade head again', SQLERRM;
END $restore$
