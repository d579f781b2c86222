-- Ids that one key for all businesses cannot hold: in this form a tenant may give an id of its own, which another business may
-- have too. A query that gives a sentence. Inputs: table; sequence, an expression; highest, the highest id to go on above.
SELECT jsonb_build_object('query', format($query$SELECT format(%L, string_agg(id::text, ', ')) FROM (SELECT id FROM {{table}} GROUP BY id HAVING count(*) > 1 OR id > {{highest}} ORDER BY id LIMIT 5) AS chosen HAVING count(*) > 0$query$,
       'ids of {{table}} were given by tenants, and one key for all businesses cannot hold them (such as %s), so the newer rows need others, '
       'which nothing of yours may have stored: run DO $renumber$ DECLARE one bigint; business uuid; fresh bigint; BEGIN '
       'FOR one IN SELECT id FROM {{table}} GROUP BY id HAVING count(*) > 1 OR id > {{highest}} LOOP '
       'FOR business IN SELECT business_id FROM {{table}} WHERE id = one ORDER BY created_at, business_id OFFSET (one <= {{highest}})::int LOOP '
       'LOOP fresh := nextval('''  || {{sequence}} || '''); EXIT WHEN NOT EXISTS (SELECT FROM {{table}} WHERE id = fresh); END LOOP; '
       'EXECUTE format(''UPDATE {{table}} SET id = %%s WHERE id = %%s AND business_id = %%L'', fresh, one, business); END LOOP; END LOOP; END $renumber$;')) AS sentence
