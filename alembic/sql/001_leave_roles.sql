-- Memberships that the upgrade takes, to be left by the rollback. Not while another database of the server uses the roles: the same role may work there.
-- Input: used_elsewhere, a condition.
SELECT 'end', 'membership', format($leave$DO $do$
BEGIN
    IF NOT {{used_elsewhere}} THEN
        REVOKE %I FROM %I;
    END IF;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    NULL;  -- an administrator changed the membership since
END $do$$leave$, name, current_user), NULL, current_user::text
  FROM ({{> 001_missing_memberships.sql}}) AS missing
