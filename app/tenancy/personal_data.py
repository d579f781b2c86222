"""The data of a business and of its customers: export, erase, and delete what is older than a business keeps it.

As in `app.tenancy.businesses`, sessions and engines must see every business. `erase_business` and `purge_messages` take an
engine, for they commit batch by batch.
"""

import json
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, Base, Business, Conversation, Customer, TenantOwned, User, UserBusiness
from app.models.types import is_user_id
from app.tenancy.businesses import AdministrationError, find_business, needs_all_businesses, set_active


def export_business(session: Session, business: str | uuid.UUID, folder: Path) -> dict[str, int]:
    """Write what a business owns as JSON Lines, `<table>.jsonl` each; returns the number of rows of each table.

    Every table of the models that belongs to a business is written, a team's own too, and the users who have a role
    in it. Access tokens and password hashes are left out. Rows are streamed: memory does not grow with the business.
    Files can be read by their owner only.

    Raises:
        AdministrationError: there is no such business, or the folder holds something.
    """
    row = find_business(session, business)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise AdministrationError(f"The folder {folder} holds files already: name an empty one.")
    queries: dict[str, Any] = {
        "businesses": select(Business).where(Business.id == row.id),
        "users": select(User).join(User.user_businesses).where(UserBusiness.business_id == row.id).order_by(User.email),
    }
    for model in _owned_models():
        key = list(model.__mapper__.primary_key)
        queries[model.__tablename__] = select(model).where(model.business_id == row.id).order_by(*key)
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

    The customer is named by whatsapp_id or by Meta's user id. Rows of a team's own tables go where their foreign key
    says ON DELETE CASCADE.

    Raises:
        AdministrationError: there is neither such a customer nor a message.
    """
    row = find_business(session, business)
    column = Customer.whatsapp_user_id if is_user_id(whatsapp_id) else Customer.whatsapp_id
    known = session.execute(
        select(Customer.whatsapp_id, Customer.whatsapp_user_id).where(
            Customer.business_id == row.id, column == whatsapp_id
        )
    ).all()
    ids = {whatsapp_id, *(i for pair in known for i in pair if i)}
    erased = {
        model.__tablename__: len(
            session.scalars(
                delete(model)
                .where(model.business_id == row.id, model.whatsapp_id.in_(ids))
                .returning(model.id)
                .execution_options(synchronize_session=False)
            ).all()
        )
        for model in (Conversation, Customer)
    }
    if not any(erased.values()):
        raise AdministrationError(f"{row.name!r} has neither a customer nor messages of {whatsapp_id}.")
    return erased


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


_ANY_MESSAGES = text(
    "DELETE FROM conversations WHERE id = ANY (ARRAY("
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
        days: the days to keep messages of businesses that set none themselves; 1 or more.
        batch: how many messages a transaction deletes at most.
        now: the moment from which days are counted back; the present.

    Raises:
        AdministrationError: days is less than 1.
    """
    if days is not None and days < 1:
        raise AdministrationError("Messages are kept for 1 day or more: give a larger number of days.")
    with Session(engine) as session:
        needs_all_businesses(session)
        kept = session.execute(select(Business.id, Business.name, Business.settings).order_by(Business.name)).all()
    for business_id, name, settings in kept:
        keep = settings.get("retention_days", days)
        if keep is None:
            continue
        values = {
            "business": business_id,
            "before": (now or datetime.now(UTC)) - timedelta(days=keep),
            "batch": batch,
            "after": "",
        }
        while True:
            with engine.connect() as connection:
                customers = connection.scalars(_NEXT_CUSTOMERS, values).all()
            if not customers:
                break
            deleted = batch
            while deleted == batch:
                with engine.begin() as connection:
                    deleted = connection.execute(_OLD_MESSAGES, values | {"customers": customers}).rowcount
                if deleted:
                    yield name, deleted
            values["after"] = customers[-1]


_NEXT_CUSTOMERS = text("""
WITH RECURSIVE found AS (
    (SELECT whatsapp_id, 1 AS n FROM conversations WHERE business_id = :business AND whatsapp_id > :after
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
