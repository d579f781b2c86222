INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT '{{phase}}', '{{kind}}', statement, needs_column, needs_role FROM (
{{statements}}
) AS s (statement, needs_column, needs_role)
 WHERE s.statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE m.phase = '{{phase}}' AND m.kind = '{{kind}}' AND m.statement = s.statement)
