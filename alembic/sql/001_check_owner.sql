-- What a rollback needs its role to be, and row level security. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('role %s does not own %s: run the rollback as the owner', current_user, string_agg(relname, ', '))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')) AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT format('row level security is forced on %s, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first',
               string_agg(relname, ' and '))
   FROM pg_class JOIN pg_roles ON rolname = current_user
  WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'), to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses'), to_regclass('multi_tenant_rollback')) AND relforcerowsecurity AND NOT rolsuper AND NOT rolbypassrls HAVING count(*) > 0)
) AS sentences
