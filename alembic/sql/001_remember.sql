-- Keep for the rollback what a query returns (phase, kind, statement, needs_column, needs_role), in its order, each
-- statement once. Input: query. 001_memory.sql says what the columns hold.
INSERT INTO multi_tenant_rollback (phase, kind, statement, needs_column, needs_role)
SELECT phase, kind, statement, needs_column, needs_role FROM (
SELECT *, row_number() OVER () FROM (
{{query}}
) AS q (phase, kind, statement, needs_column, needs_role)
) AS s (phase, kind, statement, needs_column, needs_role, place)
 WHERE statement IS NOT NULL AND NOT EXISTS (
    SELECT FROM multi_tenant_rollback AS m WHERE (m.phase, m.kind, m.statement) = (s.phase, s.kind, s.statement))
 ORDER BY place
