BEGIN;

SET LOCAL timezone = 'UTC';
SET LOCAL lock_timeout = '200ms';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '500ms', true); EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$;
SET LOCAL client_min_messages = notice;
SET LOCAL standard_conforming_strings = on;
SET LOCAL quote_all_identifiers = off;
SET LOCAL plpgsql.extra_errors = 'none';
DO $$ BEGIN PERFORM set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'; END $$;

DO $head$
DECLARE
    recorded text;
    attempts int := 20;
BEGIN
    -- Not waited for long: the other run's concurrent index builds would wait for this one's snapshot.
    WHILE NOT pg_try_advisory_xact_lock(8602261712448021869) LOOP
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
        RAISE EXCEPTION 'this script leads from revision base to 001, but alembic_version says %: nothing was changed; bring the database to base first', recorded;
    END IF;
END $head$;

CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 000

DO $wait$
BEGIN
    SET LOCAL lock_timeout = '60000ms';
    EXECUTE coalesce((SELECT format('LOCK TABLE %s IN ACCESS SHARE MODE', string_agg(t::text, ', '))
                        FROM unnest(ARRAY[to_regclass('customers'), to_regclass('conversations')]) AS t
                         JOIN pg_class ON oid = t AND relkind = 'r' WHERE has_table_privilege(t, 'SELECT') HAVING count(*) > 0), '');
    SET LOCAL lock_timeout = '200ms';
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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
    IF true THEN
        refusal := coalesce(
CASE WHEN current_setting('server_version_num')::int < 150000 THEN
    format('the server is PostgreSQL %s, but this schema needs 15 or later: upgrade the server first', current_setting('server_version')) END,
(SELECT format('%s is in schema %s, but new tables would go to %s: run ALTER DATABASE %I SET search_path TO %2$s, %s (and ALTER ROLE ... SET for a role that sets it), and the same command again',
               relname, nspname, current_schema(), current_database(), current_setting('search_path'))
   FROM (SELECT relname, quote_ident(nspname) AS nspname, nspname AS there FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
          WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS t
  WHERE there <> current_schema() LIMIT 1),
(SELECT format('the tables of this database do not fit revision 000: %s; mend that and run the same command again',
               string_agg(fault, '; ' ORDER BY place))
   FROM (SELECT place, CASE
            WHEN to_regclass(tab) IS NULL THEN CASE WHEN col = 'id' THEN format('table %s is missing', tab) END
            WHEN attname IS NULL THEN format('column %s.%s (%s) is missing', tab, col, type)
            WHEN format_type(atttypid, NULL) <> ALL (string_to_array(fits, '|')) THEN
                format('column %s.%s is %s instead of %s', tab, col, format_type(atttypid, atttypmod), type)
            WHEN col <> 'age' AND NOT attnotnull THEN
                format('column %s.%s allows NULL (ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL)', tab, col)
            END
           FROM (VALUES
            (1, 'customers', 'id', 'integer', 'integer|bigint'),
            (2, 'customers', 'whatsapp_id', 'character varying(50)', 'character varying|text'),
            (3, 'customers', 'name', 'character varying(100)', 'character varying|text'),
            (4, 'customers', 'age', 'integer', 'integer|bigint|smallint'),
            (5, 'customers', 'created_at', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (6, 'customers', 'updated_at', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (7, 'conversations', 'id', 'integer', 'integer|bigint'),
            (8, 'conversations', 'whatsapp_id', 'character varying(50)', 'character varying|text'),
            (9, 'conversations', 'message', 'text', 'character varying|text'),
            (10, 'conversations', 'role', 'character varying(20)', 'character varying|text'),
            (11, 'conversations', 'timestamp', 'timestamp', 'timestamp without time zone|timestamp with time zone'),
            (12, 'conversations', 'created_at', 'timestamp', 'timestamp without time zone|timestamp with time zone')
           ) AS wanted (place, tab, col, type, fits)
           LEFT JOIN pg_attribute ON attrelid = to_regclass(tab) AND attname = col
         UNION ALL SELECT 20, format('%s is not an ordinary table', relname) FROM pg_class
          WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind <> 'r') AS found (place, fault)
  WHERE to_regclass('customers') IS NOT NULL OR to_regclass('conversations') IS NOT NULL
 HAVING count(fault) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

DO $refuse$
DECLARE
    refusal text;
BEGIN
    IF to_regclass('customers') IS NOT NULL AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass('customers') AND indisunique AND indisvalid
                AND pg_get_indexdef(indexrelid) ~ ' USING btree \((business_id, )?whatsapp_id\)$') THEN
        refusal := coalesce(
(SELECT format('customers.whatsapp_id must be unique, but is not: %s; merge those rows and run the same command again',
               string_agg(format('%s (%s rows)', whatsapp_id, n), ', '))
   FROM (SELECT whatsapp_id, count(*) AS n FROM customers GROUP BY whatsapp_id HAVING count(*) > 1
          ORDER BY n DESC, whatsapp_id LIMIT 5) AS doubles
 HAVING count(*) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

-- the single-business tables

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regclass('customers') IS NOT NULL THEN
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
    CONSTRAINT customers_pkey PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_customers_whatsapp_id ON customers (whatsapp_id);

CREATE TABLE conversations (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY, 
    whatsapp_id VARCHAR(50) NOT NULL, 
    message TEXT NOT NULL, 
    role VARCHAR(20) NOT NULL, 
    timestamp TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    CONSTRAINT conversations_pkey PRIMARY KEY (id)
);

CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id);

CREATE INDEX ix_conversations_timestamp ON conversations (timestamp);
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(a.usename, a.backend_type),
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

-- Running upgrade 000 -> 001

DO $wait$
BEGIN
    SET LOCAL lock_timeout = '60000ms';
    EXECUTE coalesce((SELECT format('LOCK TABLE %s IN ACCESS SHARE MODE', string_agg(t::text, ', '))
                        FROM unnest(ARRAY[to_regclass('customers'), to_regclass('conversations')]) AS t
                         JOIN pg_class ON oid = t AND relkind = 'r' WHERE has_table_privilege(t, 'SELECT') HAVING count(*) > 0), '');
    SET LOCAL lock_timeout = '200ms';
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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
    IF true THEN
        refusal := coalesce(
CASE WHEN current_setting('server_version_num')::int < 150000 THEN
    format('the server is PostgreSQL %s, but this schema needs 15 or later: upgrade the server first', current_setting('server_version')) END,
(SELECT format('%s is in schema %s, but new tables would go to %s: run ALTER DATABASE %I SET search_path TO %2$s, %s (and ALTER ROLE ... SET for a role that sets it), and the same command again',
               relname, nspname, current_schema(), current_database(), current_setting('search_path'))
   FROM (SELECT relname, quote_ident(nspname) AS nspname, nspname AS there FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
          WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS t
  WHERE there <> current_schema() LIMIT 1),
CASE WHEN to_regclass('customers') IS NULL OR to_regclass('conversations') IS NULL THEN
    'the tables customers and conversations of revision 000 are missing: run alembic upgrade head, which begins with it' END,
CASE WHEN to_regprocedure('single_business_only()') IS NOT NULL THEN
    'a rollback of this database was interrupted: finish it with alembic downgrade -1, then upgrade' END,

-- The rights of whoever runs it.
(SELECT format('role %s does not own %s: run the migration as %s, or as a member of it', current_user,
               string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
CASE WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN
    format('role %s may not create tables in schema %s: as its owner run GRANT CREATE ON SCHEMA %2$I TO %I',
           current_user, current_schema(), current_user) END,

-- What was made by hand, or depends on what changes.
(SELECT format('this database has tables named %s that this migration did not make: rename them (ALTER TABLE %s RENAME TO ...), upgrade, then copy their rows',
               string_agg(name, ', '), min(name))
   FROM unnest('{user_businesses,users,whatsapp_numbers,businesses}'::text[]) AS name
  WHERE to_regclass(name) IS NOT NULL
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(name) AND polname = 'app_service') HAVING count(*) > 0),
(SELECT format('the column %s was not made by this migration: rename it (ALTER TABLE ... RENAME COLUMN), upgrade, then copy its values',
               string_agg(format('%s.%s', attrelid::regclass, attname), ', '))
   FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND conname = 'fk_' || attrelid::regclass || '_businesses')
 HAVING count(*) > 0),
(SELECT format('the foreign key %s refers to customers.whatsapp_id, which is no longer unique in a database of many businesses: let it refer to customers.id',
               string_agg(format('%s of table %s', conname, conrelid::regclass), ', '))
   FROM pg_constraint JOIN pg_attribute ON attrelid = confrelid AND confkey = ARRAY[attnum]
  WHERE contype = 'f' AND confrelid = to_regclass('customers') AND attname = 'whatsapp_id' HAVING count(*) > 0),
(SELECT format('%s on customers would go on keeping whatsapp_id unique across all businesses: run %s, upgrade, then create it again with business_id in it',
               indexrelid::regclass, CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE customers DROP CONSTRAINT %I', conname) END)
   FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
  CROSS JOIN regexp_replace(split_part(pg_get_indexdef(indexrelid), ' USING ', 2), ' INCLUDE \([^)]*\)', '') AS keys
  WHERE indrelid = to_regclass('customers') AND (indisunique OR indisexclusion) AND NOT (indisunique AND NOT indisprimary AND indpred IS NULL AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')
    AND keys ~ '\mwhatsapp_id\M' AND keys !~ '\m(business_id|id)\M'
  LIMIT 1),
(SELECT format('the replica identity of %s is the index %s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL (or DEFAULT, the primary key) first',
               indrelid::regclass, indexrelid::regclass)
   FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND indisreplident AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp')
  LIMIT 1),
(SELECT format('the table cannot change while its row type is used by %s; drop that first, and create it again afterwards',
               string_agg(format('column %s.%I', attrelid::regclass, attname), ', '))
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type AS t ON atttypid IN (t.oid, t.typarray)
  WHERE typrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind IN ('r', 'p', 'm') AND t.typtype = 'c' HAVING count(*) > 0),
(SELECT format('the type of a timestamp column cannot change while this depends on it: %s; drop it, upgrade, then create it again',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
  WHERE refobjid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype AND (deptype = 'n' OR EXISTS (SELECT FROM pg_constraint WHERE pg_constraint.oid = objid AND classid = 'pg_constraint'::regclass AND contype <> 'n')
         -- an index on what is computed from a time: the other type computes it otherwise, or cannot be indexed
         OR EXISTS (SELECT FROM pg_index WHERE indexrelid = objid AND classid = 'pg_class'::regclass
                       AND concat(indexprs, indpred) ~ (':varattno ' || refobjsubid || ' ')))
 HAVING count(*) > 0),
(SELECT format('TimeZone is %s here, and the UTC times that the running bot writes would be read in it: run ALTER DATABASE %I SET timezone TO ''UTC'' (and ALTER ROLE ... SET for a role that sets it), restart the bot, and run the same command again',
               min(zone), current_database())
   FROM (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'
         UNION ALL
         SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting
          WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND setting ILIKE 'timezone=%' AND (setrole = 0 OR has_table_privilege(setrole, to_regclass('conversations'), 'INSERT'))
        ) AS zones (zone)
  WHERE lower(zone) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype)
 HAVING count(*) > 0),

-- Whom row level security would cut off, or let through.
(SELECT format('PUBLIC holds %s, and row level security would cut off whoever works through it: run GRANT %s ON customers, conversations TO the role of the bot; REVOKE ALL ON customers, conversations FROM PUBLIC',
               string_agg(DISTINCT format('%s on %s', privilege_type, name), ', '), string_agg(DISTINCT privilege_type, ', '))
   FROM (SELECT oid::regclass AS name, (aclexplode(relacl)).* FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
         UNION ALL SELECT attrelid::regclass, (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl
  WHERE grantee = 0 HAVING count(*) > 0),
(SELECT format('the policy %s would show every business to app_tenant: name its roles with ALTER POLICY ... TO, or drop it',
               string_agg(format('%I on %s', polname, polrelid::regclass), ', '))
   FROM pg_policy WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND polpermissive AND polname NOT IN ('app_tenant', 'app_service')
    AND (0 = ANY (polroles) OR to_regrole('app_tenant') = ANY (polroles)) HAVING count(*) > 0),
(SELECT format('app_tenant or app_service would bypass row level security: as an administrator run %s',
               string_agg(format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS', rolname), '; '))
   FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') AND (rolsuper OR rolbypassrls) HAVING count(*) > 0),
(SELECT format('row level security would cut off a role that is to work as a member of app_service but inherits nothing: run %s',
               string_agg(format('ALTER ROLE %s INHERIT', name), '; '))
   FROM (SELECT DISTINCT grantee::regrole::text
          FROM (SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT member FROM pg_auth_members
                 WHERE roleid IN ('pg_read_all_data'::regrole, 'pg_write_all_data'::regrole) AND pg_has_role(member, roleid, 'USAGE')) AS acl
          JOIN pg_roles AS r ON r.oid = grantee
         WHERE NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND grantee NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = grantee AND roleid = to_regrole('app_service'))) AS bot (name) JOIN pg_roles ON oid = to_regrole(name) WHERE NOT rolinherit HAVING count(*) > 0),
(SELECT format('role app_tenant is a member of %s and would not be confined: as an administrator run REVOKE %1$s FROM app_tenant',
               string_agg(roleid::regrole::text, ', '))
   FROM pg_auth_members WHERE member = to_regrole('app_tenant') HAVING count(*) > 0),
(SELECT format('role %s may not create or grant the roles app_tenant and app_service: as an administrator run %sGRANT app_tenant, app_service TO %I WITH ADMIN OPTION',
               current_user, string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) END, ''), current_user)
   FROM pg_roles AS me CROSS JOIN (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles AS r ON r.rolname = name
  WHERE me.rolname = current_user AND NOT CASE WHEN r.oid IS NULL THEN me.rolsuper OR me.rolcreaterole
        ELSE (me.rolcreaterole AND current_setting('server_version_num')::int < 160000) OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
             OR (pg_has_role(r.oid, 'MEMBER') AND (name = 'app_tenant' OR NOT EXISTS (SELECT DISTINCT grantee::regrole::text
          FROM (SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT member FROM pg_auth_members
                 WHERE roleid IN ('pg_read_all_data'::regrole, 'pg_write_all_data'::regrole) AND pg_has_role(member, roleid, 'USAGE')) AS acl
          JOIN pg_roles AS r ON r.oid = grantee
         WHERE NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND grantee NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = grantee AND roleid = to_regrole('app_service'))))) END
 HAVING count(*) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

DO $refuse$
DECLARE
    refusal text;
BEGIN
    IF to_regclass('multi_tenant_archive.customers') IS NOT NULL THEN
        refusal := coalesce(
(SELECT format('the archive holds a column that the table has no more: %s; add it to the table again, or drop it from the archive',
               string_agg(format('%s.%s', old.attrelid::regclass, old.attname), ', '))
   FROM (VALUES ('customers'), ('conversations')) AS t (name)
   JOIN pg_attribute AS old ON old.attrelid = to_regclass('multi_tenant_archive.' || name) AND old.attnum > 0 AND NOT old.attisdropped
  WHERE old.attname NOT IN ('business_id', 'username', 'whatsapp_message_id', 'whatsapp_number_id', 'whatsapp_user_id')
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = old.attname) HAVING count(*) > 0),
(SELECT format('archived ids were given out again: %s; give those newer rows other ids, such as UPDATE customers SET id = DEFAULT WHERE id IN (SELECT id FROM multi_tenant_archive.customers)',
               string_agg(format('%s.id %s', name, id), ', '))
   FROM ((SELECT 'customers' AS name, id FROM multi_tenant_archive.customers JOIN customers USING (id) LIMIT 3)
         UNION ALL (SELECT 'conversations', id FROM multi_tenant_archive.conversations JOIN conversations USING (id) LIMIT 3)) AS t
 HAVING count(*) > 0));
    END IF;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END $refuse$;

-- roles app_tenant and app_service

DO $step$
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

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT %s TO %I', name, current_user) FROM unnest('{app_tenant,app_service}'::text[]) AS name
 WHERE NOT EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = member
                    WHERE roleid = to_regrole(name) AND rolname = current_user
                      -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
                      AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))
-- Whoever worked with the tables before goes on seeing them all.
UNION ALL SELECT format('GRANT app_service TO %s', bot) FROM (SELECT DISTINCT grantee::regrole::text
          FROM (SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
                UNION ALL SELECT member FROM pg_auth_members
                 WHERE roleid IN ('pg_read_all_data'::regrole, 'pg_write_all_data'::regrole) AND pg_has_role(member, roleid, 'USAGE')) AS acl
          JOIN pg_roles AS r ON r.oid = grantee
         WHERE NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND grantee NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = grantee AND roleid = to_regrole('app_service'))) AS b (bot)
-- Where PUBLIC may not use the schema, the two roles need it said.
UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), rolname) FROM pg_roles
 WHERE rolname IN ('app_tenant', 'app_service') AND NOT has_schema_privilege(oid, current_schema(), 'USAGE')
) AS s (statement)), ''); END $each$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(a.usename, a.backend_type),
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

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
BEGIN
    IF to_regclass('businesses') IS NOT NULL THEN
        RETURN;
    END IF;
    LOOP
        -- The inner block gives its locks back when it fails.
        BEGIN
            SET LOCAL lock_timeout = '2s';
            
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
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
CREATE UNIQUE INDEX uq_whatsapp_numbers_phone_number_active ON whatsapp_numbers (phone_number) WHERE is_active;

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

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
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
) AS s (statement)), ''); END $each$;

CREATE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    AS $function$ SELECT NULLIF(current_setting('app.business_id', true), '')::uuid $function$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (VALUES ('FUNCTION current_business_id()')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
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

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (VALUES ('FUNCTION set_updated_at()')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

GRANT EXECUTE ON FUNCTION current_business_id() TO app_tenant, app_service;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON user_businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('user_businesses') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('users') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON whatsapp_numbers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('whatsapp_numbers') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('businesses') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $each$;

ALTER TABLE businesses ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE businesses' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('businesses') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE businesses' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('businesses') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON businesses TO app_tenant USING (id = (SELECT current_business_id())) WITH CHECK (id = (SELECT current_business_id()));

CREATE POLICY app_service ON businesses TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, UPDATE (name, business_type, settings) ON businesses TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON businesses TO app_service;

ALTER TABLE whatsapp_numbers ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE whatsapp_numbers' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('whatsapp_numbers') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE whatsapp_numbers' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('whatsapp_numbers') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON whatsapp_numbers TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON whatsapp_numbers TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_numbers TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_numbers TO app_service;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE users' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('users') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE users' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('users') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON users TO app_tenant USING (EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = (SELECT current_business_id()))) WITH CHECK (EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = (SELECT current_business_id())));

CREATE POLICY app_service ON users TO app_service USING (true) WITH CHECK (true);

GRANT SELECT (id, email, full_name, is_active, created_at, updated_at) ON users TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON users TO app_service;

ALTER TABLE user_businesses ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE user_businesses' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('user_businesses') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE user_businesses' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('user_businesses') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON user_businesses TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON user_businesses TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, UPDATE (role), DELETE ON user_businesses TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON user_businesses TO app_service;

ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE alembic_version' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('alembic_version') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE alembic_version' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('alembic_version') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_service ON alembic_version TO app_service USING (true);

GRANT SELECT ON alembic_version TO app_service;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- What a team added to these tables comes back with them, as columns that may be empty.
SELECT format('ALTER TABLE %I ADD COLUMN %I %s', relname, attname, format_type(atttypid, atttypmod))
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid
 WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname = ANY ('{user_businesses,users,whatsapp_numbers,businesses}') AND attnum > 0 AND NOT attisdropped
   AND NOT EXISTS (SELECT FROM pg_attribute AS n WHERE n.attrelid = to_regclass(relname) AND n.attname = a.attname)
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- One statement: keys between these tables, a team's own too, are asked at its end. Columns go by their names.
SELECT 'WITH ' || string_agg(format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)',
                                    relname, columns), ', ') || ' SELECT'
  FROM (SELECT relname, string_agg(quote_ident(old.attname), ', ') AS columns
          FROM pg_class AS c JOIN pg_attribute AS old ON old.attrelid = c.oid AND old.attnum > 0 AND NOT old.attisdropped
          JOIN pg_attribute AS new ON new.attrelid = to_regclass(relname) AND new.attname = old.attname AND new.attgenerated = ''
         WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname = ANY ('{user_businesses,users,whatsapp_numbers,businesses}') GROUP BY relname) AS t
) AS s (statement)), ''); END $each$;

INSERT INTO businesses (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Default business') ON CONFLICT (id) DO NOTHING;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(a.usename, a.backend_type),
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

-- canonical names of equal indexes

DO $step$
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
DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_conversations_whatsapp_id', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') AS e (equal) WHERE equal IS NOT NULL AND to_regclass('ix_conversations_whatsapp_id') IS NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_conversations_timestamp', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('conversations') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree ("timestamp")') AS e (equal) WHERE equal IS NOT NULL AND to_regclass('ix_conversations_timestamp') IS NULL
) AS s (statement)), ''); END $each$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
    SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s',
                  coalesce(l.relation::regclass::text, 'something'), a.pid, coalesce(a.usename, a.backend_type),
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

DO $step$
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
ALTER TABLE customers ADD COLUMN business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001';

ALTER TABLE customers ALTER COLUMN business_id SET DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid);

ALTER TABLE customers ADD CONSTRAINT fk_customers_businesses FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID;

-- The times of customers get a zone and a default. What gives the table back as it was is kept in the comment on the
-- foreign key, which comes and goes with the revision: statements, each with the column that it needs.
DO $times$
DECLARE
    naive text[] := ARRAY(SELECT attname::text FROM pg_attribute
                           WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') AND atttypid = 'timestamp'::regtype ORDER BY 1);
    indexes regclass[] := ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = 'customers'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY (naive))
 ORDER BY indexrelid::regclass::text);
    legacy jsonb := jsonb_build_object('naive', naive, 'indexes', ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i), 'undo', (
        SELECT jsonb_agg(jsonb_build_array(col, statement) ORDER BY statement) FROM (
            SELECT attname, concat(
                       format('ALTER TABLE customers ALTER COLUMN %I DROP DEFAULT', attname),
                       CASE WHEN attname = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamp', attname) END,
                       format(', ALTER COLUMN %I SET DEFAULT ', attname) || pg_get_expr(adbin, adrelid))
              FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}')
            UNION ALL SELECT attname, format('COMMENT ON COLUMN customers.%I IS %L', attname, col_description(attrelid, attnum))
              FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{id,whatsapp_id,name,age,created_at,updated_at}')
            UNION ALL SELECT attname, format('ALTER TABLE customers ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
                                             CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
              FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
             WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
            UNION ALL SELECT NULL, format('COMMENT ON TABLE customers IS %L', obj_description('customers'::regclass, 'pg_class'))
            UNION ALL SELECT NULL, 'ALTER TABLE customers ENABLE ROW LEVEL SECURITY'
              FROM pg_class WHERE oid = 'customers'::regclass AND relrowsecurity
            UNION ALL SELECT NULL, format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                                   || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
              FROM (SELECT 'customers' AS object, '' AS columns, (aclexplode(relacl)).* FROM pg_class WHERE oid = 'customers'::regclass
                    UNION ALL SELECT 'customers', format('(%I)', attname), (aclexplode(attacl)).*
                      FROM pg_attribute WHERE attrelid = 'customers'::regclass
                    UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', (aclexplode(relacl)).*
                      FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                     WHERE refobjid = 'customers'::regclass AND deptype IN ('a', 'i')) AS acl
             WHERE grantee IN (to_regrole('anon'), to_regrole('authenticated'))) AS u (col, statement)));
BEGIN
    EXECUTE format('COMMENT ON CONSTRAINT fk_customers_businesses ON customers IS %L', legacy);
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE customers ALTER COLUMN %I SET DEFAULT now()', col)
                               || CASE WHEN col = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamptz', col) ELSE '' END, ';')
               FROM unnest('{created_at,updated_at}'::text[]) AS col);
END $times$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
SELECT format('ALTER TABLE customers ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
) AS s (statement)), ''); END $each$;

ALTER TABLE customers ADD COLUMN whatsapp_user_id varchar(255);

ALTER TABLE customers ADD COLUMN username varchar(255);

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attgenerated <> '') THEN quote_literal('generated') END)
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
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
) AS s (statement)), ''); END $each$;

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE customers' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE customers' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('customers') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON customers TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON customers TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app_service;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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

-- conversations: business_id, time zones, row level security

DO $step$
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
ALTER TABLE conversations ADD COLUMN business_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000001';

ALTER TABLE conversations ALTER COLUMN business_id SET DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid);

ALTER TABLE conversations ADD CONSTRAINT fk_conversations_businesses FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID;

-- The times of conversations get a zone and a default. What gives the table back as it was is kept in the comment on the
-- foreign key, which comes and goes with the revision: statements, each with the column that it needs.
DO $times$
DECLARE
    naive text[] := ARRAY(SELECT attname::text FROM pg_attribute
                           WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') AND atttypid = 'timestamp'::regtype ORDER BY 1);
    indexes regclass[] := ARRAY(SELECT indexrelid FROM pg_index WHERE indrelid = 'conversations'::regclass AND EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey) AND attname = ANY (naive))
 ORDER BY indexrelid::regclass::text);
    legacy jsonb := jsonb_build_object('naive', naive, 'indexes', ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i), 'undo', (
        SELECT jsonb_agg(jsonb_build_array(col, statement) ORDER BY statement) FROM (
            SELECT attname, concat(
                       format('ALTER TABLE conversations ALTER COLUMN %I DROP DEFAULT', attname),
                       CASE WHEN attname = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamp', attname) END,
                       format(', ALTER COLUMN %I SET DEFAULT ', attname) || pg_get_expr(adbin, adrelid))
              FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}')
            UNION ALL SELECT attname, format('COMMENT ON COLUMN conversations.%I IS %L', attname, col_description(attrelid, attnum))
              FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{id,whatsapp_id,message,role,timestamp,created_at}')
            UNION ALL SELECT attname, format('ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
                                             CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
              FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
             WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
            UNION ALL SELECT NULL, format('COMMENT ON TABLE conversations IS %L', obj_description('conversations'::regclass, 'pg_class'))
            UNION ALL SELECT NULL, 'ALTER TABLE conversations ENABLE ROW LEVEL SECURITY'
              FROM pg_class WHERE oid = 'conversations'::regclass AND relrowsecurity
            UNION ALL SELECT NULL, format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                                   || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
              FROM (SELECT 'conversations' AS object, '' AS columns, (aclexplode(relacl)).* FROM pg_class WHERE oid = 'conversations'::regclass
                    UNION ALL SELECT 'conversations', format('(%I)', attname), (aclexplode(attacl)).*
                      FROM pg_attribute WHERE attrelid = 'conversations'::regclass
                    UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', (aclexplode(relacl)).*
                      FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                     WHERE refobjid = 'conversations'::regclass AND deptype IN ('a', 'i')) AS acl
             WHERE grantee IN (to_regrole('anon'), to_regrole('authenticated'))) AS u (col, statement)));
BEGIN
    EXECUTE format('COMMENT ON CONSTRAINT fk_conversations_businesses ON conversations IS %L', legacy);
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE conversations ALTER COLUMN %I SET DEFAULT now()', col)
                               || CASE WHEN col = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamptz', col) ELSE '' END, ';')
               FROM unnest('{timestamp,created_at}'::text[]) AS col);
END $times$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
SELECT format('ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
) AS s (statement)), ''); END $each$;

ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid;

ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255);

ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id) NOT VALID;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
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
) AS s (statement)), ''); END $each$;

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('REVOKE ALL ON %s FROM %s', name, role) FROM (SELECT 'TABLE conversations' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS o (name), unnest('{PUBLIC,anon,authenticated}'::text[]) AS role WHERE role = 'PUBLIC' OR to_regrole(role) IS NOT NULL
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('GRANT USAGE ON %s TO app_tenant, app_service', name) FROM (SELECT 'TABLE conversations' UNION ALL SELECT format('SEQUENCE %s', seqrelid::regclass) FROM pg_depend JOIN pg_sequence ON seqrelid = objid WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('conversations') AND deptype IN ('a', 'i')) AS o (name) WHERE name LIKE 'SEQUENCE %'
) AS s (statement)), ''); END $each$;

CREATE POLICY app_tenant ON conversations TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON conversations TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO app_service;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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

-- drop what an interrupted run left of: an index of customers

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(oid, 'pg_constraint')::jsonb -> 'indexes') FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- an index of customers

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(oid, 'pg_constraint')::jsonb -> 'indexes') FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses') AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: an index of conversations

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(oid, 'pg_constraint')::jsonb -> 'indexes') FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses') AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- an index of conversations

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT jsonb_array_elements_text(obj_description(oid, 'pg_constraint')::jsonb -> 'indexes') FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses') AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index ix_conversations_timestamp

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp")' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index ix_conversations_timestamp

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp")' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index ix_conversations_whatsapp_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index ix_conversations_whatsapp_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index ix_conversations_business_id_whatsapp_id_timestamp

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON conversations (business_id, whatsapp_id, "timestamp")' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index ix_conversations_business_id_whatsapp_id_timestamp

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON conversations (business_id, whatsapp_id, "timestamp")' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index ix_conversations_business_id_whatsapp_number_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_number_id ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index ix_conversations_business_id_whatsapp_number_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_number_id ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index uq_conversations_business_id_whatsapp_message_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_conversations_business_id_whatsapp_message_id ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index uq_conversations_business_id_whatsapp_message_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_conversations_business_id_whatsapp_message_id ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index uq_customers_business_id_whatsapp_user_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_user_id ON customers (business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index uq_customers_business_id_whatsapp_user_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_user_id ON customers (business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index uq_customers_business_id_whatsapp_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_id ON customers (business_id, whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index uq_customers_business_id_whatsapp_id

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_id ON customers (business_id, whatsapp_id)' WHERE NOT (false)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- drop what an interrupted run left of: index ix_customers_whatsapp_id_001

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_customers_whatsapp_id_001 ON customers (whatsapp_id)' WHERE NOT ((SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') IS NOT NULL)) AS wanted (d)) AS w JOIN pg_index ON indexrelid = to_regclass(name) AND NOT indisvalid
) AS s (statement)), ''); END $each$;

-- index ix_customers_whatsapp_id_001

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT regexp_replace(d, ' INDEX ', ' INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (SELECT 'CREATE INDEX ix_customers_whatsapp_id_001 ON customers (whatsapp_id)' WHERE NOT ((SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') IS NOT NULL)) AS wanted (d)) AS w WHERE to_regclass(name) IS NULL
) AS s (statement)), ''); END $each$;

-- validate fk_customers_businesses

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'ALTER TABLE customers VALIDATE CONSTRAINT fk_customers_businesses' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses' AND NOT convalidated)
) AS s (statement)), ''); END $each$;

-- validate fk_conversations_businesses

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_businesses' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' AND NOT convalidated)
) AS s (statement)), ''); END $each$;

-- validate fk_conversations_whatsapp_numbers

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_whatsapp_numbers' WHERE EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_whatsapp_numbers' AND NOT convalidated)
) AS s (statement)), ''); END $each$;

-- customers: unique in a business

DO $step$
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
ALTER TABLE customers ADD CONSTRAINT uq_customers_business_id_whatsapp_id UNIQUE USING INDEX uq_customers_business_id_whatsapp_id;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
-- One customer per business instead of one per database; the old bot's look-up keeps an index of its own.
SELECT CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
            ELSE format('ALTER TABLE customers DROP CONSTRAINT %I', conname) END
  FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'u'
 WHERE indrelid = 'customers'::regclass AND (indisunique AND NOT indisprimary AND indpred IS NULL AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')
) AS s (statement)), ''); END $each$;

DO $each$ BEGIN EXECUTE coalesce((SELECT string_agg(statement, ';') FROM (
SELECT format('ALTER INDEX %s RENAME TO ix_customers_whatsapp_id', equal) FROM (SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass('customers') AND indisvalid AND NOT indisunique AND NOT indisexclusion AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree (whatsapp_id)') AS e (equal) WHERE equal IS NOT NULL AND to_regclass('ix_customers_whatsapp_id') IS NULL
) AS s (statement)), ''); END $each$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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

-- restore multi_tenant_archive

DO $step$
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
            LOCK TABLE conversations IN SHARE UPDATE EXCLUSIVE MODE;
            SET LOCAL lock_timeout = '200ms';
            SET LOCAL timezone = 'UTC';
-- begin
DO $restore$
DECLARE
    triggers_off text;
    triggers_on text;
    restored bigint;
    lost bigint;
BEGIN
    -- A team's own triggers have no part in the move.
    SELECT string_agg(format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname), ';'),
           string_agg(format('ALTER TABLE %s ENABLE %s TRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname), ';')
      INTO triggers_off, triggers_on FROM pg_trigger
     WHERE tgrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
       AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid;
    EXECUTE coalesce(triggers_off, '');
    EXECUTE (-- One statement: keys between these tables, a team's own too, are asked at its end. Columns go by their names.
SELECT 'WITH ' || string_agg(format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)',
                                    relname, columns), ', ') || ' SELECT'
  FROM (SELECT relname, string_agg(quote_ident(old.attname), ', ') AS columns
          FROM pg_class AS c JOIN pg_attribute AS old ON old.attrelid = c.oid AND old.attnum > 0 AND NOT old.attisdropped
          JOIN pg_attribute AS new ON new.attrelid = to_regclass(relname) AND new.attname = old.attname AND new.attgenerated = ''
         WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname = ANY ('{customers,conversations}') GROUP BY relname) AS t);
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d WHERE d.id = c.id AND c.business_id = '00000000-0000-0000-0000-000000000001';
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
END $restore$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce((
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

UPDATE alembic_version SET version_num='001' WHERE alembic_version.version_num = '000';

COMMIT;

