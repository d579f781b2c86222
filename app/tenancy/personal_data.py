"""The data of a business and of its customers: export, erase, and delete what is older than a business keeps it.

As in `app.tenancy.businesses`, sessions and engines must see every business. `erase_business` and `purge_messages` take an
engine, for they commit batch by batch.
"""

import json
import re
import uuid
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Text, cast, delete, func, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, Base, Business, Conversation, Customer, TenantOwned, User, UserBusiness
from app.models.types import LONGEST_RETENTION, InvalidValueError, normalise_phone_number, phone_forms
from app.tenancy.businesses import UNREAD_SETTINGS, AdministrationError, find_business, needs_all_businesses, set_active
from app.tenancy.errors import reason

CUSTOMER_MODELS: tuple[Any, ...] = (Conversation, Customer)
"""What a customer has; rows of a team's own tables refer to the customer."""


def export_business(session: Session, business: str | uuid.UUID, folder: Path) -> dict[str, int]:
    """Write what a business owns as JSON Lines, `<table>.jsonl` each; returns the number of rows of each table.

    Every table of the models that belongs to a business is written, a team's own too, and the users who have a role
    in it. Access tokens and password hashes are left out. Rows are streamed: memory does not grow with the business.
    Files can be read by their owner only.

    Raises:
        AdministrationError: there is no such business, or the folder holds something.
    """
    row = find_business(session, business, UNREAD_SETTINGS)
    queries: dict[str, Any] = {
        "businesses": select(Business).where(Business.id == row.id),
        "users": select(User).join(User.user_businesses).where(UserBusiness.business_id == row.id).order_by(User.email),
    }
    for model in _owned_models():
        queries[model.__tablename__] = select(model).where(model.business_id == row.id).order_by(*_key(model))
    return _write(session, queries, folder)


def export_customer(session: Session, business: str | uuid.UUID, whatsapp_id: str, folder: Path) -> dict[str, int]:
    """Write a customer of a business and every message filed under it, as `export_business` does.

    The customer is named as for `erase_customer`, which deletes what this writes.

    Raises:
        AdministrationError: there is neither such a customer nor a message, or the folder holds something.
    """
    row = find_business(session, business, UNREAD_SETTINGS)
    ids = _ids_of(session, row.id, whatsapp_id)
    found: dict[str, Any] = {
        model.__tablename__: select(model)
        .where(model.business_id == row.id, model.whatsapp_id.in_(ids))
        .order_by(*_key(model))
        for model in CUSTOMER_MODELS
    }
    if not any(session.scalar(select(query.exists())) for query in found.values()):
        raise _nobody(row, whatsapp_id)
    return _write(session, found, folder)


def _key(model: Any) -> list[Any]:
    return list(model.__mapper__.primary_key)


def _write(session: Session, queries: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Write the rows of each query to `<table>.jsonl`, and count them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise AdministrationError(f"The folder {folder} holds files already: name an empty one.")
    counts = {}
    for table, query in queries.items():
        path = folder / f"{table}.jsonl"
        path.touch(mode=0o600)
        columns = [c for c in Base.metadata.tables[table].c if not c.info.get("secret")]
        rows = session.execute(query.with_only_columns(*columns).execution_options(yield_per=1000))
        counts[table] = 0
        with path.open("w", encoding="utf-8") as out:
            for values in rows.mappings():
                out.write(json.dumps(dict(values), default=_plain, ensure_ascii=False) + "\n")
                counts[table] += 1
    return counts


def erase_customer(session: Session, business: str | uuid.UUID, whatsapp_id: str) -> dict[str, int]:
    """Delete a customer of a business and every message filed under it; returns how many rows of each table.

    The customer is named by whatsapp_id, by Meta's user id or by the phone, however it is written. What is filed under
    any id of the customer goes, and under either form of the phone (`phone_forms`). Rows of a team's own tables go
    where their foreign key says ON DELETE CASCADE.

    Raises:
        AdministrationError: there is neither such a customer nor a message.
    """
    row = find_business(session, business, UNREAD_SETTINGS)
    ids = _ids_of(session, row.id, whatsapp_id)
    erased = {
        model.__tablename__: len(
            session.scalars(
                delete(model)
                .where(model.business_id == row.id, model.whatsapp_id.in_(ids))
                .returning(model.id)
                .execution_options(synchronize_session=False)
            ).all()
        )
        for model in CUSTOMER_MODELS
    }
    if not any(erased.values()):
        raise _nobody(row, whatsapp_id)
    return erased


def _nobody(business: Business, whatsapp_id: str) -> AdministrationError:
    return AdministrationError(f"{business.name!r} has neither a customer nor messages of {whatsapp_id}.")


def _ids_of(session: Session, business_id: uuid.UUID, named: str) -> set[str]:
    """Every id under which rows of a customer may be filed: all that lead from one to the next."""
    ids, found = set[str](), {named, *_forms(named)}
    while found - ids:
        ids |= found
        rows = session.execute(
            select(Customer.whatsapp_id, Customer.whatsapp_user_id).where(
                Customer.business_id == business_id,
                or_(Customer.whatsapp_id.in_(ids), cast(Customer.whatsapp_user_id, Text).in_(ids)),
            )
        )
        found = {form for row in rows for id_ in row if id_ for form in (id_, *_forms(id_))}
    return ids


def _forms(whatsapp_id: str) -> list[str]:
    """The forms of a phone as WhatsApp writes it, without +; none of what is no phone."""
    try:
        number = (
            f"+{whatsapp_id}" if re.fullmatch("[1-9][0-9]{4,14}", whatsapp_id) else normalise_phone_number(whatsapp_id)
        )
    except InvalidValueError:
        return []
    return [form[1:] for form in phone_forms(number)]


def erase_business(engine: Engine, business: str | uuid.UUID, *, batch: int = 5_000) -> dict[str, int]:
    """Delete a business with all that it owns; returns how many rows of each table.

    The business is switched off first. Messages go in batches of their own transactions, so that a killed run is
    finished by the same call. Users stay, for they belong to no business; those who have no role left are counted as
    `users without a role`.

    Raises:
        AdministrationError: it is the default business, which rows without a business_id need, or there is none.
    """
    with Session(engine) as session, session.begin():
        business_id = set_active(session, business, False).id
        if business_id == DEFAULT_BUSINESS_ID:
            raise AdministrationError(
                "The default business cannot be erased, for rows without a business belong to it: deactivate it, or erase its customers."
            )
    erased = {Conversation.__tablename__: 0}
    while n := _delete_batch(engine, {"business": business_id, "batch": batch}):
        erased[Conversation.__tablename__] += n
    with Session(engine) as session, session.begin():
        for model in _owned_models():
            if model is not Conversation:
                count = select(func.count()).select_from(model).where(model.business_id == business_id)
                erased[model.__tablename__] = session.scalar(count) or 0
        session.execute(delete(Business).where(Business.id == business_id))
        erased["businesses"] = 1
        homeless = select(func.count()).select_from(User).where(~User.user_businesses.any())
        erased["users without a role"] = session.scalar(homeless) or 0
    return erased


def _delete_batch(engine: Engine, values: dict[str, Any]) -> int:
    with engine.begin() as connection:
        return connection.execute(_ANY_MESSAGES, values).rowcount


# An id is unique within a business only, in the form that Citus takes: whatever names an id names the business, too.
_ANY_MESSAGES = text(
    "DELETE FROM conversations WHERE business_id = :business AND id = ANY (ARRAY("
    "SELECT id FROM conversations WHERE business_id = :business ORDER BY whatsapp_id, timestamp LIMIT :batch))"
)


def purge_messages(
    engine: Engine, *, days: int | None = None, batch: int = 1_000, now: datetime | None = None
) -> Generator[tuple[str, int]]:
    """Delete messages that are older than their business keeps them; yields (business, deleted) after each batch.

    A business keeps messages for `settings["retention_days"]` days; where its settings say nothing, for `days`; where
    neither does, for ever. Each batch is a transaction of its own, so that an interrupted purge goes on where it
    stopped. It walks the index (business_id, whatsapp_id, timestamp) customer by customer: its cost grows with what
    it deletes and with the number of customers, not with the messages that stay.

    Args:
        days: the days to keep messages of businesses that set none themselves; 1 to `LONGEST_RETENTION`.
        batch: how many messages a transaction deletes at most.
        now: the moment from which days are counted back; the present.

    Raises:
        AdministrationError: days is out of range. Or, after all others are purged: the messages of a business were
            left, for its retention_days is no number of days (a tenant may write settings), or the database refused.
    """
    if days is not None and not 1 <= days <= LONGEST_RETENTION:
        raise AdministrationError(
            f"Messages are kept for 1 day or more, and {LONGEST_RETENTION} at most: give another number of days."
        )
    with Session(engine) as session:
        needs_all_businesses(session)
        # As text, for what a tenant wrote there need not be a number, nor one that Python reads.
        retention = cast(Business.settings["retention_days"], Text)
        kept = session.execute(select(Business.id, Business.name, retention).order_by(Business.name, Business.id)).all()
    moment, left = now or datetime.now(UTC), []
    for business_id, name, given in kept:
        keep = _retention(given, days)
        if keep is None:
            continue
        if not 1 <= keep <= LONGEST_RETENTION:
            left.append(
                f"retention_days of {name!r} is {given[:40]}, and no whole number of days from 1 to {LONGEST_RETENTION}: "
                f"correct it, or run UPDATE businesses SET settings = settings - 'retention_days' WHERE id = '{business_id}'"
            )
            continue
        values = {"business": business_id, "before": moment - timedelta(days=keep), "batch": batch}
        try:
            for deleted in _purge(engine, values):
                yield name, deleted
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            left.append(f"the database refused to delete messages of {name!r}: {reason(error)}")
    if left:
        raise AdministrationError(f"Messages of {len(left)} businesses were not purged: {'; '.join(left)}.")


def _retention(given: str | None, days: int | None) -> int | None:
    """How many days a business keeps messages, by the JSON of its setting; None for ever, 0 where it is no number."""
    if given is None:
        return days
    if given == "null":
        return None
    return int(given) if re.fullmatch("[0-9]{1,9}", given) else 0


def _purge(engine: Engine, values: dict[str, Any]) -> Iterator[int]:
    """Delete the old messages of one business; yields how many after each batch."""
    values = {**values, "after": None}
    while True:
        with engine.connect() as connection:
            customers = connection.scalars(_NEXT_CUSTOMERS, values).all()
        if not customers:
            return
        deleted = values["batch"]
        while deleted == values["batch"]:
            with engine.begin() as connection:
                deleted = connection.execute(_OLD_MESSAGES, values | {"customers": customers}).rowcount
            if deleted:
                yield deleted
        values["after"] = customers[-1]


_NEXT_CUSTOMERS = text("""
WITH RECURSIVE found AS (
    (SELECT whatsapp_id, 1 AS n FROM conversations
      WHERE business_id = :business AND (CAST(:after AS text) IS NULL OR whatsapp_id > CAST(:after AS text))
      ORDER BY whatsapp_id LIMIT 1)
    UNION ALL
    SELECT (SELECT whatsapp_id FROM conversations WHERE business_id = :business AND whatsapp_id > found.whatsapp_id
             ORDER BY whatsapp_id LIMIT 1), n + 1
      FROM found WHERE whatsapp_id IS NOT NULL AND n < 500)
SELECT whatsapp_id FROM found WHERE whatsapp_id IS NOT NULL ORDER BY n""")
"""The next 500 customers who wrote to a business: one look-up in the index each, however many messages they wrote."""

_OLD_MESSAGES = text("""
DELETE FROM conversations WHERE business_id = :business AND id = ANY (ARRAY(
    SELECT old.id FROM unnest(CAST(:customers AS text[])) AS customer (whatsapp_id) CROSS JOIN LATERAL (
        SELECT id FROM conversations
         WHERE business_id = :business AND whatsapp_id = customer.whatsapp_id AND timestamp < :before
         ORDER BY timestamp LIMIT :batch) AS old
     LIMIT :batch))""")


def _owned_models() -> list[Any]:
    """Every mapped class whose rows belong to a business, a team's own too."""
    return sorted(
        (m.class_ for m in Base.registry.mappers if issubclass(m.class_, TenantOwned)), key=lambda c: c.__tablename__
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
