-- How long writers would wait.
SELECT format('bringing %s rows back makes everybody who writes wait for about %s s, for Citus has no other form; in a quiet hour: run alembic -n scale -x writers-wait=yes downgrade bigint;',
              to_char(rows, 'FM999,999,999,990'), ceil(rows / 70000))
  FROM (SELECT coalesce(sum((SELECT sum(result::float8) FROM run_command_on_shards(logicalrelid, 'SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = ''%s''::regclass') WHERE success)), 0)::numeric AS rows
          FROM pg_dist_partition WHERE partmethod = 'h') AS counted
