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
       AND oid IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name))
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
                WHERE k.contype = 'f' AND k.confrelid IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name))
                  AND k.conrelid NOT IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name) WHERE name NOT IN ('customers', 'conversations'))
                  AND k.conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') LOOP
        IF key.target NOT IN ('customers', 'conversations') OR key.target_columns LIKE '%business_id%' THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to %, which the single-business schema does not have: drop it first (ALTER TABLE % DROP CONSTRAINT %)',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass, quote_ident(key.conname);
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> %L %s)', key.conrelid::regclass, key.confrelid::regclass, key.condition,
            '{{default}}', CASE WHEN key.conrelid IN (to_regclass('customers'), to_regclass('conversations')) THEN 'AND o.business_id <> t.business_id' END) INTO hit;
        IF hit THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to rows of % of other businesses, which a rollback moves to the archive: move those rows of % away first',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass;
        END IF;
    END LOOP;
    WITH ours AS (
        SELECT to_regclass(name) AS oid, name NOT IN ('customers', 'conversations') AS goes FROM (VALUES {{tables}}) AS t (name)
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
END $check$
