-- What the settings of the nodes lack, and which node does not answer. JSON of sentences.
SELECT jsonb_agg(CASE WHEN NOT success THEN format('node %s:%s does not answer (%s): start it, or remove it with SELECT citus_remove_node(%1$L, %2$s)', nodename, nodeport, result)
                       ELSE format('node %s:%s has %s: run ALTER SYSTEM SET %s there, then restart it', nodename, nodeport,
                                   split_part(result, '|', 1), split_part(result, '|', 2)) END)
  FROM (VALUES ($$SELECT 'wal_level = ' || current_setting('wal_level') || '|wal_level = logical' WHERE current_setting('wal_level') <> 'logical'$$),
               ($$SELECT 'output_plugin_libraries = ' || libraries || '|output_plugin_libraries = ' || concat_ws(', ', nullif(libraries, ''), CASE WHEN libraries !~ '\mpgoutput\M' THEN 'pgoutput' END, 'citus')
                    FROM (SELECT (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS libraries) AS readable WHERE NOT 'citus' = ANY (regexp_split_to_array(libraries, '[\s,"]+'))$$)) AS q (query)
 CROSS JOIN LATERAL run_command_on_all_nodes(query, give_warning_for_connection_errors => false) AS answer JOIN pg_dist_node USING (nodeid)
 WHERE NOT success OR result <> ''
