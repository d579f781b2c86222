-- What keeps this server and its workers from taking the tables. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('this is Citus %s, and the steps need 12 or later: run ALTER EXTENSION citus UPDATE;', extversion)
   FROM pg_extension WHERE extname = 'citus' AND split_part(extversion, '.', 1)::int < 12),
(SELECT 'this server is a worker: connect to the coordinator' FROM pg_dist_local_group WHERE groupid <> 0),
CASE WHEN NOT EXISTS (SELECT FROM pg_dist_node WHERE groupid = 0) THEN
    format('the coordinator is not among its own nodes: run SELECT citus_set_coordinator_host(%L, %s);',
           coalesce(host(inet_server_addr()), 'localhost'), current_setting('port')) END,
CASE WHEN NOT EXISTS (SELECT FROM pg_dist_node WHERE groupid <> 0 AND isactive AND noderole = 'primary') THEN
    'there is no worker: add one with SELECT citus_add_node(host, port)'
WHEN NOT EXISTS (SELECT FROM pg_dist_node WHERE groupid <> 0 AND isactive AND shouldhaveshards AND noderole = 'primary') THEN
    (SELECT format('no worker takes shards: run SELECT citus_set_node_property(%L, %s, ''shouldhaveshards'', true);', nodename, nodeport)
       FROM pg_dist_node WHERE groupid <> 0 AND isactive AND noderole = 'primary' ORDER BY nodeid LIMIT 1) END,
(SELECT format('the coordinator takes shards, and Citus does not ask row level security when COPY or INSERT ... SELECT writes to a shard on its own server: run SELECT citus_set_node_property(%L, %s, ''shouldhaveshards'', false);',
               nodename, nodeport)
   FROM pg_dist_node WHERE groupid = 0 AND shouldhaveshards LIMIT 1),
CASE WHEN current_setting('citus.shard_replication_factor') <> '1' THEN
    format('citus.shard_replication_factor is %s, and foreign keys need 1: run ALTER DATABASE %I SET citus.shard_replication_factor = 1;',
           current_setting('citus.shard_replication_factor'), current_database()) END,
(SELECT format('role %s may not close what shows every tenant the statements of others: as an administrator: run %s;', current_user, string_agg(closing, '; '))
   FROM ({{closing}}) AS open WHERE NOT (SELECT pg_has_role(extowner, 'USAGE') FROM pg_extension WHERE extname = 'citus') HAVING count(*) > 0),
(SELECT format('role %s may not change app_tenant, which has to log in on the workers: as an administrator: run ALTER ROLE app_tenant LOGIN;', current_user)
   FROM pg_roles AS t, pg_roles AS me WHERE t.rolname = 'app_tenant' AND NOT t.rolcanlogin AND me.rolname = current_user AND NOT me.rolsuper AND NOT me.rolcreaterole),
(SELECT format('role %s does not own database %I: as its owner: run ALTER DATABASE %2$I SET citus.propagate_set_commands = local;', current_user, datname)
   FROM pg_database WHERE datname = current_database() AND NOT pg_has_role(datdba, 'USAGE') AND NOT {{setting}})
) AS sentences
