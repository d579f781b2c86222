(SELECT format('bringing %s of customers and messages back makes everybody who writes wait for about %s s, for Citus has no other form; in a quiet hour: run alembic -n scale -x writers-wait=yes downgrade bigint;',
               pg_size_pretty(bytes), ceil(bytes / 16e6))
   FROM (SELECT coalesce(sum(citus_total_relation_size(logicalrelid)), 0) AS bytes FROM pg_dist_partition WHERE partmethod = 'h') AS spread)
