-- What a rollback gives back: statements, and facts that it asks for. Only the owner reads or writes it.
CREATE TABLE multi_tenant_rollback (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    phase text NOT NULL,
    kind text NOT NULL,
    statement text NOT NULL,
    needs_column text CHECK (needs_column IS NULL OR phase ~ '^(customers|conversations)( |$)'),
    needs_role text
);
COMMENT ON TABLE multi_tenant_rollback IS 'What alembic downgrade 000 runs to give the single-business schema back; keep it';
COMMENT ON COLUMN multi_tenant_rollback.id IS 'The order in which statements run';
COMMENT ON COLUMN multi_tenant_rollback.phase IS 'When the statement is run: a table or "end" in the rollback, "upgrade" in the upgrade itself; a "fact" is never run';
COMMENT ON COLUMN multi_tenant_rollback.kind IS 'What the statement gives back';
COMMENT ON COLUMN multi_tenant_rollback.statement IS 'SQL, or a fact that the rollback asks for';
COMMENT ON COLUMN multi_tenant_rollback.needs_column IS 'The column without which the statement is not run';
COMMENT ON COLUMN multi_tenant_rollback.needs_role IS 'The role without which the statement is not run';
ALTER TABLE multi_tenant_rollback ENABLE ROW LEVEL SECURITY;
DO $close$
BEGIN
    EXECUTE coalesce((SELECT string_agg(DISTINCT format('REVOKE ALL ON multi_tenant_rollback FROM %s',
                                 CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), ';')
                        FROM pg_class, aclexplode(relacl)
                       WHERE pg_class.oid = 'multi_tenant_rollback'::regclass AND grantee <> relowner), '');
END $close$
