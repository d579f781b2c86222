"""Customers as Meta names them: by phone, by business-scoped user id, or by both, and never two rows for one person.

The rule. A customer's messages are filed under `Customer.whatsapp_id`: the phone's wa_id where it is known, in the form
in which it was known first, else the user id. A sender is looked up by user id and by phone, in both of its forms
(`phone_forms`). Rows that a webhook shows to be one person become one: the phone's, and of several the oldest.

Races. A customer found is locked (FOR KEY SHARE) until the caller's transaction ends, so that its filing id does not
change under a message that is being stored. What changes the id locks the rows FOR UPDATE, and waits for such
messages. Handle one message a transaction, and commit before anything slow.

An id is unique within a business only, in the form that Citus takes (docs/scaling.md): every statement here names the
business beside it, so that it holds in a session that sees all of them, too.
"""

import json
import logging
import re
import uuid
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Row, Select, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError, InternalError, ProgrammingError
from sqlalchemy.orm import Session

from app.models.conversation import Conversation
from app.models.customer import Customer
from app.models.types import is_user_id
from app.tenancy.errors import reason
from app.tenancy.messages import Sender
from app.tenancy.queries import storable

log = logging.getLogger(__name__)

JOINED = ("id", "business_id", "whatsapp_id", "whatsapp_user_id", "username", "name", "created_at", "updated_at")
"""The columns of customers that are not compared when two rows become one: they say who it is, and since when."""

REFUSED = (IntegrityError, InternalError, ProgrammingError)
"""What the database says where a constraint, a trigger or a privilege stands against it; anything else is raised."""

UNIQUE = ("uq_customers_business_id_whatsapp_id", "uq_customers_business_id_whatsapp_user_id")

_OTHER_COLUMNS = text("""
    SELECT attname::text AS name, quote_ident(attname) AS quoted
      FROM pg_catalog.pg_attribute
     WHERE attrelid = to_regclass('customers') AND attnum > 0 AND NOT attisdropped
       AND attgenerated = '' AND attidentity = '' AND attname <> ALL (:joined)""")

_ROWS = text(
    "SELECT id, to_jsonb(customers)::text AS json FROM customers WHERE business_id = :business AND id = ANY (:ids)"
)

_REFERENCES = text("""
    SELECT conrelid::regclass::text AS name, current_user AS role,
           array_agg(quote_ident(here.attname) ORDER BY place) AS columns,
           array_agg(quote_ident(there.attname) ORDER BY place) AS referred,
           row_security_active(conrelid) AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_policy
                WHERE polrelid = conrelid AND pg_get_expr(polqual, polrelid) LIKE '%current_business_id()%') AS hidden
      FROM pg_catalog.pg_constraint CROSS JOIN unnest(conkey, confkey) WITH ORDINALITY AS pairs (from_, to_, place)
      JOIN pg_catalog.pg_attribute AS here ON here.attrelid = conrelid AND here.attnum = from_
      JOIN pg_catalog.pg_attribute AS there ON there.attrelid = confrelid AND there.attnum = to_
     WHERE contype = 'f' AND confrelid = to_regclass('customers') AND conparentid = 0
     GROUP BY pg_constraint.oid, conrelid ORDER BY 1, pg_constraint.oid""")


class CustomerMergeError(RuntimeError):
    """Two rows of customers are one person, and cannot become one without loss; the message names what stands apart."""


def find_or_create_customer(session: Session, business_id: uuid.UUID | str, sender: Sender) -> Customer:
    """The one customer of the business who is this sender: found, or made. One statement where nothing is new.

    Fills in what the row lacks: phone, user id, username; and the name, where there is none but an id. A name that is
    there is kept, for a bot or a person may have asked for it. Where the sender shows that two rows are one person,
    messages, and rows of other tables that refer to the customer by foreign key, are moved to the one that stays, in
    one transaction. What cannot be joined without loss stays two rows: an error is logged that names it, and the
    message is served all the same.

    A phone with another user id than the row has is the same customer: Meta's user ids are those of one business
    portfolio, and change with it.

    Index: uq_customers_business_id_whatsapp_id, uq_customers_business_id_whatsapp_user_id.
    """
    known = session.scalars(_known(business_id, sender)).all()
    if len(known) == 1:
        return _fill_in(session, known[0], sender)
    return _settle(session, business_id, sender, None)


def change_number(session: Session, business_id: uuid.UUID | str, previous: Sender, sender: Sender) -> Customer:
    """Meta's system message `user_changed_number`: the customer who was `previous` is `sender` now.

    The messages move to the new phone's id. A row of the old phone whose user id is neither the previous nor the new
    one is somebody else's, who got the number since, and is left alone.
    """
    return _settle(session, business_id, sender, previous)


def change_user_id(session: Session, business_id: uuid.UUID | str, previous: Sender, sender: Sender) -> Customer:
    """Meta's system message `user_changed_user_id`: the customer whose user id was `previous` has `sender`'s now.

    Messages that are filed under the user id move to the new one; those under a phone stay.
    """
    return _settle(session, business_id, sender, previous)


def _known(business_id: uuid.UUID | str, sender: Sender) -> Select[Customer]:
    """The customers who have every id of the sender."""
    statement = select(Customer).where(Customer.business_id == business_id)
    if sender.phone:
        statement = statement.where(Customer.whatsapp_id.in_(sender.phones))
    if sender.user_id:
        statement = statement.where(Customer.whatsapp_user_id == sender.user_id)
    return statement.with_for_update(read=True, key_share=True).execution_options(populate_existing=True)


def _candidates(business_id: uuid.UUID | str, sender: Sender, previous: Sender | None) -> Select[Customer]:
    """The customers who have any id of the sender, in the order in which every transaction locks them."""
    people = [person for person in (sender, previous) if person]
    ids = [id_ for person in people for id_ in person.ids]
    user_ids = [person.user_id for person in people if person.user_id]
    has_one = or_(Customer.whatsapp_id.in_(ids), Customer.whatsapp_user_id.in_(user_ids))
    statement = select(Customer).where(Customer.business_id == business_id, has_one).order_by(Customer.id)
    return statement.with_for_update().execution_options(populate_existing=True)


def _settle(session: Session, business_id: uuid.UUID | str, sender: Sender, previous: Sender | None) -> Customer:
    """Make whoever may be the sender one customer who has what is new; or make the customer."""
    for _ in range(5):  # a row that another transaction commits between two statements is found on the next turn
        rows = list(session.scalars(_candidates(business_id, sender, previous)))
        strangers = [row for row in rows if previous and _got_the_number_since(row, sender, previous)]
        same = [row for row in rows if row not in strangers] or _make(session, business_id, sender)
        former = {*sender.ids, *(previous.ids if previous else ()), *(row.whatsapp_id for row in same)}
        former -= {row.whatsapp_id for row in strangers}
        if same and (customer := _join(session, same, sender, former)) is not None:
            return _fill_in(session, customer, sender)
    raise RuntimeError("The customer was not stored: a trigger or a unique constraint of customers keeps the row out.")


def _got_the_number_since(row: Customer, sender: Sender, previous: Sender) -> bool:
    user_ids = {person.user_id for person in (sender, previous) if person.user_id}
    is_named = row.whatsapp_id in sender.ids or row.whatsapp_user_id in user_ids
    return not is_named and bool(user_ids) and row.whatsapp_user_id is not None


def _make(session: Session, business_id: uuid.UUID | str, sender: Sender) -> list[Customer]:
    """The new customer, or nobody where another transaction was first."""
    name = sender.name or sender.username or sender.ids[0]
    statement = insert(Customer).values(
        business_id=business_id,
        whatsapp_id=sender.ids[0],
        whatsapp_user_id=sender.user_id,
        username=storable(sender.username)[:255] if sender.username else None,
        name=storable(name)[:100],
    )
    return list(session.scalars(statement.on_conflict_do_nothing().returning(Customer)))


def _fill_in(session: Session, customer: Customer, sender: Sender) -> Customer:
    changes: dict[str, Any] = {}
    ids = {customer.whatsapp_id, customer.whatsapp_user_id, customer.username, *sender.ids}
    is_an_id = re.fullmatch(r"\+?[0-9]*", customer.name) or customer.name in ids
    if sender.name and is_an_id:
        changes["name"] = storable(sender.name)[:100]
    if sender.username:
        changes["username"] = storable(sender.username)[:255]
    _change(session, customer, changes)
    return customer


def _change(session: Session, customer: Customer, values: dict[str, Any]) -> None:
    """Write what differs to the row, and read it back into the customer."""
    if any(getattr(customer, name) != value for name, value in values.items()):
        statement = (
            update(Customer)
            .where(Customer.business_id == customer.business_id, Customer.id == customer.id)
            .values(values)
            .returning(Customer)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        session.scalars(statement).one()


def _join(session: Session, rows: Sequence[Customer], sender: Sender, former: set[str]) -> Customer | None:
    """Make the rows one customer, filed under the sender's id, or log what keeps them apart.

    None where another transaction gave one of the ids to a row meanwhile.
    """
    keep = min(rows, key=lambda row: (is_user_id(row.whatsapp_id), row.id))
    others = [row for row in rows if row is not keep]
    stays = keep.whatsapp_id in sender.phones if sender.phone else not is_user_id(keep.whatsapp_id)
    filed = keep.whatsapp_id if stays else sender.ids[0]
    user_id = sender.user_id or next((row.whatsapp_user_id for row in (keep, *others) if row.whatsapp_user_id), None)
    changes = others or (filed, user_id) != (keep.whatsapp_id, keep.whatsapp_user_id)
    ids = [row.id for row in rows]
    try:
        with session.begin_nested() if changes else nullcontext():
            for other in others:
                _merge(session, keep, other)
            _file_under(session, keep, former - {filed}, filed)
            _change(session, keep, {"whatsapp_id": filed, "whatsapp_user_id": user_id})
    except CustomerMergeError as error:
        log.error("%s", error)
    except REFUSED as error:
        diagnosis = getattr(error.orig, "diag", None)
        if diagnosis is not None and diagnosis.constraint_name in UNIQUE:
            return None
        log.error("Customers %s stay as they are: %s", ids, reason(error))
    return keep


def _file_under(session: Session, customer: Customer, former: Collection[str], filed: str) -> None:
    """Move messages to their new id, again until none is left: an answer may have been stored beside the first turn.

    Raises:
        CustomerMergeError: messages stay under their former id.
    """
    if not former:
        return
    are_left = (Conversation.business_id == customer.business_id, Conversation.whatsapp_id.in_(former))
    move = update(Conversation).where(*are_left).values(whatsapp_id=filed)
    for _ in range(5):
        session.execute(move.execution_options(synchronize_session=False))
        if not session.scalar(select(select(Conversation.id).where(*are_left).exists())):
            return
    raise CustomerMergeError(
        f"Messages of customer {customer.id} of business {customer.business_id} stay under a former whatsapp_id: a "
        "trigger of conversations changes it back, or a rule keeps it; drop that, and the next message moves them."
    )


def _merge(session: Session, keep: Customer, other: Customer) -> None:
    """Delete a row after all that it has, and all that refers to it, is the other's.

    Raises:
        CustomerMergeError: something would be lost.
    """
    business = keep.business_id
    found = session.execute(_ROWS, {"business": business, "ids": [keep.id, other.id]})
    values = {row.id: row.json for row in found}
    kept, gone = (json.loads(values[row.id], parse_float=str) for row in (keep, other))
    taken = []
    for name, quoted in session.execute(_OTHER_COLUMNS, {"joined": list(JOINED)}):
        if kept[name] is None and gone[name] is not None:
            taken.append(in_text(f"{quoted} = gone.{quoted}"))
        elif gone[name] not in (None, kept[name]):
            raise CustomerMergeError(
                f"Customers {keep.id} and {other.id} are one person, but differ in {quoted}: decide which value is right, "
                f"for example by UPDATE customers AS other SET {quoted} = keep.{quoted} FROM customers AS keep "
                f"WHERE {_pair(keep, other)}; the next message joins them."
            )
    for reference in session.execute(_REFERENCES).all():
        _move_reference(session, reference, keep, other)
    session.execute(delete(Customer).where(Customer.business_id == business, Customer.id == other.id))
    if taken:
        take = (
            f"UPDATE customers SET {', '.join(taken)} "
            "FROM jsonb_populate_record(NULL::customers, CAST(:gone AS jsonb)) AS gone "
            "WHERE customers.business_id = :business AND customers.id = :keep"
        )
        session.execute(text(take), {"gone": values[other.id], "business": business, "keep": keep.id})


def in_text(sql: str) -> str:
    """SQL without parameters as `text()` takes it, in which a colon of a name would begin one."""
    return sql.replace(":", "\\:")


def _pair(keep: Customer, other: Customer) -> str:
    """SQL condition: `keep` and `other` are these two rows."""
    return " AND ".join(
        f"{name}.business_id = '{row.business_id}' AND {name}.id = {row.id}"
        for name, row in (("keep", keep), ("other", other))
    )


def _move_reference(session: Session, reference: Row[Any], keep: Customer, other: Customer) -> None:
    pairs = list(zip(reference.columns, reference.referred, strict=True))
    moved = ", ".join(f"{here} = keep.{there}" for here, there in pairs)
    theirs = " AND ".join(f"refers.{here} = other.{there}" for here, there in pairs)
    move = (
        f"UPDATE {reference.name} AS refers SET {moved} FROM customers AS keep, customers AS other "
        f"WHERE {_pair(keep, other)} AND {theirs}"
    )
    said = f"Customers {keep.id} and {other.id} are one person, but {reference.name} refers to the second, and "
    if reference.hidden:
        raise CustomerMergeError(
            f"{said}row level security hides its rows from {reference.role}: as the owner, run {move}; "
            f"DELETE FROM customers WHERE business_id = '{other.business_id}' AND id = {other.id}."
        )
    try:
        session.execute(text(in_text(move)))
    except REFUSED as error:
        if getattr(error.orig, "pgcode", None) == "42501":
            raise CustomerMergeError(
                f"{said}{reference.role} may not move its rows: run GRANT SELECT, UPDATE ON {reference.name} "
                f"TO {reference.role}; the next message joins them."
            ) from error
        raise CustomerMergeError(
            f"{said}its rows cannot be moved ({reason(error)}): decide which rows stay; the next message joins them."
        ) from error
