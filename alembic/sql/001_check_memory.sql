-- Whether rows are missing in the table of what a rollback gives back; asked where it is there.
SELECT CASE WHEN coalesce((SELECT statement::bigint FROM multi_tenant_rollback WHERE kind = 'number of rows'), 9e9)
          > (SELECT count(*) FROM multi_tenant_rollback WHERE kind <> 'number of rows') THEN
    'rows are missing in the table multi_tenant_rollback, which says what the rollback is to give back: restore the table from a backup, or run alembic -x canonical=yes downgrade 000, which gives the two tables the form of revision 000' END
