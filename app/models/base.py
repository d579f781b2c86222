"""What the models share: the naming convention, column types, mixins, and the guard for the business in scope."""

import json
import uuid
from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    BigInteger,
    FetchedValue,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    event,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column

from app.models.types import Timestamptz, Uuid

DEFAULT_BUSINESS_ID = uuid.UUID("00000000-0000-0000-0000-000000000001")
"""The business that every row of the single-business database belongs to."""

TENANT_SCOPE = "business_id"
"""Key of `Session.info` that holds the business in scope, set by `app.db.BusinessSession`."""

UuidPk = Annotated[
    uuid.UUID, mapped_column(primary_key=True, server_default=text("gen_random_uuid()"), comment="Identifier")
]
BigIntPk = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True, comment="Identifier")]
"""An id that does not run out; an adopted table keeps the integer ids that it has."""

Flag = Annotated[bool, mapped_column(server_default=text("true"))]
Timestamp = Annotated[datetime, mapped_column(server_default=text("now()"))]


class Base(DeclarativeBase):
    """The declarative base.

    `__tenancy__` of a model closes its table: it may name the rows that `app_tenant` reaches (`using`, an SQL condition,
    and `using_flat`, the same without a subquery) and what it may do with them (`grant`); what it does not name is as of
    `app.tenancy.migration.ops.enable_tenancy`.
    """

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {uuid.UUID: Uuid(), datetime: Timestamptz()}
    __tenancy__: ClassVar[dict[str, str] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Say on the table what the mixins want, where the migration tools find it; index foreign keys; check what is set."""
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            _index_foreign_keys(table)
            if cls.__tenancy__ is not None:
                table.info["tenancy"] = cls.__tenancy__
            table.info["timestamped"] = issubclass(cls, Timestamped)
            for key, column in cls.__mapper__.columns.items():
                if hasattr(column.type, "when_set"):
                    event.listen(getattr(cls, key), "set", column.type.when_set, retval=True, propagate=True)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON-ready values: uuid and datetime (ISO 8601) as strings, secrets left out."""
        columns = inspect(type(self)).column_attrs
        values = {c.key: getattr(self, c.key) for c in columns if not c.columns[0].info.get("secret")}
        return dict(json.loads(json.dumps(values, default=_plain)))

    def __repr__(self) -> str:
        """The class and the key only: a repr lands in logs, and loads nothing."""
        return f"<{type(self).__name__} {inspect(self).identity or 'pending'}>"


def _index_foreign_keys(table: Table) -> None:
    """Every foreign key has an index that begins with its columns: one is added where none is declared."""
    for key in sorted(table.foreign_key_constraints, key=lambda key: -len(key.columns)):
        columns = list(key.columns)
        unique = (c for c in table.constraints if isinstance(c, UniqueConstraint | PrimaryKeyConstraint))
        if not any(list(i.columns)[: len(columns)] == columns for i in (*table.indexes, *unique)):
            Index(None, *columns)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class Timestamped:
    """Mixin: created_at and updated_at. A trigger sets updated_at wherever the row changes, whoever changes it."""

    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}

    created_at: Mapped[Timestamp] = mapped_column(sort_order=900, comment="When the row was inserted")
    updated_at: Mapped[Timestamp] = mapped_column(
        sort_order=901,
        server_onupdate=FetchedValue(),
        comment="When the row was last changed; set by the trigger set_updated_at",
    )


class TenantOwned:
    """Mixin: the row belongs to one business, and the database keeps it from the others.

    `business_id` takes the business in scope by default, else the default business, which serves the
    single-business bot. Row level security binds `app_tenant` to the business in scope; `__tenancy__` may
    narrow the grant. Refer to another tenant's table by a composite key that begins with business_id. Bulk
    inserts outside of a tenant session (`session.execute(insert(Model), rows)`) are not asked for a business_id:
    the default business gets the rows that have none.
    """

    __tenancy__: ClassVar[dict[str, str] | None] = {}

    @declared_attr
    def business_id(cls) -> Mapped[uuid.UUID]:  # noqa: N805
        return mapped_column(
            ForeignKey("businesses.id", ondelete="CASCADE"),
            server_default=text(
                f"COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '{DEFAULT_BUSINESS_ID}'::uuid)"
            ),
            sort_order=800,
            comment="The business that the row belongs to",
        )


class TenantScopeError(ValueError):
    """A session would leave the business that it is bound to, or a row has no business and none is in scope."""


@event.listens_for(Session, "before_flush")
def _bind_to_scope(session: Session, *_: object) -> None:
    """Give new rows the business in scope; refuse another one, and rows with none where nothing is in scope."""
    scope: uuid.UUID | None = session.info.get(TENANT_SCOPE)
    for row in [*session.new, *(session.dirty if scope else ())]:
        if not isinstance(row, TenantOwned):
            continue
        business = getattr(row, "business", None) if row in session.new else None
        owner: uuid.UUID | None = row.business_id if business is None else business.id
        if business is None and owner is None:
            if scope is None:
                raise TenantScopeError(
                    f"{type(row).__name__} has no business_id and no business is in scope: set business_id, "
                    "or open the session within app.db.business_scope(business_id)."
                )
            row.business_id = scope
        elif scope not in (None, owner):
            raise TenantScopeError(
                f"{type(row).__name__} belongs to {'a new business' if owner is None else f'business {owner}'}, but the session is bound to {scope}: "
                "write it in that business's own tenant_session."
            )
