BEGIN;

\set ON_ERROR_STOP on
\set AUTOCOMMIT on
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';

SET timezone = 'UTC';
SET lock_timeout = '200ms';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_connection_check_interval = '500ms';
SET client_min_messages = notice;
SET standard_conforming_strings = on;

DO $head$
DECLARE
    recorded text;
    attempts int := 20;
BEGIN
    -- Not waited for long: the other run's concurrent index builds would wait for this one's snapshot.
    WHILE NOT pg_try_advisory_lock(8602261712448021869) LOOP
        attempts := attempts - 1;
        IF attempts = 0 THEN
            RAISE EXCEPTION 'another migration of this database is running: wait for it, then run this again';
        END IF;
        PERFORM pg_sleep(0.1);
    END LOOP;
    IF to_regclass('alembic_version') IS NOT NULL THEN
        SELECT string_agg(version_num, ', ' ORDER BY version_num) INTO recorded FROM alembic_version;
    END IF;
    recorded := coalesce(recorded, 'base');
    IF recorded NOT IN ('001', '000') THEN
        RAISE EXCEPTION 'this script leads from revision 001 to 000, but alembic_version says %: nothing was changed; bring the database to 001 first', recorded;
    END IF;
END $head$;

-- Running downgrade 001 -> 000

-- Everything that could stop the rollback, asked before the first change, and again under the locks of the move.
DO $check$
DECLARE
    found text;
    key record;
    hit boolean;
BEGIN
    IF to_regclass('businesses') IS NULL OR to_regprocedure('single_business_only()') IS NOT NULL THEN
        RETURN;  -- an interrupted rollback goes on
    END IF;
    IF EXISTS (SELECT FROM alembic_version WHERE version_num = '000') THEN
        RAISE EXCEPTION 'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back';
    END IF;
    SELECT string_agg(DISTINCT relname, ', '), string_agg(DISTINCT relowner::regrole::text, ', ') INTO found FROM pg_class
     WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('businesses')) AND NOT pg_has_role(current_user, relowner, 'USAGE');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role % does not own %: run the rollback as the owner', current_user, found;
    END IF;
    SELECT string_agg(relname, ' and ') INTO found FROM pg_class WHERE relforcerowsecurity
       AND oid IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name))
       AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'row level security is forced on %, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first', found;
    END IF;
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
        RAISE EXCEPTION 'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)';
    END IF;
    IF NOT has_database_privilege(current_user, current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'role % may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE % TO %',
            current_user, quote_ident(current_database()), quote_ident(current_user);
    END IF;
    FOR key IN SELECT k.conname, k.conrelid, k.confrelid, f.relname AS target,
                      (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a
                        WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)) AS target_columns,
                      (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(k.conkey, k.confkey) AS pair (x, y)
                         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.x
                         JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = pair.y) AS condition
                 FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
                WHERE k.contype = 'f' AND k.confrelid IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name))
                  AND k.conrelid NOT IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name) WHERE name NOT IN ('customers', 'conversations'))
                  AND k.conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') LOOP
        IF key.target NOT IN ('customers', 'conversations') OR key.target_columns LIKE '%business_id%' THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to %, which the single-business schema does not have: drop it first (ALTER TABLE % DROP CONSTRAINT %)',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass, quote_ident(key.conname);
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> %L %s)', key.conrelid::regclass, key.confrelid::regclass, key.condition,
            '00000000-0000-0000-0000-000000000001', CASE WHEN key.conrelid IN (to_regclass('customers'), to_regclass('conversations')) THEN 'AND o.business_id <> t.business_id' END) INTO hit;
        IF hit THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to rows of % of other businesses, which a rollback moves to the archive: move those rows of % away first',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass;
        END IF;
    END LOOP;
    WITH ours AS (
        SELECT to_regclass(name) AS oid, name NOT IN ('customers', 'conversations') AS goes FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS t (name)
    ), touched (class, oid, place, retyped) AS (
        SELECT 'pg_class'::regclass, oid, NULL::int, false FROM ours WHERE goes
        UNION ALL SELECT 'pg_type'::regclass, reltype, NULL, false FROM pg_class JOIN ours USING (oid) WHERE goes
        UNION ALL SELECT 'pg_proc'::regclass, to_regprocedure(name)::oid, NULL, false FROM (VALUES ('current_business_id()'), ('set_updated_at()')) AS f (name)
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, false FROM pg_attribute JOIN ours ON oid = attrelid AND NOT goes
                   WHERE attname IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id')
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, true FROM pg_attribute JOIN ours ON ours.oid = attrelid AND NOT goes
                    JOIN pg_constraint k ON conrelid = attrelid AND conname IN ('fk_customers_businesses', 'fk_conversations_businesses')
                   WHERE attname IN ('timestamp', 'created_at', 'updated_at')
                     AND obj_description(k.oid)::jsonb #>> ARRAY['columns', attname, 'type'] NOT LIKE '%with time zone')
    SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ') INTO found
      FROM pg_depend d JOIN touched t ON d.refclassid = t.class AND d.refobjid = t.oid AND coalesce(d.refobjsubid = t.place, true)
     WHERE d.deptype = 'n'
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND d.classid = 'pg_constraint'::regclass
                                AND (contype = 'f' OR conrelid IN (SELECT ours.oid FROM ours WHERE goes)))
             AND NOT EXISTS (SELECT FROM pg_policy JOIN ours ON ours.oid = polrelid WHERE pg_policy.oid = d.objid
                                AND d.classid = 'pg_policy'::regclass AND polname IN ('app_tenant', 'app_service'))
             AND NOT EXISTS (SELECT FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE pg_trigger.oid = d.objid
                                AND d.classid = 'pg_trigger'::regclass AND (goes OR tgname = 'set_updated_at'))
             AND NOT EXISTS (SELECT FROM pg_attrdef JOIN ours ON ours.oid = adrelid AND goes WHERE pg_attrdef.oid = d.objid AND d.classid = 'pg_attrdef'::regclass)
             AND NOT (d.classid = 'pg_publication_rel'::regclass AND t.place IS NULL)
        OR t.retyped AND (
             EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND d.classid = 'pg_constraint'::regclass AND contype <> 'n')
             -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
             OR EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid AND d.classid = 'pg_class'::regclass
                           AND concat(indexprs, indpred) ~ (':varattno ' || t.place || ' ')));
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'this depends on what the rollback takes away: %; drop it first, and create it again after the next upgrade', found;
    END IF;
END $check$;

DO $report$
DECLARE
    found text;
BEGIN
    IF to_regclass('businesses') IS NULL OR to_regprocedure('single_business_only()') IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(format('%s %s', n, name), ', ') INTO found FROM (
        SELECT count(*) AS n, 'other businesses' AS name FROM businesses WHERE id <> '00000000-0000-0000-0000-000000000001'
        UNION ALL SELECT count(*), 'WhatsApp numbers' FROM whatsapp_numbers
        UNION ALL SELECT count(*), 'users' FROM users
        UNION ALL SELECT count(*), 'customers of other businesses' FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001'
        UNION ALL SELECT count(*), 'messages of other businesses' FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001'
        UNION ALL SELECT count(*), 'links of own messages' FROM conversations WHERE business_id = '00000000-0000-0000-0000-000000000001'
                     AND (whatsapp_message_id IS NOT NULL OR whatsapp_number_id IS NOT NULL)
        UNION ALL SELECT count(*), 'change of the default business' FROM businesses WHERE id = '00000000-0000-0000-0000-000000000001' AND to_jsonb(businesses) - '{id,created_at,updated_at}'::text[] IS DISTINCT FROM '{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}') AS t WHERE n > 0;
    RAISE NOTICE 'multi_tenant_archive keeps: %', coalesce(found, 'nothing, for there is nothing to keep');
END $report$;

COMMIT;

-- move what one business cannot hold to multi_tenant_archive

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
BEGIN
    IF to_regclass('businesses') IS NULL OR to_regprocedure('single_business_only()') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            LOCK TABLE conversations IN SHARE UPDATE EXCLUSIVE MODE;
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- Writers wait while rows move, those of tables with foreign keys to them too; readers do not.
DO $lock$
DECLARE
    other text;
BEGIN
    LOCK TABLE customers, conversations, businesses, whatsapp_numbers, users, user_businesses IN SHARE ROW EXCLUSIVE MODE;
    FOR other IN SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
                  WHERE contype = 'f' AND confrelid IN ('customers'::regclass, 'conversations'::regclass) LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', other);
    END LOOP;
END $lock$;

-- Everything that could stop the rollback, asked before the first change, and again under the locks of the move.
DO $check$
DECLARE
    found text;
    key record;
    hit boolean;
BEGIN
    IF to_regclass('businesses') IS NULL OR to_regprocedure('single_business_only()') IS NOT NULL THEN
        RETURN;  -- an interrupted rollback goes on
    END IF;
    IF EXISTS (SELECT FROM alembic_version WHERE version_num = '000') THEN
        RAISE EXCEPTION 'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back';
    END IF;
    SELECT string_agg(DISTINCT relname, ', '), string_agg(DISTINCT relowner::regrole::text, ', ') INTO found FROM pg_class
     WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('businesses')) AND NOT pg_has_role(current_user, relowner, 'USAGE');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role % does not own %: run the rollback as the owner', current_user, found;
    END IF;
    SELECT string_agg(relname, ' and ') INTO found FROM pg_class WHERE relforcerowsecurity
       AND oid IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name))
       AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user);
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'row level security is forced on %, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first', found;
    END IF;
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
        RAISE EXCEPTION 'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)';
    END IF;
    IF NOT has_database_privilege(current_user, current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'role % may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE % TO %',
            current_user, quote_ident(current_database()), quote_ident(current_user);
    END IF;
    FOR key IN SELECT k.conname, k.conrelid, k.confrelid, f.relname AS target,
                      (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a
                        WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)) AS target_columns,
                      (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(k.conkey, k.confkey) AS pair (x, y)
                         JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.x
                         JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = pair.y) AS condition
                 FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
                WHERE k.contype = 'f' AND k.confrelid IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name))
                  AND k.conrelid NOT IN (SELECT to_regclass(name) FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS ours (name) WHERE name NOT IN ('customers', 'conversations'))
                  AND k.conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') LOOP
        IF key.target NOT IN ('customers', 'conversations') OR key.target_columns LIKE '%business_id%' THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to %, which the single-business schema does not have: drop it first (ALTER TABLE % DROP CONSTRAINT %)',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass, quote_ident(key.conname);
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> %L %s)', key.conrelid::regclass, key.confrelid::regclass, key.condition,
            '00000000-0000-0000-0000-000000000001', CASE WHEN key.conrelid IN (to_regclass('customers'), to_regclass('conversations')) THEN 'AND o.business_id <> t.business_id' END) INTO hit;
        IF hit THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to rows of % of other businesses, which a rollback moves to the archive: move those rows of % away first',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass;
        END IF;
    END LOOP;
    WITH ours AS (
        SELECT to_regclass(name) AS oid, name NOT IN ('customers', 'conversations') AS goes FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses'), ('customers'), ('conversations')) AS t (name)
    ), touched (class, oid, place, retyped) AS (
        SELECT 'pg_class'::regclass, oid, NULL::int, false FROM ours WHERE goes
        UNION ALL SELECT 'pg_type'::regclass, reltype, NULL, false FROM pg_class JOIN ours USING (oid) WHERE goes
        UNION ALL SELECT 'pg_proc'::regclass, to_regprocedure(name)::oid, NULL, false FROM (VALUES ('current_business_id()'), ('set_updated_at()')) AS f (name)
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, false FROM pg_attribute JOIN ours ON oid = attrelid AND NOT goes
                   WHERE attname IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id')
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, true FROM pg_attribute JOIN ours ON ours.oid = attrelid AND NOT goes
                    JOIN pg_constraint k ON conrelid = attrelid AND conname IN ('fk_customers_businesses', 'fk_conversations_businesses')
                   WHERE attname IN ('timestamp', 'created_at', 'updated_at')
                     AND obj_description(k.oid)::jsonb #>> ARRAY['columns', attname, 'type'] NOT LIKE '%with time zone')
    SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ') INTO found
      FROM pg_depend d JOIN touched t ON d.refclassid = t.class AND d.refobjid = t.oid AND coalesce(d.refobjsubid = t.place, true)
     WHERE d.deptype = 'n'
             AND NOT EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND d.classid = 'pg_constraint'::regclass
                                AND (contype = 'f' OR conrelid IN (SELECT ours.oid FROM ours WHERE goes)))
             AND NOT EXISTS (SELECT FROM pg_policy JOIN ours ON ours.oid = polrelid WHERE pg_policy.oid = d.objid
                                AND d.classid = 'pg_policy'::regclass AND polname IN ('app_tenant', 'app_service'))
             AND NOT EXISTS (SELECT FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE pg_trigger.oid = d.objid
                                AND d.classid = 'pg_trigger'::regclass AND (goes OR tgname = 'set_updated_at'))
             AND NOT EXISTS (SELECT FROM pg_attrdef JOIN ours ON ours.oid = adrelid AND goes WHERE pg_attrdef.oid = d.objid AND d.classid = 'pg_attrdef'::regclass)
             AND NOT (d.classid = 'pg_publication_rel'::regclass AND t.place IS NULL)
        OR t.retyped AND (
             EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND d.classid = 'pg_constraint'::regclass AND contype <> 'n')
             -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
             OR EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid AND d.classid = 'pg_class'::regclass
                           AND concat(indexprs, indpred) ~ (':varattno ' || t.place || ' ')));
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'this depends on what the rollback takes away: %; drop it first, and create it again after the next upgrade', found;
    END IF;
END $check$;

DO $archive$
DECLARE
    kept text;
    sequence text;
    highest bigint;
    grantee text;
    -- A team's own triggers have no part in the move.
    team_triggers text[] := ARRAY(
        SELECT format('ALTER TABLE %s ENABLE %sTRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS ' ELSE '' END, tgname)
          FROM pg_trigger WHERE tgrelid IN ('customers'::regclass, 'conversations'::regclass) AND NOT tgisinternal
           AND tgenabled IN ('O', 'A') AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid);
BEGIN
    -- From here on until the columns are gone, nothing that the old schema cannot hold is written.
    CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
    BEGIN
        IF TG_TABLE_NAME = 'customers' THEN
            IF NEW.business_id = '00000000-0000-0000-0000-000000000001' THEN RETURN NEW; END IF;
        ELSIF TG_TABLE_NAME = 'conversations' THEN
            IF NEW.business_id = '00000000-0000-0000-0000-000000000001' THEN
                IF TG_OP = 'INSERT' AND NEW.whatsapp_number_id IS NULL AND NEW.whatsapp_message_id IS NULL THEN RETURN NEW; END IF;
                IF TG_OP = 'UPDATE' THEN
                    IF (NEW.whatsapp_number_id, NEW.whatsapp_message_id)
                       IS NOT DISTINCT FROM (OLD.whatsapp_number_id, OLD.whatsapp_message_id) THEN RETURN NEW; END IF;
                END IF;
            END IF;
        END IF;
        RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
    END $function$;
    FOREACH kept IN ARRAY '{customers,conversations}'::text[] LOOP
        EXECUTE format('CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION single_business_only()', kept);
    END LOOP;
    FOREACH kept IN ARRAY '{businesses,whatsapp_numbers,users,user_businesses}'::text[] LOOP
        EXECUTE format('CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION single_business_only()', kept);
    END LOOP;
    EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L', '[]');

    IF NOT EXISTS (SELECT FROM businesses WHERE id <> '00000000-0000-0000-0000-000000000001' OR id = '00000000-0000-0000-0000-000000000001' AND to_jsonb(businesses) - '{id,created_at,updated_at}'::text[] IS DISTINCT FROM '{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}') AND NOT EXISTS (SELECT FROM whatsapp_numbers)
       AND NOT EXISTS (SELECT FROM users) AND NOT EXISTS (SELECT FROM user_businesses)
       AND NOT EXISTS (SELECT FROM conversations WHERE whatsapp_message_id IS NOT NULL) THEN
        RETURN;  -- a row of another business, or with a number, is not without these
    END IF;
    CREATE SCHEMA multi_tenant_archive;
    EXECUTE format('COMMENT ON SCHEMA multi_tenant_archive IS %L', format(
        'What the single-business schema cannot hold, kept by the downgrade of revision 001 of whatsapp-bot-schema on %s. '
        'alembic upgrade head restores it. To delete it for good: DROP SCHEMA multi_tenant_archive CASCADE', now()));
    FOREACH kept IN ARRAY '{businesses,whatsapp_numbers,users,user_businesses,customers,conversations}'::text[] LOOP
        EXECUTE format('CREATE TABLE multi_tenant_archive.%I (LIKE %1$I)', kept);
        EXECUTE format('INSERT INTO multi_tenant_archive.%I SELECT * FROM %1$I WHERE %s', kept,
            CASE WHEN kept IN ('customers', 'conversations') THEN 'business_id <> ''00000000-0000-0000-0000-000000000001''' ELSE 'true' END);
    END LOOP;
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE business_id = '00000000-0000-0000-0000-000000000001' AND (whatsapp_number_id IS NOT NULL OR whatsapp_message_id IS NOT NULL);
    FOREACH kept IN ARRAY '{customers,conversations}'::text[] LOOP
        sequence := coalesce(pg_get_serial_sequence(kept, 'id'), (
            SELECT s.oid::regclass::text FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
              JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
              JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' WHERE f.adrelid = kept::regclass AND a.attname = 'id'));
        EXECUTE format('SELECT max(id) FROM (SELECT id FROM multi_tenant_archive.%I UNION ALL SELECT id FROM multi_tenant_archive.default_messages WHERE %1$L = ''conversations'') AS ids', kept) INTO highest;
        IF sequence IS NOT NULL AND highest IS NOT NULL THEN
            EXECUTE format('SELECT setval(%L, %s) FROM %s WHERE last_value < %2$s OR last_value = %2$s AND NOT is_called', sequence, highest, sequence);
        END IF;
    END LOOP;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE regexp_replace(kept, ' ENABLE (ALWAYS )?TRIGGER ', ' DISABLE TRIGGER ');
    END LOOP;
    -- One statement: a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001')
        DELETE FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001';
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE kept;
    END LOOP;
    FOR kept, grantee IN SELECT format('TABLE %s', c.oid::regclass), coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_class c
                           CROSS JOIN aclexplode(c.relacl) AS acl LEFT JOIN pg_roles r ON r.oid = acl.grantee
                          WHERE c.relnamespace = 'multi_tenant_archive'::regnamespace AND acl.grantee <> c.relowner
                          UNION SELECT 'SCHEMA multi_tenant_archive', coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_namespace n
                           CROSS JOIN aclexplode(n.nspacl) AS acl LEFT JOIN pg_roles r ON r.oid = acl.grantee
                          WHERE n.nspname = 'multi_tenant_archive' AND acl.grantee <> n.nspowner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', kept, grantee);
    END LOOP;
END $archive$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, 'conversations'),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass('conversations') DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce(blocker, 'conversations: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_customers_whatsapp_id_000
SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_customers_whatsapp_id_000') AND NOT indisvalid \gexec
SET lock_timeout = '200ms';

-- index ix_customers_whatsapp_id_000
SET lock_timeout = '60000ms';
SELECT 'CREATE UNIQUE INDEX CONCURRENTLY ix_customers_whatsapp_id_000 ON customers (whatsapp_id)' WHERE to_regclass('ix_customers_whatsapp_id_000') IS NULL AND NOT (NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' AND NOT attisdropped)) \gexec
SET lock_timeout = '200ms';

-- customers: back to one business

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' AND NOT attisdropped) THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            LOCK TABLE customers IN SHARE UPDATE EXCLUSIVE MODE;
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
DROP TRIGGER single_business_only ON customers;

DROP POLICY IF EXISTS app_tenant ON customers;

DROP POLICY IF EXISTS app_service ON customers;

ALTER TABLE customers DISABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE customers' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('customers') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND false THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

DROP TRIGGER IF EXISTS set_updated_at ON customers;

DROP INDEX IF EXISTS ix_customers_whatsapp_id;

ALTER INDEX ix_customers_whatsapp_id_000 RENAME TO ix_customers_whatsapp_id;

-- The columns of the single-business table as they were; an index on a timestamp is built again concurrently.
DO $back$
DECLARE
    legacy jsonb;
    found record;
    statement text;
BEGIN
    SELECT obj_description(oid, 'pg_constraint')::jsonb INTO legacy FROM pg_constraint
     WHERE conrelid = 'customers'::regclass AND conname = 'fk_customers_businesses';
    FOR found IN SELECT i.indexrelid::regclass AS name, pg_get_indexdef(i.indexrelid) AS definition
                   FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = 'customers'::regclass AND a.attname = ANY ('{created_at,updated_at}') AND a.atttypid = 'timestamptz'::regtype
                    AND coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone'
                    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_attribute n ON n.attrelid = d.refobjid AND n.attnum = d.refobjsubid
                                     WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND n.attname IN ('business_id'))
                  GROUP BY 1, 2 LOOP
        EXECUTE format('DROP INDEX %s', found.name);
        EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
            obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(found.definition));
    END LOOP;
    EXECUTE 'ALTER TABLE customers ' || (SELECT string_agg('DROP COLUMN IF EXISTS ' || name, ', ') FROM (VALUES ('business_id')) AS t (name));
    FOR found IN SELECT a.attname AS name, a.atttypid = 'timestamptz'::regtype AND a.attname = ANY ('{created_at,updated_at}') AS dated,
                        coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone' AS naive,
                        legacy #>> ARRAY['columns', a.attname, 'default'] AS expression, legacy #>> ARRAY['columns', a.attname, 'comment'] AS about
                   FROM pg_attribute a WHERE a.attrelid = 'customers'::regclass AND a.attnum > 0 AND NOT a.attisdropped
                    AND (legacy -> 'columns' ? a.attname::text OR a.attname = ANY ('{created_at,updated_at}')) LOOP
        IF found.dated THEN
            EXECUTE format('ALTER TABLE customers ALTER COLUMN %I DROP DEFAULT', found.name);
            IF found.naive THEN
                EXECUTE format('ALTER TABLE customers ALTER COLUMN %I TYPE timestamp', found.name);
            END IF;
            IF found.expression IS NOT NULL THEN
                EXECUTE format('ALTER TABLE customers ALTER COLUMN %I SET DEFAULT %s', found.name, found.expression);
            END IF;
        END IF;
        EXECUTE format('COMMENT ON COLUMN customers.%I IS %L', found.name, found.about);
    END LOOP;
    EXECUTE format('COMMENT ON TABLE customers IS %L', legacy ->> 'comment');
    IF (legacy ->> 'row_security')::boolean THEN
        ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
    END IF;
    FOR statement IN SELECT jsonb_array_elements_text(legacy -> 'grants') WHERE jsonb_typeof(legacy -> 'grants') = 'array' LOOP
        EXECUTE statement;
    END LOOP;
END $back$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, 'customers'),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass('customers') DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce(blocker, 'customers: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- conversations: back to one business

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND attname = 'business_id' AND NOT attisdropped) THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            LOCK TABLE conversations IN SHARE UPDATE EXCLUSIVE MODE;
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
DROP TRIGGER single_business_only ON conversations;

DROP POLICY IF EXISTS app_tenant ON conversations;

DROP POLICY IF EXISTS app_service ON conversations;

ALTER TABLE conversations DISABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE conversations' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('conversations') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND false THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

-- The columns of the single-business table as they were; an index on a timestamp is built again concurrently.
DO $back$
DECLARE
    legacy jsonb;
    found record;
    statement text;
BEGIN
    SELECT obj_description(oid, 'pg_constraint')::jsonb INTO legacy FROM pg_constraint
     WHERE conrelid = 'conversations'::regclass AND conname = 'fk_conversations_businesses';
    FOR found IN SELECT i.indexrelid::regclass AS name, pg_get_indexdef(i.indexrelid) AS definition
                   FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = 'conversations'::regclass AND a.attname = ANY ('{timestamp,created_at}') AND a.atttypid = 'timestamptz'::regtype
                    AND coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone'
                    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_attribute n ON n.attrelid = d.refobjid AND n.attnum = d.refobjsubid
                                     WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND n.attname IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id'))
                  GROUP BY 1, 2 LOOP
        EXECUTE format('DROP INDEX %s', found.name);
        EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
            obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(found.definition));
    END LOOP;
    EXECUTE 'ALTER TABLE conversations ' || (SELECT string_agg('DROP COLUMN IF EXISTS ' || name, ', ') FROM (VALUES ('business_id'), ('whatsapp_number_id'), ('whatsapp_message_id')) AS t (name));
    FOR found IN SELECT a.attname AS name, a.atttypid = 'timestamptz'::regtype AND a.attname = ANY ('{timestamp,created_at}') AS dated,
                        coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone' AS naive,
                        legacy #>> ARRAY['columns', a.attname, 'default'] AS expression, legacy #>> ARRAY['columns', a.attname, 'comment'] AS about
                   FROM pg_attribute a WHERE a.attrelid = 'conversations'::regclass AND a.attnum > 0 AND NOT a.attisdropped
                    AND (legacy -> 'columns' ? a.attname::text OR a.attname = ANY ('{timestamp,created_at}')) LOOP
        IF found.dated THEN
            EXECUTE format('ALTER TABLE conversations ALTER COLUMN %I DROP DEFAULT', found.name);
            IF found.naive THEN
                EXECUTE format('ALTER TABLE conversations ALTER COLUMN %I TYPE timestamp', found.name);
            END IF;
            IF found.expression IS NOT NULL THEN
                EXECUTE format('ALTER TABLE conversations ALTER COLUMN %I SET DEFAULT %s', found.name, found.expression);
            END IF;
        END IF;
        EXECUTE format('COMMENT ON COLUMN conversations.%I IS %L', found.name, found.about);
    END LOOP;
    EXECUTE format('COMMENT ON TABLE conversations IS %L', legacy ->> 'comment');
    IF (legacy ->> 'row_security')::boolean THEN
        ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
    END IF;
    FOR statement IN SELECT jsonb_array_elements_text(legacy -> 'grants') WHERE jsonb_typeof(legacy -> 'grants') = 'array' LOOP
        EXECUTE statement;
    END LOOP;
END $back$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, 'conversations'),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass('conversations') DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce(blocker, 'conversations: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- drop what an interrupted run left of the indexes of conversations
SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)) AS kept (d)) AS t JOIN pg_index i ON i.indexrelid = to_regclass(name) AND NOT i.indisvalid \gexec
SET lock_timeout = '200ms';

-- an index of conversations
SET lock_timeout = '60000ms';
SELECT regexp_replace(d, '^CREATE( UNIQUE)? INDEX ', 'CREATE\1 INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)) AS kept (d)) AS t WHERE to_regclass(name) IS NULL \gexec
SET lock_timeout = '200ms';

-- drop the new tables, functions and privileges

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
BEGIN
    IF NOT to_regclass('businesses') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            LOCK TABLE businesses IN SHARE UPDATE EXCLUSIVE MODE;
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
DROP TABLE user_businesses, users, whatsapp_numbers, businesses;

DROP FUNCTION single_business_only();

DROP POLICY IF EXISTS app_service ON alembic_version;

ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY;

REVOKE ALL ON alembic_version FROM app_service;

DO $revoke$
DECLARE
    scoped regrole;
BEGIN
    FOR scoped IN SELECT DISTINCT grantee FROM pg_namespace CROSS JOIN aclexplode(nspacl)
                   WHERE nspname = current_schema() AND grantee IN (to_regrole('app_tenant'), to_regrole('app_service')) LOOP
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %s', current_schema(), scoped);
    END LOOP;
END $revoke$;

DROP FUNCTION IF EXISTS current_business_id();

DROP FUNCTION IF EXISTS set_updated_at();
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, 'businesses'),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass('businesses') DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce(blocker, 'businesses: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

BEGIN;

UPDATE alembic_version SET version_num='000' WHERE alembic_version.version_num = '001';

COMMIT;

