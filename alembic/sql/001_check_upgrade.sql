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

    SELECT string_agg(name, ', ') INTO found FROM (VALUES {{tables}}) AS ours (name) WHERE to_regclass(name) IS NOT NULL
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
      FROM ({{bot_roles}}) AS bot (name) JOIN pg_roles ON oid = name::regrole WHERE NOT rolinherit;
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
                          OR (pg_has_role(current_user, r.oid, 'MEMBER') AND (name = 'app_tenant' OR NOT EXISTS ({{bot_roles}})))) END;
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
END $check$
