-- What opens the tables, or shuts their users out, whatever the models declare: kind, tab, name, role (as `catalogue.Item`
-- names them), expected, found (NULL where it is missing), fix, by_hand. fix is the statement with which repair puts it
-- right; where there is none, by_hand says what to do instead.
-- Inputs (binds): those of openings_common.sql and, for roles, distributed, whether Citus has the tables; version, of the
-- server; secret, the tables that hold secrets.
WITH RECURSIVE {{> openings_common.sql}}
{{> openings_roles.sql}}
UNION ALL
{{> openings_privileges.sql}}
UNION ALL
{{> openings_settings.sql}}
UNION ALL
{{> openings_tables.sql}}
