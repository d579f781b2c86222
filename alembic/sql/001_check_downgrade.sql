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
    SELECT string_agg(DISTINCT relname, ', '), string_agg(DISTINCT relowner::regrole::text, ', ') INTO found FROM pg_class
     WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('businesses')) AND NOT pg_has_role(current_user, relowner, 'USAGE');
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'role % does not own %: run the rollback as the owner', current_user, found;
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
                  AND k.conrelid NOT IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name)) LOOP
        IF key.target NOT IN ('customers', 'conversations') OR key.target_columns LIKE '%business_id%' THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to %, which the single-business schema does not have: drop it first (ALTER TABLE % DROP CONSTRAINT %)',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass, quote_ident(key.conname);
        END IF;
        EXECUTE format('SELECT EXISTS (SELECT FROM %s AS o JOIN %s AS t ON %s WHERE t.business_id <> %L)',
            key.conrelid::regclass, key.confrelid::regclass, key.condition, '{{default}}') INTO hit;
        IF hit THEN
            RAISE EXCEPTION 'the foreign key % of table % refers to rows of % of other businesses, which a rollback moves to the archive: move those rows of % away first',
                key.conname, key.conrelid::regclass, key.target, key.conrelid::regclass;
        END IF;
    END LOOP;
    SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0), ', ') INTO found
      FROM pg_depend d LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
     WHERE (d.refobjid IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name) WHERE name NOT IN ('customers', 'conversations'))
              AND d.classid = 'pg_rewrite'::regclass)
        OR (d.refobjid IN (to_regclass('customers'), to_regclass('conversations'))
              AND a.attname IN ('business_id', 'whatsapp_number_id', 'whatsapp_message_id', 'timestamp', 'created_at', 'updated_at')
              AND (d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_statistic_ext'::regclass)
                   OR EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND d.classid = 'pg_policy'::regclass AND polname NOT IN ('app_tenant', 'app_service'))
                   OR EXISTS (SELECT FROM pg_attrdef WHERE oid = d.objid AND d.classid = 'pg_attrdef'::regclass AND adnum <> a.attnum)))
        OR (d.refobjid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
              AND d.refclassid = 'pg_proc'::regclass AND d.classid <> 'pg_init_privs'::regclass
              AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.oid = d.objid AND p.polrelid IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name)))
              AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.oid = d.objid AND t.tgrelid IN (SELECT to_regclass(name) FROM (VALUES {{tables}}) AS ours (name))));
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'this depends on what the rollback takes away: %; drop it first, and create it again after the next upgrade', found;
    END IF;
END $check$
