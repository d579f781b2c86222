"""At which point a database is, asked of its catalogue alone: SQL that revisions, the runner and the report share."""

from typing import Final

SINGLE: Final = "one business"
UPGRADING: Final = "an upgrade was interrupted"
MULTI: Final = "many businesses"
ROLLING_BACK: Final = "a rollback was interrupted"

FINISH_WITH: Final = {
    UPGRADING: "finish it with alembic upgrade head",
    ROLLING_BACK: "finish it with alembic downgrade 000",
}
"""By state, the command that ends it."""

OLD_TABLES: Final = ("customers", "conversations")
"""The tables of revision 000, which adopts those of a live database as they are."""

VERSION_TABLE: Final = "alembic_version"
"""Where Alembic records the revision, unless `version_table` of alembic.ini names another table."""

NEW_TABLES: Final = ("businesses", "whatsapp_numbers", "users", "user_businesses")
"""The tables that revision 001 makes."""

DEFAULT_BUSINESS: Final = "00000000-0000-0000-0000-000000000001"
"""Id of the business to which every row belongs that was there before, and every row without a business."""

HAS_OLD_TABLES = (
    "(SELECT bool_and(relnamespace = to_regnamespace(quote_ident(current_schema()))) IS TRUE FROM pg_class "
    "WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))"
)
"""SQL condition: one of them is there, and none in another schema of search_path. What is asked of them costs nothing
where none is: it is not even planned."""

MEMORY = "multi_tenant_rollback"
"""The table of what a rollback gives back: the upgrade makes it first, the rollback drops it last."""


HERE = (
    "coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('customers')), "
    "quote_ident(current_schema()))"
)
"""SQL expression: the schema of the run, quoted: that of the bot's tables, or where they would be made."""


def relation(name: str) -> str:
    """SQL expression: the relation of that name, as SQL writes it, in the schema of the run, or NULL.

    One of another schema of search_path is another application's.
    """
    escaped = name.replace("'", "''")
    return f"to_regclass({HERE} || '.{escaped}')"


def function(name: str) -> str:
    """SQL expression: the function, with its argument types, in the schema of the run, or NULL."""
    return f"to_regprocedure({HERE} || '.{name}')"


ROLLBACK_BEGAN = f"{function('single_business_only()')} IS NOT NULL"
"""SQL condition: a rollback has begun and is not finished."""

UPGRADE_BEGAN = f"({relation(MEMORY)} IS NOT NULL OR {function('current_business_id()')} IS NOT NULL)"
"""SQL condition: the first step of an upgrade was carried out, and no rollback has undone it."""

UPGRADE_ENDED = (
    "(EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('customers') "
    "AND conname = 'uq_customers_business_id_whatsapp_id') "
    "AND to_regclass('multi_tenant_archive.default_customers') IS NULL)"
)
"""SQL condition: the last change of an upgrade was carried out."""

STATE = (
    f"CASE WHEN {ROLLBACK_BEGAN} THEN '{ROLLING_BACK}' WHEN NOT {UPGRADE_BEGAN} THEN '{SINGLE}' "
    f"WHEN {UPGRADE_ENDED} THEN '{MULTI}' ELSE '{UPGRADING}' END"
)
"""SQL expression: one of the four states above; it needs no privilege and no table."""
