BEGIN;

\set ON_ERROR_STOP on
\set AUTOCOMMIT on
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';

SET timezone = 'UTC';
SET lock_timeout = '200ms';
SET statement_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '500ms', false); EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$;
SET client_min_messages = notice;
SET standard_conforming_strings = on;
SET quote_all_identifiers = off;
SET plpgsql.extra_errors = 'none';
DO $$ BEGIN PERFORM set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'; END $$;

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

DO $wait$
BEGIN
    SET LOCAL lock_timeout = '60000ms';
    EXECUTE coalesce((SELECT format('LOCK TABLE %s IN ACCESS SHARE MODE', string_agg(t::text, ', '))
                        FROM unnest(ARRAY[to_regclass('customers'), to_regclass('conversations')]) AS t
                         JOIN pg_class ON oid = t AND relkind = 'r' WHERE has_table_privilege(t, 'SELECT') HAVING count(*) > 0), '');
    SET LOCAL lock_timeout = '200ms';
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('customers') DESC NULLS LAST, a.xact_start LIMIT 1),
    'customers' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
END $wait$;

DO $refuse$
DECLARE
    refusal text;
BEGIN
    IF to_regclass('businesses') IS NOT NULL AND NOT to_regprocedure('single_business_only()') IS NOT NULL THEN
        refusal := coalesce(
CASE WHEN EXISTS (SELECT FROM alembic_version WHERE version_num = '000') THEN
    'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back' END,
(SELECT format('role %s does not own %s: run the rollback as the owner', current_user, string_agg(relname, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT format('row level security is forced on %s, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first',
               string_agg(relname, ' and '))
   FROM pg_class JOIN pg_roles ON rolname = current_user
  WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND relforcerowsecurity AND NOT rolsuper AND NOT rolbypassrls HAVING count(*) > 0),
(SELECT format('the replica identity of %s is the index %s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL (or DEFAULT, the primary key) first',
               indrelid::regclass, indexrelid::regclass)
   FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND indisreplident AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp')
  LIMIT 1),
(SELECT format('the table cannot change while its row type is used by %s; drop that first, and create it again afterwards',
               string_agg(format('column %s.%I', attrelid::regclass, attname), ', '))
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type AS t ON atttypid IN (t.oid, t.typarray)
  WHERE typrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind IN ('r', 'p', 'm') AND t.typtype = 'c' HAVING count(*) > 0),
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I',
           current_user, current_database(), current_user) END,
(SELECT format('the foreign key %s of table %s refers to %s, which the single-business schema does not have: drop it first (ALTER TABLE %2$s DROP CONSTRAINT %1$I)',
               conname, conrelid::regclass, confrelid::regclass)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers')
    AND (confrelid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) OR (confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')))
  LIMIT 1),
-- Of what goes, or changes its type, all that depends on it and neither goes with it nor is ours.
(WITH gone (class, oid, place, retyped) AS (
    SELECT 'pg_class'::regclass, oid, NULL::int, false FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT 'pg_type'::regclass, reltype, NULL, false FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT 'pg_proc'::regclass, oid, NULL, false FROM pg_proc
               WHERE oid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, false FROM pg_attribute
               WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, true FROM pg_attribute
                JOIN pg_constraint AS k ON conrelid = attrelid AND conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers')
               WHERE obj_description(k.oid, 'pg_constraint')::jsonb -> 'naive' ? attname::text)
 SELECT format('this depends on what the rollback takes away: %s; drop it first, and create it again after the next upgrade',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN gone ON refclassid = class AND refobjid = oid AND coalesce(refobjsubid = place, true)
  CROSS JOIN LATERAL pg_identify_object_as_address(classid, objid, objsubid) AS o (kind, names, arguments)
  WHERE retyped AND (EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND classid = 'pg_constraint'::regclass AND contype <> 'n')
         -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
         OR EXISTS (SELECT FROM pg_index WHERE indexrelid = objid AND classid = 'pg_class'::regclass
                       AND concat(indexprs, indpred) ~ (':varattno ' || refobjsubid || ' ')))
     OR deptype = 'n' AND NOT (kind = 'publication relation' AND place IS NULL)
        AND NOT (kind = 'table constraint' AND EXISTS (SELECT FROM pg_constraint AS k WHERE k.oid = objid AND contype = 'f'))
        AND NOT (names[1] = current_schema() AND (
            kind IN ('table constraint', 'default value', 'trigger') AND names[2] = ANY ('{user_businesses,users,whatsapp_numbers,businesses}')
            OR kind IN ('policy', 'trigger') AND names[2] = ANY ('{customers,conversations,user_businesses,users,whatsapp_numbers,businesses}')
               AND names[3] IN ('app_tenant', 'app_service', 'set_updated_at')))
 HAVING count(*) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

-- No row is deleted under a foreign key, whatever its ON DELETE says.
DO $check$
DECLARE
    refusal text;
    query text;
BEGIN
    FOR query IN SELECT format($query$ SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> '00000000-0000-0000-0000-000000000001' %s) $query$,
                               format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                      conname, conrelid::regclass, confrelid::regclass),
                               conrelid::regclass, confrelid::regclass,
                               (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                                  JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                                  JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                               CASE WHEN conrelid IN (to_regclass('customers'), to_regclass('conversations')) THEN 'AND o.business_id <> t.business_id' END)
                   FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND (to_regclass('businesses') IS NOT NULL AND NOT to_regprocedure('single_business_only()') IS NOT NULL) LOOP
        EXECUTE query INTO refusal;
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION '%', refusal;
        END IF;
    END LOOP;
END $check$;

DO $report$
BEGIN
    IF (to_regclass('businesses') IS NOT NULL AND NOT to_regprocedure('single_business_only()') IS NOT NULL) THEN
        RAISE NOTICE 'multi_tenant_archive keeps: %', coalesce((SELECT string_agg(format('%s %s', n, name), ', ') FROM (
            SELECT count(*) AS n, 'other businesses' AS name FROM businesses WHERE id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'WhatsApp numbers' FROM whatsapp_numbers
            UNION ALL SELECT count(*), 'users' FROM users
            UNION ALL SELECT count(*), 'customers of other businesses' FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'messages of other businesses' FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'links of own messages' FROM conversations WHERE business_id = '00000000-0000-0000-0000-000000000001'
                         AND (whatsapp_message_id IS NOT NULL OR whatsapp_number_id IS NOT NULL)
            UNION ALL SELECT count(*), 'change of the default business' FROM businesses WHERE id = '00000000-0000-0000-0000-000000000001' AND to_jsonb(businesses) - '{id,created_at,updated_at}'::text[] IS DISTINCT FROM '{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}') AS t
             WHERE n > 0), 'nothing, for there is nothing to keep');
    END IF;
END $report$;

COMMIT;

-- move what one business cannot hold to multi_tenant_archive

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass('businesses') IS NOT NULL OR to_regprocedure('single_business_only()') IS NOT NULL THEN
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
LOCK TABLE customers, conversations, user_businesses, users, whatsapp_numbers, businesses IN SHARE ROW EXCLUSIVE MODE;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', conrelid::regclass) FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('customers'), to_regclass('conversations'))
) AS s (statement)), ''); END $each$;

DO $refuse$
DECLARE
    refusal text;
BEGIN
    IF to_regclass('businesses') IS NOT NULL AND NOT to_regprocedure('single_business_only()') IS NOT NULL THEN
        refusal := coalesce(
CASE WHEN EXISTS (SELECT FROM alembic_version WHERE version_num = '000') THEN
    'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back' END,
(SELECT format('role %s does not own %s: run the rollback as the owner', current_user, string_agg(relname, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT format('row level security is forced on %s, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first',
               string_agg(relname, ' and '))
   FROM pg_class JOIN pg_roles ON rolname = current_user
  WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND relforcerowsecurity AND NOT rolsuper AND NOT rolbypassrls HAVING count(*) > 0),
(SELECT format('the replica identity of %s is the index %s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL (or DEFAULT, the primary key) first',
               indrelid::regclass, indexrelid::regclass)
   FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND indisreplident AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp')
  LIMIT 1),
(SELECT format('the table cannot change while its row type is used by %s; drop that first, and create it again afterwards',
               string_agg(format('column %s.%I', attrelid::regclass, attname), ', '))
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type AS t ON atttypid IN (t.oid, t.typarray)
  WHERE typrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind IN ('r', 'p', 'm') AND t.typtype = 'c' HAVING count(*) > 0),
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I',
           current_user, current_database(), current_user) END,
(SELECT format('the foreign key %s of table %s refers to %s, which the single-business schema does not have: drop it first (ALTER TABLE %2$s DROP CONSTRAINT %1$I)',
               conname, conrelid::regclass, confrelid::regclass)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers')
    AND (confrelid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) OR (confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')))
  LIMIT 1),
-- Of what goes, or changes its type, all that depends on it and neither goes with it nor is ours.
(WITH gone (class, oid, place, retyped) AS (
    SELECT 'pg_class'::regclass, oid, NULL::int, false FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT 'pg_type'::regclass, reltype, NULL, false FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT 'pg_proc'::regclass, oid, NULL, false FROM pg_proc
               WHERE oid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, false FROM pg_attribute
               WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, true FROM pg_attribute
                JOIN pg_constraint AS k ON conrelid = attrelid AND conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers')
               WHERE obj_description(k.oid, 'pg_constraint')::jsonb -> 'naive' ? attname::text)
 SELECT format('this depends on what the rollback takes away: %s; drop it first, and create it again after the next upgrade',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN gone ON refclassid = class AND refobjid = oid AND coalesce(refobjsubid = place, true)
  CROSS JOIN LATERAL pg_identify_object_as_address(classid, objid, objsubid) AS o (kind, names, arguments)
  WHERE retyped AND (EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND classid = 'pg_constraint'::regclass AND contype <> 'n')
         -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
         OR EXISTS (SELECT FROM pg_index WHERE indexrelid = objid AND classid = 'pg_class'::regclass
                       AND concat(indexprs, indpred) ~ (':varattno ' || refobjsubid || ' ')))
     OR deptype = 'n' AND NOT (kind = 'publication relation' AND place IS NULL)
        AND NOT (kind = 'table constraint' AND EXISTS (SELECT FROM pg_constraint AS k WHERE k.oid = objid AND contype = 'f'))
        AND NOT (names[1] = current_schema() AND (
            kind IN ('table constraint', 'default value', 'trigger') AND names[2] = ANY ('{user_businesses,users,whatsapp_numbers,businesses}')
            OR kind IN ('policy', 'trigger') AND names[2] = ANY ('{customers,conversations,user_businesses,users,whatsapp_numbers,businesses}')
               AND names[3] IN ('app_tenant', 'app_service', 'set_updated_at')))
 HAVING count(*) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

-- No row is deleted under a foreign key, whatever its ON DELETE says.
DO $check$
DECLARE
    refusal text;
    query text;
BEGIN
    FOR query IN SELECT format($query$ SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> '00000000-0000-0000-0000-000000000001' %s) $query$,
                               format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                      conname, conrelid::regclass, confrelid::regclass),
                               conrelid::regclass, confrelid::regclass,
                               (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                                  JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                                  JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                               CASE WHEN conrelid IN (to_regclass('customers'), to_regclass('conversations')) THEN 'AND o.business_id <> t.business_id' END)
                   FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND (to_regclass('businesses') IS NOT NULL AND NOT to_regprocedure('single_business_only()') IS NOT NULL) LOOP
        EXECUTE query INTO refusal;
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION '%', refusal;
        END IF;
    END LOOP;
END $check$;

DO $archive$
DECLARE
    kept text;
    numbers text;
    highest bigint;
    triggers_off text;
    triggers_on text;
BEGIN
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
        EXECUTE format('CREATE TABLE multi_tenant_archive.%I AS SELECT * FROM %1$I', kept)
                || CASE WHEN kept IN ('customers', 'conversations') THEN ' WHERE business_id <> ''00000000-0000-0000-0000-000000000001''' ELSE '' END;
    END LOOP;
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE business_id = '00000000-0000-0000-0000-000000000001' AND (whatsapp_number_id IS NOT NULL OR whatsapp_message_id IS NOT NULL);
    -- No sequence hands out an archived id again, even one that was given by hand.
    FOR kept, highest IN SELECT 'customers', max(id) FROM multi_tenant_archive.customers
                         UNION ALL SELECT 'conversations', max(id) FROM (SELECT id FROM multi_tenant_archive.conversations
                                       UNION ALL SELECT id FROM multi_tenant_archive.default_messages) AS ids LOOP
        numbers := coalesce(pg_get_serial_sequence(kept, 'id'), (
            SELECT substring(pg_get_expr(adbin, adrelid) FROM $$^nextval\('(.*)'::regclass\)$$)
              FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = kept::regclass AND attname = 'id'));
        CONTINUE WHEN numbers IS NULL OR highest IS NULL;
        EXECUTE format('SELECT setval(%L, %s) FROM %s WHERE last_value < %2$s OR last_value = %2$s AND NOT is_called', numbers, highest, numbers);
    END LOOP;
    -- A team's own triggers have no part in the move.
    SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';'),
           string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';')
      INTO triggers_off, triggers_on FROM pg_trigger
     WHERE tgrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
       AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid;
    EXECUTE coalesce(triggers_off, '');
    -- One statement: a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001')
        DELETE FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001';
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE coalesce(triggers_on, '');
END $archive$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON SCHEMA multi_tenant_archive FROM %1$s; REVOKE ALL ON ALL TABLES IN SCHEMA multi_tenant_archive FROM %1$s',
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace AS n LEFT JOIN pg_class ON relnamespace = n.oid, aclexplode(nspacl || relacl)
 WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner
) AS s (statement)), ''); END $each$;

-- From here on until the columns are gone, nothing that the old schema cannot hold is written.
CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
BEGIN
    RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
END $function$;
COMMENT ON FUNCTION single_business_only() IS '[]';
CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE ON customers FOR EACH ROW
    WHEN (NEW.business_id <> '00000000-0000-0000-0000-000000000001') EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_only BEFORE INSERT ON conversations FOR EACH ROW
    WHEN (NEW.business_id <> '00000000-0000-0000-0000-000000000001' OR num_nonnulls(NEW.whatsapp_number_id, NEW.whatsapp_message_id) > 0)
    EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_update BEFORE UPDATE ON conversations FOR EACH ROW
    WHEN (NEW.business_id <> '00000000-0000-0000-0000-000000000001' OR (NEW.whatsapp_number_id, NEW.whatsapp_message_id)
                                              IS DISTINCT FROM (OLD.whatsapp_number_id, OLD.whatsapp_message_id))
    EXECUTE FUNCTION single_business_only();

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON user_businesses EXECUTE FUNCTION single_business_only();

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON users EXECUTE FUNCTION single_business_only();

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON whatsapp_numbers EXECUTE FUNCTION single_business_only();

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON businesses EXECUTE FUNCTION single_business_only();
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'conversations'), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('conversations') DESC NULLS LAST, a.xact_start LIMIT 1),
    'conversations' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- drop what an interrupted run left of: index ix_customers_whatsapp_id_000

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX ix_customers_whatsapp_id_000 ON customers (whatsapp_id)' WHERE NOT (NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ))) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid \gexec
SET lock_timeout = '200ms';

-- index ix_customers_whatsapp_id_000

SET lock_timeout = '60000ms';
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX ix_customers_whatsapp_id_000 ON customers (whatsapp_id)' WHERE NOT (NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ))) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL \gexec
SET lock_timeout = '200ms';

-- customers: back to one business

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ) THEN
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

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE customers' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,app_tenant,app_service}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DROP TRIGGER IF EXISTS set_updated_at ON customers;

DROP INDEX IF EXISTS ix_customers_whatsapp_id;

ALTER INDEX ix_customers_whatsapp_id_000 RENAME TO ix_customers_whatsapp_id;

-- The table as the single-business schema has it, by what the upgrade kept in the comment on the foreign key.
DO $back$
DECLARE
    legacy jsonb := (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
                      WHERE conrelid = 'customers'::regclass AND conname = 'fk_customers_businesses');
    naive text[] := ARRAY(SELECT jsonb_array_elements_text(legacy -> 'naive'));
    indexes regclass[];
BEGIN
    ALTER TABLE customers DROP COLUMN IF EXISTS business_id, DROP COLUMN IF EXISTS whatsapp_user_id, DROP COLUMN IF EXISTS username;
    -- An index on a time is dropped here, and built again concurrently.
    indexes := ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY (naive))
 ORDER BY indexrelid::regclass::text);
    EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
        obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i)));
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE coalesce((SELECT string_agg(undo ->> 1, ';') FROM jsonb_array_elements(legacy -> 'undo') AS undo
                       WHERE undo ->> 0 IS NULL OR EXISTS (
                           SELECT FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = undo ->> 0)), '');
END $back$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('customers') DESC NULLS LAST, a.xact_start LIMIT 1),
    'customers' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
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
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND attname = 'business_id' ) THEN
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

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE conversations' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,app_tenant,app_service}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DROP TRIGGER single_business_update ON conversations;

-- The table as the single-business schema has it, by what the upgrade kept in the comment on the foreign key.
DO $back$
DECLARE
    legacy jsonb := (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
                      WHERE conrelid = 'conversations'::regclass AND conname = 'fk_conversations_businesses');
    naive text[] := ARRAY(SELECT jsonb_array_elements_text(legacy -> 'naive'));
    indexes regclass[];
BEGIN
    ALTER TABLE conversations DROP COLUMN IF EXISTS business_id, DROP COLUMN IF EXISTS whatsapp_number_id, DROP COLUMN IF EXISTS whatsapp_message_id;
    -- An index on a time is dropped here, and built again concurrently.
    indexes := ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY (naive))
 ORDER BY indexrelid::regclass::text);
    EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
        obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i)));
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE coalesce((SELECT string_agg(undo ->> 1, ';') FROM jsonb_array_elements(legacy -> 'undo') AS undo
                       WHERE undo ->> 0 IS NULL OR EXISTS (
                           SELECT FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = undo ->> 0)), '');
END $back$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'conversations'), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('conversations') DESC NULLS LAST, a.xact_start LIMIT 1),
    'conversations' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- drop what an interrupted run left of: an index of a time

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid \gexec
SET lock_timeout = '200ms';

-- an index of a time

SET lock_timeout = '60000ms';
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL \gexec
SET lock_timeout = '200ms';

-- drop the new tables, functions and privileges

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
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

DROP FUNCTION IF EXISTS current_business_id();

DROP FUNCTION IF EXISTS set_updated_at();

DROP POLICY IF EXISTS app_service ON alembic_version;

ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY;

REVOKE ALL ON alembic_version FROM app_service;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE USAGE ON SCHEMA %I FROM %s', nspname, grantee::regrole) FROM pg_namespace, aclexplode(nspacl) WHERE nspname = current_schema() AND grantee IN (to_regrole('app_tenant'), to_regrole('app_service'))
) AS s (statement)), ''); END $each$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'businesses'), a.pid, coalesce(a.usename, a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('businesses') DESC NULLS LAST, a.xact_start LIMIT 1),
    'businesses' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
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

