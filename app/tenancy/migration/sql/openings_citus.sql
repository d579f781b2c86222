-- What Citus opens, as the rows of openings.sql. Asked where the tables are distributed, with the schemas of Citus in sight.
-- Inputs: closing, a query of statements (closing) that close what shows others' work; setting_is_there, a condition.
SELECT 'node' AS kind, '' AS tab, format('%s:%s', nodename, nodeport) AS name, '' AS role, NULL AS expected,
       'the coordinator, and takes shards, to which COPY and INSERT ... SELECT write past row level security' AS found,
       format('DO %L', format('BEGIN PERFORM citus_set_node_property(%L, %s, ''shouldhaveshards'', false); END', nodename, nodeport)) AS fix,
       NULL AS by_hand
  FROM pg_dist_node WHERE groupid = 0 AND shouldhaveshards
UNION ALL
SELECT 'table', logicalrelid::text, '', '', NULL,
       count(*) || ' shards on the coordinator, to which COPY and INSERT ... SELECT write past row level security', NULL,
       format('move them to a worker: SELECT citus_move_shard_placement(%s, ...), or drain the coordinator with '
              'SELECT citus_drain_node(host, port)', min(shardid))
  FROM pg_dist_partition JOIN pg_dist_shard USING (logicalrelid) JOIN pg_dist_placement AS p USING (shardid)
 WHERE partmethod = 'h' AND groupid = 0 GROUP BY logicalrelid
UNION ALL
SELECT 'what Citus shows', '', 'of others', '', NULL,
       replace(substr(closing, 15), ' FROM PUBLIC', ', which everybody may use'), closing, NULL FROM ({{closing}}) AS open
UNION ALL
SELECT 'database', '', current_database(), '', 'SET citus.propagate_set_commands=local', NULL,
       format('ALTER DATABASE %I SET citus.propagate_set_commands = local', current_database()), NULL
 WHERE NOT {{setting_is_there}}
