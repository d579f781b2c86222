-- What a rollback keeps, and what it does not. JSON of sentences.
SELECT jsonb_build_array(
'multi_tenant_archive keeps: ' || coalesce((SELECT string_agg(concat_ws(' ', n, name), ', ') FROM (
            SELECT count(*) AS n, 'other businesses' AS name FROM businesses WHERE id <> '{{default}}'
            UNION ALL SELECT count(*), 'WhatsApp numbers' FROM whatsapp_numbers
            UNION ALL SELECT count(*), 'users' FROM users
            UNION ALL SELECT count(*), 'customers of other businesses' FROM customers WHERE business_id <> '{{default}}'
            UNION ALL SELECT count(*), 'messages of other businesses' FROM conversations WHERE business_id <> '{{default}}'
            UNION ALL SELECT count(*), 'own customers whose WhatsApp id is too long' FROM customers WHERE {{moved_customers}} AND business_id = '{{default}}'
            UNION ALL SELECT count(*), 'own messages whose WhatsApp id is too long' FROM conversations WHERE {{moved_conversations}} AND business_id = '{{default}}'
            UNION ALL SELECT count(*), 'user names of own customers' FROM customers WHERE {{names}} AND NOT ({{moved_customers}})
            UNION ALL SELECT count(*), 'links of own messages' FROM conversations WHERE {{links}} AND NOT ({{moved_conversations}})
            UNION ALL SELECT count(*), 'change of the default business' FROM businesses WHERE {{changed}}
            UNION ALL SELECT 1, 'set of changes to the new tables' WHERE {{changed_tables}}) AS t
             WHERE n > 0), 'nothing, for there is nothing to keep'),
(SELECT jsonb_agg(format('%s loses what it was granted after the upgrade (%s), for nothing confines it after a rollback%s', CASE role WHEN 'PUBLIC' THEN role ELSE 'role ' || role END, what,
                          CASE WHEN again THEN '; the next upgrade grants it again' ELSE '' END) ORDER BY role)
   FROM (SELECT role, again, string_agg(format('%s on %s', privileges, object), '; ' ORDER BY object) AS what
           FROM (SELECT role, again, object, string_agg(DISTINCT privilege_type || columns, ', ') AS privileges
                   FROM (SELECT * FROM ({{later_customers}}) AS l UNION ALL SELECT * FROM ({{later_conversations}}) AS l) AS l GROUP BY role, again, object) AS l
          GROUP BY role, again) AS l),
        -- What goes with a column of the two tables and is not ours.
(SELECT 'goes with the columns of the two tables; create it again after the next upgrade: ' || string_agg(definition, '; ') FROM (
            SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(k.oid))
              FROM pg_constraint AS k WHERE conrelid IN (to_regclass('customers'), to_regclass('conversations')) AND contype <> 'n' AND conname <> ALL ('{{{our_names}}}') AND EXISTS (
                   SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey) AND attname IN {{new_columns}})
            UNION ALL SELECT pg_get_indexdef(indexrelid)
              FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
             WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relname <> ALL ('{{{our_names}}}') AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
               AND EXISTS (SELECT FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
                            WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid AND attname IN {{new_columns}})
            UNION ALL SELECT format('GRANT %s (%I) ON %s TO %s', privilege_type, attname, attrelid::regclass, grantee::regrole)
              FROM pg_attribute, aclexplode(attacl)
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN {{new_columns}} AND grantee NOT IN (0, to_regrole('app_tenant'), to_regrole('app_service'))
            UNION ALL SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext AS s JOIN pg_attribute ON attrelid = stxrelid AND attnum = ANY (stxkeys)
             WHERE stxrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN {{new_columns}}) AS l (definition))
) AS sentences
