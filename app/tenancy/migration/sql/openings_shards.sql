-- Shards without the protection of their table, as the rows of openings.sql. Needs the right to ask the workers.
-- Inputs (binds): distributed_tables, their names as SQL.
SELECT DISTINCT 'shards' AS kind, '' AS tab, 'of ' || name AS name, '' AS role, NULL AS expected,
       format('%s: %s', nodename || ':' || nodeport, coalesce(nullif(result, ''), 'no answer')) AS found, NULL AS fix,
       'move the shard to another node (citus_move_shard_placement), which makes it anew' AS by_hand
  FROM unnest(CAST(:distributed_tables AS text[])) AS name CROSS JOIN LATERAL run_command_on_placements(name::regclass, format($$
       SELECT CASE WHEN NOT relrowsecurity THEN 'row level security is off'
                   WHEN (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid) <> %s THEN 'its policies are not those of the table' ELSE 'closed' END
         FROM pg_class AS c WHERE oid = '%%s'::regclass$$, (SELECT count(*) FROM pg_policy WHERE polrelid = name::regclass))) AS answer
 WHERE result IS DISTINCT FROM 'closed'
