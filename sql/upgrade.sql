SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

\set ON_ERROR_STOP on
\set AUTOCOMMIT on
\set SHOW_CONTEXT never
SET client_encoding = 'UTF8';

SET default_transaction_isolation = 'read committed';
DO $planted$
DECLARE
    before pg_catalog.text := pg_catalog.current_setting('search_path');
    places pg_catalog.name[] := pg_catalog.current_schemas(true);
    versions pg_catalog.regclass := pg_catalog.to_regclass('alembic_version');
    customers pg_catalog.regclass := pg_catalog.to_regclass('customers');
    here pg_catalog.name := pg_catalog.current_schema();
    planted pg_catalog.text[];
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
    here := coalesce((SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON n.oid = relnamespace WHERE c.oid = customers), here);
    planted := ARRAY(
    WITH me AS (SELECT rolsuper FROM pg_roles WHERE rolname = current_user
    ), old AS (SELECT c.oid, relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
                WHERE nspname = here AND relname IN ('customers', 'conversations')
    ), trusted AS (
        SELECT r.oid FROM pg_roles AS r CROSS JOIN me
         WHERE r.rolsuper OR NOT me.rolsuper AND pg_has_role(r.oid, 'USAGE')
            OR EXISTS (SELECT FROM old) AND NOT EXISTS (SELECT FROM old WHERE NOT pg_has_role(r.oid, relowner, 'MEMBER'))
    ), relations AS (
        SELECT c.oid, relname, relowner, nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = here AND (relname IN ('multi_tenant_rollback', 'alembic_version_scale', 'citus_comments') OR relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses') AND (
                   false OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')))
            OR nspname = 'multi_tenant_archive' AND relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
            OR c.oid = versions
    ), functions AS (
        SELECT p.oid, proname, proowner, nspname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname IN (here, 'multi_tenant_archive')
           AND (pronargs = 0 AND (proname IN ('current_business_id', 'set_updated_at', 'single_business_only')
                                  OR proname ~ '^widen_(customers|conversations)_') OR pronargs = 1 AND proname = 'is_colleague')
    ), attached AS (
        SELECT DISTINCT held.classid, held.objid, r.oid AS relation, p.oid AS function, proowner
          FROM relations AS r JOIN pg_depend AS held ON held.refclassid = 'pg_class'::regclass AND held.refobjid = r.oid
          JOIN pg_depend AS called ON (called.classid, called.objid) = (held.classid, held.objid) AND called.refclassid = 'pg_proc'::regclass
          JOIN pg_proc AS p ON p.oid = called.refobjid
         WHERE proowner NOT IN (SELECT oid FROM trusted) AND relowner IN (SELECT oid FROM trusted)
    ), ours (owner) AS (  -- whose a table or a function of ours is where the upgrade has made it: it only lost its owner
        SELECT min(relowner::regrole::text) FROM old JOIN pg_attribute ON attrelid = old.oid AND attname = 'business_id' HAVING count(*) > 0
    ), look_alikes AS (
        SELECT format('DROP ROUTINE %s', p.oid::regprocedure) AS statement, proowner AS maker, pronamespace AS place
          FROM pg_proc AS p LEFT JOIN pg_depend AS e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname)
           AND NOT EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname
                              AND b.proargtypes = p.proargtypes)
        UNION ALL
        SELECT format('DROP OPERATOR %s', o.oid::regoperator), oprowner, oprnamespace
          FROM pg_operator AS o LEFT JOIN pg_depend AS e ON e.classid = 'pg_operator'::regclass AND e.objid = o.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname)
           AND NOT EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname
                              AND (b.oprleft, b.oprright) = (o.oprleft, o.oprright))
    ), said (place, sentence) AS (
        SELECT 1, format('search_path names pg_catalog after %1$s, where a name could be taken for one of PostgreSQL (a role that sets its own search_path needs another): run ALTER DATABASE %2$I SET search_path TO %1$s;',
                         string_agg(quote_ident(p.place), ', ' ORDER BY n), current_database())
          FROM unnest(places) WITH ORDINALITY AS p (place, n) WHERE p.place <> 'pg_catalog' AND p.place !~ '^pg_temp_' HAVING min(n) < array_position(places, 'pg_catalog')
        UNION ALL
        SELECT 2, format('another role made a function or an operator with the name of one of PostgreSQL, which the migration would call: run %s;', string_agg(statement, '; '))
          FROM look_alikes JOIN pg_namespace AS n ON n.oid = place AND nspname = ANY (places) AND nspname <> 'pg_catalog'
          JOIN pg_roles AS theirs ON theirs.oid = maker AND NOT theirs.rolsuper
          JOIN me ON me.rolsuper OR NOT pg_has_role(maker, 'USAGE')
        HAVING count(*) > 0
        UNION ALL
        SELECT 3, format('the schema multi_tenant_archive belongs to role %s, which could run code as whoever migrates, and is taken for the archive of a rollback; as an administrator: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;', nspowner::regrole)
          FROM pg_namespace WHERE nspname = 'multi_tenant_archive' AND nspowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 4, format('%s belongs to role %s, which could run code as whoever migrates, and is taken for a table of this schema%s; as an administrator: run %s;',
                         r.oid::regclass, relowner::regrole,
                         CASE WHEN r.oid = versions THEN ' (if another Alembic uses it, set version_table in alembic.ini instead, docs/own-alembic.md)' END,
                         coalesce((SELECT format('ALTER TABLE %s OWNER TO %s', r.oid::regclass, owner) FROM ours WHERE relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses')),
                             concat((SELECT string_agg(format('ALTER INDEX %s RENAME TO %I; ', i.oid::regclass, left(i.relname, 56) || '_before'), '' ORDER BY i.relname)
                                       FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid WHERE indrelid = r.oid),
                                    format('ALTER TABLE IF EXISTS %s RENAME TO %I', r.oid::regclass, left(relname, 56) || '_before'))))
          FROM relations AS r WHERE relowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 5, format('%s of role %s, which could change it at will, has the name of one of this schema; as an administrator: run ALTER ROUTINE %1$s %3$s;', f.oid::regprocedure, proowner::regrole,
                         coalesce((SELECT 'OWNER TO ' || owner FROM ours WHERE proname IN ('current_business_id', 'set_updated_at')),
                                  format('RENAME TO %I', left(proname, 56) || '_before')))
          FROM functions AS f WHERE proowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 6, format('%s runs %s of role %s, which could change it at will%s', pg_describe_object(classid, objid, 0), function::regprocedure, proowner::regrole,
                         CASE WHEN t.oid IS NOT NULL THEN format(': run DROP TRIGGER %I ON %s;', tgname, relation::regclass)
                              WHEN p.oid IS NOT NULL THEN format(': run DROP POLICY %I ON %s;', polname, relation::regclass)
                              ELSE ', and this migration works with ' || relation::regclass END)
          FROM attached LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
          LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
    )
    SELECT (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(sentence, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts) FROM said ORDER BY place, sentence);
    PERFORM set_config('search_path', before, true);
    IF cardinality(planted) = 1 THEN
        RAISE EXCEPTION '%', planted[1];
    ELSIF cardinality(planted) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\n- %', cardinality(planted), array_to_string(planted, E'\n- ');
    END IF;
END $planted$;
SET timezone = 'UTC';
SET lock_timeout = '200ms';
SET statement_timeout = '0';
SET idle_in_transaction_session_timeout = '0';
SET client_min_messages = 'notice';
SET standard_conforming_strings = 'on';
SET quote_all_identifiers = 'off';
SET plpgsql.extra_errors = 'none';
DO $known$
DECLARE
    setting text[];
BEGIN
    FOREACH setting SLICE 1 IN ARRAY ARRAY[['client_connection_check_interval', '500ms'], ['transaction_timeout', '0'], ['citus.multi_shard_modify_mode', 'sequential']] LOOP
        BEGIN
            IF current_setting(setting[1], true) IS NOT NULL THEN
                PERFORM set_config(setting[1], setting[2], false);
            END IF;
        EXCEPTION WHEN invalid_parameter_value THEN NULL;
        END;
    END LOOP;
    -- A role that somebody set for the whole database would hide from its owner what is wrong with it.
    IF EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS s WHERE setrole = 0 AND s LIKE 'role=%') THEN
        PERFORM set_config('role', 'none', false);
    END IF;
END $known$;

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
    IF recorded NOT IN ('base', '000', '001') THEN
        RAISE EXCEPTION 'this script leads from revision base to 001, but alembic_version says %: nothing was changed; bring the database to base first', (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(recorded, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts);
    END IF;
END $head$;

DO $version$
DECLARE
    heads text[] := '{}';
    refusal text;
BEGIN
    IF true AND to_regclass('alembic_version') IS NOT NULL THEN
        SELECT coalesce(array_agg(version_num ORDER BY version_num), heads) INTO heads FROM alembic_version;
    END IF;
    refusal := (SELECT CASE
    WHEN NOT marked AND (level > 0 OR unknown IS NOT NULL) THEN format('alembic_version holds %s, which this schema did not record: if another Alembic did, set version_table = alembic_version_whatsapp in alembic.ini (docs/own-alembic.md); if none did, run alembic stamp --purge %s', says, at)
    WHEN unknown IS NOT NULL THEN format('alembic_version holds %s, which is no revision of this history: run the code that has it, or name the folder that has it in version_locations of alembic.ini', unknown)
    WHEN level > 0 AND old_lost IS NOT NULL AND at <> 'base' THEN format('the database is not at %s, for it has no table %s: restore it from a backup', says, old_lost)
    WHEN level = 2 AND state IN ('many businesses', 'an upgrade was interrupted') AND new_lost IS NOT NULL
    THEN format('the database is not at %s, for it has no table %s: restore it from a backup', says, new_lost)
    WHEN level = 2 AND state = 'one business' AND new_lost IS NULL AND extended THEN format('the database is not at %s, for its tables have no triggers, policies and privileges, as after create_all: run python -m app.tenancy.repair', says)
    WHEN NOT CASE state WHEN 'one business' THEN level = 0 OR level = 1 AND at = '000'
                        WHEN 'a rollback was interrupted' THEN level = 2 ELSE level > 0 END THEN format('alembic_version says %s, but the database is at %s: run alembic stamp %2$s, then the same command again', says, at)
    WHEN widening IS NOT NULL THEN format('the widening of %s was interrupted: finish it with the revision that began it, for the ids alembic -n scale upgrade bigint, then run this again', widening)
    WHEN state = 'a rollback was interrupted' THEN 'a rollback of this database was interrupted: finish it with alembic downgrade 000, then upgrade'
END
  FROM (SELECT *, CASE WHEN state IN ('many businesses', 'a rollback was interrupted') THEN '001'
                       WHEN state = 'an upgrade was interrupted' OR has_old THEN '000' ELSE 'base' END AS at
          FROM (SELECT CASE WHEN to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL THEN 'a rollback was interrupted' WHEN NOT (to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') IS NOT NULL OR to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.current_business_id()') IS NOT NULL) THEN 'one business' WHEN (EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'uq_customers_business_id_whatsapp_id') AND to_regclass('multi_tenant_archive.default_customers') IS NULL) THEN 'many businesses' ELSE 'an upgrade was interrupted' END AS state,
                       coalesce(nullif(array_to_string(heads, ', '), ''), 'nothing') AS says,
                       coalesce((SELECT max(n) FROM (VALUES ('001', 2), ('000', 1)) AS known (id, n) WHERE id = ANY (heads)), 0) AS level,
                       (SELECT string_agg(id, ', ') FROM unnest(heads) AS id
                         WHERE id NOT IN ('001', '000')) AS unknown,
                       EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('alembic_version') AND conname = 'whatsapp_bot_schema' ) AS marked,
                       to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL OR to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL AS has_old,
                       EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ) AS extended,
                       (SELECT string_agg(relname || '.' || substr(tgname, length(relname) + 8), ', ' ORDER BY relname, tgname)
                          FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
                         WHERE tgrelid IN (to_regclass('customers'), to_regclass('conversations'))
                           AND starts_with(tgname, 'widen_' || relname || '_')) AS widening,
                       (SELECT string_agg(name, ', ') FROM unnest('{customers,conversations}'::text[]) AS name WHERE to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.' || name) IS NULL) AS old_lost,
                       (SELECT string_agg(name, ', ') FROM unnest('{businesses,whatsapp_numbers,users,user_businesses}'::text[]) AS name WHERE to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.' || name) IS NULL) AS new_lost) AS asked) AS found);
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(refusal, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts);
    END IF;
END $version$;

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
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('customers') DESC NULLS LAST, a.xact_start LIMIT 1),
    'customers' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
END $wait$;

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
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('customers') DESC NULLS LAST, a.xact_start LIMIT 1),
    'customers' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
END $wait$;

-- Build every index of a time whose type changes on an empty copy of the table, which is gone again at the end: what cannot be
-- built again is named before the first is dropped. Inputs: table; times; retyped, the condition on a row of
-- pg_attribute that its type changes; type, the new one; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    tried record;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE customers);
            EXECUTE coalesce((SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE timestamptz', attname), ';')
                                FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype), '');
            FOR tried IN SELECT index, replace(pg_get_indexdef(index), format(' INDEX %I ON %I.%I USING ', i.relname, nspname, t.relname), ' INDEX ON multi_tenant_trial USING ') AS definition
                           FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS x (index) JOIN pg_class AS i ON i.oid = index
                           JOIN pg_class AS t ON t.oid = 'customers'::regclass JOIN pg_namespace AS n ON n.oid = t.relnamespace LOOP
                BEGIN
                    EXECUTE tried.definition;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('the index %1$s cannot be built again when its times of %2$s become %3$s (%4$s); keep its definition, and create one that can be afterwards: run DROP INDEX IF EXISTS %1$s;', tried.index, 'customers', 'timestamptz', SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_customers', said::text, false);
END $trial$;

-- Build every index of a time whose type changes on an empty copy of the table, which is gone again at the end: what cannot be
-- built again is named before the first is dropped. Inputs: table; times; retyped, the condition on a row of
-- pg_attribute that its type changes; type, the new one; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    tried record;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE conversations);
            EXECUTE coalesce((SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE timestamptz', attname), ';')
                                FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype), '');
            FOR tried IN SELECT index, replace(pg_get_indexdef(index), format(' INDEX %I ON %I.%I USING ', i.relname, nspname, t.relname), ' INDEX ON multi_tenant_trial USING ') AS definition
                           FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS x (index) JOIN pg_class AS i ON i.oid = index
                           JOIN pg_class AS t ON t.oid = 'conversations'::regclass JOIN pg_namespace AS n ON n.oid = t.relnamespace LOOP
                BEGIN
                    EXECUTE tried.definition;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('the index %1$s cannot be built again when its times of %2$s become %3$s (%4$s); keep its definition, and create one that can be afterwards: run DROP INDEX IF EXISTS %1$s;', tried.index, 'conversations', 'timestamptz', SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_conversations', said::text, false);
END $trial$;

-- Write every SQL function that names one of the two tables once against an empty copy of the tables as they are, and once
-- against one as they will be; all is gone again at the end. What fits before and not after is named before any change. A
-- temporary copy is found first under the table's own name. Input: when, without which nothing is tried.
DO $trial$
DECLARE
    functions jsonb;
    tried record;
    works jsonb := '[]';
    said text[] := '{}';
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ) THEN
        functions := (
        SELECT jsonb_agg(jsonb_build_object('named', p.oid::regprocedure, 'definition', 'CREATE FUNCTION pg_temp.multi_tenant_trial(' || regexp_replace(
                   substr(pg_get_functiondef(p.oid), length(format('CREATE OR REPLACE FUNCTION %I.%I(', nspname, proname)) + 1),
                   format('(\m%s|"%1$s")\.(customers|conversations)\M', current_schema()), 'pg_temp.\2', 'g')))
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
         WHERE lanname = 'sql' AND prokind = 'f' AND prosqlbody IS NULL AND nspname !~ '^(pg_|information_schema$)'
           AND (prosrc ~* '\m(customers|conversations)\M' OR EXISTS (
                SELECT FROM pg_class AS c JOIN pg_type AS t ON t.oid = reltype WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations')) AND p.prorettype IN (t.oid, t.typarray))));
    END IF;
    IF functions IS NOT NULL THEN
        BEGIN
            CREATE TEMPORARY TABLE customers (LIKE customers);
            CREATE TEMPORARY TABLE conversations (LIKE conversations);
            FOR tried IN SELECT * FROM jsonb_to_recordset(functions) AS f (named text, definition text) LOOP
                BEGIN
                    EXECUTE tried.definition;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN works := works || to_jsonb(tried);
                          WHEN OTHERS THEN NULL;
                END;
            END LOOP;
            EXECUTE (SELECT string_agg(format('ALTER TABLE pg_temp.%I ALTER COLUMN %I TYPE timestamptz', relname, attname), ';')
                       FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE attrelid IN ('pg_temp.customers'::regclass, 'pg_temp.conversations'::regclass) AND attname IN ('created_at', 'updated_at', 'timestamp'));
            ALTER TABLE pg_temp.customers ADD COLUMN business_id uuid, ADD COLUMN whatsapp_user_id varchar(255), ADD COLUMN username varchar(255);
            ALTER TABLE pg_temp.conversations ADD COLUMN business_id uuid, ADD COLUMN whatsapp_number_id uuid, ADD COLUMN whatsapp_message_id varchar(255);
            FOR tried IN SELECT * FROM jsonb_to_recordset(works) AS f (named text, definition text) LOOP
                BEGIN
                    EXECUTE tried.definition;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN NULL;
                          WHEN OTHERS THEN
                    said := said || format('the function %s would fail after the upgrade, which adds columns and gives the times a zone (%s); let it select all columns by * where it returns a row, or drop it, and create it again afterwards: run DROP FUNCTION IF EXISTS %1$s;', tried.named, SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction OR duplicate_column THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_functions', said::text, false);
END $trial$;

-- Insert the archived rows into a copy of their table, which is gone again at the end: what does not fit any more is named before
-- any change. Inputs: table; times; new_columns; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    common text;
BEGIN
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL AND NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL AND to_regclass('multi_tenant_archive.customers') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE customers INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED);
            SELECT string_agg(quote_ident(attname), ', ') INTO common
              FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
             WHERE old.attrelid = to_regclass('multi_tenant_archive.customers') AND old.attnum > 0 AND NOT old.attisdropped
               AND new.attrelid = 'customers'::regclass AND new.attgenerated = '' AND attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id');
            EXECUTE (SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE %s', attname, CASE atttypid WHEN 'varchar'::regtype THEN 'varchar' ELSE 'timestamptz' END), ';')
                       FROM pg_attribute WHERE attrelid = 'multi_tenant_trial'::regclass AND attname = ANY ('{whatsapp_id,created_at,updated_at}') AND atttypid <> 'text'::regtype);
            EXECUTE format('INSERT INTO multi_tenant_trial (%1$s) SELECT %1$s FROM multi_tenant_archive.customers', common);
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION
            WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
                NULL;
            WHEN datatype_mismatch THEN
                said := ARRAY(SELECT format('the column %1$s of customers is %2$s, and was %3$s when a rollback archived rows of it: run ALTER TABLE multi_tenant_archive.customers ALTER COLUMN %4$I TYPE %2$s USING %4$I::%2$s;',
                                            attname, format_type(new.atttypid, new.atttypmod), format_type(old.atttypid, old.atttypmod), attname)
                                FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
                               WHERE old.attrelid = to_regclass('multi_tenant_archive.customers') AND old.attnum > 0 AND NOT old.attisdropped
                                 AND new.attrelid = 'customers'::regclass AND attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id') AND attname <> ALL ('{whatsapp_id,created_at,updated_at}')
                                 AND old.atttypid <> new.atttypid AND NOT EXISTS (
                                     SELECT FROM pg_cast WHERE (castsource, casttarget) = (old.atttypid, new.atttypid) AND castcontext <> 'e'));
                IF said = '{}' THEN
                    said := ARRAY[format('the archive''s rows of %s do not fit the table any more (%s): change them in multi_tenant_archive, or the table', 'customers', SQLERRM)];
                END IF;
            WHEN OTHERS THEN
                said := ARRAY[format('a row of %s in the archive does not fit the table any more (%s): change it in multi_tenant_archive, or the table', 'customers', SQLERRM)];
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_archive_customers', said::text, false);
END $trial$;

-- Insert the archived rows into a copy of their table, which is gone again at the end: what does not fit any more is named before
-- any change. Inputs: table; times; new_columns; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    common text;
BEGIN
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL AND NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL AND to_regclass('multi_tenant_archive.conversations') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE conversations INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED);
            SELECT string_agg(quote_ident(attname), ', ') INTO common
              FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
             WHERE old.attrelid = to_regclass('multi_tenant_archive.conversations') AND old.attnum > 0 AND NOT old.attisdropped
               AND new.attrelid = 'conversations'::regclass AND new.attgenerated = '' AND attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id');
            EXECUTE (SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE %s', attname, CASE atttypid WHEN 'varchar'::regtype THEN 'varchar' ELSE 'timestamptz' END), ';')
                       FROM pg_attribute WHERE attrelid = 'multi_tenant_trial'::regclass AND attname = ANY ('{whatsapp_id,timestamp,created_at}') AND atttypid <> 'text'::regtype);
            EXECUTE format('INSERT INTO multi_tenant_trial (%1$s) SELECT %1$s FROM multi_tenant_archive.conversations', common);
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION
            WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
                NULL;
            WHEN datatype_mismatch THEN
                said := ARRAY(SELECT format('the column %1$s of conversations is %2$s, and was %3$s when a rollback archived rows of it: run ALTER TABLE multi_tenant_archive.conversations ALTER COLUMN %4$I TYPE %2$s USING %4$I::%2$s;',
                                            attname, format_type(new.atttypid, new.atttypmod), format_type(old.atttypid, old.atttypmod), attname)
                                FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
                               WHERE old.attrelid = to_regclass('multi_tenant_archive.conversations') AND old.attnum > 0 AND NOT old.attisdropped
                                 AND new.attrelid = 'conversations'::regclass AND attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id') AND attname <> ALL ('{whatsapp_id,timestamp,created_at}')
                                 AND old.atttypid <> new.atttypid AND NOT EXISTS (
                                     SELECT FROM pg_cast WHERE (castsource, casttarget) = (old.atttypid, new.atttypid) AND castcontext <> 'e'));
                IF said = '{}' THEN
                    said := ARRAY[format('the archive''s rows of %s do not fit the table any more (%s): change them in multi_tenant_archive, or the table', 'conversations', SQLERRM)];
                END IF;
            WHEN OTHERS THEN
                said := ARRAY[format('a row of %s in the archive does not fit the table any more (%s): change it in multi_tenant_archive, or the table', 'conversations', SQLERRM)];
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_archive_conversations', said::text, false);
END $trial$;

DO $ask$
#variable_conflict use_column
DECLARE
    refusals jsonb := '[]';
    notices jsonb := '[]';
    announced jsonb := '[]';
    in_the_way text[] := '{}';
    item jsonb;
    line text;
BEGIN
    IF true THEN
        refusals := refusals || jsonb_build_array(
(
-- The server, and where its tables are.
WITH tables AS (
    SELECT relname, quote_ident(nspname) AS nspname, nspname AS there, min(relname) FILTER (WHERE nspname = current_schema()) OVER () AS here
      FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations')))
SELECT jsonb_build_array(
CASE WHEN current_setting('server_version_num')::int < 150000 THEN
    format('the server is PostgreSQL %s, but this schema needs 15 or later: upgrade the server first', current_setting('server_version')) END,
(SELECT format('%1$s is in schema %2$s, but new tables would go to %3$s (a role that sets its own search_path needs another): run ALTER DATABASE %4$I SET search_path TO %2$s, %5$s;',
               relname, nspname, current_schema(), current_database(), current_setting('search_path'))
   FROM tables
  WHERE there <> current_schema() AND here IS NULL LIMIT 1),
(SELECT format('%1$s is in schema %2$s, and %3$s only in schema %4$s, where it may be another application''s; if it is the bot''s, run ALTER TABLE %4$I.%3$I SET SCHEMA %2$I, else let the bot make its own in %2$I', here, current_schema(), relname, there)
   FROM tables WHERE there <> current_schema() AND here IS NOT NULL)
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- What keeps customers and conversations from being the tables of revision 000: sentences in the order in
-- which their commands run.
WITH wanted (place, tab, col, type, fits, length, filler, sibling) AS (VALUES
    (1, 'customers', 'id', 'bigint', '{integer,bigint}', NULL, NULL, NULL),
    (2, 'customers', 'whatsapp_id', 'varchar(50)', '{character varying,text}', 50, 'gen_random_uuid()::text', NULL),
    (3, 'customers', 'name', 'varchar(100)', '{character varying,text}', 100, '''''', NULL),
    (4, 'customers', 'age', 'integer', '{integer,bigint}', NULL, NULL, NULL),
    (5, 'customers', 'created_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'updated_at'),
    (6, 'customers', 'updated_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'created_at'),
    (7, 'conversations', 'id', 'bigint', '{integer,bigint}', NULL, NULL, NULL),
    (8, 'conversations', 'whatsapp_id', 'varchar(50)', '{character varying,text}', 50, '''''', NULL),
    (9, 'conversations', 'message', 'text', '{character varying,text}', 10485761, '''''', NULL),
    (10, 'conversations', 'role', 'varchar(20)', '{character varying,text}', 20, '''user''', NULL),
    (11, 'conversations', 'timestamp', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'created_at'),
    (12, 'conversations', 'created_at', 'timestamp', '{timestamp without time zone,timestamp with time zone}', NULL, 'now()', 'timestamp')
-- `fits`: the types that do. `length`: the least that a varchar must hold. `filler`: stands where there was nothing.
-- `sibling`: the other time of the row.
), columns AS MATERIALIZED (
    SELECT wanted.*, t.relid, attnum, atttypid, attnotnull, attgenerated, typcategory, pg_get_expr(adbin, adrelid) AS value,
           format_type(atttypid, atttypmod) AS actual,
           NOT (format_type(atttypid, NULL) = ANY (fits::text[]) AND attgenerated = ''
                AND NOT (atttypid = 'varchar'::regtype AND atttypmod BETWEEN 0 AND length + 3)
                AND NOT (atttypid = 'timestamp'::regtype AND atttypmod >= 0)) AS misfit
      FROM wanted
      JOIN (SELECT oid AS relid, relname FROM pg_class WHERE relkind = 'r' AND oid IN (to_regclass('customers'), to_regclass('conversations'))) AS t ON relname = tab
      LEFT JOIN pg_attribute ON attrelid = relid AND attname = col
      LEFT JOIN pg_type ON pg_type.oid = atttypid
      LEFT JOIN pg_attrdef ON adrelid = relid AND adnum = attnum
), with_added AS (
    -- `added`: the statements that add the column, as a format of table, column and type.
    SELECT *, CASE WHEN col = 'id' THEN 'ALTER TABLE %s ADD COLUMN %I bigint GENERATED BY DEFAULT AS IDENTITY;'
                   WHEN filler IS NULL THEN 'ALTER TABLE %s ADD COLUMN %I %s;'
                   WHEN sibling IS NOT NULL THEN 'ALTER TABLE %1$s ADD COLUMN %2$I timestamp NOT NULL DEFAULT ''epoch''; ALTER TABLE %1$s ALTER COLUMN %2$I SET DEFAULT now();'
                   ELSE 'ALTER TABLE %s ADD COLUMN %I %s NOT NULL DEFAULT ' || filler || ';' END AS added
      FROM columns
), changing (relid, attnum, is_time, goes) AS (
    SELECT relid, attnum, sibling IS NOT NULL, false FROM columns WHERE misfit
)
SELECT jsonb_build_array(
-- What is not a table cannot become one: its rows are copied.
(SELECT jsonb_agg(format('%1$s is a %2$s, not an ordinary table; let one take its place, into which its rows are copied, while the bot waits: run BEGIN; ALTER TABLE %1$s RENAME TO %1$s_before; %3$sCREATE TABLE %1$s (%4$s); INSERT INTO %1$s (%5$s) SELECT %6$s FROM %1$s_before; SELECT setval(pg_get_serial_sequence(''%1$s'', ''id''), coalesce((SELECT max(id) FROM %1$s), 0) + 1, false); COMMIT;',
               relname, kind, renames, columns, names, sources) ORDER BY relname)
   FROM (SELECT relname, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'p' THEN 'partitioned table' ELSE 'foreign table' END AS kind,
                (SELECT format('ALTER INDEX %1$s RENAME TO %1$s_before; ', relname || '_pkey') WHERE to_regclass(quote_ident(current_schema()) || '.' || relname || '_pkey') IS NOT NULL) AS renames,
                string_agg(concat_ws(' ', quote_ident(coalesce(col, attname)), coalesce(type, format_type(atttypid, atttypmod)),
                                     CASE WHEN col = 'id' THEN 'GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY' WHEN filler = 'now()' THEN 'NOT NULL DEFAULT now()'
                                          WHEN filler IS NOT NULL THEN 'NOT NULL' END), ', ' ORDER BY place, attnum) AS columns,
                string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names,
                string_agg(format(CASE WHEN filler IS NULL THEN '%1$I' ELSE 'coalesce(%1$I, %2$s)' END, attname, replace(filler, 'now()', '''epoch''')), ', ' ORDER BY attnum) AS sources
           FROM pg_class AS c CROSS JOIN LATERAL (
                SELECT * FROM (SELECT * FROM wanted WHERE tab = relname) AS needed
                  FULL JOIN (SELECT attname, attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS there ON attname = col) AS pairs
          WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind IN ('v', 'm', 'f', 'p')
          GROUP BY c.oid, relname, relkind) AS strange),
(SELECT format('table %1$s is missing: run CREATE TABLE %1$s (%2$s);', tab,
               string_agg(format('%I %s%s', col, type, CASE WHEN col = 'id' THEN ' GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY' WHEN filler IS NOT NULL THEN ' NOT NULL' END), ', ' ORDER BY place))
   FROM wanted
  WHERE to_regclass(tab) IS NULL AND (to_regclass('customers') IS NOT NULL OR to_regclass('conversations') IS NOT NULL) GROUP BY tab),

-- What a column of another type keeps from changing, the types, and the columns that are missing.
(
-- What stores a row of one of the two tables as one value, by itself or inside of arrays, domains, ranges and other row
-- types: that keeps the table's row type from changing.
WITH RECURSIVE holding (typ, depth) AS (
    SELECT reltype, 1 FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
    UNION
    SELECT next.typ, depth + 1 FROM holding CROSS JOIN LATERAL (
        SELECT typarray FROM pg_type WHERE oid = holding.typ AND typarray <> 0
        UNION ALL SELECT oid FROM pg_type WHERE typbasetype = holding.typ
        UNION ALL SELECT unnest(ARRAY[rngtypid, rngmultitypid]) FROM pg_range WHERE rngsubtype = holding.typ
        UNION ALL SELECT reltype FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE atttypid = holding.typ AND NOT attisdropped AND reltype <> 0
    ) AS next (typ)
)
SELECT jsonb_agg(CASE
           WHEN relkind = 'm' THEN format('the table cannot change while its row type is used by the materialized view %1$s; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
           WHEN relkind IN ('i', 'I') THEN format('the table cannot change while its row type is used by the index %1$s; create it again afterwards: run DROP INDEX %1$s;', attrelid::regclass)
           ELSE format('the table cannot change while its row type is used by column %1$s.%2$I; as jsonb it keeps its values: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END ORDER BY relkind IN ('i', 'I') DESC, depth DESC, attrelid, attnum)
  FROM (SELECT typ, max(depth) AS depth FROM holding GROUP BY typ) AS held
  JOIN pg_attribute ON atttypid = typ JOIN pg_class ON pg_class.oid = attrelid
 WHERE relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT relispartition AND NOT attisdropped
),
(
-- What stands in the way of another type for a column, or of dropping it, and what would be built anew or be read under
-- the lock for it: what hangs on those first. Columns of inheritance children change with their parent's.
-- Input: `changing`, a WITH query of the statement around this one: the columns, whether each is a time, and whether it goes.
WITH RECURSIVE changed (relid, attnum, is_time, goes) AS (
    SELECT relid, attnum, is_time, goes FROM changing
    UNION SELECT inhrelid, child.attnum, is_time, goes FROM changed JOIN pg_inherits ON inhparent = relid
            JOIN pg_attribute AS parent ON parent.attrelid = relid AND parent.attnum = changed.attnum
            JOIN pg_attribute AS child ON child.attrelid = inhrelid AND child.attname = parent.attname
 ), hung (classid, objid, objsubid, of_what, depth) AS (
    SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END,
           format('%s.%s, %s', attrelid::regclass, attname, CASE WHEN is_unique THEN 'whose type changes, and without it doubles could come in and ON CONFLICT fails until it is there again; keep its definition, and create it again afterwards'
                                                                 WHEN goes THEN 'which goes; keep its definition, and create it again after the next upgrade' ELSE 'whose type changes; keep its definition, and create it again afterwards' END), 1
      FROM changed JOIN pg_attribute USING (attnum) JOIN pg_depend AS d ON refclassid = 'pg_class'::regclass AND refobjid = relid AND refobjsubid = attnum
     CROSS JOIN LATERAL (SELECT is_time AND NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (
                             SELECT FROM pg_index WHERE indexrelid = d.objid AND indisunique AND NOT EXISTS (  -- with the id no row is a double
                                 SELECT FROM pg_attribute WHERE attrelid = relid AND attname = 'id' AND attnum = ANY (indkey))) AS is_unique) AS of_index
     WHERE attrelid = relid AND (
           d.deptype = 'n' AND d.classid NOT IN ('pg_constraint'::regclass, 'pg_class'::regclass)
        OR d.classid = 'pg_class'::regclass AND d.objid = relid AND d.objsubid > 0 AND d.objsubid <> d.refobjsubid
        -- With a column go the constraints and indexes that it is in.
        OR NOT goes AND d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND (contype = 'c' OR is_time AND contype NOT IN ('n', 'p')))
        OR is_unique
        OR NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid
                                                          AND concat(indexprs, indpred) ~ (':varattno ' || changed.attnum || ' ')))
       AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polname IN ('app_tenant', 'app_service', 'single_business')))
       AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgname = 'set_updated_at'))
    UNION SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END, of_what, depth + 1
      FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid
      LEFT JOIN pg_constraint AS k ON hung.classid = 'pg_constraint'::regclass AND k.oid = hung.objid
      LEFT JOIN pg_attrdef AS v ON hung.classid = 'pg_attrdef'::regclass AND v.oid = hung.objid
      JOIN pg_depend AS d ON d.deptype = 'n' AND CASE
           WHEN r.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = r.ev_class AND d.objid <> r.oid
                                       AND EXISTS (SELECT FROM pg_class WHERE oid = r.ev_class AND relkind IN ('v', 'm'))
           WHEN k.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = nullif(k.conindid, 0) AND k.contype <> 'f'
           WHEN v.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = v.adrelid AND d.refobjsubid = v.adnum
           WHEN hung.classid = 'pg_class'::regclass THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = hung.objid AND d.refobjsubid = hung.objsubid AND hung.objsubid > 0
           ELSE d.refclassid = hung.classid AND d.refobjid = hung.objid END
     WHERE depth < 20
 ), drops (described, of_what, depth, command) AS (
    SELECT coalesce(CASE WHEN v.relkind IN ('v', 'm') THEN pg_describe_object('pg_class'::regclass, v.oid, 0) END,
                    CASE WHEN a.attrelid IS NOT NULL THEN pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum) END,
                    pg_describe_object(classid, objid, objsubid)), of_what, depth, CASE
           WHEN v.relkind = 'v' THEN format('DROP VIEW IF EXISTS %s', v.oid::regclass)
           WHEN v.relkind = 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', v.oid::regclass)
           WHEN r.oid IS NOT NULL THEN format('DROP RULE IF EXISTS %I ON %s', r.rulename, r.ev_class::regclass)
           WHEN p.oid IS NOT NULL THEN format('DROP POLICY IF EXISTS %I ON %s', p.polname, p.polrelid::regclass)
           WHEN t.oid IS NOT NULL THEN format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, t.tgrelid::regclass)
           WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
           WHEN x.indexrelid IS NOT NULL THEN format('DROP INDEX IF EXISTS %s', x.indexrelid::regclass)
           WHEN f.oid IS NOT NULL THEN format('DROP ROUTINE IF EXISTS %s', f.oid::regprocedure)
           WHEN a.attgenerated = 's' AND (a.attrelid::regclass::text, a.attname) IN (SELECT tab, unnest(cols) FROM (VALUES ('customers', '{id,whatsapp_id,name,age,created_at,updated_at}'::text[]), ('conversations', '{id,whatsapp_id,message,role,timestamp,created_at}')) AS ours (tab, cols)) THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION IF EXISTS', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL AND a.attgenerated <> '' THEN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', a.attrelid::regclass, a.attname)
           WHEN b.oid IS NOT NULL THEN format('ALTER PUBLICATION %I DROP TABLE %s', (SELECT pubname FROM pg_publication WHERE oid = b.prpubid), b.prrelid::regclass)
           END
      FROM (SELECT classid, objid, objsubid, min(of_what) AS of_what, max(depth) AS depth FROM hung GROUP BY 1, 2, 3) AS hung
      LEFT JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND r.oid = objid LEFT JOIN pg_class AS v ON v.oid = ev_class
      LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
      LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
      LEFT JOIN pg_constraint AS k ON classid = 'pg_constraint'::regclass AND k.oid = objid
      LEFT JOIN pg_index AS x ON classid = 'pg_class'::regclass AND x.indexrelid = objid
      LEFT JOIN pg_proc AS f ON classid = 'pg_proc'::regclass AND f.oid = objid
      LEFT JOIN pg_attrdef AS d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
      LEFT JOIN pg_publication_rel AS b ON classid = 'pg_publication_rel'::regclass AND b.oid = objid
      LEFT JOIN pg_attribute AS a ON (a.attrelid, a.attnum) IN ((d.adrelid, d.adnum::int), (CASE WHEN classid = 'pg_class'::regclass AND objsubid > 0 THEN objid END, objsubid))
 ), lines (described, of_what, depth, command) AS (SELECT described, min(of_what), max(depth), command FROM drops GROUP BY 1, 4)
 SELECT jsonb_agg(format('%s depends on %s', described, of_what)
                   || coalesce(': run ' || command || ';', '') ORDER BY depth DESC, described)
   FROM lines
),
(SELECT jsonb_agg(format('column %s.%s is %s instead of %s: run ', tab, col, actual, type) || CASE
           WHEN typcategory = 'S' AND filler IS NOT NULL AND sibling IS NULL AND atttypid = 'varchar'::regtype AND attgenerated = '' THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', tab, col, type)
           WHEN atttypid = 'timestamp'::regtype AND sibling IS NOT NULL AND attgenerated = '' THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE timestamp;', tab, col)
           WHEN attgenerated = 's' AND format_type(atttypid, NULL) = ANY (fits::text[]) THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION;', tab, col)
           WHEN atttypid = 'smallint'::regtype AND type IN ('bigint', 'integer') AND attgenerated = '' THEN format('ALTER TABLE %s ALTER COLUMN %I TYPE integer;', tab, col)
           WHEN attgenerated = '' AND length IS NOT NULL THEN format('ALTER TABLE %1$s ALTER COLUMN %2$I %3$sTYPE text USING %2$I%4$s%5$s;', tab, col,
                CASE WHEN value IS NOT NULL THEN format('DROP DEFAULT, ALTER COLUMN %I ', col) END,
                CASE WHEN atttypid IN ('json'::regtype, 'jsonb'::regtype) THEN ' #>> ''{}''' ELSE '::text' END,
                ', ALTER COLUMN ' || quote_ident(col) || ' SET DEFAULT (' || value || ')::text')
           WHEN attgenerated = '' AND sibling IS NOT NULL AND typcategory IN ('S', 'D', 'N') THEN format('ALTER TABLE %1$s ALTER COLUMN %2$I %3$sTYPE timestamp USING %4$s%5$s;', tab, col,
                CASE WHEN value IS NOT NULL THEN format('DROP DEFAULT, ALTER COLUMN %I ', col) END,
                format(CASE typcategory WHEN 'N' THEN 'to_timestamp(CASE WHEN %1$I > 99999999999 THEN %1$I / 1000.0 ELSE %1$I END) AT TIME ZONE ''UTC''' ELSE '%I::timestamp' END, col),
                CASE WHEN value IS NOT NULL THEN format(', ALTER COLUMN %I SET DEFAULT now()', col) END)
           WHEN attgenerated = '' AND col = 'id' AND typcategory IN ('S', 'N') THEN format('ALTER TABLE %s ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id TYPE bigint USING id::bigint;', tab)
           ELSE concat((SELECT string_agg(format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I; ', k.conrelid::regclass, k.conname), '' ORDER BY k.contype)
                          FROM pg_constraint AS p JOIN pg_constraint AS k ON k.oid = p.oid OR k.contype = 'f' AND k.conindid = p.conindid
                         WHERE p.conrelid = relid AND p.contype = 'p' AND attnum = ANY (p.conkey)),
                format('ALTER TABLE %s RENAME COLUMN %I TO %I; ', tab, col, col || '_before'),
                CASE WHEN attnotnull AND attgenerated = '' THEN format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL; ', tab, col || '_before') END,
                format(added, tab, col, type)) END ORDER BY place)
   FROM with_added WHERE misfit),
(SELECT jsonb_agg(format('column %s.%s (%s) is missing; if another column holds it, rename that one, together with the bot, else: run ', tab, col, type) || format(added, tab, col, type)
                   || coalesce(' UPDATE ' || tab || ' SET ' || quote_ident(col) || ' = ' || (
                          SELECT quote_ident(sibling) FROM pg_attribute WHERE attrelid = relid AND attname = sibling AND atttypid IN ('timestamp'::regtype, 'timestamptz'::regtype)) || ';', '') ORDER BY place)
   FROM with_added WHERE attnum IS NULL),

-- The ids.
(SELECT jsonb_agg(format('%1$s.id has no sequence to take its values from: run CREATE SEQUENCE IF NOT EXISTS %1$s_id_seq OWNED BY %1$s.id; SELECT setval(''%1$s_id_seq'', coalesce((SELECT max(id) FROM %1$s), 0) + 1, false); ALTER TABLE %1$s ALTER COLUMN id SET DEFAULT nextval(''%1$s_id_seq'');', tab) ORDER BY place)
   FROM columns JOIN pg_attribute USING (attnum) WHERE attrelid = relid AND col = 'id' AND attidentity = ''
    AND (value IS NULL OR value !~ '^nextval\(''[^'']+''::regclass\)$' OR misfit AND typcategory <> 'N') AND NOT (misfit AND typcategory NOT IN ('N', 'S'))),
(SELECT jsonb_agg(jsonb_build_object('query', format('SELECT %L WHERE EXISTS (SELECT FROM %s GROUP BY id HAVING count(*) > 1 OR id IS NULL)',
                          format('%1$s.id is not unique, or NULL: run UPDATE %1$s SET id = DEFAULT WHERE ctid IN (SELECT ctid FROM (SELECT ctid, row_number() OVER (PARTITION BY id ORDER BY ctid) AS n, id FROM %1$s) AS d WHERE n > 1 OR id IS NULL);', tab),
                          relid::regclass)) ORDER BY place)
   FROM columns
  WHERE col = 'id' AND attnum IS NOT NULL AND has_table_privilege(relid, 'SELECT')
    AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = relid AND indisunique AND indisvalid AND indpred IS NULL AND indkey::text = attnum::text)),
(SELECT jsonb_agg(format('table %1$s has no primary key of its id alone: run %2$s%3$sCREATE UNIQUE INDEX CONCURRENTLY %1$s_pkey ON %1$s (id); ALTER TABLE %1$s ADD CONSTRAINT %1$s_pkey PRIMARY KEY USING INDEX %1$s_pkey;', tab,
               (SELECT string_agg(format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I; ', conrelid::regclass, conname), '') FROM pg_constraint WHERE contype = 'f' AND conindid = p.conindid),
               (SELECT format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I; ', tab, p.conname) WHERE p.conname IS NOT NULL)) ORDER BY place)
   FROM columns LEFT JOIN pg_constraint AS p ON conrelid = relid AND contype = 'p' LEFT JOIN pg_index ON indexrelid = conindid
  WHERE col = 'id' AND (attnum IS NULL OR misfit AND typcategory NOT IN ('N', 'S') OR p.oid IS NULL OR condeferrable OR indkey::text <> attnum::text)),

-- NULLs: where there are any, the bot may write more.
(SELECT jsonb_agg(jsonb_build_object('query', format('SELECT CASE WHEN %s THEN %L ELSE %L END', CASE WHEN has_table_privilege(relid, 'SELECT') THEN format('EXISTS (SELECT FROM %s WHERE %s)', relid::regclass, nulls) ELSE 'false' END,
               format('%1$s: NULLs are allowed, and there (the trigger fills what the bot leaves empty): run CREATE OR REPLACE FUNCTION fill_%2$s() RETURNS trigger LANGUAGE plpgsql SET search_path = '''' AS %3$L; CREATE TRIGGER fill_%2$s BEFORE INSERT OR UPDATE ON %2$s FOR EACH ROW EXECUTE FUNCTION fill_%2$s(); UPDATE %2$s SET %4$s WHERE %5$s; %6$s',
                      names, tab, format('BEGIN %s RETURN NEW; END', assignments), fills, nulls, proof),
               format('%s: NULLs are allowed: run %s', names, proof))) ORDER BY tab)
   FROM (SELECT *, format('ALTER TABLE %1$s ADD CONSTRAINT no_nulls CHECK (NOT (%2$s)) NOT VALID; ALTER TABLE %1$s VALIDATE CONSTRAINT no_nulls; ALTER TABLE %1$s %3$s, DROP CONSTRAINT no_nulls;', tab, nulls, alters) AS proof
           FROM (SELECT tab, relid, string_agg(format('%s.%s', tab, col), ', ' ORDER BY place) AS names,
                        string_agg(format('%I IS NULL', col), ' OR ' ORDER BY place) AS nulls,
                        string_agg(format('ALTER COLUMN %I SET NOT NULL', col), ', ' ORDER BY place) AS alters,
                        string_agg(format('NEW.%1$I := coalesce(NEW.%1$I, %2$s);', col, filler), ' ' ORDER BY place) AS assignments,
                        string_agg(format('%I = coalesce(%s)', col, concat_ws(', ', quote_ident(col), quote_ident(sibling), CASE WHEN sibling IS NULL THEN filler ELSE '''epoch''' END)), ', ' ORDER BY place) AS fills
                   FROM columns
                  WHERE filler IS NOT NULL AND attgenerated = '' AND (NOT attnotnull OR EXISTS (
                        SELECT FROM pg_constraint WHERE conrelid = relid AND contype = 'n' AND conkey = ARRAY[attnum] AND NOT convalidated))
                  GROUP BY tab, relid) AS n) AS n),
(SELECT 'customers.age is NOT NULL, but the age of a customer may not be known: run ALTER TABLE customers ALTER COLUMN age DROP NOT NULL;'
   FROM columns WHERE tab = 'customers' AND col = 'age' AND attnotnull AND attgenerated = '' AND NOT misfit),

-- A unique index on whatsapp_id alone, or with the business, says that there are no doubles; else they are counted.
(SELECT jsonb_build_object('query', format('SELECT format(%L, string_agg(format(''%%s (%%s rows)'', whatsapp_id, n), '', '')) FROM (SELECT whatsapp_id, count(*) AS n FROM %s WHERE whatsapp_id IS NOT NULL GROUP BY whatsapp_id HAVING count(*) > 1 ORDER BY n DESC, whatsapp_id LIMIT 5) AS d HAVING count(*) > 0',
               'customers.whatsapp_id must be unique, but is not (%s); the newest row of each keeps it: run UPDATE customers AS c SET whatsapp_id = left(c.whatsapp_id, 30) || ''#'' || c.id WHERE EXISTS (SELECT FROM customers AS n WHERE n.whatsapp_id = c.whatsapp_id AND (n.updated_at, n.id) > (c.updated_at, c.id)); CREATE UNIQUE INDEX CONCURRENTLY uq_customers_whatsapp_id ON customers (whatsapp_id);',
               relid::regclass))
   FROM columns
  WHERE tab = 'customers' AND col = 'whatsapp_id' AND attnum IS NOT NULL AND has_table_privilege(relid, 'SELECT')
            AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = relid AND indisunique AND indisvalid
                              AND pg_get_indexdef(indexrelid) ~ CASE WHEN EXISTS (SELECT FROM pg_policy WHERE polrelid = relid AND polname = 'app_tenant')
                                                                     THEN ' USING btree \((business_id, )?whatsapp_id\)$' ELSE ' USING btree \(whatsapp_id\)$' END)
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = relid AND attname IN ('business_id', 'business_id_before')))
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        notices := notices || jsonb_build_array(
(
-- What does not stop the upgrade, but is better known before it. JSON of sentences.
WITH untouched AS (
-- The two old tables that this migration has not extended yet.
SELECT oid AS relid, relname FROM pg_class
 WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT (EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'fk_' || relname || '_businesses')
                                AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'app_tenant'))
)
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('%1$s.%2$s is NOT NULL and has no default, so that an insert that leaves it out fails, those of the models too; unless every insert gives it: run ALTER TABLE %1$s ALTER COLUMN %3$I DROP NOT NULL;', relname, attname, attname) ORDER BY relname, attnum)
   FROM pg_attribute JOIN untouched AS t ON attrelid = relid JOIN pg_type ON pg_type.oid = atttypid
  WHERE attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = '' AND typdefault IS NULL
    AND attname NOT IN ('id', 'whatsapp_id', 'name', 'message', 'role', 'created_at', 'updated_at', 'timestamp') AND attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')),
(SELECT jsonb_agg(format('the index %s keeps %s of %s unique across all businesses', indexrelid::regclass, keys, relname) ORDER BY indexrelid)
   FROM (SELECT indexrelid, relname, array_to_string(ARRAY(SELECT pg_get_indexdef(indexrelid, n, true) FROM generate_series(1, indnkeyatts) AS n), ', ') AS keys
           FROM pg_index JOIN untouched AS t ON indrelid = relid WHERE indisunique OR indisexclusion) AS i
  WHERE keys !~ '\m(id|whatsapp_id|business_id)\M'),
(SELECT jsonb_agg(format('the function %s reads SELECT * from customers or conversations, which get more columns', pg_proc.oid::regprocedure) ORDER BY proname)
   FROM pg_proc JOIN pg_language AS l ON l.oid = prolang
  WHERE l.lanname IN ('sql', 'plpgsql') AND prorettype <> 'trigger'::regtype
    AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND prosrc ~* '\mselect\s([^;]*,)?\s*(\w+\s*\.\s*)?\*[^;]*\mfrom\s[^;]*\m(customers|conversations)\M'),
(SELECT jsonb_agg(format('look at the function %s: customers and conversations get more columns and their times a zone, which a list of columns for a whole row, or RETURN QUERY of a timestamp, does not fit', p.oid::regprocedure) ORDER BY proname)
   FROM pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
  WHERE l.lanname NOT IN ('sql', 'c', 'internal') AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND prorettype <> 'trigger'::regtype
    AND (EXISTS (SELECT FROM untouched JOIN pg_class AS c ON c.oid = relid JOIN pg_type AS t ON t.oid = c.reltype WHERE prorettype IN (t.oid, t.typarray))
         OR prosrc ~* '\m(?!(from|join|into|update|table|only|delete|insert)\M)\w+\s+(\w+\.)?(customers|conversations)\s*(%\s*rowtype\s*)?(;|:=|=|\mdefault\M)'
         OR prosrc ~* '\m(customers|conversations)\M' AND prosrc ~* 'return\s+query' AND ('timestamp'::regtype = ANY (proallargtypes) OR prorettype = 'timestamp'::regtype))),
(SELECT jsonb_agg(format('the publication %s sends %s to subscribers: add the new columns to their tables first, or they stop', pubname, tablename) ORDER BY pubname, tablename)
   FROM pg_publication_tables JOIN untouched AS t ON tablename = relname AND schemaname = current_schema()),
(SELECT jsonb_agg(DISTINCT format('the ids of %s end at %s, and %s%% of them are used', relname, to_char(highest, 'FM9,999,999,999,999,999,999'), round(100.0 * last_value / highest)))
   FROM (SELECT c.oid, relname, CASE atttypid WHEN 'smallint'::regtype THEN 32767 WHEN 'integer'::regtype THEN 2147483647 ELSE 9223372036854775807 END AS highest
           FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attname = 'id' WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS ids
   JOIN pg_attrdef ON adrelid = ids.oid JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid
   JOIN pg_sequences ON refobjid = to_regclass(format('%I.%I', schemaname, sequencename))
  WHERE last_value > 0.5 * highest),
(SELECT jsonb_agg(DISTINCT format('role %s sets TimeZone to %s: give it UTC, or let the bot write times with their zone', setrole::regrole, split_part(setting, '=', 2)))
   FROM pg_db_role_setting, unnest(setconfig) AS setting
  WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND setrole <> 0 AND setting ILIKE 'timezone=%'
    AND split_part(lower(setting), '=', 2) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'),
(SELECT jsonb_agg(format('the function %s sets TimeZone: times without a zone that it writes are read in that', pg_proc.oid::regprocedure) ORDER BY proname)
   FROM pg_proc WHERE proconfig IS NOT NULL AND EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting ILIKE 'timezone=%')),
(SELECT format('about %s customers and %s messages: the indexes take about %s of disk and %s to build, while the bot goes on',
               to_char(customers, 'FM9,999,999,999,999'), to_char(messages, 'FM9,999,999,999,999'), pg_size_pretty((customers * 110 + messages * 120)::bigint),
               CASE WHEN customers + messages < 20000000 THEN format('%s seconds', ceil((customers + messages) / 200000)) ELSE format('%s minutes', ceil((customers + messages) / 12000000)) END)
   FROM (SELECT max(n) FILTER (WHERE relname = 'customers') AS customers, max(n) FILTER (WHERE relname = 'conversations') AS messages
           FROM (SELECT relname, CASE WHEN reltuples < 0 OR relpages = 0 THEN pg_relation_size(relid) / 150
                                      ELSE reltuples::float8 / relpages * (pg_relation_size(relid) / current_setting('block_size')::int) END AS n
                   FROM untouched AS t JOIN pg_class USING (relname) WHERE pg_class.oid = relid) AS sizes) AS totals
  WHERE customers + messages >= 100000)
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- What stands in the way of the upgrade of the two tables: rights and keys first. JSON of sentences; a query gives one.
WITH untouched AS (
-- The two old tables that this migration has not extended yet.
SELECT oid AS relid, relname FROM pg_class
 WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT (EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'fk_' || relname || '_businesses')
                                AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'app_tenant'))
)
SELECT jsonb_build_array(
-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT jsonb_agg(DISTINCT format('the sequence %1$s of %2$s belongs to another role, and %3$s or an administrator can give it away: run ALTER SEQUENCE %1$s OWNER TO %4$s;',
                                   s.oid::regclass, t.relname, s.relowner::regrole, t.relowner::regrole))
   FROM pg_class AS t JOIN pg_attrdef ON adrelid = t.oid JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = pg_attrdef.oid
   JOIN pg_class AS s ON s.oid = refobjid AND s.relkind = 'S'
  WHERE t.oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(s.relowner, 'USAGE')),
-- Keys first, for what they refer to cannot go before them.
(SELECT jsonb_agg(format('the foreign key %1$s of table %2$s refers to customers.whatsapp_id, which is no longer unique in a database of many businesses (after the upgrade a key of business_id and whatsapp_id can take its place): run ALTER TABLE %2$s DROP CONSTRAINT IF EXISTS %3$I;',
                          conname, conrelid::regclass, conname) ORDER BY conname)
   FROM pg_constraint
  WHERE contype = 'f' AND confrelid = to_regclass('customers')
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'whatsapp_id')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname IN ('id', 'business_id'))),

-- What was made by hand.
(SELECT jsonb_agg(format('the trigger %1$s on %2$s was not made by this migration: run ALTER TRIGGER %1$I ON %2$s RENAME TO %3$I;', tgname, relname, tgname || '_before') ORDER BY relname)
   FROM pg_trigger JOIN untouched AS t ON tgrelid = relid WHERE tgname IN ('set_updated_at', 'single_business_only', 'single_business_update')),
(SELECT jsonb_agg(format('the constraint %1$s of %2$s was not made by this migration: run ALTER TABLE %2$s RENAME CONSTRAINT %1$I TO %3$I;', conname, relname, left(conname, 56) || '_before') ORDER BY conname)
   FROM pg_constraint JOIN untouched AS t ON conrelid = relid
  WHERE conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') OR conname = 'uq_customers_business_id_whatsapp_id' AND contype NOT IN ('p', 'u', 'x')),
-- Columns of a multi-tenant schema that was made by hand. Rows of its other businesses would become the default one's:
-- they are put aside, where that deletes nothing of other tables.
(SELECT jsonb_agg(CASE WHEN attname LIKE 'business_id%' AND has_table_privilege(relid, 'SELECT')
                        THEN jsonb_build_object('query', format('SELECT CASE WHEN EXISTS (%s) THEN %L ELSE %L END', others, aside, renamed)) ELSE to_jsonb(renamed) END ORDER BY relname, attname)
   FROM (SELECT *, CASE WHEN atttypid = 'uuid'::regtype THEN format('SELECT FROM %s WHERE %I <> %L', relid::regclass, attname, '00000000-0000-0000-0000-000000000001')
                        ELSE format('SELECT FROM %s HAVING count(DISTINCT %I::text) > 1', relid::regclass, attname) END AS others,
                CASE WHEN atttypid = 'uuid'::regtype AND referring IS NULL THEN
                    format('rows of %1$s belong to other businesses, by a column that this migration did not make; put them aside (docs/hand-made.md brings them back): run BEGIN; LOCK TABLE %1$s IN SHARE ROW EXCLUSIVE MODE; CREATE TABLE %1$s_before AS SELECT * FROM %1$s WHERE %2$I <> %3$L; DELETE FROM %1$s WHERE %2$I <> %3$L; COMMIT;%4$s', relname, attname, '00000000-0000-0000-0000-000000000001', ' ' || rename)
                ELSE format('rows of %1$s belong to other businesses, by the column %2$s, which this migration did not make%3$s: move them to a table of your own first, as docs/hand-made.md shows', relname, attname, ', and ' || referring || ' refers to them') END AS aside,
                format('the column %1$s.%2$s was not made by this migration (docs/hand-made.md shows how its values come along): run ', relname, attname) || rename AS renamed
           FROM (SELECT relid, relname, attname, atttypid,
                        (SELECT string_agg(DISTINCT conrelid::regclass::text, ', ') FROM pg_constraint WHERE contype = 'f' AND confrelid = relid AND conrelid NOT IN (to_regclass('customers'), to_regclass('conversations'))) AS referring,
                        CASE WHEN attname <> 'business_id_before' THEN format('ALTER TABLE %1$s RENAME COLUMN %2$I TO %3$I;', relname, attname, attname || '_before')
                             || CASE WHEN attnotnull AND NOT atthasdef AND attidentity = '' THEN format(' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', relname, attname || '_before') ELSE '' END END AS rename
                   FROM pg_attribute JOIN untouched AS t ON attrelid = relid WHERE (attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id') OR attname = 'business_id_before') AND NOT attisdropped) AS made) AS made),

-- What would keep two businesses from having one customer each of the same number.
(SELECT jsonb_agg(format('%s on %s would go on keeping whatsapp_id unique across all businesses; create it again after the upgrade with business_id in it: run %s;',
               indexrelid::regclass, indrelid::regclass,
               CASE WHEN conname IS NULL THEN format('DROP INDEX IF EXISTS %s', indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', indrelid::regclass, conname) END) ORDER BY indexrelid)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND (indisunique OR indisexclusion) AND NOT indisprimary AND NOT (indrelid = to_regclass('customers') AND (indisunique AND NOT indisprimary AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id'))
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\mid\M' AND NOT (keys ~ '\mbusiness_id\M' AND indrelid NOT IN (SELECT relid FROM untouched)))
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- What stands in the way of an upgrade, and of a rollback. JSON of sentences.
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('the replica identity of %1$s is the index %2$s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL;',
               indrelid::regclass, indexrelid::regclass) ORDER BY indexrelid)
   FROM pg_index
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND indisreplident
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)
                   AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp'))),
(
-- What stores a row of one of the two tables as one value, by itself or inside of arrays, domains, ranges and other row
-- types: that keeps the table's row type from changing.
WITH RECURSIVE holding (typ, depth) AS (
    SELECT reltype, 1 FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
    UNION
    SELECT next.typ, depth + 1 FROM holding CROSS JOIN LATERAL (
        SELECT typarray FROM pg_type WHERE oid = holding.typ AND typarray <> 0
        UNION ALL SELECT oid FROM pg_type WHERE typbasetype = holding.typ
        UNION ALL SELECT unnest(ARRAY[rngtypid, rngmultitypid]) FROM pg_range WHERE rngsubtype = holding.typ
        UNION ALL SELECT reltype FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE atttypid = holding.typ AND NOT attisdropped AND reltype <> 0
    ) AS next (typ)
)
SELECT jsonb_agg(CASE
           WHEN relkind = 'm' THEN format('the table cannot change while its row type is used by the materialized view %1$s; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
           WHEN relkind IN ('i', 'I') THEN format('the table cannot change while its row type is used by the index %1$s; create it again afterwards: run DROP INDEX %1$s;', attrelid::regclass)
           ELSE format('the table cannot change while its row type is used by column %1$s.%2$I; as jsonb it keeps its values: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END ORDER BY relkind IN ('i', 'I') DESC, depth DESC, attrelid, attnum)
  FROM (SELECT typ, max(depth) AS depth FROM holding GROUP BY typ) AS held
  JOIN pg_attribute ON atttypid = typ JOIN pg_class ON pg_class.oid = attrelid
 WHERE relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT relispartition AND NOT attisdropped
),
(SELECT jsonb_agg(format('the rule %1$s on %2$s would take the place of what is written here, and rows would be lost; create it again afterwards: run DROP RULE %1$I ON %2$s;', rulename, ev_class::regclass) ORDER BY rulename)
   FROM pg_rewrite WHERE ev_class IN (to_regclass('customers'), to_regclass('conversations')) AND rulename <> '_RETURN'),
(SELECT jsonb_agg(format('the table %1$s inherits from %2$s, and its rows would be taken for that one''s: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass) ORDER BY inhrelid)
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relispartition)
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- What stands in the way of changing the two tables: what hangs on them, and triggers. JSON of sentences.
WITH untouched AS (
-- The two old tables that this migration has not extended yet.
SELECT oid AS relid, relname FROM pg_class
 WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT (EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'fk_' || relname || '_businesses')
                                AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'app_tenant'))
),
changing (relid, attnum, is_time, goes) AS (
    SELECT attrelid, attnum, attname <> 'whatsapp_id', false FROM pg_attribute
     WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
       AND (attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype
            OR attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258)
)
SELECT jsonb_build_array(
(
-- What stands in the way of another type for a column, or of dropping it, and what would be built anew or be read under
-- the lock for it: what hangs on those first. Columns of inheritance children change with their parent's.
-- Input: `changing`, a WITH query of the statement around this one: the columns, whether each is a time, and whether it goes.
WITH RECURSIVE changed (relid, attnum, is_time, goes) AS (
    SELECT relid, attnum, is_time, goes FROM changing
    UNION SELECT inhrelid, child.attnum, is_time, goes FROM changed JOIN pg_inherits ON inhparent = relid
            JOIN pg_attribute AS parent ON parent.attrelid = relid AND parent.attnum = changed.attnum
            JOIN pg_attribute AS child ON child.attrelid = inhrelid AND child.attname = parent.attname
 ), hung (classid, objid, objsubid, of_what, depth) AS (
    SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END,
           format('%s.%s, %s', attrelid::regclass, attname, CASE WHEN is_unique THEN 'whose type changes, and without it doubles could come in and ON CONFLICT fails until it is there again; keep its definition, and create it again afterwards'
                                                                 WHEN goes THEN 'which goes; keep its definition, and create it again after the next upgrade' ELSE 'whose type changes; keep its definition, and create it again afterwards' END), 1
      FROM changed JOIN pg_attribute USING (attnum) JOIN pg_depend AS d ON refclassid = 'pg_class'::regclass AND refobjid = relid AND refobjsubid = attnum
     CROSS JOIN LATERAL (SELECT is_time AND NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (
                             SELECT FROM pg_index WHERE indexrelid = d.objid AND indisunique AND NOT EXISTS (  -- with the id no row is a double
                                 SELECT FROM pg_attribute WHERE attrelid = relid AND attname = 'id' AND attnum = ANY (indkey))) AS is_unique) AS of_index
     WHERE attrelid = relid AND (
           d.deptype = 'n' AND d.classid NOT IN ('pg_constraint'::regclass, 'pg_class'::regclass)
        OR d.classid = 'pg_class'::regclass AND d.objid = relid AND d.objsubid > 0 AND d.objsubid <> d.refobjsubid
        -- With a column go the constraints and indexes that it is in.
        OR NOT goes AND d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND (contype = 'c' OR is_time AND contype NOT IN ('n', 'p')))
        OR is_unique
        OR NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid
                                                          AND concat(indexprs, indpred) ~ (':varattno ' || changed.attnum || ' ')))
       AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polname IN ('app_tenant', 'app_service', 'single_business')))
       AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgname = 'set_updated_at'))
    UNION SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END, of_what, depth + 1
      FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid
      LEFT JOIN pg_constraint AS k ON hung.classid = 'pg_constraint'::regclass AND k.oid = hung.objid
      LEFT JOIN pg_attrdef AS v ON hung.classid = 'pg_attrdef'::regclass AND v.oid = hung.objid
      JOIN pg_depend AS d ON d.deptype = 'n' AND CASE
           WHEN r.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = r.ev_class AND d.objid <> r.oid
                                       AND EXISTS (SELECT FROM pg_class WHERE oid = r.ev_class AND relkind IN ('v', 'm'))
           WHEN k.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = nullif(k.conindid, 0) AND k.contype <> 'f'
           WHEN v.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = v.adrelid AND d.refobjsubid = v.adnum
           WHEN hung.classid = 'pg_class'::regclass THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = hung.objid AND d.refobjsubid = hung.objsubid AND hung.objsubid > 0
           ELSE d.refclassid = hung.classid AND d.refobjid = hung.objid END
     WHERE depth < 20
 ), drops (described, of_what, depth, command) AS (
    SELECT coalesce(CASE WHEN v.relkind IN ('v', 'm') THEN pg_describe_object('pg_class'::regclass, v.oid, 0) END,
                    CASE WHEN a.attrelid IS NOT NULL THEN pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum) END,
                    pg_describe_object(classid, objid, objsubid)), of_what, depth, CASE
           WHEN v.relkind = 'v' THEN format('DROP VIEW IF EXISTS %s', v.oid::regclass)
           WHEN v.relkind = 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', v.oid::regclass)
           WHEN r.oid IS NOT NULL THEN format('DROP RULE IF EXISTS %I ON %s', r.rulename, r.ev_class::regclass)
           WHEN p.oid IS NOT NULL THEN format('DROP POLICY IF EXISTS %I ON %s', p.polname, p.polrelid::regclass)
           WHEN t.oid IS NOT NULL THEN format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, t.tgrelid::regclass)
           WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
           WHEN x.indexrelid IS NOT NULL THEN format('DROP INDEX IF EXISTS %s', x.indexrelid::regclass)
           WHEN f.oid IS NOT NULL THEN format('DROP ROUTINE IF EXISTS %s', f.oid::regprocedure)
           WHEN a.attgenerated = 's' AND (a.attrelid::regclass::text, a.attname) IN (SELECT tab, unnest(cols) FROM (VALUES ('customers', '{id,whatsapp_id,name,age,created_at,updated_at}'::text[]), ('conversations', '{id,whatsapp_id,message,role,timestamp,created_at}')) AS ours (tab, cols)) THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION IF EXISTS', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL AND a.attgenerated <> '' THEN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', a.attrelid::regclass, a.attname)
           WHEN b.oid IS NOT NULL THEN format('ALTER PUBLICATION %I DROP TABLE %s', (SELECT pubname FROM pg_publication WHERE oid = b.prpubid), b.prrelid::regclass)
           END
      FROM (SELECT classid, objid, objsubid, min(of_what) AS of_what, max(depth) AS depth FROM hung GROUP BY 1, 2, 3) AS hung
      LEFT JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND r.oid = objid LEFT JOIN pg_class AS v ON v.oid = ev_class
      LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
      LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
      LEFT JOIN pg_constraint AS k ON classid = 'pg_constraint'::regclass AND k.oid = objid
      LEFT JOIN pg_index AS x ON classid = 'pg_class'::regclass AND x.indexrelid = objid
      LEFT JOIN pg_proc AS f ON classid = 'pg_proc'::regclass AND f.oid = objid
      LEFT JOIN pg_attrdef AS d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
      LEFT JOIN pg_publication_rel AS b ON classid = 'pg_publication_rel'::regclass AND b.oid = objid
      LEFT JOIN pg_attribute AS a ON (a.attrelid, a.attnum) IN ((d.adrelid, d.adnum::int), (CASE WHEN classid = 'pg_class'::regclass AND objsubid > 0 THEN objid END, objsubid))
 ), lines (described, of_what, depth, command) AS (SELECT described, min(of_what), max(depth), command FROM drops GROUP BY 1, 4)
 SELECT jsonb_agg(format('%s depends on %s', described, of_what)
                   || coalesce(': run ' || command || ';', '') ORDER BY depth DESC, described)
   FROM lines
),
(SELECT jsonb_agg(format('%1$s is a partition of %2$s, and its columns cannot change: run ALTER TABLE %2$s DETACH PARTITION %1$s;', inhrelid::regclass, inhparent::regclass))
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relispartition),
(SELECT jsonb_agg(format('%1$s inherits columns of %2$s, which cannot change here: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass))
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relispartition),
(SELECT jsonb_agg(format('%1$s is a table of the type %2$s, and its columns cannot change: run ALTER TABLE %1$s NOT OF;', relname, reloftype::regtype))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND reloftype <> 0),
(SELECT jsonb_agg(format('row level security is forced on %1$s, which hides rows from the migration: run ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY;', relname) ORDER BY relname)
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relforcerowsecurity),
-- Trigger functions that write a row by the number of its columns, which changes. NEW.* and OLD.* by themselves in a list
-- are counted; as the argument of a function, such as to_jsonb(NEW.*), they are not.
(SELECT jsonb_agg(format('the trigger function %s (%s) copies rows by the number of their columns, and every write of the bot would fail after the upgrade; let it name the columns%s: run %s;',
                          f, triggers, CASE WHEN named THEN '' ELSE ', or do without it until it does' END,
                          CASE WHEN named THEN format('DO %L', format('BEGIN EXECUTE regexp_replace(pg_get_functiondef(%L::regprocedure), %L, (SELECT %L || string_agg(format(''\2.%%I'', attname), '', '' ORDER BY attnum) FROM pg_attribute WHERE attrelid = ''%s''::regclass AND attnum > 0 AND NOT attisdropped), ''gi''); END',
                                                      f, '(\mvalues\s*\(|\mselect\s|,)\s*\(?\m(new|old)\M\)?\s*\.\s*\*', '\1 ', of_table))
                               ELSE disable END) ORDER BY f::text)
   FROM (SELECT tgfoid::regprocedure AS f, string_agg(DISTINCT format('trigger %I on %s', tgname, relname), ', ') AS triggers,
                string_agg(DISTINCT format('ALTER TABLE %s DISABLE TRIGGER %I', relname, tgname), '; ') AS disable,
                count(DISTINCT relid) = 1 AND NOT bool_or(rest ~* by_star) AS named, min(relname) AS of_table
           FROM untouched AS t
           JOIN pg_trigger ON tgrelid = relid AND NOT tgisinternal AND tgenabled <> 'D' JOIN pg_proc ON pg_proc.oid = tgfoid
          CROSS JOIN regexp_replace(regexp_replace(prosrc, '--[^\n]*', '', 'g'), '/\*.*?\*/', '', 'g') AS bare
          CROSS JOIN regexp_replace(bare, '\m(?!values\M|select\M)\w+\s*\(\s*\(?(new|old)\)?\s*\.\s*\*\s*\)', 'x', 'gi') AS source
          CROSS JOIN regexp_replace(source, '(\mvalues\s*\(|\mselect\s|,)\s*\(?\m(new|old)\M\)?\s*\.\s*\*', '\1 x', 'gi') AS rest
          CROSS JOIN LATERAL (SELECT format('insert\s+into\s[^;]*((\m(new|old)\M|\$\d+)\)?\s*\.\s*\*|select\s([^;]*,)?\s*(\w+\s*\.\s*)?\*[^;]*\mfrom\s[^;]*\m(%s)\M)',
                                             concat_ws('|', 'customers', 'conversations', tgnewtable, tgoldtable)) AS by_star) AS p
          WHERE source ~* by_star
          GROUP BY tgfoid) AS counted)
) AS sentences
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- Whom row level security would cut off from the two tables, or let through. JSON of sentences.
-- Inputs: queries of app/tenancy/migration/access.py: acl_* (grantee, relowner, privilege_type, columns) and former_* (role); the
-- conditions to_ours and upgraded on a row of pg_policy.
SELECT jsonb_build_array(
(SELECT format('PUBLIC holds %s, and row level security would cut off whoever works through it: run %sREVOKE ALL ON customers, conversations FROM PUBLIC;',
               string_agg(format('%s on %s', privilege, place), ', '),
               string_agg('GRANT ' || privilege || ' ON ' || place || ' TO ' || logins || '; ', ''))
   FROM (SELECT string_agg(privilege_type || columns, ', ' ORDER BY privilege_type, columns) AS privilege, 'customers' AS place
           FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS acl WHERE grantee = 0 HAVING count(*) > 0
         UNION ALL SELECT string_agg(privilege_type || columns, ', ' ORDER BY privilege_type, columns), 'conversations'
           FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS acl WHERE grantee = 0 HAVING count(*) > 0) AS held
  CROSS JOIN (SELECT string_agg(quote_ident(rolname), ', ' ORDER BY rolname) AS logins FROM pg_roles AS r
               WHERE rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND has_schema_privilege(oid, current_schema(), 'USAGE')
                 AND has_database_privilege(oid, current_database(), 'CONNECT') AND rolname NOT IN ('anon', 'authenticated')
                 AND NOT EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND pg_has_role(r.oid, relowner, 'USAGE'))) AS bots
 HAVING count(*) > 0),
-- A policy of the team's for former roles goes on deciding where it decided before; one for ours, or for all, opens or closes.
(SELECT format('the policy %s would decide what app_tenant or app_service sees, or has the name of one of theirs: run %s;',
               string_agg(format('%I on %s', polname, polrelid::regclass), ', '),
               string_agg(CASE WHEN NOT coalesce(polroles && ARRAY[0, to_regrole('app_tenant')::oid, to_regrole('app_service')::oid], false) THEN format('ALTER POLICY %I ON %s RENAME TO %I', polname, polrelid::regclass, polname || '_before')
                               WHEN relrowsecurity AND others IS NOT NULL THEN format('ALTER POLICY %I ON %s TO %s', polname, polrelid::regclass, others)
                               ELSE format('DROP POLICY %I ON %s', polname, polrelid::regclass) END, '; '))
   FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
  CROSS JOIN LATERAL (
      SELECT string_agg(role, ', ' ORDER BY role) AS others
        FROM (SELECT role FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('customers') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f WHERE polrelid = to_regclass('customers') AND 0 = ANY (polroles)
              UNION SELECT role FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('conversations') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f WHERE polrelid = to_regclass('conversations') AND 0 = ANY (polroles)
              UNION SELECT oid::regrole::text FROM pg_roles WHERE oid = ANY (polroles) AND rolname NOT IN ('app_tenant', 'app_service')) AS r) AS o
  WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = polrelid AND conname = 'fk_' || polrelid::regclass || '_businesses')
    AND (coalesce(polroles && ARRAY[0, to_regrole('app_tenant')::oid, to_regrole('app_service')::oid], false) OR polname IN ('app_tenant', 'app_service', 'single_business'))
 HAVING count(*) > 0),
(SELECT format('row level security is off on %s, and its policy %s would come into force for a role that works there: run %s;',
               string_agg(DISTINCT polrelid::regclass::text, ' and '), string_agg(polname, ', '),
               string_agg(format('DROP POLICY %I ON %s', polname, polrelid::regclass), '; '))
   FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid
  WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relrowsecurity AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = polrelid AND conname = 'fk_' || polrelid::regclass || '_businesses')
    AND NOT coalesce(polroles && ARRAY[0, to_regrole('app_tenant')::oid, to_regrole('app_service')::oid], false) AND polname NOT IN ('app_tenant', 'app_service', 'single_business')
    AND EXISTS (
        SELECT FROM pg_roles AS works
          JOIN (SELECT role, to_regclass('customers') AS place FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('customers') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f
                UNION ALL SELECT role, to_regclass('conversations') FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('conversations') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f) AS f
            ON place = polrelid AND pg_has_role(works.oid, to_regrole(role), 'USAGE')
         WHERE NOT rolsuper AND NOT rolbypassrls
           AND EXISTS (SELECT FROM unnest(polroles) AS named (oid) JOIN pg_roles USING (oid) WHERE pg_has_role(works.oid, named.oid, 'USAGE')))
 HAVING count(*) > 0)
) AS sentences
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
(
-- Whether the new tables can be made: the right to, and the names that are taken. JSON of sentences.
WITH wanted (name, tab, definition) AS (VALUES
    ('businesses_pkey', NULL, NULL), ('whatsapp_numbers_pkey', NULL, NULL), ('users_pkey', NULL, NULL), ('user_businesses_pkey', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_id', NULL, NULL), ('uq_whatsapp_numbers_business_id_id', NULL, NULL),
    ('uq_whatsapp_numbers_phone_number_active', NULL, NULL), ('uq_users_email_lower', NULL, NULL), ('ix_user_businesses_business_id', NULL, NULL),
    ('customers_pkey', 'customers', NULL),
    ('ix_customers_whatsapp_id', 'customers', '^CREATE (UNIQUE )?INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_000', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_customers_whatsapp_id_001', 'customers', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_id\)$'),
    ('uq_customers_business_id_whatsapp_user_id', 'customers', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_user_id\) WHERE \(whatsapp_user_id IS NOT NULL\)$'),
    ('conversations_pkey', 'conversations', NULL),
    ('ix_conversations_whatsapp_id', 'conversations', '^CREATE INDEX .* USING btree \(whatsapp_id\)$'),
    ('ix_conversations_timestamp', 'conversations', '^CREATE INDEX .* USING btree \("timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_id_timestamp', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_id, "timestamp"\)$'),
    ('ix_conversations_business_id_whatsapp_number_id', 'conversations', '^CREATE INDEX .* USING btree \(business_id, whatsapp_number_id\) WHERE \(whatsapp_number_id IS NOT NULL\)$'),
    ('uq_conversations_business_id_whatsapp_message_id', 'conversations', '^CREATE UNIQUE INDEX .* USING btree \(business_id, whatsapp_message_id\) WHERE \(whatsapp_message_id IS NOT NULL\)$')
-- Every name that the schema takes in the place of another relation: those on the two old tables with what they are.
)
SELECT jsonb_build_array(
CASE WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN
    format('role %1$s may not create tables in schema %2$s, whose owner can let it: run GRANT CREATE ON SCHEMA %2$I TO %3$I;',
           current_user, current_schema(), current_user) END,

-- What was made by hand: names that are taken.
(SELECT jsonb_agg(format('the name %1$s is taken by a %2$s that this migration did not make (docs/hand-made.md shows how its rows come along): run %3$sALTER %4$s %1$I RENAME TO %1$s_before;',
                          name, kind, indexes, CASE WHEN kind = 'type' THEN 'TYPE' ELSE 'TABLE IF EXISTS' END) ORDER BY place)
   FROM (SELECT place, name, CASE WHEN c.oid IS NULL THEN 'type' WHEN relkind IN ('r', 'p', 'f') THEN 'table' WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'relation' END AS kind,
                (SELECT string_agg(format('ALTER INDEX IF EXISTS %s RENAME TO %I; ', indexrelid::regclass, x.relname || '_before'), '' ORDER BY x.relname)
                   FROM pg_index JOIN pg_class AS x ON x.oid = indexrelid WHERE indrelid = c.oid AND x.relname IN (SELECT wanted.name FROM wanted)) AS indexes
           FROM unnest('{user_businesses,users,whatsapp_numbers,businesses}'::text[]) WITH ORDINALITY AS taken (name, place)
           LEFT JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(current_schema()) || '.' || name)
          WHERE (c.oid IS NOT NULL OR EXISTS (SELECT FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident(current_schema())) AND typname = name))
            AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')) AS taken),
(SELECT jsonb_agg(format('the name of the index %1$s is taken by another one%2$s: run ALTER %3$s IF EXISTS %1$s RENAME TO %4$I;', c.oid::regclass,
                          coalesce(' on ' || indrelid::regclass, ''), CASE WHEN i.indexrelid IS NULL THEN 'TABLE' ELSE 'INDEX' END, left(relname, 56) || '_before') ORDER BY relname)
   FROM wanted JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(current_schema()) || '.' || name) LEFT JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_constraint AS k ON conindid = c.oid AND contype <> 'f'
  WHERE (i.indrelid = to_regclass(tab) AND (indisprimary OR pg_get_indexdef(c.oid) ~ definition AND NOT indisexclusion)) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = i.indrelid AND polname = 'app_service' AND polrelid NOT IN (to_regclass('customers'), to_regclass('conversations')))
    -- those of a table that is renamed itself go with it
    AND (i.indrelid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))) IS NOT TRUE
    AND NOT (name LIKE '%\_pkey' AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(tab) AND relkind <> 'r'))),
(SELECT jsonb_agg(format('the function %s was not made by this migration: run ALTER ROUTINE %s RENAME TO %I;', proname, pg_proc.oid::regprocedure, proname || '_before') ORDER BY proname)
   FROM pg_proc JOIN pg_roles AS maker ON maker.oid = proowner
  WHERE pronamespace = to_regnamespace(quote_ident(current_schema())) AND pronargs = 0 AND proname IN ('current_business_id', 'set_updated_at')
    AND (rolsuper OR rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relowner = proowner))  -- else see planted.py
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('businesses') AND polname = 'app_service'))
) AS sentences
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
(
-- Whose times without a zone would be read in another one. JSON of sentences.
SELECT jsonb_agg(DISTINCT format('TimeZone is %s %s, and the UTC times that the running bot writes would be read in it; restart the bot after: run %s;', zone, place, command))
   FROM (SELECT reset_val, 'here', format('ALTER DATABASE %I SET timezone TO ''UTC''', current_database()) FROM pg_settings WHERE name = 'TimeZone'
         UNION ALL
         SELECT split_part(setting, '=', 2), CASE WHEN setrole = 0 THEN 'here' ELSE 'for role ' || setrole::regrole END,
                CASE WHEN setrole = 0 THEN format('ALTER DATABASE %I SET timezone TO ''UTC''', current_database())
                     ELSE format('ALTER ROLE %s%s SET timezone TO ''UTC''', setrole::regrole, CASE WHEN setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) END) END
           FROM pg_db_role_setting, unnest(setconfig) AS setting
          WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND setting ILIKE 'timezone=%' AND (setrole = 0 OR has_table_privilege(setrole, to_regclass('conversations'), 'INSERT'))
        ) AS zones (zone, place, command)
  WHERE lower(zone) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'
    AND (to_regclass('customers') IS NULL  -- revision 000 makes them without a zone
         OR EXISTS (SELECT FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid <> 'timestamptz'::regtype))
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
(
-- What the two roles could do, whether they can be granted, and what could be planted here. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('app_tenant or app_service could do more than its tables allow, which an administrator can change: run %s;',
               string_agg(format('ALTER ROLE %s%s', rolname, more), '; '))
   FROM pg_roles CROSS JOIN concat(CASE WHEN rolsuper THEN ' NOSUPERUSER' END, CASE WHEN rolbypassrls THEN ' NOBYPASSRLS' END,
                                   CASE WHEN rolcanlogin THEN ' NOLOGIN' END, CASE WHEN rolcreaterole THEN ' NOCREATEROLE' END,
                                   CASE WHEN rolcreatedb THEN ' NOCREATEDB' END, CASE WHEN rolreplication THEN ' NOREPLICATION' END) AS more
  WHERE rolname IN ('app_tenant', 'app_service') AND more <> '' HAVING count(*) > 0),
(SELECT format('app_tenant or app_service is a member of another role and would not be confined, which an administrator can change: run %s;',
               string_agg(format('REVOKE %s FROM %s', roleid::regrole, member::regrole), '; '))
   FROM (SELECT DISTINCT roleid, member FROM pg_auth_members
          WHERE member IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service'))) AS m HAVING count(*) > 0),
(SELECT format('role %s may not create or grant the roles app_tenant and app_service, which an administrator can do: run %sGRANT app_tenant, app_service TO %I;',
               current_user, string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) END, ''), current_user)
   FROM pg_roles AS me CROSS JOIN (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles AS r ON r.rolname = name
  WHERE me.rolname = current_user AND NOT me.rolsuper AND NOT CASE WHEN r.oid IS NULL THEN me.rolcreaterole
        ELSE (me.rolcreaterole AND current_setting('server_version_num')::int < 160000) OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
             OR name NOT IN (
-- The two roles that the role of this session may not become.
SELECT name FROM unnest('{app_tenant,app_service}'::text[]) AS name
         -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
         WHERE NOT pg_has_role(to_regrole(name), CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
) END
 HAVING count(*) > 0),

-- A function or an operator that somebody plants in the schema could be taken for one of PostgreSQL's.
(SELECT format('anybody, or a tenant, may create objects in schema %I, such as functions that later migrations would call; its owner can close it: run %s%s;',
               nspname, string_agg(format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), '; '), keep)
   FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl LEFT JOIN pg_roles ON pg_roles.oid = grantee
  CROSS JOIN LATERAL (
      SELECT (SELECT format('; GRANT CREATE ON SCHEMA %I TO %s', nspname, string_agg(quote_ident(rolname), ', ' ORDER BY rolname))
                FROM pg_roles AS maker
               WHERE NOT rolsuper AND maker.oid <> nspowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
                 AND (rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relowner = maker.oid)
                      OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_namespace.oid AND proowner = maker.oid)) HAVING count(*) > 0) AS keep) AS k
  WHERE nspname = current_schema() AND privilege_type = 'CREATE' AND (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated'))
  GROUP BY nspname, keep)
) AS sentences
)
        );
    END IF;
    IF EXISTS (SELECT FROM pg_auth_members WHERE roleid IN (to_regrole('app_tenant'), to_regrole('app_service'))) THEN
        refusals := refusals || jsonb_build_array(
(
-- Roles belong to the whole server: whoever joined them for another database must not come into this one.
-- Input: strangers, a query of app/tenancy/migration/access.py (role, database, closing).
SELECT format('role %s is a member of app_tenant or app_service, which belong to the whole server, and would come into this database as anyone may: if it works here, run GRANT CONNECT ON DATABASE %2$s TO %1$s; if it does not: run %3$s;',
               string_agg(role, ', ' ORDER BY role), min(database), min(closing))
   FROM (SELECT format('%I', member.rolname) AS role, format('%I', here.datname) AS database, concat(format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', here.datname),
       (SELECT string_agg(format(', %I', g.rolname), '') FROM aclexplode(here.datacl) AS open
          JOIN pg_roles AS g ON g.oid = open.grantee WHERE open.privilege_type = 'CONNECT' AND g.rolname IN ('app_tenant', 'app_service')),
       (SELECT format('; GRANT CONNECT ON DATABASE %I TO %s', here.datname, string_agg(format('%I', rolname), ', ' ORDER BY rolname))
          FROM (SELECT pg_roles.oid AS who, rolname FROM pg_roles
                 WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname NOT IN ('app_tenant', 'app_service')
                   AND (EXISTS (SELECT FROM pg_shdepend WHERE dbid = here.oid AND refobjid = pg_roles.oid
                                   AND refclassid = 'pg_authid'::regclass)
                        OR rolcanlogin AND EXISTS (
                            SELECT FROM pg_roles AS g WHERE g.rolname IN ('app_tenant', 'app_service', 'pg_read_all_data', 'pg_write_all_data')
                               AND pg_has_role(pg_roles.oid, g.oid, 'MEMBER')))) AS work
         WHERE NOT (EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = who AND r.rolcanlogin AND NOT r.rolsuper AND r.rolname NOT IN ('app_tenant', 'app_service'))
   AND EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname IN ('app_tenant', 'app_service') AND pg_has_role(who, g.oid, 'MEMBER'))
   AND NOT (pg_has_role(who, current_user, 'MEMBER') OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND pg_has_role(who, relowner, 'MEMBER'))) AND here.datallowconn
   AND NOT pg_has_role(who, here.datdba, 'MEMBER')
   AND EXISTS (SELECT FROM aclexplode(coalesce(here.datacl, acldefault('d', here.datdba))) AS open LEFT JOIN pg_roles AS g ON g.oid = open.grantee
                WHERE open.privilege_type = 'CONNECT' AND coalesce(g.rolname IN ('app_tenant', 'app_service'), true))
   AND NOT EXISTS (SELECT FROM aclexplode(coalesce(here.datacl, acldefault('d', here.datdba))) AS named JOIN pg_roles AS g ON g.oid = named.grantee
                    WHERE named.privilege_type = 'CONNECT' AND g.rolname NOT IN ('app_tenant', 'app_service')
                      AND pg_has_role(who, g.oid, 'USAGE'))) HAVING count(*) > 0)) AS closing
  FROM pg_database AS here, pg_roles AS member
 WHERE here.datname = current_database() AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = member.oid AND r.rolcanlogin AND NOT r.rolsuper AND r.rolname NOT IN ('app_tenant', 'app_service'))
   AND EXISTS (SELECT FROM pg_roles AS g WHERE g.rolname IN ('app_tenant', 'app_service') AND pg_has_role(member.oid, g.oid, 'MEMBER'))
   AND NOT (pg_has_role(member.oid, current_user, 'MEMBER') OR EXISTS (SELECT FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND pg_has_role(member.oid, relowner, 'MEMBER'))) AND here.datallowconn
   AND NOT pg_has_role(member.oid, here.datdba, 'MEMBER')
   AND EXISTS (SELECT FROM aclexplode(coalesce(here.datacl, acldefault('d', here.datdba))) AS open LEFT JOIN pg_roles AS g ON g.oid = open.grantee
                WHERE open.privilege_type = 'CONNECT' AND coalesce(g.rolname IN ('app_tenant', 'app_service'), true))
   AND NOT EXISTS (SELECT FROM aclexplode(coalesce(here.datacl, acldefault('d', here.datdba))) AS named JOIN pg_roles AS g ON g.oid = named.grantee
                    WHERE named.privilege_type = 'CONNECT' AND g.rolname NOT IN ('app_tenant', 'app_service')
                      AND pg_has_role(member.oid, g.oid, 'USAGE'))) AS stranger HAVING count(*) > 0
)
        );
    END IF;
    IF EXISTS (
    SELECT FROM pg_shdepend JOIN pg_database AS d ON d.oid = dbid
     WHERE refclassid = 'pg_authid'::regclass AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service'))
       AND datname <> current_database()) THEN
        refusals := refusals || jsonb_build_array(
(
-- And whoever joins them for this database must not come into another. Inputs: those of 001_new_strangers.sql.
SELECT format('role %s will be a member of app_tenant and app_service, which %s uses too, and would come into that database as anyone may; its owner can close it: run %s;',
               string_agg(DISTINCT role, ', '), string_agg(DISTINCT 'database ' || database, ', '), string_agg(DISTINCT closing, '; '))
   FROM (

-- Where the migrating role, once a member of app_tenant and app_service, could read another database (role, database, closing).
-- Inputs: joins_as_anyone, a condition on joins and there; closing_there, the statements that close a database.
SELECT format('%I', joins.rolname) AS role, format('%I', there.datname) AS database, concat(format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', there.datname),
       (SELECT string_agg(format(', %I', g.rolname), '') FROM aclexplode(there.datacl) AS open
          JOIN pg_roles AS g ON g.oid = open.grantee WHERE open.privilege_type = 'CONNECT' AND g.rolname IN ('app_tenant', 'app_service')),
       (SELECT format('; GRANT CONNECT ON DATABASE %I TO %s', there.datname, string_agg(format('%I', rolname), ', ' ORDER BY rolname))
          FROM (SELECT pg_roles.oid AS who, rolname FROM pg_roles
                 WHERE NOT rolsuper AND rolname !~ '^pg_' AND rolname NOT IN ('app_tenant', 'app_service')
                   AND (EXISTS (SELECT FROM pg_shdepend WHERE dbid = there.oid AND refobjid = pg_roles.oid
                                   AND refclassid = 'pg_authid'::regclass)
                        OR rolcanlogin AND EXISTS (
                            SELECT FROM pg_roles AS g WHERE g.rolname IN ('app_tenant', 'app_service', 'pg_read_all_data', 'pg_write_all_data')
                               AND pg_has_role(pg_roles.oid, g.oid, 'MEMBER')))) AS work
         WHERE NOT (pg_has_role(who, current_user, 'MEMBER')) HAVING count(*) > 0)) AS closing
  FROM pg_roles AS me, pg_roles AS joins, pg_database AS there
 WHERE me.rolname = current_user AND NOT me.rolsuper AND pg_has_role(joins.oid, me.oid, 'MEMBER')
   AND joins.rolcanlogin AND NOT joins.rolsuper AND there.datname <> current_database()
   AND EXISTS (SELECT FROM pg_shdepend WHERE dbid = there.oid AND refclassid = 'pg_authid'::regclass
                  AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service')))
   AND there.datallowconn
   AND NOT pg_has_role(joins.oid, there.datdba, 'MEMBER')
   AND EXISTS (SELECT FROM aclexplode(coalesce(there.datacl, acldefault('d', there.datdba))) AS open LEFT JOIN pg_roles AS g ON g.oid = open.grantee
                WHERE open.privilege_type = 'CONNECT' AND coalesce(g.rolname IN ('app_tenant', 'app_service'), true))
   AND NOT EXISTS (SELECT FROM aclexplode(coalesce(there.datacl, acldefault('d', there.datdba))) AS named JOIN pg_roles AS g ON g.oid = named.grantee
                    WHERE named.privilege_type = 'CONNECT' AND g.rolname NOT IN ('app_tenant', 'app_service')
                      AND pg_has_role(joins.oid, g.oid, 'USAGE'))

) AS stranger HAVING count(*) > 0
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
to_jsonb(nullif(current_setting('multi_tenant.trial_customers', true), '')::text[])
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
to_jsonb(nullif(current_setting('multi_tenant.trial_conversations', true), '')::text[])
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
to_jsonb(nullif(current_setting('multi_tenant.trial_functions', true), '')::text[])
        );
    END IF;
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL AND NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
        refusals := refusals || jsonb_build_array(
(
-- What the archive lacks that a rollback kept there, or has too much. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('the schema multi_tenant_archive lacks what a rollback kept there: %s; restore it from a backup, or run DROP SCHEMA multi_tenant_archive CASCADE to go on without all that it holds',
               string_agg(name, ', ' ORDER BY name))
   FROM (SELECT concat('table ', t) FROM unnest('{user_businesses,users,whatsapp_numbers,businesses,customers,conversations,default_customers,default_messages}'::text[]) AS t
          WHERE to_regclass('multi_tenant_archive.' || t) IS NULL
         UNION ALL SELECT concat('column ', t, '.', c)
           FROM (VALUES ('customers', 'id,whatsapp_id,name,age,created_at,updated_at,business_id,whatsapp_user_id,username'), ('conversations', 'id,whatsapp_id,message,role,timestamp,created_at,business_id,whatsapp_number_id,whatsapp_message_id'),
                        ('default_customers', 'id,whatsapp_id,created_at,whatsapp_user_id,username'),
                        ('default_messages', 'id,whatsapp_id,created_at,whatsapp_number_id,whatsapp_message_id')) AS archived (t, columns)
          CROSS JOIN unnest(string_to_array(columns, ',')) AS c
          WHERE to_regclass('multi_tenant_archive.' || t) IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('multi_tenant_archive.' || t) AND attname = c)) AS lacking (name)
 HAVING count(*) > 0),
(SELECT format('the archive holds a column that the table has no more: %s; add it to the table again, or drop it from the archive',
               string_agg(format('%s.%s', old.attrelid::regclass, old.attname), ', '))
   FROM (VALUES ('customers'), ('conversations')) AS t (name)
   JOIN pg_attribute AS old ON old.attrelid = to_regclass('multi_tenant_archive.' || name) AND old.attnum > 0 AND NOT old.attisdropped
  WHERE old.attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = old.attname) HAVING count(*) > 0)
) AS sentences
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
(
-- What a team keeps in the schema multi_tenant_archive, which the upgrade drops. JSON of sentences.
WITH ours (oid) AS (
    SELECT oid FROM pg_class
     WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r'
       AND relname IN ('user_businesses', 'users', 'whatsapp_numbers', 'businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
), not_ours (classid, objid) AS (
    SELECT classid, objid FROM pg_depend AS d
     WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace('multi_tenant_archive') AND deptype = 'n'
       AND (classid <> 'pg_class'::regclass OR objid NOT IN (SELECT oid FROM ours))
       AND (classid <> 'pg_proc'::regclass OR (objid IN (to_regprocedure('multi_tenant_archive.current_business_id()'), to_regprocedure('multi_tenant_archive.set_updated_at()'))) IS NOT TRUE)
       -- what belongs to a column of ours comes and goes with it
       AND NOT EXISTS (SELECT FROM pg_depend AS own WHERE (own.classid, own.objid) = (d.classid, d.objid) AND own.deptype IN ('a', 'i')
                          AND own.refclassid = 'pg_class'::regclass AND own.refobjid IN (SELECT oid FROM ours))
)
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('%s is in the schema multi_tenant_archive, which goes: run ALTER %s %s SET SCHEMA %I;', pg_describe_object(classid, objid, 0),
                         upper(replace(replace(type, 'composite ', ''), ' object', '')), identity, current_schema()) ORDER BY identity)
   FROM not_ours CROSS JOIN LATERAL pg_identify_object(classid, objid, 0))
) AS sentences
)
        );
    END IF;
    IF to_regnamespace('multi_tenant_archive') IS NOT NULL AND NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
        refusals := refusals || jsonb_build_array(
(
-- What a team made upon the archived rows, whose tables go when the rows are back: the last made first. JSON of sentences.
WITH RECURSIVE ours (oid) AS (
    SELECT to_regclass('multi_tenant_archive.' || t) FROM unnest('{customers,conversations,default_customers,default_messages}'::text[]) AS t
), hung (classid, objid, depth) AS (
    SELECT d.classid, d.objid, 1 FROM ours JOIN pg_class AS c USING (oid)
      JOIN pg_depend AS d ON d.deptype = 'n' AND (d.refclassid, d.refobjid) IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, c.reltype))
     WHERE NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM ours WHERE oid IS NOT NULL))
       AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint AS k JOIN ours ON ours.oid = k.conrelid WHERE k.oid = d.objid))
    UNION SELECT d.classid, d.objid, depth + 1
      FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid
      JOIN pg_class AS v ON v.oid = coalesce(r.ev_class, CASE WHEN hung.classid = 'pg_class'::regclass THEN hung.objid END)
      JOIN pg_depend AS d ON d.deptype = 'n' AND d.objid <> hung.objid AND (d.refclassid, d.refobjid) IN (('pg_class'::regclass, v.oid), ('pg_type'::regclass, v.reltype))
     WHERE depth < 20
)
SELECT jsonb_agg(format('%s depends on the archive, whose tables go when the upgrade brings their rows back; keep its definition: run %s;', described, command) ORDER BY depth DESC, described)
  FROM (SELECT max(depth) AS depth,
               CASE WHEN r.oid IS NULL THEN pg_describe_object(hung.classid, hung.objid, 0) ELSE pg_describe_object('pg_class'::regclass, v.oid, 0) END AS described,
               CASE WHEN v.relkind = 'v' THEN format('DROP VIEW IF EXISTS %s', v.oid::regclass)
                    WHEN v.relkind = 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', v.oid::regclass)
                    WHEN r.oid IS NOT NULL THEN format('DROP RULE IF EXISTS %I ON %s', r.rulename, v.oid::regclass)
                    WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
                    WHEN p.oid IS NOT NULL THEN format('DROP ROUTINE IF EXISTS %s', p.oid::regprocedure)
                    WHEN c.oid IS NOT NULL THEN format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, (SELECT min(inhparent)::regclass FROM pg_inherits WHERE inhrelid = c.oid))
                    END AS command
          FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid LEFT JOIN pg_class AS v ON v.oid = r.ev_class
          LEFT JOIN pg_constraint AS k ON hung.classid = 'pg_constraint'::regclass AND k.oid = hung.objid
          LEFT JOIN pg_proc AS p ON hung.classid = 'pg_proc'::regclass AND p.oid = hung.objid
          LEFT JOIN pg_class AS c ON hung.classid = 'pg_class'::regclass AND c.oid = hung.objid AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
         GROUP BY 2, 3) AS d
)
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
to_jsonb(nullif(current_setting('multi_tenant.trial_archive_customers', true), '')::text[])
        );
    END IF;
    IF true THEN
        refusals := refusals || jsonb_build_array(
to_jsonb(nullif(current_setting('multi_tenant.trial_archive_conversations', true), '')::text[])
        );
    END IF;
    IF to_regclass('multi_tenant_archive.conversations') IS NOT NULL AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL THEN
        refusals := refusals || jsonb_build_array(
(
-- Ids of archived rows that newer rows have.
SELECT format('archived ids were given out again: %s; give those newer rows other ids, such as UPDATE customers SET id = DEFAULT WHERE id IN (SELECT id FROM multi_tenant_archive.customers)',
              string_agg(format('%s.id %s', name, id), ', '))
  FROM ((SELECT 'customers' AS name, id FROM multi_tenant_archive.customers JOIN customers USING (id) LIMIT 3)
        UNION ALL (SELECT 'conversations', id FROM multi_tenant_archive.conversations JOIN conversations USING (id) LIMIT 3)) AS t
HAVING count(*) > 0
)
        );
    END IF;
    IF (SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' ) THEN
        notices := notices || jsonb_build_array(
(
-- Whoever works with the two tables is named, and what changes for it. JSON of sentences.
WITH held AS (
    SELECT 'customers' AS place, a.* FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS a
    UNION ALL SELECT 'conversations', a.* FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS a
), named AS (
    SELECT rolname, rolbypassrls OR rolsuper OR pg_has_role(grantee, relowner, 'USAGE') AS above, place, privilege_type || columns AS privilege,
           privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AS unconfined
      FROM held JOIN pg_roles ON pg_roles.oid = grantee
     WHERE rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
), places AS (
    SELECT rolname, above, unconfined, format('%s on %s', string_agg(privilege, ', ' ORDER BY privilege), place) AS what
      FROM named GROUP BY rolname, above, unconfined, place
), lines AS (
    SELECT rolname, above,
           coalesce(string_agg(what, '; ' ORDER BY what DESC) FILTER (WHERE NOT unconfined), 'nothing') AS keeps,
           string_agg(what, '; ' ORDER BY what DESC) FILTER (WHERE unconfined) AS loses
      FROM places GROUP BY rolname, above
)
SELECT jsonb_agg(what_changes) FROM (
    SELECT CASE WHEN above THEN format('role %I is not bound by row level security: it sees every business', rolname)
                ELSE format('role %I keeps %s, and sees the default business only%s%s', rolname, keeps,
                    '; until a rollback it loses ' || loses,
                    CASE WHEN keeps ~ 'SELECT' AND keeps !~ 'INSERT|UPDATE|DELETE' THEN
                         '; a backup with pg_dump stops under row level security: make it as the owner (docs/tenancy.md)' END) END
      FROM lines
    UNION ALL
    SELECT format('role %s, through which %s, goes on in the default business only; a backup with pg_dump stops under row level security', role,
                  (SELECT string_agg(format('%I', rolname), ', ' ORDER BY rolname) || CASE role WHEN 'pg_read_all_data' THEN ' reads' ELSE ' writes' END
                     FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND pg_has_role(oid, to_regrole(role), 'MEMBER')))
      FROM (SELECT role FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('customers') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f UNION SELECT role FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('conversations') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS f) AS f
     WHERE role IN ('pg_read_all_data', 'pg_write_all_data')
    UNION ALL
    SELECT format('role %I loses its privileges on customers and conversations until a rollback', rolname) FROM pg_roles
     WHERE rolname IN ('anon', 'authenticated') AND oid IN (SELECT grantee FROM held)
    UNION ALL
    SELECT format('%s reaches %s past row level security, and may be used by %s', object, reaches, string_agg(role, ', ' ORDER BY role))
      FROM (

-- What reads or writes the two tables past their policies, and who may use it (object, reaches, role): views and materialised views,
-- rules, inheritance children and SECURITY DEFINER functions, each over another too. A function's text is searched for the name
-- of what it would reach. A security_invoker view passes nothing. Input: workers, a query of role names, or PUBLIC (role).
WITH RECURSIVE reached (class, oid, name, via) AS (
    SELECT 'pg_class'::regclass::oid, pg_class.oid, relname, relname FROM pg_class
     WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'))
    UNION
    SELECT next.class, next.oid, next.name, reached.via
      FROM reached CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass::oid AS class, c.oid, c.relname AS name
          FROM pg_depend JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND r.oid = objid JOIN pg_class AS c ON c.oid = ev_class
         WHERE refclassid = reached.class AND refobjid = reached.oid
           AND NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(c.reloptions) WHERE option_name = 'security_invoker'), false)
        UNION ALL
        SELECT 'pg_class'::regclass, c.oid, c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
         WHERE reached.class = 'pg_class'::regclass AND inhparent = reached.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, p.proname
          FROM pg_proc AS p LEFT JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = p.oid
               AND refclassid = reached.class AND refobjid = reached.oid
         WHERE prosecdef AND pronamespace <> 'pg_catalog'::regnamespace
           AND (refobjid IS NOT NULL OR p.prosrc ~* ('\m' || regexp_replace(reached.name, '\W', '\\\&', 'g') || '\M'))
       ) AS next
)
SELECT pg_describe_object(reached.class, reached.oid, 0) AS object, string_agg(DISTINCT via::text, ' and ') AS reaches, who.role AS role
  FROM reached CROSS JOIN (SELECT role, CASE role WHEN 'PUBLIC' THEN 'public' ELSE (SELECT rolname FROM pg_roles WHERE oid = to_regrole(role)) END AS role_name
                             FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('customers') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls UNION SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('conversations') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls UNION SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') UNION SELECT 'PUBLIC') AS r (role)) AS who
 WHERE (reached.class <> 'pg_class'::regclass OR reached.oid NOT IN (to_regclass('customers'), to_regclass('conversations'))) AND who.role_name IS NOT NULL
   AND CASE reached.class WHEN 'pg_proc'::regclass::oid THEN has_function_privilege(who.role_name, reached.oid, 'EXECUTE')
       ELSE has_table_privilege(who.role_name, reached.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
            OR has_any_column_privilege(who.role_name, reached.oid, 'SELECT, INSERT, UPDATE') END
 GROUP BY 1, 3

) AS r GROUP BY object, reaches
) AS said (what_changes)
)
        );
    END IF;
    FOR item IN SELECT sentence FROM jsonb_path_query(notices, '$[*][*][*][*][*]') WITH ORDINALITY AS said (sentence, place)
                  WHERE jsonb_typeof(sentence) <> 'null' GROUP BY sentence ORDER BY min(place) LOOP
        RAISE NOTICE '%', (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(item #>> '{}', NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts);
    END LOOP;
    FOR item IN SELECT sentence FROM jsonb_path_query(refusals, '$[*][*][*][*][*]') WITH ORDINALITY AS said (sentence, place)
                  WHERE jsonb_typeof(sentence) <> 'null' GROUP BY sentence ORDER BY min(place) LOOP
        line := item #>> '{}';
        IF jsonb_typeof(item) = 'object' THEN
            EXECUTE item ->> 'query' INTO line;
        END IF;
        in_the_way := array_append(in_the_way, (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(line, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts));
    END LOOP;
    in_the_way := array_remove(in_the_way, NULL);
    IF cardinality(in_the_way) = 1 THEN
        RAISE EXCEPTION '%', in_the_way[1];
    ELSIF cardinality(in_the_way) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\n- %', cardinality(in_the_way), array_to_string(in_the_way, E'\n- ');
    END IF;
    FOR item IN SELECT sentence FROM jsonb_path_query(announced, '$[*][*][*][*][*]') WITH ORDINALITY AS said (sentence, place)
                  WHERE jsonb_typeof(sentence) <> 'null' GROUP BY sentence ORDER BY min(place) LOOP
        RAISE NOTICE '%', (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(item #>> '{}', NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts);
    END LOOP;
END $ask$;

BEGIN;

CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 000

-- the single-business tables
\echo 'Upgrading base -> 000, step 1 of 1: the single-business tables'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
CREATE TABLE customers (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY, 
    whatsapp_id VARCHAR(50) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    age INTEGER, 
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    updated_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_customers_whatsapp_id ON customers (whatsapp_id);

CREATE TABLE conversations (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY, 
    whatsapp_id VARCHAR(50) NOT NULL, 
    message TEXT NOT NULL, 
    role VARCHAR(20) NOT NULL, 
    timestamp TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    PRIMARY KEY (id)
);

CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id);

CREATE INDEX ix_conversations_timestamp ON conversations (timestamp);
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

INSERT INTO alembic_version (version_num) SELECT '000' WHERE NOT EXISTS (SELECT FROM alembic_version);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'ALTER TABLE alembic_version ADD CONSTRAINT whatsapp_bot_schema CHECK (version_num IS NOT NULL)' WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('alembic_version') AND conname = 'whatsapp_bot_schema' )
) AS s (statement)), ''); END $statements$;

COMMIT;

BEGIN;

-- Running upgrade 000 -> 001

COMMIT;

-- what a rollback gives back
\echo 'Upgrading 000 -> 001, step 1 of 27: what a rollback gives back'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- What a rollback gives back: statements, and facts that it asks for. Only the owner reads or writes it.
CREATE TABLE multi_tenant_rollback (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phase text NOT NULL,
    kind text NOT NULL,
    statement text NOT NULL,
    needs_column text CHECK (needs_column IS NULL OR phase ~ '^(customers|conversations)( |$)'),
    needs_role text
);
COMMENT ON TABLE multi_tenant_rollback IS 'What alembic downgrade 000 runs to give the single-business schema back; keep it';
COMMENT ON COLUMN multi_tenant_rollback.id IS 'The order in which statements run';
COMMENT ON COLUMN multi_tenant_rollback.phase IS 'When the statement is run: a table or "end" in the rollback, "upgrade" in the upgrade itself; a "fact" is never run';
COMMENT ON COLUMN multi_tenant_rollback.kind IS 'What the statement gives back';
COMMENT ON COLUMN multi_tenant_rollback.statement IS 'SQL, or a fact that the rollback asks for';
COMMENT ON COLUMN multi_tenant_rollback.needs_column IS 'The column without which the statement is not run';
COMMENT ON COLUMN multi_tenant_rollback.needs_role IS 'The role without which the statement is not run';
ALTER TABLE multi_tenant_rollback ENABLE ROW LEVEL SECURITY;
DO $close$
BEGIN
    EXECUTE coalesce((SELECT string_agg(DISTINCT format('REVOKE ALL ON multi_tenant_rollback FROM %s',
                                 CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), ';')
                        FROM pg_class, aclexplode(relacl)
                       WHERE pg_class.oid = 'multi_tenant_rollback'::regclass AND grantee <> relowner), '');
END $close$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('multi_tenant_rollback') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('multi_tenant_rollback') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (true)
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

DO $planted$
DECLARE
    before pg_catalog.text := pg_catalog.current_setting('search_path');
    places pg_catalog.name[] := pg_catalog.current_schemas(true);
    versions pg_catalog.regclass := pg_catalog.to_regclass('alembic_version');
    customers pg_catalog.regclass := pg_catalog.to_regclass('customers');
    here pg_catalog.name := pg_catalog.current_schema();
    planted pg_catalog.text[];
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
    here := coalesce((SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON n.oid = relnamespace WHERE c.oid = customers), here);
    planted := ARRAY(
    WITH me AS (SELECT rolsuper FROM pg_roles WHERE rolname = current_user
    ), old AS (SELECT c.oid, relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
                WHERE nspname = here AND relname IN ('customers', 'conversations')
    ), trusted AS (
        SELECT r.oid FROM pg_roles AS r CROSS JOIN me
         WHERE r.rolsuper OR NOT me.rolsuper AND pg_has_role(r.oid, 'USAGE')
            OR EXISTS (SELECT FROM old) AND NOT EXISTS (SELECT FROM old WHERE NOT pg_has_role(r.oid, relowner, 'MEMBER'))
    ), relations AS (
        SELECT c.oid, relname, relowner, nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = here AND (relname IN ('multi_tenant_rollback', 'alembic_version_scale', 'citus_comments') OR relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses') AND (
                   false OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')))
            OR nspname = 'multi_tenant_archive' AND relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
            OR c.oid = versions
    ), functions AS (
        SELECT p.oid, proname, proowner, nspname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname IN (here, 'multi_tenant_archive')
           AND (pronargs = 0 AND (proname IN ('current_business_id', 'set_updated_at', 'single_business_only')
                                  OR proname ~ '^widen_(customers|conversations)_') OR pronargs = 1 AND proname = 'is_colleague')
    ), attached AS (
        SELECT DISTINCT held.classid, held.objid, r.oid AS relation, p.oid AS function, proowner
          FROM relations AS r JOIN pg_depend AS held ON held.refclassid = 'pg_class'::regclass AND held.refobjid = r.oid
          JOIN pg_depend AS called ON (called.classid, called.objid) = (held.classid, held.objid) AND called.refclassid = 'pg_proc'::regclass
          JOIN pg_proc AS p ON p.oid = called.refobjid
         WHERE proowner NOT IN (SELECT oid FROM trusted) AND relowner IN (SELECT oid FROM trusted)
    ), ours (owner) AS (  -- whose a table or a function of ours is where the upgrade has made it: it only lost its owner
        SELECT min(relowner::regrole::text) FROM old JOIN pg_attribute ON attrelid = old.oid AND attname = 'business_id' HAVING count(*) > 0
    ), look_alikes AS (
        SELECT format('DROP ROUTINE %s', p.oid::regprocedure) AS statement, proowner AS maker, pronamespace AS place
          FROM pg_proc AS p LEFT JOIN pg_depend AS e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname)
           AND NOT EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname
                              AND b.proargtypes = p.proargtypes)
        UNION ALL
        SELECT format('DROP OPERATOR %s', o.oid::regoperator), oprowner, oprnamespace
          FROM pg_operator AS o LEFT JOIN pg_depend AS e ON e.classid = 'pg_operator'::regclass AND e.objid = o.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname)
           AND NOT EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname
                              AND (b.oprleft, b.oprright) = (o.oprleft, o.oprright))
    ), said (place, sentence) AS (
        SELECT 1, format('search_path names pg_catalog after %1$s, where a name could be taken for one of PostgreSQL (a role that sets its own search_path needs another): run ALTER DATABASE %2$I SET search_path TO %1$s;',
                         string_agg(quote_ident(p.place), ', ' ORDER BY n), current_database())
          FROM unnest(places) WITH ORDINALITY AS p (place, n) WHERE p.place <> 'pg_catalog' AND p.place !~ '^pg_temp_' HAVING min(n) < array_position(places, 'pg_catalog')
        UNION ALL
        SELECT 2, format('another role made a function or an operator with the name of one of PostgreSQL, which the migration would call: run %s;', string_agg(statement, '; '))
          FROM look_alikes JOIN pg_namespace AS n ON n.oid = place AND nspname = ANY (places) AND nspname <> 'pg_catalog'
          JOIN pg_roles AS theirs ON theirs.oid = maker AND NOT theirs.rolsuper
          JOIN me ON me.rolsuper OR NOT pg_has_role(maker, 'USAGE')
        HAVING count(*) > 0
        UNION ALL
        SELECT 3, format('the schema multi_tenant_archive belongs to role %s, which could run code as whoever migrates, and is taken for the archive of a rollback; as an administrator: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;', nspowner::regrole)
          FROM pg_namespace WHERE nspname = 'multi_tenant_archive' AND nspowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 4, format('%s belongs to role %s, which could run code as whoever migrates, and is taken for a table of this schema%s; as an administrator: run %s;',
                         r.oid::regclass, relowner::regrole,
                         CASE WHEN r.oid = versions THEN ' (if another Alembic uses it, set version_table in alembic.ini instead, docs/own-alembic.md)' END,
                         coalesce((SELECT format('ALTER TABLE %s OWNER TO %s', r.oid::regclass, owner) FROM ours WHERE relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses')),
                             concat((SELECT string_agg(format('ALTER INDEX %s RENAME TO %I; ', i.oid::regclass, left(i.relname, 56) || '_before'), '' ORDER BY i.relname)
                                       FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid WHERE indrelid = r.oid),
                                    format('ALTER TABLE IF EXISTS %s RENAME TO %I', r.oid::regclass, left(relname, 56) || '_before'))))
          FROM relations AS r WHERE relowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 5, format('%s of role %s, which could change it at will, has the name of one of this schema; as an administrator: run ALTER ROUTINE %1$s %3$s;', f.oid::regprocedure, proowner::regrole,
                         coalesce((SELECT 'OWNER TO ' || owner FROM ours WHERE proname IN ('current_business_id', 'set_updated_at')),
                                  format('RENAME TO %I', left(proname, 56) || '_before')))
          FROM functions AS f WHERE proowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 6, format('%s runs %s of role %s, which could change it at will%s', pg_describe_object(classid, objid, 0), function::regprocedure, proowner::regrole,
                         CASE WHEN t.oid IS NOT NULL THEN format(': run DROP TRIGGER %I ON %s;', tgname, relation::regclass)
                              WHEN p.oid IS NOT NULL THEN format(': run DROP POLICY %I ON %s;', polname, relation::regclass)
                              ELSE ', and this migration works with ' || relation::regclass END)
          FROM attached LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
          LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
    )
    SELECT (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(sentence, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts) FROM said ORDER BY place, sentence);
    PERFORM set_config('search_path', before, true);
    IF cardinality(planted) = 1 THEN
        RAISE EXCEPTION '%', planted[1];
    ELSIF cardinality(planted) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\n- %', cardinality(planted), array_to_string(planted, E'\n- ');
    END IF;
END $planted$;

-- roles app_tenant and app_service
\echo 'Upgrading 000 -> 001, step 2 of 27: roles app_tenant and app_service'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF false THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- Make the two roles, which belong to the whole server.
DO $roles$
DECLARE
    missing text;
BEGIN
    FOREACH missing IN ARRAY '{app_tenant,app_service}'::text[] LOOP
        CONTINUE WHEN to_regrole(missing) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- the migration of another database of this server was faster
        END;
    END LOOP;
END $roles$;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- Memberships that the upgrade takes, to be left by the rollback. Not while another database of the server uses the roles: the same role may work there.
-- Input: used_elsewhere, a condition.
SELECT 'end', 'membership', format($leave$DO $do$
BEGIN
    IF NOT EXISTS (
    SELECT FROM pg_shdepend JOIN pg_database AS d ON d.oid = dbid
     WHERE refclassid = 'pg_authid'::regclass AND refobjid IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service'))
       AND datname <> current_database()) THEN
        REVOKE %I FROM %I;
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    NULL;  -- an administrator changed the membership since
END $do$$leave$, name, current_user), NULL, current_user::text
  FROM (
-- The two roles that the role of this session may not become.
SELECT name FROM unnest('{app_tenant,app_service}'::text[]) AS name
         -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
         WHERE NOT pg_has_role(to_regrole(name), CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
) AS missing
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- What makes the role that runs the migration a member of the two roles.
SELECT format('GRANT %s TO %I', name, current_user) FROM (
-- The two roles that the role of this session may not become.
SELECT name FROM unnest('{app_tenant,app_service}'::text[]) AS name
         -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
         WHERE NOT pg_has_role(to_regrole(name), CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
) AS missing
-- Where PUBLIC may not use the schema, the two roles need it said.
UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), rolname) FROM pg_roles
 WHERE rolname IN ('app_tenant', 'app_service') AND NOT has_schema_privilege(oid, current_schema(), 'USAGE')
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- businesses, whatsapp_numbers, users, user_businesses
\echo 'Upgrading 000 -> 001, step 3 of 27: businesses, whatsapp_numbers, users, user_businesses'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- What a rollback kept aside is there again whole, with all that a team added; ours is then made anew. Else it is made.
-- Inputs: in_scope, the default of business_id; password_hash, a regular expression.
DO $tables$
DECLARE
    name text;
BEGIN
    IF to_regclass('multi_tenant_archive.businesses') IS NOT NULL THEN
        FOREACH name IN ARRAY '{user_businesses,users,whatsapp_numbers,businesses}'::text[] LOOP
            EXECUTE format('ALTER TABLE multi_tenant_archive.%I SET SCHEMA %I', name, current_schema());
            EXECUTE format('DROP TRIGGER IF EXISTS set_updated_at ON %I', name);
            EXECUTE format('DROP POLICY IF EXISTS app_tenant ON %I', name);
            EXECUTE format('DROP POLICY IF EXISTS app_service ON %I', name);
        END LOOP;
        FOREACH name IN ARRAY '{current_business_id(),set_updated_at()}'::text[] LOOP
            IF to_regprocedure('multi_tenant_archive.' || name) IS NOT NULL THEN
                EXECUTE format('ALTER FUNCTION multi_tenant_archive.%s SET SCHEMA %I', name, current_schema());
            END IF;
        END LOOP;
    ELSE
        CREATE TABLE businesses (
            id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
            name varchar(255) NOT NULL,
            business_type varchar(50) NOT NULL DEFAULT 'barberia',
            settings jsonb NOT NULL DEFAULT '{}'
                CONSTRAINT ck_businesses_settings_is_object CHECK (jsonb_typeof(settings) = 'object'),
            is_active boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );

        CREATE TABLE whatsapp_numbers (
            id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
            phone_number_id varchar(255) CONSTRAINT uq_whatsapp_numbers_phone_number_id UNIQUE,
            phone_number varchar(50) NOT NULL
                CONSTRAINT ck_whatsapp_numbers_phone_number_is_e164 CHECK (phone_number ~ '^\+[1-9][0-9]{7,14}$'),
            access_token text
                CONSTRAINT ck_whatsapp_numbers_access_token_is_ciphertext CHECK (access_token ~ '^gAAAA[A-Za-z0-9_-]{93,}={0,2}$'),
            is_active boolean NOT NULL DEFAULT true,
            business_id uuid NOT NULL DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid)
                CONSTRAINT fk_whatsapp_numbers_businesses REFERENCES businesses (id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_whatsapp_numbers_business_id_id UNIQUE (business_id, id)
        );
        -- Mexico's 1, Argentina's 9 and Brazil's ninth digit are written or left out: both forms are one number.
        CREATE UNIQUE INDEX uq_whatsapp_numbers_phone_number_active ON whatsapp_numbers (regexp_replace(
            phone_number, '(?<=^\+52)1(?=[2-9][0-9]{9}$)|(?<=^\+54)9(?=[1-3][0-9]{9}$)|(?<=^\+55[1-9][0-9])9(?=[6-9][0-9]{7}$)', ''
        )) WHERE is_active;

        CREATE TABLE users (
            id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
            email varchar(255) NOT NULL,
            password_hash text NOT NULL CONSTRAINT ck_users_password_hash_is_a_hash CHECK (password_hash ~ '^\$(argon2(id|i|d)|2[abxy]|bcrypt-sha256|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$'),
            full_name varchar(255),
            is_active boolean NOT NULL DEFAULT true,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE UNIQUE INDEX uq_users_email_lower ON users (lower(email));

        CREATE TABLE user_businesses (
            user_id uuid NOT NULL CONSTRAINT fk_user_businesses_users REFERENCES users (id) ON DELETE CASCADE,
            role varchar(50) NOT NULL DEFAULT 'staff'
                CONSTRAINT ck_user_businesses_role_is_known CHECK (role::text = ANY (ARRAY['owner'::text, 'admin'::text, 'staff'::text])),
            business_id uuid NOT NULL DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid)
                CONSTRAINT fk_user_businesses_businesses REFERENCES businesses (id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_id, business_id)
        );
        CREATE INDEX ix_user_businesses_business_id ON user_businesses (business_id);
    END IF;
END $tables$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Comments of the tables and their columns. Input: tables, their names.
SELECT CASE WHEN col IS NULL THEN format('COMMENT ON TABLE %s IS %L', name, about)
            ELSE format('COMMENT ON COLUMN %s.%I IS %L', name, col, about) END
  FROM (VALUES
    ('businesses', NULL, 'Businesses: the tenants of the bot'),
    ('businesses', 'name', 'Name as customers know it'),
    ('businesses', 'business_type', 'Kind of business'),
    ('businesses', 'settings', 'Services with prices, hours, barbers, ai_personality; unknown keys are kept'),
    ('businesses', 'is_active', 'Whether the bot serves the business'),
    ('whatsapp_numbers', NULL, 'WhatsApp numbers, each of one business'),
    ('whatsapp_numbers', 'phone_number_id', 'Meta''s phone_number_id; empty for numbers of other providers'),
    ('whatsapp_numbers', 'phone_number', 'The number in E.164, such as +573001234567'),
    ('whatsapp_numbers', 'access_token', 'Meta''s access token, as Fernet ciphertext only'),
    ('whatsapp_numbers', 'is_active', 'Whether messages to the number are served'),
    ('users', NULL, 'People who manage businesses'),
    ('users', 'email', 'Login, unique without regard to case'),
    ('users', 'password_hash', 'Hash of the password, never the password'),
    ('users', 'full_name', 'Name to show'),
    ('users', 'is_active', 'Whether the user may log in'),
    ('user_businesses', NULL, 'Which user has which role in which business'),
    ('user_businesses', 'user_id', 'The user'),
    ('user_businesses', 'role', 'owner, admin or staff'),
    ('customers', NULL, 'Customers, each of one business'),
    ('customers', 'whatsapp_id', 'The id under which messages are filed: Meta''s wa_id where the phone is known, else the user id'),
    ('customers', 'whatsapp_user_id', 'Meta''s business-scoped user id, such as US.13491208655302741918'),
    ('customers', 'username', 'WhatsApp username'),
    ('customers', 'name', 'Name of the customer'),
    ('customers', 'age', 'Age in years'),
    ('conversations', NULL, 'Messages; a row is one message'),
    ('conversations', 'whatsapp_id', 'WhatsApp id of the customer'),
    ('conversations', 'message', 'Text of the message'),
    ('conversations', 'role', 'Who wrote it: user, assistant, or another role'),
    ('conversations', 'timestamp', 'When the message was sent'),
    ('conversations', 'whatsapp_number_id', 'The number of the business that the message went through'),
    ('conversations', 'whatsapp_message_id', 'Meta''s message id (wamid.), unique in a business: webhooks repeat'),
    ('', 'id', 'Identifier'),
    ('', 'business_id', 'The business that the row belongs to'),
    ('', 'created_at', 'When the row was inserted'),
    ('', 'updated_at', 'When the row was last changed; set by the trigger set_updated_at')) AS c (tab, col, about)
  JOIN unnest('{user_businesses,users,whatsapp_numbers,businesses}'::text[]) AS name ON tab IN (name, '')
 WHERE col IS NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = col)
) AS s (statement)), ''); END $statements$;

CREATE OR REPLACE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    AS $function$ SELECT NULLIF(current_setting('app.business_id', true), '')::uuid $function$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT 'FUNCTION' AS kind, oid::regprocedure::text AS name, proowner AS owner, coalesce(proacl, acldefault('f', proowner)) AS acl FROM pg_proc WHERE oid = to_regprocedure('current_business_id()')) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner
) AS s (statement)), ''); END $statements$;

CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
DECLARE
    computed text[];
BEGIN
    IF OLD *= NEW THEN
        RETURN NEW;
    END IF;
    IF TG_NARGS > 0 THEN
        computed := ARRAY(SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = TG_RELID AND attgenerated <> '');
        IF to_jsonb(OLD) - computed = to_jsonb(NEW) - computed THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $function$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT 'FUNCTION' AS kind, oid::regprocedure::text AS name, proowner AS owner, coalesce(proacl, acldefault('f', proowner)) AS acl FROM pg_proc WHERE oid = to_regprocedure('set_updated_at()')) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner
) AS s (statement)), ''); END $statements$;

GRANT EXECUTE ON FUNCTION current_business_id() TO app_tenant, app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON user_businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('user_businesses') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('users') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON whatsapp_numbers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('whatsapp_numbers') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('businesses') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('businesses') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('businesses') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (to_regnamespace('multi_tenant_archive') IS NULL)
) AS s (statement)), ''); END $statements$;

ALTER TABLE businesses ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON businesses TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'id = current_business_id()' ELSE 'id = (SELECT current_business_id())' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON businesses TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT, UPDATE (name, business_type, settings) ON businesses TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('businesses') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (to_regnamespace('multi_tenant_archive') IS NULL OR NOT has_table_privilege('app_tenant', 'businesses', 'SELECT'))
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON businesses TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('businesses')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('whatsapp_numbers') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('whatsapp_numbers') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (to_regnamespace('multi_tenant_archive') IS NULL)
) AS s (statement)), ''); END $statements$;

ALTER TABLE whatsapp_numbers ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON whatsapp_numbers TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'business_id = current_business_id()' ELSE 'business_id = (SELECT current_business_id())' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON whatsapp_numbers TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT, INSERT (%1$s), UPDATE (%1$s), DELETE ON whatsapp_numbers TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('whatsapp_numbers') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (to_regnamespace('multi_tenant_archive') IS NULL OR NOT has_table_privilege('app_tenant', 'whatsapp_numbers', 'SELECT'))
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT INSERT (%s) ON whatsapp_numbers TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM pg_attribute WHERE attrelid = to_regclass('whatsapp_numbers') AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) HAVING count(*) > 0
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_numbers TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_tenant, app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('whatsapp_numbers')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('users') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('users') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (to_regnamespace('multi_tenant_archive') IS NULL)
) AS s (statement)), ''); END $statements$;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON users TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = current_business_id())' ELSE 'EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = (SELECT current_business_id()))' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON users TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT (id, email, full_name, is_active, created_at, updated_at) ON users TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('users') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (to_regnamespace('multi_tenant_archive') IS NULL OR NOT has_table_privilege('app_tenant', 'users', 'SELECT'))
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON users TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('users')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('user_businesses') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('user_businesses') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (to_regnamespace('multi_tenant_archive') IS NULL)
) AS s (statement)), ''); END $statements$;

ALTER TABLE user_businesses ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON user_businesses TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'business_id = current_business_id()' ELSE 'business_id = (SELECT current_business_id())' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON user_businesses TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT, UPDATE (role), DELETE ON user_businesses TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('user_businesses') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (to_regnamespace('multi_tenant_archive') IS NULL OR NOT has_table_privilege('app_tenant', 'user_businesses', 'SELECT'))
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON user_businesses TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('user_businesses')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT DISTINCT format('REVOKE ALL ON %s %s FROM %s CASCADE', kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM (SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS name, relowner AS owner, acl
  FROM pg_class AS c CROSS JOIN LATERAL (
           SELECT relacl AS acl UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = c.oid) AS part
 WHERE c.oid = to_regclass('alembic_version') OR relkind = 'S' AND c.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = to_regclass('alembic_version') AND deptype IN ('a', 'i'))) AS o CROSS JOIN LATERAL aclexplode(acl) WHERE grantee <> owner AND (true)
) AS s (statement)), ''); END $statements$;

ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'CREATE POLICY app_service ON alembic_version TO app_service USING (true)' WHERE NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('alembic_version') AND polname = 'app_service' )
) AS s (statement)), ''); END $statements$;

GRANT SELECT ON alembic_version TO app_service;

INSERT INTO businesses (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Default business') ON CONFLICT (id) DO NOTHING;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
SELECT 'fact', 'the new tables as made', (
-- A fingerprint of the new tables and of all that depends on them or on the two functions, a team's own things included.
SELECT md5(string_agg(line, E'\n' ORDER BY line COLLATE "C")) FROM (
    SELECT concat_ws(' ', relname, attname, format_type(atttypid, atttypmod), attnotnull, attcollation, attacl, pg_get_expr(adbin, adrelid))
      FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE c.oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT concat_ws(' ', relname, relacl, relforcerowsecurity, relreplident, reloptions) FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
    UNION ALL SELECT concat_ws(' ', o.type, o.identity)
      FROM (SELECT classid, objid, objsubid FROM pg_depend
             WHERE refclassid = 'pg_class'::regclass AND refobjid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'))
                OR refclassid = 'pg_type'::regclass AND refobjid IN (SELECT reltype FROM pg_class WHERE oid IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')))
                OR refclassid = 'pg_proc'::regclass AND refobjid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))) AS d
      LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
      LEFT JOIN pg_constraint AS k ON classid = 'pg_constraint'::regclass AND k.oid = objid
      LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
     CROSS JOIN LATERAL pg_identify_object(classid, objid, objsubid) AS o
     WHERE o.type NOT LIKE 'toast %' AND tgisinternal IS NOT TRUE
       AND NOT coalesce(tgname IN ('set_updated_at', 'single_business_only') AND tgrelid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')), false)
       AND NOT coalesce(polname IN ('app_tenant', 'app_service') AND polrelid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')), false)
       AND NOT coalesce(conname IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') AND conrelid IN (to_regclass('customers'), to_regclass('conversations')), false)) AS lines (line)
), NULL, NULL WHERE to_regnamespace('multi_tenant_archive') IS NULL
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

DO $planted$
DECLARE
    before pg_catalog.text := pg_catalog.current_setting('search_path');
    places pg_catalog.name[] := pg_catalog.current_schemas(true);
    versions pg_catalog.regclass := pg_catalog.to_regclass('alembic_version');
    customers pg_catalog.regclass := pg_catalog.to_regclass('customers');
    here pg_catalog.name := pg_catalog.current_schema();
    planted pg_catalog.text[];
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
    here := coalesce((SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON n.oid = relnamespace WHERE c.oid = customers), here);
    planted := ARRAY(
    WITH me AS (SELECT rolsuper FROM pg_roles WHERE rolname = current_user
    ), old AS (SELECT c.oid, relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
                WHERE nspname = here AND relname IN ('customers', 'conversations')
    ), trusted AS (
        SELECT r.oid FROM pg_roles AS r CROSS JOIN me
         WHERE r.rolsuper OR NOT me.rolsuper AND pg_has_role(r.oid, 'USAGE')
            OR EXISTS (SELECT FROM old) AND NOT EXISTS (SELECT FROM old WHERE NOT pg_has_role(r.oid, relowner, 'MEMBER'))
    ), relations AS (
        SELECT c.oid, relname, relowner, nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = here AND (relname IN ('multi_tenant_rollback', 'alembic_version_scale', 'citus_comments') OR relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses') AND (
                   true OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')))
            OR nspname = 'multi_tenant_archive' AND relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
            OR c.oid = versions
    ), functions AS (
        SELECT p.oid, proname, proowner, nspname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname IN (here, 'multi_tenant_archive')
           AND (pronargs = 0 AND (proname IN ('current_business_id', 'set_updated_at', 'single_business_only')
                                  OR proname ~ '^widen_(customers|conversations)_') OR pronargs = 1 AND proname = 'is_colleague')
    ), attached AS (
        SELECT DISTINCT held.classid, held.objid, r.oid AS relation, p.oid AS function, proowner
          FROM relations AS r JOIN pg_depend AS held ON held.refclassid = 'pg_class'::regclass AND held.refobjid = r.oid
          JOIN pg_depend AS called ON (called.classid, called.objid) = (held.classid, held.objid) AND called.refclassid = 'pg_proc'::regclass
          JOIN pg_proc AS p ON p.oid = called.refobjid
         WHERE proowner NOT IN (SELECT oid FROM trusted) AND relowner IN (SELECT oid FROM trusted)
    ), ours (owner) AS (  -- whose a table or a function of ours is where the upgrade has made it: it only lost its owner
        SELECT min(relowner::regrole::text) FROM old JOIN pg_attribute ON attrelid = old.oid AND attname = 'business_id' HAVING count(*) > 0
    ), look_alikes AS (
        SELECT format('DROP ROUTINE %s', p.oid::regprocedure) AS statement, proowner AS maker, pronamespace AS place
          FROM pg_proc AS p LEFT JOIN pg_depend AS e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname)
           AND NOT EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname
                              AND b.proargtypes = p.proargtypes)
        UNION ALL
        SELECT format('DROP OPERATOR %s', o.oid::regoperator), oprowner, oprnamespace
          FROM pg_operator AS o LEFT JOIN pg_depend AS e ON e.classid = 'pg_operator'::regclass AND e.objid = o.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname)
           AND NOT EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname
                              AND (b.oprleft, b.oprright) = (o.oprleft, o.oprright))
    ), said (place, sentence) AS (
        SELECT 1, format('search_path names pg_catalog after %1$s, where a name could be taken for one of PostgreSQL (a role that sets its own search_path needs another): run ALTER DATABASE %2$I SET search_path TO %1$s;',
                         string_agg(quote_ident(p.place), ', ' ORDER BY n), current_database())
          FROM unnest(places) WITH ORDINALITY AS p (place, n) WHERE p.place <> 'pg_catalog' AND p.place !~ '^pg_temp_' HAVING min(n) < array_position(places, 'pg_catalog')
        UNION ALL
        SELECT 2, format('another role made a function or an operator with the name of one of PostgreSQL, which the migration would call: run %s;', string_agg(statement, '; '))
          FROM look_alikes JOIN pg_namespace AS n ON n.oid = place AND nspname = ANY (places) AND nspname <> 'pg_catalog'
          JOIN pg_roles AS theirs ON theirs.oid = maker AND NOT theirs.rolsuper
          JOIN me ON me.rolsuper OR NOT pg_has_role(maker, 'USAGE')
        HAVING count(*) > 0
        UNION ALL
        SELECT 3, format('the schema multi_tenant_archive belongs to role %s, which could run code as whoever migrates, and is taken for the archive of a rollback; as an administrator: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;', nspowner::regrole)
          FROM pg_namespace WHERE nspname = 'multi_tenant_archive' AND nspowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 4, format('%s belongs to role %s, which could run code as whoever migrates, and is taken for a table of this schema%s; as an administrator: run %s;',
                         r.oid::regclass, relowner::regrole,
                         CASE WHEN r.oid = versions THEN ' (if another Alembic uses it, set version_table in alembic.ini instead, docs/own-alembic.md)' END,
                         coalesce((SELECT format('ALTER TABLE %s OWNER TO %s', r.oid::regclass, owner) FROM ours WHERE relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses')),
                             concat((SELECT string_agg(format('ALTER INDEX %s RENAME TO %I; ', i.oid::regclass, left(i.relname, 56) || '_before'), '' ORDER BY i.relname)
                                       FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid WHERE indrelid = r.oid),
                                    format('ALTER TABLE IF EXISTS %s RENAME TO %I', r.oid::regclass, left(relname, 56) || '_before'))))
          FROM relations AS r WHERE relowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 5, format('%s of role %s, which could change it at will, has the name of one of this schema; as an administrator: run ALTER ROUTINE %1$s %3$s;', f.oid::regprocedure, proowner::regrole,
                         coalesce((SELECT 'OWNER TO ' || owner FROM ours WHERE proname IN ('current_business_id', 'set_updated_at')),
                                  format('RENAME TO %I', left(proname, 56) || '_before')))
          FROM functions AS f WHERE proowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 6, format('%s runs %s of role %s, which could change it at will%s', pg_describe_object(classid, objid, 0), function::regprocedure, proowner::regrole,
                         CASE WHEN t.oid IS NOT NULL THEN format(': run DROP TRIGGER %I ON %s;', tgname, relation::regclass)
                              WHEN p.oid IS NOT NULL THEN format(': run DROP POLICY %I ON %s;', polname, relation::regclass)
                              ELSE ', and this migration works with ' || relation::regclass END)
          FROM attached LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
          LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
    )
    SELECT (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(sentence, NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts) FROM said ORDER BY place, sentence);
    PERFORM set_config('search_path', before, true);
    IF cardinality(planted) = 1 THEN
        RAISE EXCEPTION '%', planted[1];
    ELSIF cardinality(planted) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\n- %', cardinality(planted), array_to_string(planted, E'\n- ');
    END IF;
END $planted$;

-- canonical names of equal indexes
\echo 'Upgrading 000 -> 001, step 4 of 27: canonical names of equal indexes'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' ) THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- An index that equals one of ours gets its name; where there is none, one is built. Both are undone. Inputs: by_id and by_time, the equal index or NULL.
SELECT 'conversations', 'index name', CASE WHEN equal IS NULL THEN 'DROP INDEX IF EXISTS ' || name
            WHEN relname <> name THEN format('ALTER INDEX IF EXISTS %I RENAME TO %I', name, relname) END, NULL, NULL
  FROM (VALUES ('ix_conversations_whatsapp_id', (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)')), ('ix_conversations_timestamp', (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree ("timestamp")'))) AS ours (name, equal)
  LEFT JOIN pg_class ON pg_class.oid = equal
 WHERE to_regclass(quote_ident(current_schema()) || '.' || name) IS NULL
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_conversations_whatsapp_id', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') AS e (equal) WHERE equal IS NOT NULL AND to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.ix_conversations_whatsapp_id') IS NULL
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_conversations_timestamp', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree ("timestamp")') AS e (equal) WHERE equal IS NOT NULL AND to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.ix_conversations_timestamp') IS NULL
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- customers: business_id, time zones, row level security
\echo 'Upgrading 000 -> 001, step 5 of 27: customers: business_id, time zones, row level security'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses' ) THEN
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
-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- A table as the upgrade finds it, as statements that give it back: types, defaults, comments, row level security, grants to
-- Supabase's roles, and the indexes that are built anew.
-- Inputs: table; columns and times, the names of its columns and of its times; retyped, as in 001_retype.sql.
SELECT 'fact' AS phase, 'adopted' AS kind, line AS statement, NULL AS needs_column, NULL AS needs_role FROM (

-- The form of an adopted table that revisions leave as it is, as the drift check words it, which takes it for no drift:
-- `object: aspect value`. Input: table.
WITH sequences AS (
    SELECT t.relname, t.relnamespace, a.attname, q.oid, q.relacl, q.relowner, q.relname AS sequence, q.relnamespace AS place, concat_ws(', ',
               'increment ' || seqincrement, CASE WHEN seqcycle THEN 'cycle' END,
               CASE WHEN seqmax < CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807 WHEN 'integer'::regtype THEN 2147483647
                                  ELSE 32767 END THEN 'maxvalue ' || seqmax END) AS options
      FROM pg_class AS t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 CROSS JOIN LATERAL (
               -- what numbers the column, by a DEFAULT or as an identity
               SELECT refobjid FROM pg_attrdef
                 JOIN pg_depend ON (classid, objid, refclassid) = ('pg_attrdef'::regclass, pg_attrdef.oid, 'pg_class'::regclass)
                WHERE adrelid = attrelid AND adnum = attnum
               UNION ALL SELECT objid FROM pg_depend WHERE (classid, refclassid, refobjid, refobjsubid, deptype)
                   = ('pg_class'::regclass, 'pg_class'::regclass, attrelid, attnum, 'i')
           ) AS numbers (oid) JOIN pg_sequence ON seqrelid = numbers.oid JOIN pg_class AS q ON q.oid = seqrelid
     WHERE t.oid = to_regclass('customers')
)
SELECT format('column %s.%s: collation %s', 'customers', attname, (
           SELECT format('%I.%I', nspname, collname) FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = collnamespace WHERE k.oid = attcollation))
  FROM pg_attribute JOIN pg_type AS y ON y.oid = atttypid
 WHERE attrelid = to_regclass('customers') AND attnum > 0 AND attcollation <> typcollation
UNION ALL
SELECT format('column %s.%s: type %s', 'customers', attname, format_type(atttypid, atttypmod))
  FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attnum > 0 AND atttypid = 'timestamptz'::regtype AND atttypmod >= 0
UNION ALL
SELECT format('table %s: persistence unlogged', relname) FROM pg_class WHERE oid = to_regclass('customers') AND relpersistence <> 'p'
UNION ALL
SELECT format('table %s: owner %s', relname, relowner::regrole) FROM pg_class WHERE oid = to_regclass('customers')
UNION ALL
SELECT format('privilege of the owner on %s: definition %s', name, string_agg(privilege_type, ', ' ORDER BY privilege_type))
  FROM (SELECT 'table ' || relname AS name, relacl, relowner FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT format('sequence of %s.%s', relname, attname), relacl, relowner FROM sequences) AS o
 CROSS JOIN LATERAL aclexplode(relacl) WHERE grantee = relowner GROUP BY name
UNION ALL
SELECT format('sequence of %s.%s: options %s', relname, attname, options) FROM sequences WHERE options <> 'increment 1'
UNION ALL
SELECT format('column %s.%s: definition a default from the sequence %s', relname, attname,
              CASE WHEN place = relnamespace THEN quote_ident(sequence) ELSE format('%I.%I', nspname, sequence) END)
  FROM sequences JOIN pg_namespace AS n ON n.oid = place

) AS adopted (line)
UNION ALL (
    SELECT 'customers times', 'type', format('ALTER TABLE customers ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %1$I TYPE timestamp', attname), attname, NULL
      FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype ORDER BY attname
)
UNION ALL (
    SELECT 'customers times', 'default', format('ALTER TABLE customers ALTER COLUMN %I ', attname) || coalesce('SET DEFAULT ' || pg_get_expr(adbin, adrelid), 'DROP DEFAULT'), attname, NULL
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') ORDER BY attname
)
UNION ALL SELECT 'customers whatsapp_id', 'type', format('ALTER TABLE customers ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END), attname, NULL
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
UNION ALL (
    SELECT 'customers', 'comment', format('COMMENT ON COLUMN customers.%I IS %L', attname, col_description(attrelid, attnum)), attname, NULL
      FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{id,whatsapp_id,name,age,created_at,updated_at}') ORDER BY attnum
)
UNION ALL SELECT 'customers', 'comment', format('COMMENT ON TABLE customers IS %L', obj_description('customers'::regclass, 'pg_class')), NULL, NULL
UNION ALL SELECT 'customers', 'access', 'ALTER TABLE customers ENABLE ROW LEVEL SECURITY', NULL, NULL FROM pg_class WHERE oid = 'customers'::regclass AND relrowsecurity
UNION ALL SELECT 'customers', 'access', format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                  || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, col, rolname
   FROM (SELECT 'customers' AS object, '' AS columns, NULL AS col, (aclexplode(relacl)).* FROM pg_class WHERE oid = 'customers'::regclass
         UNION ALL SELECT 'customers', format('(%I)', attname), attname, (aclexplode(attacl)).*
           FROM pg_attribute WHERE attrelid = 'customers'::regclass AND NOT attisdropped
         UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', attname, (aclexplode(relacl)).*
           FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
           JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
          WHERE refobjid = 'customers'::regclass AND deptype IN ('a', 'i')) AS acl
   JOIN pg_roles ON pg_roles.oid = grantee
  WHERE rolname IN ('anon', 'authenticated')
UNION ALL SELECT 'upgrade', again.*, NULL, NULL FROM (
-- The indexes of the times as statements that build them again, and what an index carries beside its definition.
-- Inputs: table; times; retyped, a condition on a row of pg_attribute. A kind that begins with "mark" ends with the index.
SELECT 'index of customers' AS kind,
       left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS statement
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i) JOIN pg_index AS x ON indexrelid = i JOIN pg_class AS c ON c.oid = i
  LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT pg_get_indexdef(i) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
UNION ALL
SELECT format('mark of customers %s', i), mark
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i) CROSS JOIN LATERAL (
    SELECT format('COMMENT ON INDEX %s IS %L', i, obj_description(i, 'pg_class')) WHERE obj_description(i, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE customers CLUSTER ON %s', (SELECT quote_ident(relname) FROM pg_class WHERE oid = i)) FROM pg_index WHERE indexrelid = i AND indisclustered
    UNION ALL SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i, attnum, attstattarget) FROM pg_attribute WHERE attrelid = i AND attstattarget >= 0
  ) AS marks (mark)
) AS again
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

ALTER TABLE customers ADD COLUMN business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001';

ALTER TABLE customers ALTER COLUMN business_id SET DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid);

ALTER TABLE customers ADD CONSTRAINT fk_customers_businesses FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID;

-- Times with a zone, and a whatsapp_id wide enough for all: changes of the catalogue only, for the session is in UTC.
-- Inputs: table; times, the names of its times; retyped, the condition on a row of pg_attribute that its type changes.
DO $retype$
DECLARE
    kept text := (SELECT string_agg(statement, ';') FROM (
-- What another type of a column resets, as statements that set it again. Input: table.
SELECT format('ALTER TABLE customers ALTER COLUMN whatsapp_id SET STORAGE %s', CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN' WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END) AS statement
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND attstorage <> typstorage
UNION ALL
SELECT format('ALTER TABLE customers ALTER COLUMN whatsapp_id SET COMPRESSION %s', CASE attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END)
  FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND attcompression <> ''
UNION ALL
SELECT format('ALTER STATISTICS %I.%I SET STATISTICS %s', nspname, stxname, stxstattarget)
  FROM pg_statistic_ext JOIN pg_namespace AS n ON n.oid = stxnamespace WHERE stxrelid = 'customers'::regclass AND stxstattarget >= 0
) AS k);
BEGIN
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i)), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE customers ALTER COLUMN %I SET DEFAULT now()', attname)
                               || CASE WHEN atttypid = 'timestamp'::regtype THEN format(', ALTER COLUMN %I TYPE timestamptz', attname) ELSE '' END, ';')
               FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}'));
    -- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
    EXECUTE coalesce((
        SELECT format('ALTER TABLE customers ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
                      CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
          FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
         WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258), '');
    EXECUTE coalesce(kept, '');
END $retype$;

-- A column whose type has changed has lost its statistics: to find the last messages of one customer the planner would then
-- read those of everybody by time. A sample of 300 rows takes milliseconds, and serves until statistics are gathered anew.
-- Inputs: table; columns, the names of its columns.
DO $sample$
DECLARE
    without text[] := ARRAY(
        SELECT attname FROM pg_attribute AS a WHERE attrelid = 'customers'::regclass AND attname = ANY ('{id,whatsapp_id,name,age,created_at,updated_at}') AND NOT EXISTS (
            SELECT FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'customers' AND pg_stats.attname = a.attname));
    keep text := (
        SELECT string_agg(format('ALTER TABLE customers ALTER COLUMN %I SET STATISTICS %s', attname, coalesce(attstattarget, -1)), ';')
          FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY (without));
BEGIN
    IF keep IS NOT NULL THEN
        EXECUTE (SELECT string_agg(format('ALTER TABLE customers ALTER COLUMN %I SET STATISTICS 1', c), ';') FROM unnest(without) AS c);
        EXECUTE (SELECT format('ANALYZE customers (%s)', string_agg(quote_ident(c), ', ')) FROM unnest(without) AS c);
        EXECUTE keep;
    END IF;
END $sample$;

ALTER TABLE customers ADD COLUMN whatsapp_user_id varchar(255);

ALTER TABLE customers ADD COLUMN username varchar(255);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Comments of the tables and their columns. Input: tables, their names.
SELECT CASE WHEN col IS NULL THEN format('COMMENT ON TABLE %s IS %L', name, about)
            ELSE format('COMMENT ON COLUMN %s.%I IS %L', name, col, about) END
  FROM (VALUES
    ('businesses', NULL, 'Businesses: the tenants of the bot'),
    ('businesses', 'name', 'Name as customers know it'),
    ('businesses', 'business_type', 'Kind of business'),
    ('businesses', 'settings', 'Services with prices, hours, barbers, ai_personality; unknown keys are kept'),
    ('businesses', 'is_active', 'Whether the bot serves the business'),
    ('whatsapp_numbers', NULL, 'WhatsApp numbers, each of one business'),
    ('whatsapp_numbers', 'phone_number_id', 'Meta''s phone_number_id; empty for numbers of other providers'),
    ('whatsapp_numbers', 'phone_number', 'The number in E.164, such as +573001234567'),
    ('whatsapp_numbers', 'access_token', 'Meta''s access token, as Fernet ciphertext only'),
    ('whatsapp_numbers', 'is_active', 'Whether messages to the number are served'),
    ('users', NULL, 'People who manage businesses'),
    ('users', 'email', 'Login, unique without regard to case'),
    ('users', 'password_hash', 'Hash of the password, never the password'),
    ('users', 'full_name', 'Name to show'),
    ('users', 'is_active', 'Whether the user may log in'),
    ('user_businesses', NULL, 'Which user has which role in which business'),
    ('user_businesses', 'user_id', 'The user'),
    ('user_businesses', 'role', 'owner, admin or staff'),
    ('customers', NULL, 'Customers, each of one business'),
    ('customers', 'whatsapp_id', 'The id under which messages are filed: Meta''s wa_id where the phone is known, else the user id'),
    ('customers', 'whatsapp_user_id', 'Meta''s business-scoped user id, such as US.13491208655302741918'),
    ('customers', 'username', 'WhatsApp username'),
    ('customers', 'name', 'Name of the customer'),
    ('customers', 'age', 'Age in years'),
    ('conversations', NULL, 'Messages; a row is one message'),
    ('conversations', 'whatsapp_id', 'WhatsApp id of the customer'),
    ('conversations', 'message', 'Text of the message'),
    ('conversations', 'role', 'Who wrote it: user, assistant, or another role'),
    ('conversations', 'timestamp', 'When the message was sent'),
    ('conversations', 'whatsapp_number_id', 'The number of the business that the message went through'),
    ('conversations', 'whatsapp_message_id', 'Meta''s message id (wamid.), unique in a business: webhooks repeat'),
    ('', 'id', 'Identifier'),
    ('', 'business_id', 'The business that the row belongs to'),
    ('', 'created_at', 'When the row was inserted'),
    ('', 'updated_at', 'When the row was last changed; set by the trigger set_updated_at')) AS c (tab, col, about)
  JOIN unnest('{customers}'::text[]) AS name ON tab IN (name, '')
 WHERE col IS NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = col)
) AS s (statement)), ''); END $statements$;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- Who held a privilege on the table or its sequences before the upgrade: what others are granted after it goes in a rollback.
-- Input: table.
SELECT DISTINCT 'fact', 'role of customers', rolname::text, NULL::name, NULL::name
  FROM (SELECT relacl FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass('customers') AND NOT attisdropped
        UNION ALL SELECT relacl FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                   WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS part (acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- What the upgrade is about to take from former roles: privileges that row level security does not confine. A role that worked
-- with the table beside gets them back only while it still does. Inputs: table; former, a query of the former roles (role).
WITH held AS (
    SELECT part.*, entry.*, rolname, grantee::regrole::text AS role, privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AS unconfined
      FROM pg_class CROSS JOIN LATERAL (
               SELECT '' AS columns, NULL::name AS col, relacl AS acl
               UNION ALL SELECT format(' (%I)', attname), attname, attacl FROM pg_attribute
                          WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
     WHERE pg_class.oid = to_regclass('customers') AND NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner
       AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
)
SELECT 'customers', CASE WHEN EXISTS (SELECT FROM held AS other WHERE other.role = held.role AND NOT unconfined) THEN 'privilege' ELSE 'only privilege' END,
       format('GRANT %s%s ON customers TO %s%s', privilege_type, columns, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END), col, rolname
  FROM held WHERE unconfined
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
WITH held AS (
    SELECT a.*, (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated')
        OR privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls) AS taken, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role
      FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS a LEFT JOIN pg_roles ON pg_roles.oid = grantee)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON customers FROM %s CASCADE', privilege_type, grantor::regrole)
      FROM held WHERE taken AND grantor <> relowner
    UNION SELECT 2, format('GRANT %s %s ON customers TO %s', privilege_type, columns, role)
                    || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
      FROM held WHERE NOT taken AND (grantor <> relowner OR is_grantable)
       AND privilege_type IN (SELECT privilege_type FROM held WHERE taken AND grantor <> relowner)
    UNION SELECT 3, format('REVOKE %s %s ON customers FROM %s CASCADE', privilege_type, columns, role)
      FROM held WHERE taken
    UNION SELECT 3, format('REVOKE ALL ON SEQUENCE %s FROM %s CASCADE', s.oid::regclass, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
      FROM pg_depend JOIN pg_class AS s ON s.oid = objid AND relkind = 'S' CROSS JOIN LATERAL aclexplode(relacl)
      LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')
       AND (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated'))
) AS s (stage, statement) ORDER BY stage, statement
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY single_business ON customers' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('customers') AND polname = 'single_business' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY single_business ON customers AS %s TO %s USING (business_id = ''00000000-0000-0000-0000-000000000001'') WITH CHECK (business_id = ''00000000-0000-0000-0000-000000000001'')',
              CASE WHEN EXISTS (SELECT FROM multi_tenant_rollback WHERE statement = 'ALTER TABLE customers ENABLE ROW LEVEL SECURITY') THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END, string_agg(role, ', ' ORDER BY role))
  FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('customers')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('customers') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS former HAVING count(*) > 0
) AS s (statement)), ''); END $statements$;

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON customers TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'business_id = current_business_id()' ELSE 'business_id = (SELECT current_business_id())' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON customers TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT, INSERT (%1$s), UPDATE (%1$s), DELETE ON customers TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('customers') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (true OR NOT has_table_privilege('app_tenant', 'customers', 'SELECT'))
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT INSERT (%s) ON customers TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) HAVING count(*) > 0
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_tenant, app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('customers')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- conversations: business_id, time zones, row level security
\echo 'Upgrading 000 -> 001, step 6 of 27: conversations: business_id, time zones, row level security'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' ) THEN
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
-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- A table as the upgrade finds it, as statements that give it back: types, defaults, comments, row level security, grants to
-- Supabase's roles, and the indexes that are built anew.
-- Inputs: table; columns and times, the names of its columns and of its times; retyped, as in 001_retype.sql.
SELECT 'fact' AS phase, 'adopted' AS kind, line AS statement, NULL AS needs_column, NULL AS needs_role FROM (

-- The form of an adopted table that revisions leave as it is, as the drift check words it, which takes it for no drift:
-- `object: aspect value`. Input: table.
WITH sequences AS (
    SELECT t.relname, t.relnamespace, a.attname, q.oid, q.relacl, q.relowner, q.relname AS sequence, q.relnamespace AS place, concat_ws(', ',
               'increment ' || seqincrement, CASE WHEN seqcycle THEN 'cycle' END,
               CASE WHEN seqmax < CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807 WHEN 'integer'::regtype THEN 2147483647
                                  ELSE 32767 END THEN 'maxvalue ' || seqmax END) AS options
      FROM pg_class AS t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 CROSS JOIN LATERAL (
               -- what numbers the column, by a DEFAULT or as an identity
               SELECT refobjid FROM pg_attrdef
                 JOIN pg_depend ON (classid, objid, refclassid) = ('pg_attrdef'::regclass, pg_attrdef.oid, 'pg_class'::regclass)
                WHERE adrelid = attrelid AND adnum = attnum
               UNION ALL SELECT objid FROM pg_depend WHERE (classid, refclassid, refobjid, refobjsubid, deptype)
                   = ('pg_class'::regclass, 'pg_class'::regclass, attrelid, attnum, 'i')
           ) AS numbers (oid) JOIN pg_sequence ON seqrelid = numbers.oid JOIN pg_class AS q ON q.oid = seqrelid
     WHERE t.oid = to_regclass('conversations')
)
SELECT format('column %s.%s: collation %s', 'conversations', attname, (
           SELECT format('%I.%I', nspname, collname) FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = collnamespace WHERE k.oid = attcollation))
  FROM pg_attribute JOIN pg_type AS y ON y.oid = atttypid
 WHERE attrelid = to_regclass('conversations') AND attnum > 0 AND attcollation <> typcollation
UNION ALL
SELECT format('column %s.%s: type %s', 'conversations', attname, format_type(atttypid, atttypmod))
  FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND attnum > 0 AND atttypid = 'timestamptz'::regtype AND atttypmod >= 0
UNION ALL
SELECT format('table %s: persistence unlogged', relname) FROM pg_class WHERE oid = to_regclass('conversations') AND relpersistence <> 'p'
UNION ALL
SELECT format('table %s: owner %s', relname, relowner::regrole) FROM pg_class WHERE oid = to_regclass('conversations')
UNION ALL
SELECT format('privilege of the owner on %s: definition %s', name, string_agg(privilege_type, ', ' ORDER BY privilege_type))
  FROM (SELECT 'table ' || relname AS name, relacl, relowner FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT format('sequence of %s.%s', relname, attname), relacl, relowner FROM sequences) AS o
 CROSS JOIN LATERAL aclexplode(relacl) WHERE grantee = relowner GROUP BY name
UNION ALL
SELECT format('sequence of %s.%s: options %s', relname, attname, options) FROM sequences WHERE options <> 'increment 1'
UNION ALL
SELECT format('column %s.%s: definition a default from the sequence %s', relname, attname,
              CASE WHEN place = relnamespace THEN quote_ident(sequence) ELSE format('%I.%I', nspname, sequence) END)
  FROM sequences JOIN pg_namespace AS n ON n.oid = place

) AS adopted (line)
UNION ALL (
    SELECT 'conversations times', 'type', format('ALTER TABLE conversations ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %1$I TYPE timestamp', attname), attname, NULL
      FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype ORDER BY attname
)
UNION ALL (
    SELECT 'conversations times', 'default', format('ALTER TABLE conversations ALTER COLUMN %I ', attname) || coalesce('SET DEFAULT ' || pg_get_expr(adbin, adrelid), 'DROP DEFAULT'), attname, NULL
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') ORDER BY attname
)
UNION ALL SELECT 'conversations whatsapp_id', 'type', format('ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END), attname, NULL
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
UNION ALL (
    SELECT 'conversations', 'comment', format('COMMENT ON COLUMN conversations.%I IS %L', attname, col_description(attrelid, attnum)), attname, NULL
      FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{id,whatsapp_id,message,role,timestamp,created_at}') ORDER BY attnum
)
UNION ALL SELECT 'conversations', 'comment', format('COMMENT ON TABLE conversations IS %L', obj_description('conversations'::regclass, 'pg_class')), NULL, NULL
UNION ALL SELECT 'conversations', 'access', 'ALTER TABLE conversations ENABLE ROW LEVEL SECURITY', NULL, NULL FROM pg_class WHERE oid = 'conversations'::regclass AND relrowsecurity
UNION ALL SELECT 'conversations', 'access', format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                  || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, col, rolname
   FROM (SELECT 'conversations' AS object, '' AS columns, NULL AS col, (aclexplode(relacl)).* FROM pg_class WHERE oid = 'conversations'::regclass
         UNION ALL SELECT 'conversations', format('(%I)', attname), attname, (aclexplode(attacl)).*
           FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND NOT attisdropped
         UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', attname, (aclexplode(relacl)).*
           FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
           JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
          WHERE refobjid = 'conversations'::regclass AND deptype IN ('a', 'i')) AS acl
   JOIN pg_roles ON pg_roles.oid = grantee
  WHERE rolname IN ('anon', 'authenticated')
UNION ALL SELECT 'upgrade', again.*, NULL, NULL FROM (
-- The indexes of the times as statements that build them again, and what an index carries beside its definition.
-- Inputs: table; times; retyped, a condition on a row of pg_attribute. A kind that begins with "mark" ends with the index.
SELECT 'index of conversations' AS kind,
       left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS statement
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i) JOIN pg_index AS x ON indexrelid = i JOIN pg_class AS c ON c.oid = i
  LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT pg_get_indexdef(i) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
UNION ALL
SELECT format('mark of conversations %s', i), mark
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i) CROSS JOIN LATERAL (
    SELECT format('COMMENT ON INDEX %s IS %L', i, obj_description(i, 'pg_class')) WHERE obj_description(i, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE conversations CLUSTER ON %s', (SELECT quote_ident(relname) FROM pg_class WHERE oid = i)) FROM pg_index WHERE indexrelid = i AND indisclustered
    UNION ALL SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i, attnum, attstattarget) FROM pg_attribute WHERE attrelid = i AND attstattarget >= 0
  ) AS marks (mark)
) AS again
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

ALTER TABLE conversations ADD COLUMN business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001';

ALTER TABLE conversations ALTER COLUMN business_id SET DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid);

ALTER TABLE conversations ADD CONSTRAINT fk_conversations_businesses FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID;

-- Times with a zone, and a whatsapp_id wide enough for all: changes of the catalogue only, for the session is in UTC.
-- Inputs: table; times, the names of its times; retyped, the condition on a row of pg_attribute that its type changes.
DO $retype$
DECLARE
    kept text := (SELECT string_agg(statement, ';') FROM (
-- What another type of a column resets, as statements that set it again. Input: table.
SELECT format('ALTER TABLE conversations ALTER COLUMN whatsapp_id SET STORAGE %s', CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN' WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END) AS statement
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND attstorage <> typstorage
UNION ALL
SELECT format('ALTER TABLE conversations ALTER COLUMN whatsapp_id SET COMPRESSION %s', CASE attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END)
  FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND attcompression <> ''
UNION ALL
SELECT format('ALTER STATISTICS %I.%I SET STATISTICS %s', nspname, stxname, stxstattarget)
  FROM pg_statistic_ext JOIN pg_namespace AS n ON n.oid = stxnamespace WHERE stxrelid = 'conversations'::regclass AND stxstattarget >= 0
) AS k);
BEGIN
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype)
 ORDER BY indexrelid::regclass::text
) AS t (i)), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE conversations ALTER COLUMN %I SET DEFAULT now()', attname)
                               || CASE WHEN atttypid = 'timestamp'::regtype THEN format(', ALTER COLUMN %I TYPE timestamptz', attname) ELSE '' END, ';')
               FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}'));
    -- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
    EXECUTE coalesce((
        SELECT format('ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
                      CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
          FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
         WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258), '');
    EXECUTE coalesce(kept, '');
END $retype$;

-- A column whose type has changed has lost its statistics: to find the last messages of one customer the planner would then
-- read those of everybody by time. A sample of 300 rows takes milliseconds, and serves until statistics are gathered anew.
-- Inputs: table; columns, the names of its columns.
DO $sample$
DECLARE
    without text[] := ARRAY(
        SELECT attname FROM pg_attribute AS a WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{id,whatsapp_id,message,role,timestamp,created_at}') AND NOT EXISTS (
            SELECT FROM pg_stats WHERE schemaname = current_schema() AND tablename = 'conversations' AND pg_stats.attname = a.attname));
    keep text := (
        SELECT string_agg(format('ALTER TABLE conversations ALTER COLUMN %I SET STATISTICS %s', attname, coalesce(attstattarget, -1)), ';')
          FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY (without));
BEGIN
    IF keep IS NOT NULL THEN
        EXECUTE (SELECT string_agg(format('ALTER TABLE conversations ALTER COLUMN %I SET STATISTICS 1', c), ';') FROM unnest(without) AS c);
        EXECUTE (SELECT format('ANALYZE conversations (%s)', string_agg(quote_ident(c), ', ')) FROM unnest(without) AS c);
        EXECUTE keep;
    END IF;
END $sample$;

ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid;

ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255);

ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id) NOT VALID;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Comments of the tables and their columns. Input: tables, their names.
SELECT CASE WHEN col IS NULL THEN format('COMMENT ON TABLE %s IS %L', name, about)
            ELSE format('COMMENT ON COLUMN %s.%I IS %L', name, col, about) END
  FROM (VALUES
    ('businesses', NULL, 'Businesses: the tenants of the bot'),
    ('businesses', 'name', 'Name as customers know it'),
    ('businesses', 'business_type', 'Kind of business'),
    ('businesses', 'settings', 'Services with prices, hours, barbers, ai_personality; unknown keys are kept'),
    ('businesses', 'is_active', 'Whether the bot serves the business'),
    ('whatsapp_numbers', NULL, 'WhatsApp numbers, each of one business'),
    ('whatsapp_numbers', 'phone_number_id', 'Meta''s phone_number_id; empty for numbers of other providers'),
    ('whatsapp_numbers', 'phone_number', 'The number in E.164, such as +573001234567'),
    ('whatsapp_numbers', 'access_token', 'Meta''s access token, as Fernet ciphertext only'),
    ('whatsapp_numbers', 'is_active', 'Whether messages to the number are served'),
    ('users', NULL, 'People who manage businesses'),
    ('users', 'email', 'Login, unique without regard to case'),
    ('users', 'password_hash', 'Hash of the password, never the password'),
    ('users', 'full_name', 'Name to show'),
    ('users', 'is_active', 'Whether the user may log in'),
    ('user_businesses', NULL, 'Which user has which role in which business'),
    ('user_businesses', 'user_id', 'The user'),
    ('user_businesses', 'role', 'owner, admin or staff'),
    ('customers', NULL, 'Customers, each of one business'),
    ('customers', 'whatsapp_id', 'The id under which messages are filed: Meta''s wa_id where the phone is known, else the user id'),
    ('customers', 'whatsapp_user_id', 'Meta''s business-scoped user id, such as US.13491208655302741918'),
    ('customers', 'username', 'WhatsApp username'),
    ('customers', 'name', 'Name of the customer'),
    ('customers', 'age', 'Age in years'),
    ('conversations', NULL, 'Messages; a row is one message'),
    ('conversations', 'whatsapp_id', 'WhatsApp id of the customer'),
    ('conversations', 'message', 'Text of the message'),
    ('conversations', 'role', 'Who wrote it: user, assistant, or another role'),
    ('conversations', 'timestamp', 'When the message was sent'),
    ('conversations', 'whatsapp_number_id', 'The number of the business that the message went through'),
    ('conversations', 'whatsapp_message_id', 'Meta''s message id (wamid.), unique in a business: webhooks repeat'),
    ('', 'id', 'Identifier'),
    ('', 'business_id', 'The business that the row belongs to'),
    ('', 'created_at', 'When the row was inserted'),
    ('', 'updated_at', 'When the row was last changed; set by the trigger set_updated_at')) AS c (tab, col, about)
  JOIN unnest('{conversations}'::text[]) AS name ON tab IN (name, '')
 WHERE col IS NULL OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = col)
) AS s (statement)), ''); END $statements$;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- Who held a privilege on the table or its sequences before the upgrade: what others are granted after it goes in a rollback.
-- Input: table.
SELECT DISTINCT 'fact', 'role of conversations', rolname::text, NULL::name, NULL::name
  FROM (SELECT relacl FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND NOT attisdropped
        UNION ALL SELECT relacl FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                   WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS part (acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- What the upgrade is about to take from former roles: privileges that row level security does not confine. A role that worked
-- with the table beside gets them back only while it still does. Inputs: table; former, a query of the former roles (role).
WITH held AS (
    SELECT part.*, entry.*, rolname, grantee::regrole::text AS role, privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AS unconfined
      FROM pg_class CROSS JOIN LATERAL (
               SELECT '' AS columns, NULL::name AS col, relacl AS acl
               UNION ALL SELECT format(' (%I)', attname), attname, attacl FROM pg_attribute
                          WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
     WHERE pg_class.oid = to_regclass('conversations') AND NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner
       AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
)
SELECT 'conversations', CASE WHEN EXISTS (SELECT FROM held AS other WHERE other.role = held.role AND NOT unconfined) THEN 'privilege' ELSE 'only privilege' END,
       format('GRANT %s%s ON conversations TO %s%s', privilege_type, columns, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END), col, rolname
  FROM held WHERE unconfined
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
WITH held AS (
    SELECT a.*, (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated')
        OR privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls) AS taken, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role
      FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS a LEFT JOIN pg_roles ON pg_roles.oid = grantee)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON conversations FROM %s CASCADE', privilege_type, grantor::regrole)
      FROM held WHERE taken AND grantor <> relowner
    UNION SELECT 2, format('GRANT %s %s ON conversations TO %s', privilege_type, columns, role)
                    || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
      FROM held WHERE NOT taken AND (grantor <> relowner OR is_grantable)
       AND privilege_type IN (SELECT privilege_type FROM held WHERE taken AND grantor <> relowner)
    UNION SELECT 3, format('REVOKE %s %s ON conversations FROM %s CASCADE', privilege_type, columns, role)
      FROM held WHERE taken
    UNION SELECT 3, format('REVOKE ALL ON SEQUENCE %s FROM %s CASCADE', s.oid::regclass, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
      FROM pg_depend JOIN pg_class AS s ON s.oid = objid AND relkind = 'S' CROSS JOIN LATERAL aclexplode(relacl)
      LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')
       AND (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated'))
) AS s (stage, statement) ORDER BY stage, statement
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY single_business ON conversations' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('conversations') AND polname = 'single_business' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY single_business ON conversations AS %s TO %s USING (business_id = ''00000000-0000-0000-0000-000000000001'') WITH CHECK (business_id = ''00000000-0000-0000-0000-000000000001'')',
              CASE WHEN EXISTS (SELECT FROM multi_tenant_rollback WHERE statement = 'ALTER TABLE conversations ENABLE ROW LEVEL SECURITY') THEN 'RESTRICTIVE' ELSE 'PERMISSIVE' END, string_agg(role, ', ' ORDER BY role))
  FROM (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('conversations')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('conversations') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls) AS former HAVING count(*) > 0
) AS s (statement)), ''); END $statements$;

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE POLICY app_tenant ON conversations TO app_tenant USING (%1$s) WITH CHECK (%1$s)', CASE WHEN EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN 'business_id = current_business_id()' ELSE 'business_id = (SELECT current_business_id())' END)
) AS s (statement)), ''); END $statements$;

CREATE POLICY app_service ON conversations TO app_service USING (true) WITH CHECK (true);

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT SELECT, INSERT (%1$s), UPDATE (%1$s), DELETE ON conversations TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM (SELECT attname, attnum FROM pg_attribute
 WHERE attrelid = to_regclass('conversations') AND attnum > 0 AND NOT attisdropped
   AND attname NOT IN ('id', 'created_at') AND attgenerated = '' AND attidentity = ''
   AND NOT EXISTS (SELECT FROM pg_attrdef
                     JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                     JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum)) AS c WHERE (true) HAVING count(*) > 0 AND (true OR NOT has_table_privilege('app_tenant', 'conversations', 'SELECT'))
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT INSERT (%s) ON conversations TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) HAVING count(*) > 0
) AS s (statement)), ''); END $statements$;

GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO app_service;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON SEQUENCE %s TO app_tenant, app_service', oid::regclass) FROM (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('conversations')) AS numbers (oid)
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'conversations'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- statistics of customers
\echo 'Upgrading 000 -> 001, step 7 of 27: statistics of customers'

SET lock_timeout = '60000ms';
SELECT 'ANALYZE customers' WHERE EXISTS (SELECT FROM customers) \gexec
SET lock_timeout = '200ms';

-- statistics of conversations
\echo 'Upgrading 000 -> 001, step 8 of 27: statistics of conversations'

SET lock_timeout = '60000ms';
SELECT 'ANALYZE conversations' WHERE EXISTS (SELECT FROM conversations) \gexec
SET lock_timeout = '200ms';

-- remembered indexes can be built
\echo 'Upgrading 000 -> 001, step 9 of 27: remembered indexes can be built'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT EXISTS (SELECT FROM multi_tenant_rollback WHERE phase = 'upgrade') THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- Remembered indexes of a phase that cannot be built any more, because a team dropped or renamed what they name. Each is tried on
-- an empty copy of its table. whatsapp_id stays unique without such an extra; any other index is left out. Input: phase.
DO $lost$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT id, statement, tab, regexp_replace(statement, format('^(CREATE (?:UNIQUE )?INDEX) (?:"(?:[^"]|"")+"|[^ ]+) ON (?:(?:"(?:[^"]|"")+"|[^ ".]+)\.)?%s ', tab),
                                                  '\1 ON multi_tenant_rollback_try ') AS trial
          FROM multi_tenant_rollback, coalesce(substring(kind FROM '^index of (.*)'), 'customers') AS tab
         WHERE phase = 'upgrade' ORDER BY id
    LOOP
        CONTINUE WHEN wanted.trial = wanted.statement;  -- never on the table itself
        BEGIN
            EXECUTE format('CREATE TABLE multi_tenant_rollback_try (LIKE %I)', wanted.tab);
            EXECUTE wanted.trial;
            DROP TABLE multi_tenant_rollback_try;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, wanted.statement;
            IF 'upgrade' = 'unique' THEN
                UPDATE multi_tenant_rollback SET statement = format('CREATE UNIQUE INDEX %s ON customers (whatsapp_id)', substring(statement FROM 'multi_tenant_rollback_\d+'))
                 WHERE id = wanted.id;
            ELSE
                UPDATE multi_tenant_rollback SET phase = 'lost' WHERE id = wanted.id;
            END IF;
        END;
    END LOOP;
END $lost$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- indexes of the times of customers
\echo 'Upgrading 000 -> 001, step 10 of 27: indexes of the times of customers'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind = 'index of customers') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind = 'index of customers') AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind LIKE 'mark of customers %' AND to_regclass(substr(kind, length('mark of customers ') + 1)) IS NOT NULL \gexec
SET lock_timeout = '200ms';

-- indexes of the times of conversations
\echo 'Upgrading 000 -> 001, step 11 of 27: indexes of the times of conversations'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind = 'index of conversations') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind = 'index of conversations') AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SELECT statement FROM multi_tenant_rollback WHERE phase = 'upgrade' AND kind LIKE 'mark of conversations %' AND to_regclass(substr(kind, length('mark of conversations ') + 1)) IS NOT NULL \gexec
SET lock_timeout = '200ms';

-- index ix_conversations_timestamp
\echo 'Upgrading 000 -> 001, step 12 of 27: index ix_conversations_timestamp'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp")' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp")' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index ix_conversations_whatsapp_id
\echo 'Upgrading 000 -> 001, step 13 of 27: index ix_conversations_whatsapp_id'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index ix_conversations_business_id_whatsapp_id_timestamp
\echo 'Upgrading 000 -> 001, step 14 of 27: index ix_conversations_business_id_whatsapp_id_timestamp'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON conversations (business_id, whatsapp_id, "timestamp")' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON conversations (business_id, whatsapp_id, "timestamp")' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index ix_conversations_business_id_whatsapp_number_id
\echo 'Upgrading 000 -> 001, step 15 of 27: index ix_conversations_business_id_whatsapp_number_id'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_number_id ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_number_id ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index uq_conversations_business_id_whatsapp_message_id
\echo 'Upgrading 000 -> 001, step 16 of 27: index uq_conversations_business_id_whatsapp_message_id'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_conversations_business_id_whatsapp_message_id ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_conversations_business_id_whatsapp_message_id ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index uq_customers_business_id_whatsapp_user_id
\echo 'Upgrading 000 -> 001, step 17 of 27: index uq_customers_business_id_whatsapp_user_id'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_user_id ON customers (business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_user_id ON customers (business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index uq_customers_business_id_whatsapp_id
\echo 'Upgrading 000 -> 001, step 18 of 27: index uq_customers_business_id_whatsapp_id'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_id ON customers (business_id, whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_id ON customers (business_id, whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- index ix_customers_whatsapp_id_001
\echo 'Upgrading 000 -> 001, step 19 of 27: index ix_customers_whatsapp_id_001'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_customers_whatsapp_id_001 ON customers (whatsapp_id)' WHERE NOT ((SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') IS NOT NULL)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_customers_whatsapp_id_001 ON customers (whatsapp_id)' WHERE NOT ((SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') IS NOT NULL)) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- validate fk_customers_businesses
\echo 'Upgrading 000 -> 001, step 20 of 27: validate fk_customers_businesses'

SET lock_timeout = '60000ms';
SELECT 'ALTER TABLE customers VALIDATE CONSTRAINT fk_customers_businesses' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses' AND NOT convalidated) \gexec
SET lock_timeout = '200ms';

-- validate fk_conversations_businesses
\echo 'Upgrading 000 -> 001, step 21 of 27: validate fk_conversations_businesses'

SET lock_timeout = '60000ms';
SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_businesses' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' AND NOT convalidated) \gexec
SET lock_timeout = '200ms';

-- validate fk_conversations_whatsapp_numbers
\echo 'Upgrading 000 -> 001, step 22 of 27: validate fk_conversations_whatsapp_numbers'

SET lock_timeout = '60000ms';
SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_whatsapp_numbers' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_whatsapp_numbers' AND NOT convalidated) \gexec
SET lock_timeout = '200ms';

-- customers: unique in a business
\echo 'Upgrading 000 -> 001, step 23 of 27: customers: unique in a business'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'uq_customers_business_id_whatsapp_id' ) THEN
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
-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
-- What kept whatsapp_id unique in the whole database, built under a name of ours first and then given its own; and what the
-- index of the old bot's look-up was called. Inputs: equal, an index that is one of whatsapp_id alone, or NULL; global_unique.
WITH kept AS (
    SELECT index, definition, relname, place, conname, condeferrable, condeferred, said, indisclustered
      FROM (SELECT indexrelid AS index, left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS definition,
                   relname, row_number() OVER (ORDER BY relname) AS place, indisclustered
              FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
             CROSS JOIN LATERAL (SELECT pg_get_indexdef(indexrelid) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
             WHERE indrelid = 'customers'::regclass AND (indisunique AND NOT indisprimary AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')) AS i
      LEFT JOIN pg_constraint AS k ON conindid = index AND contype = 'u'
     CROSS JOIN obj_description(k.oid, 'pg_constraint') AS said
)
SELECT 'customers' AS phase, 'plain index' AS kind,
       CASE relname WHEN 'ix_customers_whatsapp_id_001' THEN 'DROP INDEX IF EXISTS ix_customers_whatsapp_id'
                    WHEN 'ix_customers_whatsapp_id' THEN NULL
                    ELSE format('ALTER INDEX IF EXISTS ix_customers_whatsapp_id RENAME TO %I', relname) END AS statement,
       NULL AS needs_column, NULL AS needs_role
  FROM pg_class WHERE oid = (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)')
UNION ALL (
    SELECT 'unique', 'index', replace(definition, format(' INDEX %I ON ', relname), format(' INDEX multi_tenant_rollback_%s ON ', place)), NULL, NULL
      FROM kept ORDER BY place
)
UNION ALL (
    SELECT 'customers', 'unique',
           CASE WHEN conname IS NULL THEN format('ALTER INDEX multi_tenant_rollback_%s RENAME TO %I', place, relname)
                ELSE format('ALTER TABLE customers ADD CONSTRAINT %I UNIQUE USING INDEX multi_tenant_rollback_%s%s%s', conname, place,
                            CASE WHEN condeferrable THEN ' DEFERRABLE' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' END)
           END || CASE WHEN obj_description(index, 'pg_class') IS NOT NULL THEN format('; COMMENT ON INDEX %I IS %L', relname, obj_description(index, 'pg_class')) ELSE '' END
               || CASE WHEN said IS NOT NULL THEN format('; COMMENT ON CONSTRAINT %I ON customers IS %L', conname, said) ELSE '' END
               || CASE WHEN indisclustered THEN format('; ALTER TABLE customers CLUSTER ON %I', relname) ELSE '' END, NULL, NULL
      FROM kept ORDER BY place
)
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;

ALTER TABLE customers ADD CONSTRAINT uq_customers_business_id_whatsapp_id UNIQUE USING INDEX uq_customers_business_id_whatsapp_id;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- One customer per business instead of one per database; the old bot's look-up keeps an index of its own.
SELECT CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
            ELSE format('ALTER TABLE customers DROP CONSTRAINT %I', conname) END
  FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
 WHERE indrelid = 'customers'::regclass AND (indisunique AND NOT indisprimary AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_customers_whatsapp_id', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') AS e (equal) WHERE equal IS NOT NULL AND to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.ix_customers_whatsapp_id') IS NULL
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- restore the rows of multi_tenant_archive
\echo 'Upgrading 000 -> 001, step 24 of 27: restore the rows of multi_tenant_archive'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass('multi_tenant_archive.conversations') IS NOT NULL THEN
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
-- Bring the archived rows back. Inputs: default, the id of the default business; those of 001_team_triggers.sql.
DO $restore$
DECLARE
    triggers_off text;
    triggers_on text;
    restored bigint;
    lost bigint;
BEGIN
    SELECT disable, enable INTO triggers_off, triggers_on FROM (
-- A team's own triggers have no part in a move: the statements that disable them, and those that enable them again.
-- Inputs: moving, the tables; events, the bits of pg_trigger.tgtype: 4 INSERT, 8 DELETE, 16 UPDATE; except, names.
SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';') AS disable,
       string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';') AS enable
  FROM pg_trigger
 WHERE tgrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 20 > 0
   AND tgname <> ALL ('{set_updated_at}')
) AS t;
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
     WHERE (d.id, d.whatsapp_id, d.created_at) = (c.id, c.whatsapp_id, c.created_at) AND c.business_id = '00000000-0000-0000-0000-000000000001';
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
END $restore$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'conversations'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- restore the privileges of roles that were new
\echo 'Upgrading 000 -> 001, step 25 of 27: restore the privileges of roles that were new'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass('multi_tenant_archive.privileges') IS NOT NULL THEN
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
-- What the rollback took from roles that were new at 001. What a team dropped or renamed since is skipped, and named.
DO $restore$
DECLARE
    archived record;
BEGIN
    FOR archived IN SELECT statement, needs_role FROM multi_tenant_archive.privileges ORDER BY statement LOOP
        BEGIN
            IF to_regrole(quote_ident(archived.needs_role)) IS NULL THEN
                RAISE undefined_object USING MESSAGE = format('there is no role %I', archived.needs_role);
            END IF;
            EXECUTE archived.statement;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, archived.statement;
        END;
    END LOOP;
    DROP TABLE multi_tenant_archive.privileges;
END $restore$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- restore user names, drop multi_tenant_archive
\echo 'Upgrading 000 -> 001, step 26 of 27: restore user names, drop multi_tenant_archive'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regnamespace('multi_tenant_archive') IS NULL THEN
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
        SELECT disable, enable INTO triggers_off, triggers_on FROM (
-- A team's own triggers have no part in a move: the statements that disable them, and those that enable them again.
-- Inputs: moving, the tables; events, the bits of pg_trigger.tgtype: 4 INSERT, 8 DELETE, 16 UPDATE; except, names.
SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';') AS disable,
       string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';') AS enable
  FROM pg_trigger
 WHERE tgrelid IN (to_regclass('customers')) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 16 > 0
   AND tgname <> ALL ('{}')
) AS t;
        EXECUTE coalesce(triggers_off, '');  -- writers wait only where there are any
        UPDATE customers AS c SET whatsapp_user_id = d.whatsapp_user_id, username = d.username
          FROM multi_tenant_archive.default_customers AS d
         WHERE (d.id, d.whatsapp_id, d.created_at) = (c.id, c.whatsapp_id, c.created_at) AND c.business_id = '00000000-0000-0000-0000-000000000001';
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
    not_ours := (SELECT (
    SELECT string_agg(CASE WHEN odd THEN format('<U+%s>', upper(lpad(to_hex(code), 4, '0'))) ELSE c END, '' ORDER BY n)
           || CASE WHEN bool_or(odd) OR string_agg(c, '' ORDER BY n) LIKE '%: run %: run %' THEN ' (a name in it has control characters, or reads like a command: look at it first, and fix this by hand)' ELSE '' END
      FROM (SELECT *, code < 32 OR code BETWEEN 127 AND 159 OR code BETWEEN 8232 AND 8238 OR code BETWEEN 8294 AND 8297
                      OR code IN (8206, 8207, 65279) AS odd
              FROM (SELECT c, n, CASE WHEN octet_length(c) = 1 OR getdatabaseencoding() = 'UTF8' THEN ascii(c) ELSE 160 END AS code
                      FROM unnest(string_to_array(sentence #>> '{}', NULL)) WITH ORDINALITY AS parts (c, n)) AS coded) AS parts) FROM jsonb_path_query((
-- What a team keeps in the schema multi_tenant_archive, which the upgrade drops. JSON of sentences.
WITH ours (oid) AS (
    SELECT oid FROM pg_class
     WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r'
       AND relname IN ('user_businesses', 'users', 'whatsapp_numbers', 'businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
), not_ours (classid, objid) AS (
    SELECT classid, objid FROM pg_depend AS d
     WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace('multi_tenant_archive') AND deptype = 'n'
       AND (classid <> 'pg_class'::regclass OR objid NOT IN (SELECT oid FROM ours))
       AND (classid <> 'pg_proc'::regclass OR (objid IN (to_regprocedure('multi_tenant_archive.current_business_id()'), to_regprocedure('multi_tenant_archive.set_updated_at()'))) IS NOT TRUE)
       -- what belongs to a column of ours comes and goes with it
       AND NOT EXISTS (SELECT FROM pg_depend AS own WHERE (own.classid, own.objid) = (d.classid, d.objid) AND own.deptype IN ('a', 'i')
                          AND own.refclassid = 'pg_class'::regclass AND own.refobjid IN (SELECT oid FROM ours))
)
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('%s is in the schema multi_tenant_archive, which goes: run ALTER %s %s SET SCHEMA %I;', pg_describe_object(classid, objid, 0),
                         upper(replace(replace(type, 'composite ', ''), ' object', '')), identity, current_schema()) ORDER BY identity)
   FROM not_ours CROSS JOIN LATERAL pg_identify_object(classid, objid, 0))
) AS sentences
), '$[*][*]') AS added (sentence)
                  WHERE jsonb_typeof(sentence) = 'string' LIMIT 1);
    IF not_ours IS NOT NULL THEN  -- made since the check
        RAISE EXCEPTION '%', not_ours;
    END IF;
    DROP SCHEMA multi_tenant_archive;
END $restore$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'customers'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

BEGIN;

-- what a rollback gives back is complete
\echo 'Upgrading 000 -> 001, step 27 of 27: what a rollback gives back is complete'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM multi_tenant_rollback WHERE kind = 'number of rows') THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
SELECT 'fact', 'number of rows', count(*)::text, NULL, NULL FROM multi_tenant_rollback
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
                  coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
                  coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
      FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text = quote_ident(current_schema()))
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
     ORDER BY false OR l.relation = to_regclass('something') DESC NULLS LAST, a.xact_start LIMIT 1),
    'something' || ': nobody any more, or a prepared transaction (pg_prepared_xacts)') USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

UPDATE alembic_version SET version_num='001' WHERE alembic_version.version_num = '000';

COMMIT;

