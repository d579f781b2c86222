-- The comments on all that is in the schema, as statements: distributing a table loses them.
SELECT format('COMMENT ON %s IS %L', what, description) AS statement FROM (
    SELECT CASE objsubid WHEN 0 THEN format('TABLE %s', objoid::regclass)
                ELSE format('COLUMN %s.%I', objoid::regclass, (SELECT attname FROM pg_attribute WHERE attrelid = objoid AND attnum = objsubid)) END AS what, description, objoid AS tab
      FROM pg_description JOIN pg_class ON pg_class.oid = objoid WHERE classoid = 'pg_class'::regclass AND relkind IN ('r', 'p')
    UNION ALL SELECT format('INDEX %s', indexrelid::regclass), description, indrelid FROM pg_description JOIN pg_index ON indexrelid = objoid WHERE classoid = 'pg_class'::regclass
    UNION ALL SELECT format('CONSTRAINT %I ON %s', conname, conrelid::regclass), description, conrelid FROM pg_description JOIN pg_constraint AS c ON c.oid = objoid WHERE classoid = 'pg_constraint'::regclass
    UNION ALL SELECT format('POLICY %I ON %s', polname, polrelid::regclass), description, polrelid FROM pg_description JOIN pg_policy AS p ON p.oid = objoid WHERE classoid = 'pg_policy'::regclass
    UNION ALL SELECT format('TRIGGER %I ON %s', tgname, tgrelid::regclass), description, tgrelid FROM pg_description JOIN pg_trigger AS g ON g.oid = objoid WHERE classoid = 'pg_trigger'::regclass
    UNION ALL SELECT format('STATISTICS %s', format('%I.%I', nspname, stxname)), description, stxrelid FROM pg_description JOIN pg_statistic_ext AS x ON x.oid = objoid JOIN pg_namespace AS n ON n.oid = stxnamespace WHERE classoid = 'pg_statistic_ext'::regclass
    UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass), description, refobjid FROM pg_description JOIN pg_depend AS d ON d.classid = classoid AND d.objid = objoid AND deptype IN ('a', 'i') JOIN pg_class AS s ON s.oid = d.objid AND relkind = 'S' WHERE classoid = 'pg_class'::regclass
) AS c WHERE tab IN (SELECT oid FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace)
