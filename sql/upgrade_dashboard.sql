BEGIN;

SET LOCAL timezone = 'UTC';
SET LOCAL lock_timeout = '200ms';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL client_connection_check_interval = '500ms';
SET LOCAL client_min_messages = notice;
SET LOCAL standard_conforming_strings = on;

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

DO $check$
DECLARE
    faults text;
    doubles text;
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'the server is PostgreSQL %, but this schema needs 15 or later: upgrade the server first',
            current_setting('server_version');
    END IF;
    IF to_regclass('customers') IS NULL AND to_regclass('conversations') IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(fault, '; ' ORDER BY place) INTO faults FROM (
        SELECT place, CASE
            WHEN to_regclass(wanted.tab) IS NULL THEN
                CASE WHEN place IN (1, 7) THEN format('table %s is missing', wanted.tab) END
            WHEN a.attname IS NULL THEN format('column %s.%s (%s) is missing', wanted.tab, wanted.col, wanted.type)
            WHEN replace(format_type(a.atttypid, NULL), ' ', '_') <> ALL (wanted.fits) THEN
                format('column %s.%s is %s instead of %s', wanted.tab, wanted.col, format_type(a.atttypid, a.atttypmod), wanted.type)
            WHEN wanted.col <> 'age' AND NOT a.attnotnull THEN
                format('column %s.%s allows NULL (ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL)', wanted.tab, wanted.col)
            END AS fault
          FROM (VALUES
            (1, 'customers', 'id', 'integer', '{integer,bigint}'::text[]),
            (2, 'customers', 'whatsapp_id', 'character varying(50)', '{character_varying,text}'),
            (3, 'customers', 'name', 'character varying(100)', '{character_varying,text}'),
            (4, 'customers', 'age', 'integer', '{integer,bigint,smallint}'),
            (5, 'customers', 'created_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (6, 'customers', 'updated_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (7, 'conversations', 'id', 'integer', '{integer,bigint}'),
            (8, 'conversations', 'whatsapp_id', 'character varying(50)', '{character_varying,text}'),
            (9, 'conversations', 'message', 'text', '{character_varying,text}'),
            (10, 'conversations', 'role', 'character varying(20)', '{character_varying,text}'),
            (11, 'conversations', 'timestamp', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}'),
            (12, 'conversations', 'created_at', 'timestamp', '{timestamp_without_time_zone,timestamp_with_time_zone}')
          ) AS wanted (place, tab, col, type, fits)
          LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(wanted.tab) AND a.attname = wanted.col AND NOT a.attisdropped
        UNION ALL
        SELECT 20, format('%s is not an ordinary table', relname) FROM pg_class
         WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relkind <> 'r'
    ) AS found WHERE fault IS NOT NULL;
    IF faults IS NOT NULL THEN
        RAISE EXCEPTION 'the tables of this database do not fit revision 000: %; mend that and run the same command again', faults;
    END IF;
    -- A unique index on whatsapp_id alone, or with the business, says that there are no doubles; else they are counted.
    IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass('customers') AND i.indisunique AND i.indisvalid
                      AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
                            WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
                          IN ('{whatsapp_id}', '{business_id,whatsapp_id}')) THEN
        SELECT string_agg(format('%s (%s rows)', whatsapp_id, n), ', ') INTO doubles FROM (
            SELECT whatsapp_id, count(*) AS n FROM customers GROUP BY whatsapp_id HAVING count(*) > 1
             ORDER BY n DESC, whatsapp_id LIMIT 5) AS d;
        IF doubles IS NOT NULL THEN
            RAISE EXCEPTION 'customers.whatsapp_id must be unique, but is not: %; merge those rows and run the same command again', doubles;
        END IF;
    END IF;
END $check$;

-- the single-business tables

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
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
    id SERIAL NOT NULL, 
    whatsapp_id VARCHAR(50) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    age INTEGER, 
    created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    updated_at TIMESTAMP WITHOUT TIME ZONE NOT NULL, 
    CONSTRAINT customers_pkey PRIMARY KEY (id)
);

CREATE UNIQUE INDEX ix_customers_whatsapp_id ON customers (whatsapp_id);

CREATE TABLE conversations (
    id SERIAL NOT NULL, 
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
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, NULL),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass(NULL) DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'a table: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

INSERT INTO alembic_version (version_num) SELECT '000' 
WHERE NOT (EXISTS (SELECT alembic_version.version_num 
FROM alembic_version));

-- Running upgrade 000 -> 001

-- Everything that could stop the upgrade, asked before the first change.
DO $check$
DECLARE
    found text;
    bot text;
    may_create boolean := (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user);
    grants_all boolean := (SELECT rolsuper OR (rolcreaterole AND current_setting('server_version_num')::int < 160000)
                             FROM pg_roles WHERE rolname = current_user);
BEGIN
    IF current_setting('server_version_num')::int < 150000 THEN
        RAISE EXCEPTION 'the server is PostgreSQL %, but this schema needs 15 or later: upgrade the server first',
            current_setting('server_version');
    END IF;
    IF to_regclass('customers') IS NULL OR to_regclass('conversations') IS NULL THEN
        RAISE EXCEPTION 'the tables customers and conversations of revision 000 are missing: run alembic upgrade head, which begins with it';
    END IF;
    IF to_regprocedure('single_business_only()') IS NOT NULL THEN
        RAISE EXCEPTION 'a rollback of this database was interrupted: finish it with alembic downgrade -1, then upgrade';
    END IF;

    SELECT string_agg(DISTINCT relname, ' and '), string_agg(DISTINCT relowner::regrole::text, ', ') INTO found, bot
      FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT pg_has_role(current_user, relowner, 'USAGE');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role % does not own %: run the migration as %, or as a member of it', current_user, found, bot;
    END IF;
    IF NOT has_schema_privilege(current_user, current_schema(), 'CREATE') THEN
        RAISE EXCEPTION 'role % may not create tables in schema %: as its owner run GRANT CREATE ON SCHEMA % TO %',
            current_user, current_schema(), current_schema(), quote_ident(current_user);
    END IF;

    SELECT string_agg(name, ', ') INTO found FROM (VALUES ('user_businesses'), ('users'), ('whatsapp_numbers'), ('businesses')) AS ours (name) WHERE to_regclass(name) IS NOT NULL
       AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(name) AND polname = 'app_service');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'this database has tables named % that this migration did not make: rename them (ALTER TABLE % RENAME TO ...), upgrade, then copy their rows',
            found, split_part(found, ', ', 1);
    END IF;
    SELECT string_agg(format('%s.%s', attrelid::regclass, attname), ', ') INTO found FROM pg_attribute
     WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT attisdropped
       AND attname IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id')
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND conname = 'fk_' || attrelid::regclass || '_businesses');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'the column % was not made by this migration: rename it (ALTER TABLE ... RENAME COLUMN), upgrade, then copy its values', found;
    END IF;

    SELECT string_agg(format('%s of table %s', conname, conrelid::regclass), ', ') INTO found FROM pg_constraint
     WHERE contype = 'f' AND confrelid = to_regclass('customers')
       AND confkey = (SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = to_regclass('customers') AND attname = 'whatsapp_id');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'the foreign key % refers to customers.whatsapp_id, which is no longer unique in a database of many businesses: let it refer to customers.id', found;
    END IF;

    SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ') INTO found
      FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.refobjid IN (to_regclass('customers'), to_regclass('conversations'))
       AND a.attname IN ('created_at', 'updated_at', 'timestamp') AND a.atttypid = 'timestamp'::regtype
       AND (d.deptype = 'n'
            OR EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND d.classid = 'pg_constraint'::regclass AND contype <> 'n')
            OR EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid AND d.classid = 'pg_class'::regclass
                          AND concat(indexprs, indpred) ~ (':varattno ' || a.attnum || ' ')));
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'the type of a timestamp column cannot change while this depends on it: %; drop it, upgrade, then create it again', found;
    END IF;

    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
                 AND attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype) THEN
        SELECT min(zone) INTO found FROM (
            SELECT reset_val AS zone FROM pg_settings WHERE name = 'TimeZone'
            UNION ALL
            SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting
             WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
               AND setting ILIKE 'timezone=%' AND (setrole = 0 OR has_table_privilege(setrole, to_regclass('conversations'), 'INSERT'))
        ) AS zones WHERE lower(zone) NOT IN ('utc', 'etc/utc', 'uct', 'etc/uct', 'universal', 'etc/universal', 'zulu', 'etc/zulu', 'gmt', 'etc/gmt');
        IF found IS NOT NULL THEN
            RAISE EXCEPTION 'TimeZone is % here, and the UTC times that the running bot writes would be read in it: run ALTER DATABASE % SET timezone TO ''UTC'' (and ALTER ROLE ... SET for a role that sets it), restart the bot, and run the same command again',
                found, quote_ident(current_database());
        END IF;
    END IF;

    SELECT string_agg(DISTINCT format('%s on %s', privilege_type, name), ', '), string_agg(DISTINCT privilege_type, ', ') INTO found, bot FROM (
        SELECT c.relname AS name, (aclexplode(c.relacl)).* FROM pg_class c
         WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations'))
        UNION ALL SELECT c.relname, (aclexplode(a.attacl)).* FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl WHERE grantee = 0;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'PUBLIC holds %, and row level security would cut off whoever works through it: run GRANT % ON customers, conversations TO the role of the bot; REVOKE ALL ON customers, conversations FROM PUBLIC',
            found, bot;
    END IF;
    SELECT string_agg(format('%I on %s', polname, polrelid::regclass), ', ') INTO found FROM pg_policy
     WHERE polrelid IN (to_regclass('customers'), to_regclass('conversations')) AND polpermissive
       AND polname NOT IN ('app_tenant', 'app_service')
       AND (0 = ANY (polroles) OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_tenant' AND oid = ANY (polroles)));
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'the policy % would show every business to app_tenant: name its roles with ALTER POLICY ... TO, or drop it', found;
    END IF;

    SELECT string_agg(format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS', rolname), '; ') INTO found
      FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') AND (rolsuper OR rolbypassrls);
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'app_tenant or app_service would bypass row level security: as an administrator run %', found;
    END IF;
    SELECT string_agg(format('ALTER ROLE %s INHERIT', name), '; ') INTO found
      FROM (SELECT DISTINCT acl.grantee::regrole::text FROM (
            SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
            UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl
          JOIN pg_roles r ON r.oid = acl.grantee
         WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid AND roleid = to_regrole('app_service'))) AS bot (name) JOIN pg_roles ON oid = name::regrole WHERE NOT rolinherit;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'row level security would cut off a role that is to work as a member of app_service but inherits nothing: run %', found;
    END IF;
    SELECT string_agg(roleid::regrole::text, ', ') INTO found FROM pg_auth_members JOIN pg_roles r ON r.oid = member WHERE rolname = 'app_tenant';
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role app_tenant is a member of % and would not be confined: as an administrator run REVOKE % FROM app_tenant', found, found;
    END IF;
    SELECT string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) ELSE '' END, '') INTO found
      FROM (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles r ON r.rolname = name
     WHERE CASE WHEN r.oid IS NULL THEN NOT may_create
                ELSE NOT (grants_all OR pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION')
                          OR (pg_has_role(current_user, r.oid, 'MEMBER') AND (name = 'app_tenant' OR NOT EXISTS (SELECT DISTINCT acl.grantee::regrole::text FROM (
            SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
            UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl
          JOIN pg_roles r ON r.oid = acl.grantee
         WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid AND roleid = to_regrole('app_service')))))) END;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role % may not create or grant the roles app_tenant and app_service: as an administrator run %GRANT app_tenant, app_service TO % WITH ADMIN OPTION',
            current_user, found, quote_ident(current_user);
    END IF;

    IF to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
        SELECT string_agg(format('%s.%s', old.attrelid::regclass, old.attname), ', ') INTO found FROM pg_attribute old
         WHERE old.attrelid IN (to_regclass('multi_tenant_archive.customers'), to_regclass('multi_tenant_archive.conversations'))
           AND old.attnum > 0 AND NOT old.attisdropped
           AND old.attname NOT IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id')
           AND NOT EXISTS (SELECT FROM pg_attribute new WHERE new.attname = old.attname AND NOT new.attisdropped
                             AND new.attrelid = to_regclass((SELECT relname FROM pg_class WHERE oid = old.attrelid)::text));
        IF found IS NOT NULL THEN
            RAISE EXCEPTION 'the archive holds a column that the table has no more: %; add it to the table again, or drop it from the archive', found;
        END IF;
        EXECUTE $taken$ SELECT string_agg(format('%s.id %s', name, id), ', ') FROM (
            (SELECT 'customers' AS name, id FROM multi_tenant_archive.customers JOIN customers USING (id) LIMIT 3)
            UNION ALL (SELECT 'conversations', id FROM multi_tenant_archive.conversations JOIN conversations USING (id) LIMIT 3)) AS t $taken$ INTO found;
        IF found IS NOT NULL THEN
            RAISE EXCEPTION 'archived ids were given out again: %; give those newer rows other ids, such as UPDATE customers SET id = DEFAULT WHERE id IN (SELECT id FROM multi_tenant_archive.customers)', found;
        END IF;
    END IF;
END $check$;

-- roles app_tenant and app_service

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
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
    bot text;
BEGIN
    FOR bot IN SELECT name FROM (VALUES ('app_tenant'), ('app_service')) AS needed (name)
                WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', bot);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- the migration of another database of this server was faster
        END;
    END LOOP;
    FOR bot IN SELECT name FROM (VALUES ('app_tenant'), ('app_service')) AS needed (name)
                WHERE NOT EXISTS (SELECT FROM pg_auth_members m WHERE roleid = to_regrole(name)
                                     AND member = to_regrole(quote_ident(current_user))
                                     -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
                                     AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)) LOOP
        EXECUTE format('GRANT %I TO %I', bot, current_user);
    END LOOP;
    -- Whoever worked with the tables before goes on seeing them all.
    FOR bot IN SELECT DISTINCT acl.grantee::regrole::text FROM (
            SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
            UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl
          JOIN pg_roles r ON r.oid = acl.grantee
         WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid AND roleid = to_regrole('app_service')) LOOP
        EXECUTE format('GRANT app_service TO %s', bot);
    END LOOP;
END $roles$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, NULL),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass(NULL) DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'a table: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
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
    blocker text;
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
    settings jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE businesses IS 'Businesses: the tenants of the bot';
COMMENT ON COLUMN businesses.name IS 'Name as customers know it';
COMMENT ON COLUMN businesses.business_type IS 'Kind of business';
COMMENT ON COLUMN businesses.settings IS 'Services with prices, hours, barbers, ai_personality; unknown keys are kept';
COMMENT ON COLUMN businesses.is_active IS 'Whether the bot serves the business';

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
COMMENT ON TABLE whatsapp_numbers IS 'WhatsApp numbers, each of one business';
COMMENT ON COLUMN whatsapp_numbers.phone_number_id IS 'Meta''s phone_number_id; empty for numbers of other providers';
COMMENT ON COLUMN whatsapp_numbers.phone_number IS 'The number in E.164, such as +573001234567';
COMMENT ON COLUMN whatsapp_numbers.access_token IS 'Meta''s access token, as Fernet ciphertext only';
COMMENT ON COLUMN whatsapp_numbers.is_active IS 'Whether messages to the number are served';

CREATE TABLE users (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    email varchar(255) NOT NULL,
    password_hash text NOT NULL CONSTRAINT ck_users_password_hash_is_a_hash CHECK (password_hash ~ '^\$(argon2(id|i|d)|2[abxy]|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$'),
    full_name varchar(255),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX uq_users_email_lower ON users (lower(email));
COMMENT ON TABLE users IS 'People who manage businesses';
COMMENT ON COLUMN users.email IS 'Login, unique without regard to case';
COMMENT ON COLUMN users.password_hash IS 'Hash of the password, never the password';
COMMENT ON COLUMN users.full_name IS 'Name to show';
COMMENT ON COLUMN users.is_active IS 'Whether the user may log in';

CREATE TABLE user_businesses (
    user_id uuid NOT NULL CONSTRAINT fk_user_businesses_users REFERENCES users (id) ON DELETE CASCADE,
    role varchar(50) NOT NULL DEFAULT 'staff'
        CONSTRAINT ck_user_businesses_role_is_known CHECK (role IN ('owner', 'admin', 'staff')),
    business_id uuid NOT NULL DEFAULT COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '00000000-0000-0000-0000-000000000001'::uuid)
        CONSTRAINT fk_user_businesses_businesses REFERENCES businesses (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, business_id)
);
CREATE INDEX ix_user_businesses_business_id ON user_businesses (business_id);
COMMENT ON TABLE user_businesses IS 'Which user has which role in which business';
COMMENT ON COLUMN user_businesses.user_id IS 'The user';
COMMENT ON COLUMN user_businesses.role IS 'owner, admin or staff';

DO $comments$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT name, attname, about FROM (VALUES
            ('id', 'Identifier'),
            ('business_id', 'The business that the row belongs to'),
            ('created_at', 'When the row was inserted'),
            ('updated_at', 'When the row was last changed; set by the trigger set_updated_at')) AS c (col, about)
          CROSS JOIN unnest('{businesses,whatsapp_numbers,users,user_businesses}'::text[]) AS name
          JOIN pg_attribute ON attrelid = name::regclass AND attname = col LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', found.name, found.attname, found.about);
    END LOOP;
END $comments$;

CREATE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    AS $function$ SELECT NULLIF(current_setting('app.business_id', true), '')::uuid $function$;

DO $revoke$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION current_business_id() FROM %s', grantee);
    END LOOP;
END $revoke$;

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

DO $revoke$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION set_updated_at() FROM %s', grantee);
    END LOOP;
END $revoke$;

GRANT EXECUTE ON FUNCTION current_business_id() TO app_tenant, app_service;

DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON user_businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass('user_businesses') AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$;

DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass('users') AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$;

DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON whatsapp_numbers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass('whatsapp_numbers') AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$;

DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON businesses FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass('businesses') AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$;

ALTER TABLE businesses ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE businesses' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('businesses') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON businesses TO app_tenant USING (id = (SELECT current_business_id())) WITH CHECK (id = (SELECT current_business_id()));

CREATE POLICY app_service ON businesses TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, UPDATE (name, business_type, settings) ON businesses TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON businesses TO app_service;

ALTER TABLE whatsapp_numbers ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE whatsapp_numbers' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('whatsapp_numbers') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON whatsapp_numbers TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON whatsapp_numbers TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_numbers TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON whatsapp_numbers TO app_service;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE users' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('users') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON users TO app_tenant USING (EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = (SELECT current_business_id()))) WITH CHECK (EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id AND member.business_id = (SELECT current_business_id())));

CREATE POLICY app_service ON users TO app_service USING (true) WITH CHECK (true);

GRANT SELECT (id, email, full_name, is_active, created_at, updated_at) ON users TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON users TO app_service;

ALTER TABLE user_businesses ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE user_businesses' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('user_businesses') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON user_businesses TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON user_businesses TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, UPDATE (role), DELETE ON user_businesses TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON user_businesses TO app_service;

ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE alembic_version' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('alembic_version') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_service ON alembic_version TO app_service USING (true);

GRANT SELECT ON alembic_version TO app_service;

DO $default$
DECLARE
    scoped text;
    columns text;
BEGIN
    -- Where PUBLIC may not use the schema, the two roles need it said.
    FOREACH scoped IN ARRAY '{app_tenant,app_service}'::text[] LOOP
        IF NOT has_schema_privilege(scoped, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), scoped);
        END IF;
    END LOOP;
    IF to_regclass('multi_tenant_archive.businesses') IS NOT NULL THEN
        -- What a team added to these tables comes back with them, as columns that may be empty.
        FOR columns IN SELECT format('ALTER TABLE %I ADD COLUMN %I %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
                         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'multi_tenant_archive'::regnamespace
                        WHERE c.relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses') AND a.attnum > 0 AND NOT a.attisdropped
                          AND NOT EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = to_regclass(c.relname) AND n.attname = a.attname) LOOP
            EXECUTE columns;
        END LOOP;
        SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
         WHERE attrelid = 'multi_tenant_archive.businesses'::regclass AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('INSERT INTO businesses (%s) SELECT %1$s FROM multi_tenant_archive.businesses', columns);
    END IF;
END $default$;
-- Outside of the block, whose dollar quotes the name may contain.
INSERT INTO businesses (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Default business') ON CONFLICT (id) DO NOTHING;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, NULL),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass(NULL) DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'a table: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
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
    blocker text;
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
DO $rename$
DECLARE
    equal regclass;
BEGIN
    equal := (SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = to_regclass('conversations') AND i.indisvalid AND NOT i.indisunique AND a.amname = 'btree'
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
           AND 0 = ALL (i.indoption::int2[])
           AND (SELECT array_agg(t.attname::text ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.attnum) = '{whatsapp_id}'::text[]
         ORDER BY i.indexrelid LIMIT 1);
    IF equal IS NOT NULL AND to_regclass('ix_conversations_whatsapp_id') IS NULL THEN
        EXECUTE format('ALTER INDEX %s RENAME TO ix_conversations_whatsapp_id', equal);
    END IF;
END $rename$;

DO $rename$
DECLARE
    equal regclass;
BEGIN
    equal := (SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = to_regclass('conversations') AND i.indisvalid AND NOT i.indisunique AND a.amname = 'btree'
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
           AND 0 = ALL (i.indoption::int2[])
           AND (SELECT array_agg(t.attname::text ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.attnum) = '{timestamp}'::text[]
         ORDER BY i.indexrelid LIMIT 1);
    IF equal IS NOT NULL AND to_regclass('ix_conversations_timestamp') IS NULL THEN
        EXECUTE format('ALTER INDEX %s RENAME TO ix_conversations_timestamp', equal);
    END IF;
END $rename$;
-- end
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() >= give_up_at THEN
                PERFORM pg_stat_clear_snapshot();
                blocker := (
SELECT format('%s: pid %s of user %s, in a transaction for %s, whose query started at %s', coalesce(l.relation::regclass::text, NULL),
              a.pid, coalesce(a.usename, a.backend_type), coalesce(justify_interval(date_trunc('second', clock_timestamp() - a.xact_start))::text, '?'),
              coalesce(to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS TZ'), '?'))
  FROM pg_stat_activity AS a LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.relation IN (SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace)
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND (l.relation IS NOT NULL OR false)
 ORDER BY false OR l.relation = to_regclass(NULL) DESC NULLS LAST, a.xact_start LIMIT 1
);
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'a table: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
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
    blocker text;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'fk_customers_businesses' AND connamespace = current_schema()::regnamespace) THEN
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

-- What the rollback gives back is kept in the comment on the foreign key, which comes and goes with the revision.
DO $remember$
DECLARE
    legacy jsonb;
BEGIN
    SELECT jsonb_build_object(
        'comment', obj_description(c.oid, 'pg_class'),
        'row_security', c.relrowsecurity,
        'columns', (
            SELECT jsonb_object_agg(a.attname, jsonb_build_object('type', format_type(a.atttypid, a.atttypmod),
                       'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum)))
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attname = ANY ('{id,whatsapp_id,name,age,business_id,created_at,updated_at}')),
        'grants', (
            SELECT jsonb_agg(format('GRANT %s%s ON %s TO %I%s', privilege_type, columns, object, rolname,
                       CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) FROM (
                SELECT c.oid::regclass::text AS object, '' AS columns, (aclexplode(c.relacl)).*
                UNION ALL SELECT c.oid::regclass::text, format('(%I)', attname), (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid = c.oid
                UNION ALL SELECT 'SEQUENCE ' || s.oid::regclass, '', (aclexplode(s.relacl)).*
                  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                 WHERE d.refobjid = c.oid AND d.deptype IN ('a', 'i')) AS acl
              JOIN pg_roles r ON r.oid = grantee WHERE rolname IN ('anon', 'authenticated')),
        -- An index on a naive timestamp would be rebuilt under the lock: dropped here, built again concurrently.
        'indexes', (
            SELECT jsonb_agg(pg_get_indexdef(i.indexrelid)) FROM pg_index i
             WHERE i.indrelid = c.oid AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                     AND a.attnum = ANY (i.indkey) AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{id,whatsapp_id,name,age,business_id,created_at,updated_at}')))
    ) INTO legacy FROM pg_class c WHERE c.oid = 'customers'::regclass;
    EXECUTE format('COMMENT ON CONSTRAINT fk_customers_businesses ON customers IS %L', legacy);
END $remember$;

DO $zone$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = 'customers'::regclass AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{created_at,updated_at}')
                  GROUP BY 1 LOOP
        EXECUTE format('DROP INDEX %s', found);
    END LOOP;
    FOR found IN SELECT attname FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = ANY ('{created_at,updated_at}') LOOP
        EXECUTE format('ALTER TABLE customers ALTER COLUMN %I SET DEFAULT now()', found);
        IF (SELECT atttypid = 'timestamp'::regtype FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = found) THEN
            EXECUTE format('ALTER TABLE customers ALTER COLUMN %I TYPE timestamptz', found);
        END IF;
    END LOOP;
END $zone$;

DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass('customers') AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$;

COMMENT ON TABLE customers IS 'Customers, each of one business';

COMMENT ON COLUMN customers."id" IS 'Identifier';

COMMENT ON COLUMN customers."whatsapp_id" IS 'WhatsApp id (wa_id) as Meta sends it';

COMMENT ON COLUMN customers."name" IS 'Name of the customer';

COMMENT ON COLUMN customers."age" IS 'Age in years';

COMMENT ON COLUMN customers."business_id" IS 'The business that the row belongs to';

COMMENT ON COLUMN customers."created_at" IS 'When the row was inserted';

COMMENT ON COLUMN customers."updated_at" IS 'When the row was last changed; set by the trigger set_updated_at';

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE customers' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('customers') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON customers TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON customers TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO app_service;
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
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'customers: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
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
    blocker text;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'fk_conversations_businesses' AND connamespace = current_schema()::regnamespace) THEN
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

-- What the rollback gives back is kept in the comment on the foreign key, which comes and goes with the revision.
DO $remember$
DECLARE
    legacy jsonb;
BEGIN
    SELECT jsonb_build_object(
        'comment', obj_description(c.oid, 'pg_class'),
        'row_security', c.relrowsecurity,
        'columns', (
            SELECT jsonb_object_agg(a.attname, jsonb_build_object('type', format_type(a.atttypid, a.atttypmod),
                       'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum)))
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attname = ANY ('{id,whatsapp_id,message,role,timestamp,created_at,business_id,whatsapp_number_id,whatsapp_message_id}')),
        'grants', (
            SELECT jsonb_agg(format('GRANT %s%s ON %s TO %I%s', privilege_type, columns, object, rolname,
                       CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) FROM (
                SELECT c.oid::regclass::text AS object, '' AS columns, (aclexplode(c.relacl)).*
                UNION ALL SELECT c.oid::regclass::text, format('(%I)', attname), (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid = c.oid
                UNION ALL SELECT 'SEQUENCE ' || s.oid::regclass, '', (aclexplode(s.relacl)).*
                  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                 WHERE d.refobjid = c.oid AND d.deptype IN ('a', 'i')) AS acl
              JOIN pg_roles r ON r.oid = grantee WHERE rolname IN ('anon', 'authenticated')),
        -- An index on a naive timestamp would be rebuilt under the lock: dropped here, built again concurrently.
        'indexes', (
            SELECT jsonb_agg(pg_get_indexdef(i.indexrelid)) FROM pg_index i
             WHERE i.indrelid = c.oid AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                     AND a.attnum = ANY (i.indkey) AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{id,whatsapp_id,message,role,timestamp,created_at,business_id,whatsapp_number_id,whatsapp_message_id}')))
    ) INTO legacy FROM pg_class c WHERE c.oid = 'conversations'::regclass;
    EXECUTE format('COMMENT ON CONSTRAINT fk_conversations_businesses ON conversations IS %L', legacy);
END $remember$;

DO $zone$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = 'conversations'::regclass AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{timestamp,created_at}')
                  GROUP BY 1 LOOP
        EXECUTE format('DROP INDEX %s', found);
    END LOOP;
    FOR found IN SELECT attname FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = ANY ('{timestamp,created_at}') LOOP
        EXECUTE format('ALTER TABLE conversations ALTER COLUMN %I SET DEFAULT now()', found);
        IF (SELECT atttypid = 'timestamp'::regtype FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = found) THEN
            EXECUTE format('ALTER TABLE conversations ALTER COLUMN %I TYPE timestamptz', found);
        END IF;
    END LOOP;
END $zone$;

ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid;

ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255);

ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id) NOT VALID;

COMMENT ON TABLE conversations IS 'Messages; a row is one message';

COMMENT ON COLUMN conversations."id" IS 'Identifier';

COMMENT ON COLUMN conversations."whatsapp_id" IS 'WhatsApp id of the customer';

COMMENT ON COLUMN conversations."message" IS 'Text of the message';

COMMENT ON COLUMN conversations."role" IS 'Who wrote it: user, assistant, or another role';

COMMENT ON COLUMN conversations."timestamp" IS 'When the message was sent';

COMMENT ON COLUMN conversations."created_at" IS 'When the row was inserted';

COMMENT ON COLUMN conversations."business_id" IS 'The business that the row belongs to';

COMMENT ON COLUMN conversations."whatsapp_number_id" IS 'The number of the business that the message went through';

COMMENT ON COLUMN conversations."whatsapp_message_id" IS 'Meta''s message id (wamid.), unique in a business: webhooks repeat';

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;

DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE conversations' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass('conversations') AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND true THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$;

CREATE POLICY app_tenant ON conversations TO app_tenant USING (business_id = (SELECT current_business_id())) WITH CHECK (business_id = (SELECT current_business_id()));

CREATE POLICY app_service ON conversations TO app_service USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO app_tenant;

GRANT SELECT, INSERT, UPDATE, DELETE ON conversations TO app_service;
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
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'conversations: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

-- drop what an interrupted run left of the indexes of customers
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (
    SELECT jsonb_array_elements_text(CASE jsonb_typeof(legacy -> 'indexes') WHEN 'array' THEN legacy -> 'indexes' END)
      FROM pg_constraint CROSS JOIN LATERAL (SELECT obj_description(oid, 'pg_constraint')::jsonb) AS kept (legacy) WHERE conname = 'fk_customers_businesses') AS kept (d)) AS t JOIN pg_index i ON i.indexrelid = to_regclass(name) AND NOT i.indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- an index of customers
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT regexp_replace(d, '^CREATE( UNIQUE)? INDEX ', 'CREATE\1 INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (
    SELECT jsonb_array_elements_text(CASE jsonb_typeof(legacy -> 'indexes') WHEN 'array' THEN legacy -> 'indexes' END)
      FROM pg_constraint CROSS JOIN LATERAL (SELECT obj_description(oid, 'pg_constraint')::jsonb) AS kept (legacy) WHERE conname = 'fk_customers_businesses') AS kept (d)) AS t WHERE to_regclass(name) IS NULL
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of the indexes of conversations
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || name FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (
    SELECT jsonb_array_elements_text(CASE jsonb_typeof(legacy -> 'indexes') WHEN 'array' THEN legacy -> 'indexes' END)
      FROM pg_constraint CROSS JOIN LATERAL (SELECT obj_description(oid, 'pg_constraint')::jsonb) AS kept (legacy) WHERE conname = 'fk_conversations_businesses') AS kept (d)) AS t JOIN pg_index i ON i.indexrelid = to_regclass(name) AND NOT i.indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- an index of conversations
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT regexp_replace(d, '^CREATE( UNIQUE)? INDEX ', 'CREATE\1 INDEX ') FROM (SELECT d, (regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1] AS name FROM (
    SELECT jsonb_array_elements_text(CASE jsonb_typeof(legacy -> 'indexes') WHEN 'array' THEN legacy -> 'indexes' END)
      FROM pg_constraint CROSS JOIN LATERAL (SELECT obj_description(oid, 'pg_constraint')::jsonb) AS kept (legacy) WHERE conname = 'fk_conversations_businesses') AS kept (d)) AS t WHERE to_regclass(name) IS NULL
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_conversations_timestamp
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_conversations_timestamp') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index ix_conversations_timestamp
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp")' WHERE to_regclass('ix_conversations_timestamp') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_conversations_whatsapp_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_conversations_whatsapp_id') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index ix_conversations_whatsapp_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id)' WHERE to_regclass('ix_conversations_whatsapp_id') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_conversations_business_id_whatsapp_id_timestamp
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_conversations_business_id_whatsapp_id_timestamp') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index ix_conversations_business_id_whatsapp_id_timestamp
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON conversations (business_id, whatsapp_id, "timestamp")' WHERE to_regclass('ix_conversations_business_id_whatsapp_id_timestamp') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_conversations_business_id_whatsapp_number_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_conversations_business_id_whatsapp_number_id') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index ix_conversations_business_id_whatsapp_number_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE INDEX ix_conversations_business_id_whatsapp_number_id ON conversations (business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL' WHERE to_regclass('ix_conversations_business_id_whatsapp_number_id') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of uq_conversations_business_id_whatsapp_message_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('uq_conversations_business_id_whatsapp_message_id') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index uq_conversations_business_id_whatsapp_message_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE UNIQUE INDEX uq_conversations_business_id_whatsapp_message_id ON conversations (business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL' WHERE to_regclass('uq_conversations_business_id_whatsapp_message_id') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of uq_customers_business_id_whatsapp_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('uq_customers_business_id_whatsapp_id') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index uq_customers_business_id_whatsapp_id
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE UNIQUE INDEX uq_customers_business_id_whatsapp_id ON customers (business_id, whatsapp_id)' WHERE to_regclass('uq_customers_business_id_whatsapp_id') IS NULL AND NOT (false)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- drop what an interrupted run left of ix_customers_whatsapp_id_001
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'DROP INDEX ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass('ix_customers_whatsapp_id_001') AND NOT indisvalid
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- index ix_customers_whatsapp_id_001
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'CREATE INDEX ix_customers_whatsapp_id_001 ON customers (whatsapp_id)' WHERE to_regclass('ix_customers_whatsapp_id_001') IS NULL AND NOT (EXISTS (SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = to_regclass('customers') AND i.indisvalid AND NOT i.indisunique AND a.amname = 'btree'
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
           AND 0 = ALL (i.indoption::int2[])
           AND (SELECT array_agg(t.attname::text ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.attnum) = '{whatsapp_id}'::text[]
         ORDER BY i.indexrelid LIMIT 1))
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- validate fk_customers_businesses
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'ALTER TABLE customers VALIDATE CONSTRAINT fk_customers_businesses' FROM pg_constraint WHERE conrelid = to_regclass('customers') AND conname = 'fk_customers_businesses' AND NOT convalidated
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- validate fk_conversations_businesses
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_businesses' FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_businesses' AND NOT convalidated
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- validate fk_conversations_whatsapp_numbers
DO $step$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT 'ALTER TABLE conversations VALIDATE CONSTRAINT fk_conversations_whatsapp_numbers' FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND conname = 'fk_conversations_whatsapp_numbers' AND NOT convalidated
    LOOP
        EXECUTE statement;
    END LOOP;
END
$step$;

-- customers: unique in a business

DO $step$
DECLARE
    give_up_at timestamptz := clock_timestamp() + interval '60.0 s';
    pause float := 0.1;
    blocker text;
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE conname = 'uq_customers_business_id_whatsapp_id' AND connamespace = current_schema()::regnamespace) THEN
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

-- One customer per business instead of one per database; the old bot's look-up keeps an index of its own.
DO $swap$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT i.indexrelid::regclass AS name, c.conname FROM pg_index i
                 LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
                WHERE i.indrelid = 'customers'::regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND i.indkey::text = (SELECT attnum::text FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id') LOOP
        IF old.conname IS NULL THEN
            EXECUTE format('DROP INDEX %s', old.name);
        ELSE
            EXECUTE format('ALTER TABLE customers DROP CONSTRAINT %I', old.conname);
        END IF;
    END LOOP;
END $swap$;

DO $rename$
DECLARE
    equal regclass;
BEGIN
    equal := (SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = to_regclass('customers') AND i.indisvalid AND NOT i.indisunique AND a.amname = 'btree'
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
           AND 0 = ALL (i.indoption::int2[])
           AND (SELECT array_agg(t.attname::text ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.attnum) = '{whatsapp_id}'::text[]
         ORDER BY i.indexrelid LIMIT 1);
    IF equal IS NOT NULL AND to_regclass('ix_customers_whatsapp_id') IS NULL THEN
        EXECUTE format('ALTER INDEX %s RENAME TO ix_customers_whatsapp_id', equal);
    END IF;
END $rename$;
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
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'customers: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
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
    blocker text;
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
    kept text;
    columns text;
    inserts text;
    links bigint;
    restored bigint;
    -- A team's own triggers have no part in the move.
    team_triggers text[] := ARRAY(
        SELECT format('ALTER TABLE %s ENABLE %sTRIGGER %I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS ' ELSE '' END, tgname)
          FROM pg_trigger WHERE tgrelid IN ('customers'::regclass, 'conversations'::regclass) AND NOT tgisinternal
           AND tgenabled IN ('O', 'A') AND tgfoid IS DISTINCT FROM to_regprocedure('set_updated_at()')::oid);
BEGIN
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE regexp_replace(kept, ' ENABLE (ALWAYS )?TRIGGER ', ' DISABLE TRIGGER ');
    END LOOP;
    FOREACH kept IN ARRAY '{users,user_businesses,whatsapp_numbers,customers,conversations}'::text[] LOOP
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
          JOIN pg_attribute b ON b.attrelid = to_regclass(kept) AND b.attname = a.attname AND b.attgenerated = ''
         WHERE a.attrelid = ('multi_tenant_archive.' || kept)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
        inserts := concat_ws(', ', inserts, format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)', kept, columns));
    END LOOP;
    EXECUTE format('WITH %s SELECT', inserts);  -- one statement: keys between these tables, a team's own too, are asked at its end
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d WHERE d.id = c.id AND c.business_id = '00000000-0000-0000-0000-000000000001';
    GET DIAGNOSTICS restored = ROW_COUNT;
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE kept;
    END LOOP;
    SELECT count(*) INTO links FROM multi_tenant_archive.default_messages;
    IF links > restored THEN
        RAISE NOTICE '% archived links were dropped: their messages were deleted since', links - restored;
    END IF;
    SET LOCAL client_min_messages = warning;
    DROP SCHEMA multi_tenant_archive CASCADE;
    SET LOCAL client_min_messages = notice;
END $restore$;
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
                RAISE EXCEPTION 'gave up after 60 s waiting for a lock on %; end that transaction, or wait for it, then run the same command again (nothing was changed)', coalesce(blocker, 'conversations: nobody any more, or a prepared transaction (pg_prepared_xacts)')
                    USING ERRCODE = 'lock_not_available';
            END IF;
        END;
        PERFORM pg_sleep(pause * (0.5 + random()));
        pause := least(pause * 1.6, 3.0);
    END LOOP;
END
$step$;

UPDATE alembic_version SET version_num='001' WHERE alembic_version.version_num = '000';

COMMIT;

