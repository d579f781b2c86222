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
