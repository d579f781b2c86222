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
    IF recorded NOT IN ('001', '000') THEN
        RAISE EXCEPTION 'this script leads from revision 001 to 000, but alembic_version says %: nothing was changed; bring the database to 001 first', (
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
    WHEN level = 1 AND state IN ('many businesses', 'an upgrade was interrupted') THEN 'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back'
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

-- Build every index of a time whose type changes on an empty copy of the table, which is gone again at the end: what cannot be
-- built again is named before the first is dropped. Inputs: table; times; retyped, the condition on a row of
-- pg_attribute that its type changes; type, the new one; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    tried record;
BEGIN
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.customers') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE customers);
            EXECUTE coalesce((SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE timestamp', attname), ';')
                                FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'customers times' AND kind = 'type')), '');
            FOR tried IN SELECT index, replace(pg_get_indexdef(index), format(' INDEX %I ON %I.%I USING ', i.relname, nspname, t.relname), ' INDEX ON multi_tenant_trial USING ') AS definition
                           FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'customers times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS x (index) JOIN pg_class AS i ON i.oid = index
                           JOIN pg_class AS t ON t.oid = 'customers'::regclass JOIN pg_namespace AS n ON n.oid = t.relnamespace LOOP
                BEGIN
                    EXECUTE tried.definition;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('the index %1$s cannot be built again when its times of %2$s become %3$s (%4$s); keep its definition, and create one that can be afterwards: run DROP INDEX IF EXISTS %1$s;', tried.index, 'customers', 'timestamp', SQLERRM);
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
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) AND to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.conversations') IS NOT NULL THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE conversations);
            EXECUTE coalesce((SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE timestamp', attname), ';')
                                FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'conversations times' AND kind = 'type')), '');
            FOR tried IN SELECT index, replace(pg_get_indexdef(index), format(' INDEX %I ON %I.%I USING ', i.relname, nspname, t.relname), ' INDEX ON multi_tenant_trial USING ') AS definition
                           FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'conversations times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS x (index) JOIN pg_class AS i ON i.oid = index
                           JOIN pg_class AS t ON t.oid = 'conversations'::regclass JOIN pg_namespace AS n ON n.oid = t.relnamespace LOOP
                BEGIN
                    EXECUTE tried.definition;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('the index %1$s cannot be built again when its times of %2$s become %3$s (%4$s); keep its definition, and create one that can be afterwards: run DROP INDEX IF EXISTS %1$s;', tried.index, 'conversations', 'timestamp', SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_conversations', said::text, false);
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
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN
        refusals := refusals || jsonb_build_array(
'this database is distributed, or made ready for it: bring it back to one server first: run alembic -n scale downgrade bigint;'
        );
    END IF;
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
        refusals := refusals || jsonb_build_array(
(
-- What a rollback needs its role to be, and row level security. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('role %s does not own %s: run the rollback as the owner', current_user, string_agg(relname, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT format('row level security is forced on %s, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first',
               string_agg(relname, ' and '))
   FROM pg_class JOIN pg_roles ON rolname = current_user
  WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')) AND relforcerowsecurity AND NOT rolsuper AND NOT rolbypassrls HAVING count(*) > 0)
) AS sentences
)
        );
    END IF;
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') IS NOT NULL THEN
        refusals := refusals || jsonb_build_array(
'the table multi_tenant_rollback, which says what the rollback is to give back, is missing: restore it from a backup, or run alembic -x canonical=yes downgrade 000, which gives the two tables the form of revision 000'
        );
    END IF;
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) THEN
        refusals := refusals || jsonb_build_array(
(
-- Whether rows are missing in the table of what a rollback gives back; asked where it is there.
SELECT CASE WHEN coalesce((SELECT statement::bigint FROM multi_tenant_rollback WHERE kind = 'number of rows'), 9e9)
          > (SELECT count(*) FROM multi_tenant_rollback WHERE kind <> 'number of rows') THEN
    'rows are missing in the table multi_tenant_rollback, which says what the rollback is to give back: restore the table from a backup, or run alembic -x canonical=yes downgrade 000, which gives the two tables the form of revision 000' END
)
        );
    END IF;
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN
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
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN
        refusals := refusals || jsonb_build_array(
(
-- What stands in the way of a rollback. JSON of sentences.
WITH changing (relid, attnum, is_time, goes) AS (
    SELECT attrelid, attnum, false, true FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    UNION ALL SELECT attrelid, attnum, true, false FROM pg_attribute JOIN pg_class AS t ON t.oid = attrelid
                JOIN multi_tenant_rollback ON phase = relname || ' times' AND kind = 'type' AND needs_column = attname
               WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
)
SELECT jsonb_build_array(
CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN
    format('this transaction is %s, and a rollback must see what others commit while it waits: run it in a READ COMMITTED one', upper(current_setting('transaction_isolation'))) END,
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback needs the name: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I;',
           current_user, current_database(), current_user) END,
(SELECT jsonb_agg(format('the foreign key %1$s of table %2$s refers to business_id of %3$s, which the single-business schema does not have: run ALTER TABLE %2$s DROP CONSTRAINT IF EXISTS %4$I;',
                          conname, conrelid::regclass, confrelid::regclass, conname) ORDER BY conname)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') AND confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')),
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
)
) AS sentences
)
        );
    END IF;
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' AND cardinality(conkey) = 2) THEN
        refusals := refusals || jsonb_build_array(
(
-- No row is deleted under a foreign key, whatever its ON DELETE says: a query for each key finds its rows.
SELECT jsonb_agg(jsonb_build_object('query', format('SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE (%s) %s)',
                         format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                conname, conrelid::regclass, confrelid::regclass),
                         conrelid::regclass, confrelid::regclass,
                         (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                            JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                            JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                         format('%1$s.business_id <> ''00000000-0000-0000-0000-000000000001'' OR length(%1$s.whatsapp_id) > coalesce(%2$s, 2147483647)', 't', it.longest),
                         CASE WHEN own.oid IS NOT NULL THEN format('AND NOT (%s)', format('%1$s.business_id <> ''00000000-0000-0000-0000-000000000001'' OR length(%1$s.whatsapp_id) > coalesce(%2$s, 2147483647)', 'o', own.longest)) END)))
  FROM pg_constraint
  JOIN (VALUES (to_regclass('customers'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id')), (to_regclass('conversations'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'))) AS it (oid, longest)
    ON it.oid = confrelid
  LEFT JOIN (VALUES (to_regclass('customers'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id')), (to_regclass('conversations'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'))) AS own (oid, longest)
    ON own.oid = conrelid
 WHERE contype = 'f'
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
    IF to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL AND NOT to_regprocedure(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.single_business_only()') IS NOT NULL AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') AND pg_has_role(relowner, 'USAGE')) THEN
        announced := announced || jsonb_build_array(
(
-- What a rollback keeps, and what it does not. JSON of sentences.
SELECT jsonb_build_array(
'multi_tenant_archive keeps: ' || coalesce((SELECT string_agg(concat_ws(' ', n, name), ', ') FROM (
            SELECT count(*) AS n, 'other businesses' AS name FROM businesses WHERE id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'WhatsApp numbers' FROM whatsapp_numbers
            UNION ALL SELECT count(*), 'users' FROM users
            UNION ALL SELECT count(*), 'customers of other businesses' FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'messages of other businesses' FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'own customers whose WhatsApp id is too long' FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647) AND business_id = '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'own messages whose WhatsApp id is too long' FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647) AND business_id = '00000000-0000-0000-0000-000000000001'
            UNION ALL SELECT count(*), 'user names of own customers' FROM customers WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_user_id, username) > 0 AND NOT (business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647))
            UNION ALL SELECT count(*), 'links of own messages' FROM conversations WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_number_id, whatsapp_message_id) > 0 AND NOT (business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647))
            UNION ALL SELECT count(*), 'change of the default business' FROM businesses WHERE id = '00000000-0000-0000-0000-000000000001' AND to_jsonb(businesses) - '{id,created_at,updated_at}'::text[] IS DISTINCT FROM '{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}'
            UNION ALL SELECT 1, 'set of changes to the new tables' WHERE ((SELECT statement FROM multi_tenant_rollback WHERE kind = 'the new tables as made') IS DISTINCT FROM (
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
))) AS t
             WHERE n > 0), 'nothing, for there is nothing to keep'),
(SELECT jsonb_agg(format('%s loses what it was granted after the upgrade (%s), for nothing confines it after a rollback%s', CASE role WHEN 'PUBLIC' THEN role ELSE 'role ' || role END, what,
                          CASE WHEN again THEN '; the next upgrade grants it again' ELSE '' END) ORDER BY role)
   FROM (SELECT role, again, string_agg(format('%s on %s', privileges, object), '; ' ORDER BY object) AS what
           FROM (SELECT role, again, object, string_agg(DISTINCT privilege_type || columns, ', ') AS privileges
                   FROM (SELECT * FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'customers', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT 'customers', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('customers')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of customers'))) AS l UNION ALL SELECT * FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'conversations', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT 'conversations', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('conversations')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of conversations'))) AS l) AS l GROUP BY role, again, object) AS l
          GROUP BY role, again) AS l),
        -- What goes with a column of the two tables and is not ours.
(SELECT 'goes with the columns of the two tables; create it again after the next upgrade: ' || string_agg(definition, '; ') FROM (
            SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(k.oid))
              FROM pg_constraint AS k WHERE conrelid IN (to_regclass('customers'), to_regclass('conversations')) AND contype <> 'n' AND conname <> ALL ('{fk_customers_businesses,fk_conversations_businesses,fk_conversations_whatsapp_numbers,ix_conversations_timestamp,ix_conversations_whatsapp_id,ix_conversations_business_id_whatsapp_id_timestamp,ix_conversations_business_id_whatsapp_number_id,uq_conversations_business_id_whatsapp_message_id,uq_customers_business_id_whatsapp_user_id,uq_customers_business_id_whatsapp_id}') AND EXISTS (
                   SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id'))
            UNION ALL SELECT pg_get_indexdef(indexrelid)
              FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
             WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relname <> ALL ('{fk_customers_businesses,fk_conversations_businesses,fk_conversations_whatsapp_numbers,ix_conversations_timestamp,ix_conversations_whatsapp_id,ix_conversations_business_id_whatsapp_id_timestamp,ix_conversations_business_id_whatsapp_number_id,uq_conversations_business_id_whatsapp_message_id,uq_customers_business_id_whatsapp_user_id,uq_customers_business_id_whatsapp_id}') AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
               AND EXISTS (SELECT FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                            WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id'))
            UNION ALL SELECT format('GRANT %s (%I) ON %s TO %s', privilege_type, attname, attrelid::regclass, grantee::regrole)
              FROM pg_attribute, aclexplode(attacl)
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id') AND grantee NOT IN (0, to_regrole('app_tenant'), to_regrole('app_service'))
            UNION ALL SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext AS s JOIN pg_attribute ON attrelid = stxrelid AND attnum = ANY (stxkeys)
             WHERE stxrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')) AS l (definition))
) AS sentences
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

-- Running downgrade 001 -> 000

COMMIT;

-- what a rollback gives back
\echo 'Downgrading 001 -> 000, step 1 of 18: what a rollback gives back'

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

-- customers: only the default business writes
\echo 'Downgrading 001 -> 000, step 2 of 18: customers: only the default business writes'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'this database is being rolled back to one business' ) OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ) THEN
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
-- From here on until the columns are gone, nothing that the old schema cannot hold is written: the CHECK and the
-- AFTER triggers see a row as it is stored, whatever triggers of a team changed it.
DO $only$
BEGIN
    IF to_regprocedure(quote_ident(current_schema()) || '.single_business_only()') IS NULL THEN
        CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
        BEGIN
            RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
        END $function$;
    END IF;
    EXECUTE format('ALTER TABLE customers ADD CONSTRAINT "this database is being rolled back to one business" CHECK (%s) NOT VALID',
                   concat($$business_id = '00000000-0000-0000-0000-000000000001'$$, ' AND length(whatsapp_id) <= ' || (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id')));
END $only$;
CREATE TRIGGER single_business_only AFTER INSERT ON customers FOR EACH ROW
    WHEN (num_nonnulls(NEW.whatsapp_user_id, NEW.username) > 0) EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_update AFTER UPDATE ON customers FOR EACH ROW
    WHEN ((NEW.whatsapp_user_id, NEW.username) IS DISTINCT FROM (OLD.whatsapp_user_id, OLD.username)) EXECUTE FUNCTION single_business_only();
ALTER TABLE customers ENABLE ALWAYS TRIGGER single_business_only, ENABLE ALWAYS TRIGGER single_business_update;
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

-- conversations: only the default business writes
\echo 'Downgrading 001 -> 000, step 3 of 18: conversations: only the default business writes'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'this database is being rolled back to one business' ) OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('conversations') AND attname = 'business_id' ) THEN
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
-- From here on until the columns are gone, nothing that the old schema cannot hold is written: the CHECK and the
-- AFTER triggers see a row as it is stored, whatever triggers of a team changed it.
DO $only$
BEGIN
    IF to_regprocedure(quote_ident(current_schema()) || '.single_business_only()') IS NULL THEN
        CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
        BEGIN
            RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
        END $function$;
    END IF;
    EXECUTE format('ALTER TABLE conversations ADD CONSTRAINT "this database is being rolled back to one business" CHECK (%s) NOT VALID',
                   concat($$business_id = '00000000-0000-0000-0000-000000000001'$$, ' AND length(whatsapp_id) <= ' || (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id')));
END $only$;
CREATE TRIGGER single_business_only AFTER INSERT ON conversations FOR EACH ROW
    WHEN (num_nonnulls(NEW.whatsapp_number_id, NEW.whatsapp_message_id) > 0) EXECUTE FUNCTION single_business_only();
CREATE TRIGGER single_business_update AFTER UPDATE ON conversations FOR EACH ROW
    WHEN ((NEW.whatsapp_number_id, NEW.whatsapp_message_id) IS DISTINCT FROM (OLD.whatsapp_number_id, OLD.whatsapp_message_id)) EXECUTE FUNCTION single_business_only();
ALTER TABLE conversations ENABLE ALWAYS TRIGGER single_business_only, ENABLE ALWAYS TRIGGER single_business_update;
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

-- user_businesses, users, whatsapp_numbers, businesses: read only
\echo 'Downgrading 001 -> 000, step 4 of 18: user_businesses, users, whatsapp_numbers, businesses: read only'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('businesses') AND tgname = 'single_business_only') OR NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
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
CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON user_businesses EXECUTE FUNCTION single_business_only();

ALTER TABLE user_businesses ENABLE ALWAYS TRIGGER single_business_only;

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON users EXECUTE FUNCTION single_business_only();

ALTER TABLE users ENABLE ALWAYS TRIGGER single_business_only;

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON whatsapp_numbers EXECUTE FUNCTION single_business_only();

ALTER TABLE whatsapp_numbers ENABLE ALWAYS TRIGGER single_business_only;

CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON businesses EXECUTE FUNCTION single_business_only();

ALTER TABLE businesses ENABLE ALWAYS TRIGGER single_business_only;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'businesses'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- move what one business cannot hold to multi_tenant_archive
\echo 'Downgrading 001 -> 000, step 5 of 18: move what one business cannot hold to multi_tenant_archive'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL OR to_regnamespace('multi_tenant_archive') IS NOT NULL OR NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' ) THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
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
    IF NOT (EXISTS (SELECT FROM businesses WHERE id <> '00000000-0000-0000-0000-000000000001' OR id = '00000000-0000-0000-0000-000000000001' AND to_jsonb(businesses) - '{id,created_at,updated_at}'::text[] IS DISTINCT FROM '{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}') OR EXISTS (SELECT FROM whatsapp_numbers)
            OR EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM user_businesses)
            OR EXISTS (SELECT FROM conversations WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_number_id, whatsapp_message_id) > 0) OR EXISTS (SELECT FROM customers WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_user_id, username) > 0)
            OR EXISTS (SELECT FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647)) OR EXISTS (SELECT FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647))
            OR ((SELECT statement FROM multi_tenant_rollback WHERE kind = 'the new tables as made') IS DISTINCT FROM (
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
)) OR EXISTS (SELECT FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'customers', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT 'customers', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('customers')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of customers'))) AS l WHERE again) OR EXISTS (SELECT FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'conversations', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT 'conversations', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('conversations')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of conversations'))) AS l WHERE again)) THEN
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
        SELECT id, whatsapp_id, created_at, whatsapp_user_id, username FROM customers WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_user_id, username) > 0 AND NOT (business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647));
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_id, created_at, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE business_id = '00000000-0000-0000-0000-000000000001' AND num_nonnulls(whatsapp_number_id, whatsapp_message_id) > 0 AND NOT (business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647));
    CREATE TABLE multi_tenant_archive.privileges AS
        SELECT DISTINCT format('GRANT %s%s ON %s TO %s%s', privilege_type, columns, object, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement, rolname AS needs_role
          FROM (SELECT * FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'customers', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT 'customers', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('customers')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of customers'))) AS l UNION ALL SELECT * FROM (-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'conversations', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT 'conversations', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('conversations')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of conversations'))) AS l) AS later WHERE again;
    SELECT disable, enable INTO triggers_off, triggers_on FROM (
-- A team's own triggers have no part in a move: the statements that disable them, and those that enable them again.
-- Inputs: moving, the tables; events, the bits of pg_trigger.tgtype: 4 INSERT, 8 DELETE, 16 UPDATE; except, names.
SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';') AS disable,
       string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';') AS enable
  FROM pg_trigger
 WHERE tgrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 8 > 0
   AND tgname <> ALL ('{}')
) AS t;
    EXECUTE coalesce(triggers_off, '');  -- writers wait only where there are any
    -- Rows are locked, not tables: a new reference to one of them waits, and is refused after the move.
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('customers'), to_regclass('conversations'))) THEN
        PERFORM FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647) FOR UPDATE;
        PERFORM FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647) FOR UPDATE;
    END IF;
    FOR question IN SELECT asked ->> 'query' FROM jsonb_array_elements((
-- No row is deleted under a foreign key, whatever its ON DELETE says: a query for each key finds its rows.
SELECT jsonb_agg(jsonb_build_object('query', format('SELECT %L WHERE EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE (%s) %s)',
                         format('the foreign key %s of table %s refers to rows of %s of other businesses, which a rollback moves to the archive: move those rows of %2$s away first',
                                conname, conrelid::regclass, confrelid::regclass),
                         conrelid::regclass, confrelid::regclass,
                         (SELECT string_agg(format('o.%I = t.%I', a.attname, b.attname), ' AND ') FROM unnest(conkey, confkey) AS pair (x, y)
                            JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = x
                            JOIN pg_attribute AS b ON b.attrelid = confrelid AND b.attnum = y),
                         format('%1$s.business_id <> ''00000000-0000-0000-0000-000000000001'' OR length(%1$s.whatsapp_id) > coalesce(%2$s, 2147483647)', 't', it.longest),
                         CASE WHEN own.oid IS NOT NULL THEN format('AND NOT (%s)', format('%1$s.business_id <> ''00000000-0000-0000-0000-000000000001'' OR length(%1$s.whatsapp_id) > coalesce(%2$s, 2147483647)', 'o', own.longest)) END)))
  FROM pg_constraint
  JOIN (VALUES (to_regclass('customers'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id')), (to_regclass('conversations'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'))) AS it (oid, longest)
    ON it.oid = confrelid
  LEFT JOIN (VALUES (to_regclass('customers'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id')), (to_regclass('conversations'), (SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'))) AS own (oid, longest)
    ON own.oid = conrelid
 WHERE contype = 'f'
)) AS asked LOOP
        EXECUTE question INTO refusal;
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION '%', refusal;
        END IF;
    END LOOP;
    -- One statement: each row is archived as it was deleted, and a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id'), 2147483647) RETURNING *),
         people AS (DELETE FROM customers WHERE business_id <> '00000000-0000-0000-0000-000000000001' OR length(whatsapp_id) > coalesce((SELECT substring(statement FROM '\((\d+)\)')::int FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id'), 2147483647) RETURNING *),
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
END $archive$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- The archive is its owner's; a foreign key to a table in it is asked as that table's owner.
SELECT DISTINCT format('REVOKE ALL ON SCHEMA multi_tenant_archive FROM %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner
UNION ALL SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', pg_class.oid::regclass, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_class, aclexplode(relacl)
 WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r' AND grantee <> relowner AND relname <> ALL ('{user_businesses,users,whatsapp_numbers,businesses}')
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

-- prove that customers holds one business
\echo 'Downgrading 001 -> 000, step 6 of 18: prove that customers holds one business'

SET lock_timeout = '60000ms';
SELECT 'ALTER TABLE customers VALIDATE CONSTRAINT "this database is being rolled back to one business"' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'this database is being rolled back to one business' AND NOT convalidated) \gexec
SET lock_timeout = '200ms';

-- prove that conversations holds one business
\echo 'Downgrading 001 -> 000, step 7 of 18: prove that conversations holds one business'

SET lock_timeout = '60000ms';
SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT "this database is being rolled back to one business"' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'this database is being rolled back to one business' AND NOT convalidated) \gexec
SET lock_timeout = '200ms';

-- remembered indexes can be built
\echo 'Downgrading 001 -> 000, step 8 of 18: remembered indexes can be built'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT EXISTS (SELECT FROM multi_tenant_rollback WHERE phase = 'unique') THEN
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
         WHERE phase = 'unique' ORDER BY id
    LOOP
        CONTINUE WHEN wanted.trial = wanted.statement;  -- never on the table itself
        BEGIN
            EXECUTE format('CREATE TABLE multi_tenant_rollback_try (LIKE %I)', wanted.tab);
            EXECUTE wanted.trial;
            DROP TABLE multi_tenant_rollback_try;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, wanted.statement;
            IF 'unique' = 'unique' THEN
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

-- what kept whatsapp_id unique
\echo 'Downgrading 001 -> 000, step 9 of 18: what kept whatsapp_id unique'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'unique' AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' )) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'unique' AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'business_id' )) AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SET lock_timeout = '200ms';

-- customers: back to one business
\echo 'Downgrading 001 -> 000, step 10 of 18: customers: back to one business'

DO $step$
#variable_conflict use_column
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

DROP TRIGGER single_business_update ON customers;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Statements that take from later roles what row level security confined until now. What a role with the grant option granted
-- falls with that option only: the owner then grants anew what others keep. Inputs: those of 001_later_roles.sql.
WITH later AS (
-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'customers', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('customers')
        UNION ALL SELECT 'customers', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('customers')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of customers'))
),
by_others AS (SELECT DISTINCT object, privilege_type, grantor FROM later WHERE grantor <> relowner),
held AS (
    SELECT 'customers' AS object, '' AS columns, relowner, relacl AS acl FROM pg_class WHERE oid = to_regclass('customers')
    UNION ALL SELECT 'customers', format(' (%I)', attname), relowner, attacl
      FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('customers')
)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON %s FROM %s CASCADE', privilege_type, object, grantor::regrole) FROM by_others
    UNION SELECT 2, format('GRANT %s%s ON %s TO %s%s', e.privilege_type, columns, object, e.grantee::regrole, CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM held CROSS JOIN LATERAL aclexplode(acl) AS e
     WHERE e.grantee NOT IN (0, relowner) AND e.grantee NOT IN (SELECT later.grantee FROM later) AND (object, e.privilege_type) IN (SELECT object, privilege_type FROM by_others)
    UNION SELECT 3, format('REVOKE %s%s ON %s FROM %s CASCADE', privilege_type, columns, object, role) FROM later
) AS s (stage, statement) ORDER BY stage, statement
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY app_tenant ON customers' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('customers') AND polname = 'app_tenant' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY app_service ON customers' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('customers') AND polname = 'app_service' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY single_business ON customers' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('customers') AND polname = 'single_business' )
) AS s (statement)), ''); END $statements$;

ALTER TABLE customers DISABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'REVOKE ALL ON customers FROM ' || rolname FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service')
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON SEQUENCE %s FROM %s', numbers.oid::regclass, rolname) FROM pg_roles, (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('customers')) AS numbers (oid) WHERE rolname IN ('app_tenant', 'app_service')
) AS s (statement)), ''); END $statements$;

DROP TRIGGER IF EXISTS set_updated_at ON customers;

-- The table as the single-business schema has it, by what the upgrade remembered.
ALTER TABLE customers DROP CONSTRAINT "this database is being rolled back to one business";
ALTER TABLE customers DROP COLUMN IF EXISTS business_id, DROP COLUMN IF EXISTS whatsapp_user_id, DROP COLUMN IF EXISTS username;
-- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN (SELECT grantee::regrole::text AS role
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
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls)
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = 'customers' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$;
-- An index on a time is dropped here, and built again concurrently.
INSERT INTO multi_tenant_rollback (phase, kind, statement)
    SELECT 'rollback', again.* FROM (
-- The indexes of the times as statements that build them again, and what an index carries beside its definition.
-- Inputs: table; times; retyped, a condition on a row of pg_attribute. A kind that begins with "mark" ends with the index.
SELECT 'index of customers' AS kind,
       left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS statement
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'customers times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i) JOIN pg_index AS x ON indexrelid = i JOIN pg_class AS c ON c.oid = i
  LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT pg_get_indexdef(i) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
UNION ALL
SELECT format('mark of customers %s', i), mark
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'customers times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i) CROSS JOIN LATERAL (
    SELECT format('COMMENT ON INDEX %s IS %L', i, obj_description(i, 'pg_class')) WHERE obj_description(i, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE customers CLUSTER ON %s', (SELECT quote_ident(relname) FROM pg_class WHERE oid = i)) FROM pg_index WHERE indexrelid = i AND indisclustered
    UNION ALL SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i, attnum, attstattarget) FROM pg_attribute WHERE attrelid = i AND attstattarget >= 0
  ) AS marks (mark)
) AS again;
DO $back$
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
    narrow text := (SELECT statement FROM multi_tenant_rollback WHERE phase = 'customers whatsapp_id');
BEGIN
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{created_at,updated_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'customers times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i)), '');
    -- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN (SELECT grantee::regrole::text AS role
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
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls)
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = 'customers times' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$;
    -- A narrower type writes the table anew while everybody waits: only where that is over at once.
    BEGIN
        IF pg_table_size('customers') > 8388608 THEN
            RAISE feature_not_supported USING MESSAGE = 'everybody would wait while the table is written anew';
        END IF;
        EXECUTE coalesce(narrow, '');
    EXCEPTION WHEN feature_not_supported THEN
        IF narrow IS NOT NULL THEN
            RAISE NOTICE 'customers.whatsapp_id stays as wide as it is (%): in a quiet hour run %', SQLERRM, narrow;
        END IF;
    END;
    EXECUTE coalesce(kept, '');
END $back$;

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

-- conversations: back to one business
\echo 'Downgrading 001 -> 000, step 11 of 18: conversations: back to one business'

DO $step$
#variable_conflict use_column
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

DROP TRIGGER single_business_update ON conversations;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Statements that take from later roles what row level security confined until now. What a role with the grant option granted
-- falls with that option only: the owner then grants anew what others keep. Inputs: those of 001_later_roles.sql.
WITH later AS (
-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT 'conversations', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('conversations')
        UNION ALL SELECT 'conversations', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('conversations')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM multi_tenant_rollback WHERE kind = 'role of conversations'))
),
by_others AS (SELECT DISTINCT object, privilege_type, grantor FROM later WHERE grantor <> relowner),
held AS (
    SELECT 'conversations' AS object, '' AS columns, relowner, relacl AS acl FROM pg_class WHERE oid = to_regclass('conversations')
    UNION ALL SELECT 'conversations', format(' (%I)', attname), relowner, attacl
      FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('conversations')
)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON %s FROM %s CASCADE', privilege_type, object, grantor::regrole) FROM by_others
    UNION SELECT 2, format('GRANT %s%s ON %s TO %s%s', e.privilege_type, columns, object, e.grantee::regrole, CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM held CROSS JOIN LATERAL aclexplode(acl) AS e
     WHERE e.grantee NOT IN (0, relowner) AND e.grantee NOT IN (SELECT later.grantee FROM later) AND (object, e.privilege_type) IN (SELECT object, privilege_type FROM by_others)
    UNION SELECT 3, format('REVOKE %s%s ON %s FROM %s CASCADE', privilege_type, columns, object, role) FROM later
) AS s (stage, statement) ORDER BY stage, statement
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY app_tenant ON conversations' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('conversations') AND polname = 'app_tenant' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY app_service ON conversations' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('conversations') AND polname = 'app_service' )
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP POLICY single_business ON conversations' WHERE EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('conversations') AND polname = 'single_business' )
) AS s (statement)), ''); END $statements$;

ALTER TABLE conversations DISABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'REVOKE ALL ON conversations FROM ' || rolname FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service')
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON SEQUENCE %s FROM %s', numbers.oid::regclass, rolname) FROM pg_roles, (SELECT refobjid FROM pg_attrdef
  JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
  JOIN pg_sequence ON seqrelid = refobjid
 WHERE adrelid = to_regclass('conversations')) AS numbers (oid) WHERE rolname IN ('app_tenant', 'app_service')
) AS s (statement)), ''); END $statements$;

-- The table as the single-business schema has it, by what the upgrade remembered.
ALTER TABLE conversations DROP CONSTRAINT "this database is being rolled back to one business";
ALTER TABLE conversations DROP COLUMN IF EXISTS business_id, DROP COLUMN IF EXISTS whatsapp_number_id, DROP COLUMN IF EXISTS whatsapp_message_id;
-- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN (SELECT grantee::regrole::text AS role
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
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls)
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = 'conversations' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$;
-- An index on a time is dropped here, and built again concurrently.
INSERT INTO multi_tenant_rollback (phase, kind, statement)
    SELECT 'rollback', again.* FROM (
-- The indexes of the times as statements that build them again, and what an index carries beside its definition.
-- Inputs: table; times; retyped, a condition on a row of pg_attribute. A kind that begins with "mark" ends with the index.
SELECT 'index of conversations' AS kind,
       left(definition, length(definition) - length(filter)) || coalesce(' TABLESPACE ' || quote_ident(spcname), '') || filter AS statement
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'conversations times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i) JOIN pg_index AS x ON indexrelid = i JOIN pg_class AS c ON c.oid = i
  LEFT JOIN pg_tablespace AS space ON space.oid = reltablespace
 CROSS JOIN LATERAL (SELECT pg_get_indexdef(i) AS definition, coalesce(' WHERE ' || pg_get_expr(indpred, indrelid), '') AS filter) AS d
UNION ALL
SELECT format('mark of conversations %s', i), mark
  FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'conversations times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i) CROSS JOIN LATERAL (
    SELECT format('COMMENT ON INDEX %s IS %L', i, obj_description(i, 'pg_class')) WHERE obj_description(i, 'pg_class') IS NOT NULL
    UNION ALL SELECT format('ALTER TABLE conversations CLUSTER ON %s', (SELECT quote_ident(relname) FROM pg_class WHERE oid = i)) FROM pg_index WHERE indexrelid = i AND indisclustered
    UNION ALL SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', i, attnum, attstattarget) FROM pg_attribute WHERE attrelid = i AND attstattarget >= 0
  ) AS marks (mark)
) AS again;
DO $back$
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
    narrow text := (SELECT statement FROM multi_tenant_rollback WHERE phase = 'conversations whatsapp_id');
BEGIN
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM (
-- Indexes that hold a time whose type changes. Inputs: table; times; retyped, a condition on a row of pg_attribute.
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY ('{timestamp,created_at}') AND attname IN (SELECT needs_column FROM multi_tenant_rollback WHERE phase = 'conversations times' AND kind = 'type'))
 ORDER BY indexrelid::regclass::text
) AS t (i)), '');
    -- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN (SELECT grantee::regrole::text AS role
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
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls)
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = 'conversations times' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$;
    -- A narrower type writes the table anew while everybody waits: only where that is over at once.
    BEGIN
        IF pg_table_size('conversations') > 8388608 THEN
            RAISE feature_not_supported USING MESSAGE = 'everybody would wait while the table is written anew';
        END IF;
        EXECUTE coalesce(narrow, '');
    EXCEPTION WHEN feature_not_supported THEN
        IF narrow IS NOT NULL THEN
            RAISE NOTICE 'conversations.whatsapp_id stays as wide as it is (%): in a quiet hour run %', SQLERRM, narrow;
        END IF;
    END;
    EXECUTE coalesce(kept, '');
END $back$;

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
\echo 'Downgrading 001 -> 000, step 12 of 18: statistics of customers'

SET lock_timeout = '60000ms';
SELECT 'ANALYZE customers' WHERE EXISTS (SELECT FROM customers) \gexec
SET lock_timeout = '200ms';

-- statistics of conversations
\echo 'Downgrading 001 -> 000, step 13 of 18: statistics of conversations'

SET lock_timeout = '60000ms';
SELECT 'ANALYZE conversations' WHERE EXISTS (SELECT FROM conversations) \gexec
SET lock_timeout = '200ms';

-- remembered indexes can be built
\echo 'Downgrading 001 -> 000, step 14 of 18: remembered indexes can be built'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT EXISTS (SELECT FROM multi_tenant_rollback WHERE phase = 'rollback') THEN
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
         WHERE phase = 'rollback' ORDER BY id
    LOOP
        CONTINUE WHEN wanted.trial = wanted.statement;  -- never on the table itself
        BEGIN
            EXECUTE format('CREATE TABLE multi_tenant_rollback_try (LIKE %I)', wanted.tab);
            EXECUTE wanted.trial;
            DROP TABLE multi_tenant_rollback_try;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, wanted.statement;
            IF 'rollback' = 'unique' THEN
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
\echo 'Downgrading 001 -> 000, step 15 of 18: indexes of the times of customers'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind = 'index of customers') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind = 'index of customers') AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')) || '.' || name) IS NULL \gexec
SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind LIKE 'mark of customers %' AND to_regclass(substr(kind, length('mark of customers ') + 1)) IS NOT NULL \gexec
SET lock_timeout = '200ms';

-- indexes of the times of conversations
\echo 'Downgrading 001 -> 000, step 16 of 18: indexes of the times of conversations'

SET lock_timeout = '60000ms';
SELECT 'DROP INDEX CONCURRENTLY ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind = 'index of conversations') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) AND NOT indisvalid \gexec
SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind = 'index of conversations') AS wanted (d)) AS w WHERE to_regclass((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('conversations')) || '.' || name) IS NULL \gexec
SELECT statement FROM multi_tenant_rollback WHERE phase = 'rollback' AND kind LIKE 'mark of conversations %' AND to_regclass(substr(kind, length('mark of conversations ') + 1)) IS NOT NULL \gexec
SET lock_timeout = '200ms';

BEGIN;

-- put the new tables aside, drop functions and privileges
\echo 'Downgrading 001 -> 000, step 17 of 18: put the new tables aside, drop functions and privileges'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.businesses') IS NOT NULL THEN
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
-- With an archive the new tables go there as they are, with all that a team added; without one they held nothing.
DROP TRIGGER single_business_only ON businesses;
DROP TRIGGER single_business_only ON whatsapp_numbers;
DROP TRIGGER single_business_only ON users;
DROP TRIGGER single_business_only ON user_businesses;
DROP FUNCTION single_business_only();
DO $aside$ BEGIN
IF to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    ALTER TABLE businesses SET SCHEMA multi_tenant_archive;
    ALTER TABLE whatsapp_numbers SET SCHEMA multi_tenant_archive;
    ALTER TABLE users SET SCHEMA multi_tenant_archive;
    ALTER TABLE user_businesses SET SCHEMA multi_tenant_archive;
    IF to_regprocedure(quote_ident(current_schema()) || '.current_business_id()') IS NOT NULL THEN
        ALTER FUNCTION current_business_id() SET SCHEMA multi_tenant_archive;
    END IF;
    IF to_regprocedure(quote_ident(current_schema()) || '.set_updated_at()') IS NOT NULL THEN
        ALTER FUNCTION set_updated_at() SET SCHEMA multi_tenant_archive;
    END IF;
ELSE
    DROP TABLE businesses, whatsapp_numbers, users, user_businesses;
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.current_business_id(), %1$I.set_updated_at()', current_schema());
END IF;
END $aside$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- The archive is its owner's; a foreign key to a table in it is asked as that table's owner.
SELECT DISTINCT format('REVOKE ALL ON SCHEMA multi_tenant_archive FROM %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner
UNION ALL SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', pg_class.oid::regclass, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_class, aclexplode(relacl)
 WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r' AND grantee <> relowner AND relname <> ALL ('{user_businesses,users,whatsapp_numbers,businesses}')
) AS s (statement)), ''); END $statements$;

-- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN (SELECT grantee::regrole::text AS role
  FROM (SELECT relowner, columns, entry.*
  FROM pg_class CROSS JOIN LATERAL (
           SELECT '' AS columns, relacl AS acl
           UNION ALL SELECT format('(%I)', attname), attacl FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
       ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry
 WHERE pg_class.oid = to_regclass('end')) AS held JOIN pg_roles ON pg_roles.oid = grantee
 WHERE NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
UNION
SELECT everything.rolname::text
  FROM pg_class, pg_roles AS everything JOIN pg_roles AS reader ON pg_has_role(reader.oid, everything.oid, 'MEMBER')
 WHERE pg_class.oid = to_regclass('end') AND everything.rolname IN ('pg_read_all_data', 'pg_write_all_data')
   AND reader.oid NOT IN (everything.oid, relowner) AND NOT reader.rolsuper AND NOT reader.rolbypassrls)
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = 'end' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$;

DROP TABLE multi_tenant_rollback;

DROP POLICY IF EXISTS app_service ON alembic_version;

ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'REVOKE ALL ON alembic_version FROM app_service' WHERE to_regrole('app_service') IS NOT NULL
) AS s (statement)), ''); END $statements$;

DO $statements$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE USAGE ON SCHEMA %I FROM %s', nspname, grantee::regrole) FROM pg_namespace, aclexplode(nspacl) WHERE nspname = current_schema() AND grantee IN (to_regrole('app_tenant'), to_regrole('app_service'))
) AS s (statement)), ''); END $statements$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (finished steps are kept)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'businesses'), a.pid, coalesce(quote_ident(a.usename), a.backend_type),
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

-- forget what a rollback gives back
\echo 'Downgrading 001 -> 000, step 18 of 18: forget what a rollback gives back'

DO $step$
#variable_conflict use_column
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF NOT to_regclass(coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), quote_ident(current_schema())) || '.multi_tenant_rollback') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
DROP TABLE multi_tenant_rollback;
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

UPDATE alembic_version SET version_num='000' WHERE alembic_version.version_num = '001';

COMMIT;

