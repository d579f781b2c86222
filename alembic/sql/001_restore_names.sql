-- By itself, for here writers wait: a restored name is no change of the customer, so updated_at stays.
DO $restore$
DECLARE
    triggers_off text;
    triggers_on text;
    restored bigint;
    lost bigint;
    not_ours text;
BEGIN
    IF EXISTS (SELECT FROM multi_tenant_archive.default_customers) THEN
        SELECT disable, enable INTO triggers_off, triggers_on FROM ({{> 001_team_triggers.sql}}) AS t;
        EXECUTE coalesce(triggers_off, '');  -- writers wait only where there are any
        UPDATE customers AS c SET whatsapp_user_id = d.whatsapp_user_id, username = d.username
          FROM multi_tenant_archive.default_customers AS d
         WHERE (d.id, d.whatsapp_id, d.created_at) = (c.id, c.whatsapp_id, c.created_at) AND c.business_id = '{{default}}';
        GET DIAGNOSTICS restored = ROW_COUNT;
        SET CONSTRAINTS ALL IMMEDIATE;
        EXECUTE coalesce(triggers_on, '');
        SELECT nullif(count(*) - restored, 0) INTO lost FROM multi_tenant_archive.default_customers;
        IF lost IS NOT NULL THEN
            RAISE NOTICE '% archived user names were dropped: their customers were deleted since', lost;
        END IF;
    END IF;
    EXECUTE coalesce((SELECT 'DROP TABLE ' || string_agg(t::text, ', ')
                        FROM (VALUES (to_regclass('multi_tenant_archive.default_customers')), (to_regclass('multi_tenant_archive.privileges'))) AS left_over (t)), '');
    not_ours := (SELECT {{shown}} FROM jsonb_path_query(({{> 001_not_archived.sql}}), '$[*][*]') AS added (sentence)
                  WHERE jsonb_typeof(sentence) = 'string' LIMIT 1);
    IF not_ours IS NOT NULL THEN  -- made since the check
        RAISE EXCEPTION '%', not_ours;
    END IF;
    DROP SCHEMA multi_tenant_archive;
END $restore$
