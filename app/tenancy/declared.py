"""What the models declare, as the drift check and repair compare it with a database."""

from app.models import DEFAULT_BUSINESS_ID, Base, Business
from app.tenancy.migration import state
from app.tenancy.migration.drift import Declared


def declared(version_table: str = state.VERSION_TABLE) -> Declared:
    """What the models declare, with your own among them where `models` of alembic.ini names them.

    Args:
        version_table: name of the table that holds the revision.
    """
    default_business = (Business.__tablename__, str(DEFAULT_BUSINESS_ID))
    return Declared(Base.metadata, state.OLD_TABLES, default_business, state.MEMORY, version_table)
