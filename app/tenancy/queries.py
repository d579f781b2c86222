"""The statements that every message runs: to whom it goes, what it says, and what was said before."""

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, object_session

from app.db import BusinessSession, business_scope
from app.models.business import Business
from app.models.conversation import Conversation
from app.models.types import EXTRA_DIGIT, normalise_phone_number, without_extra_digit
from app.models.whatsapp_number import WhatsappNumber
from app.tenancy.connection import has_citus

ANSWER_TIME = timedelta(minutes=5)
"""How long nobody else answers a message whose answer has begun; then the process is taken for dead."""


class BeingAnsweredError(RuntimeError):
    """Another delivery of the same message is being answered now."""


def route_webhook(
    *, phone_number_id: str | None = None, phone_number: str | None = None
) -> Select[WhatsappNumber, Business]:
    """The active number that a webhook names, and its active business, in one query.

    A phone_number is found however it is written: digits alone are taken with their country code, as providers send
    them, and Mexico's 1, Argentina's 9 and Brazil's ninth digit may be there or not.

    Index: uq_whatsapp_numbers_phone_number_id, or uq_whatsapp_numbers_phone_number_active for a phone_number; then
    businesses_pkey. Run it as `app_service`.

    Raises:
        ValueError: neither or both of the two are given, or phone_number cannot be a number.
    """
    statement = (
        select(WhatsappNumber, Business)
        .join(WhatsappNumber.business)
        .where(WhatsappNumber.is_active, Business.is_active)
    )
    if (phone_number_id is None) == (phone_number is None):
        raise ValueError("route_webhook takes one of phone_number_id and phone_number.")
    if phone_number is None:
        return statement.where(WhatsappNumber.phone_number_id == phone_number_id)
    number = normalise_phone_number(re.sub("^(?=[1-9][0-9]{7,14}$)", "+", phone_number))
    # Written into the statement, as in the index.
    extra, nothing = (literal(value, literal_execute=True) for value in (EXTRA_DIGIT, ""))
    one_form = func.regexp_replace(WhatsappNumber.phone_number, extra, nothing)
    return statement.where(one_form == without_extra_digit(number))


def storable(text: str) -> str:
    """The text with NUL and lone surrogates, which PostgreSQL cannot store, replaced by U+FFFD."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def last_messages(business_id: uuid.UUID | str, whatsapp_id: str, limit: int = 10) -> Select[Conversation]:
    """The newest `limit` messages of a customer of a business, newest first.

    Index: ix_conversations_business_id_whatsapp_id_timestamp, read backwards. Said with BETWEEN and in this order, the
    planner has no other: for a customer who wrote most of all messages, long ago, it would read
    ix_conversations_timestamp and pass over all that others wrote since.
    """
    return (
        select(Conversation)
        .where(Conversation.business_id == business_id, Conversation.whatsapp_id.between(whatsapp_id, whatsapp_id))
        .order_by(Conversation.whatsapp_id.desc(), Conversation.timestamp.desc(), Conversation.id.desc())
        .limit(limit)
    )


def record_message(
    session: Session,
    *,
    business_id: uuid.UUID | str,
    whatsapp_id: str,
    message: str,
    role: str,
    whatsapp_message_id: str | None = None,
    whatsapp_number_id: uuid.UUID | str | None = None,
    timestamp: datetime | None = None,
) -> tuple[Conversation, bool]:
    """Insert a message once: returns its row, and whether it is new.

    Meta delivers at least once. The same whatsapp_message_id again for a business returns the row that is
    there and False, also when two webhooks race: the later waits for the earlier. Without a
    whatsapp_message_id every call inserts. The transaction is the caller's, and READ COMMITTED.

    An empty whatsapp_message_id is none. NUL and lone surrogates, which PostgreSQL cannot store, are replaced by U+FFFD.

    Index: uq_conversations_business_id_whatsapp_message_id.
    """
    whatsapp_message_id = whatsapp_message_id or None
    values = {
        "business_id": business_id,
        "whatsapp_id": whatsapp_id,
        "message": storable(message),
        "role": role,
        "whatsapp_message_id": whatsapp_message_id,
        "whatsapp_number_id": whatsapp_number_id,
        "timestamp": timestamp or func.now(),
    }
    statement = (
        insert(Conversation)
        .values(values)
        .on_conflict_do_nothing(
            index_elements=["business_id", "whatsapp_message_id"],
            index_where=Conversation.whatsapp_message_id.is_not(None),
        )
        .returning(Conversation)
    )
    there = select(Conversation).where(
        Conversation.business_id == business_id, Conversation.whatsapp_message_id == whatsapp_message_id
    )
    for _ in range(3):  # a row that is deleted between the two statements is inserted on the next turn
        if (new := session.scalars(statement).one_or_none()) is not None:
            return new, True
        if whatsapp_message_id is not None and (old := session.scalars(there).one_or_none()) is not None:
            return old, False
    raise RuntimeError("The message was not stored: a trigger of conversations keeps it from being inserted.")


def record_answer(session: Session, message: Conversation, answer: str) -> Conversation:
    """Insert the answer to a message: of its business, number and customer. Returns the answer's row.

    Between message and answer the model thinks, and the customer may have got another id under which messages are
    filed: the answer goes where the message is now. The transaction is the caller's.

    Index: conversations_pkey.
    """
    here = (Conversation.business_id == message.business_id, Conversation.id == message.id)
    if not has_citus(session.connection()):
        place = select(Conversation.business_id, Conversation.whatsapp_id, Conversation.whatsapp_number_id)
        asked = (
            place.add_columns(literal(storable(answer)), literal("assistant")).where(*here).with_for_update(read=True)
        )
        columns = ["business_id", "whatsapp_id", "whatsapp_number_id", "message", "role"]
        statement = insert(Conversation).from_select(columns, asked).returning(Conversation)
        if (answered := session.scalars(statement).one_or_none()) is not None:
            return answered
    there = session.scalars(select(Conversation).where(*here).with_for_update(read=True)).one_or_none()
    return record_message(
        session,
        business_id=message.business_id,
        whatsapp_id=(there or message).whatsapp_id,  # the message may have been deleted meanwhile
        whatsapp_number_id=(there or message).whatsapp_number_id,
        message=answer,
        role="assistant",
    )[0]


def is_answered(message: Conversation, history: Sequence[Conversation]) -> bool:
    """Whether an answer was stored after the message: of a webhook that is delivered again, there is nothing to do.

    Args:
        message: as `record_message` returned it, in its session.
        history: the last messages of its customer. Where they do not go back to the message, the database is asked.
    """
    if any(row.role == "assistant" and row.id > message.id for row in history):
        return True
    session = object_session(message)
    if session is None or any(row.id == message.id for row in history):
        return False
    later = select(Conversation.id).where(
        Conversation.business_id == message.business_id,
        Conversation.whatsapp_id == message.whatsapp_id,
        Conversation.role == "assistant",
        Conversation.id > message.id,
    )
    return bool(session.scalar(select(later.exists())))


@contextmanager
def answering(session: Session, message: Conversation, is_new: bool) -> Iterator[None]:
    """Within it, nobody else answers the message, although Meta may deliver it twice at the same time.

    The delivery that stored the message answers it. Another one is refused meanwhile, and Meta delivers once more. As
    soon as the first has failed, or after `ANSWER_TIME` without an end, the next delivery takes over. That time is
    counted from `created_at`, which a delivery that takes over sets anew: beyond the business, for a tenant may not.

    Args:
        session: the session in which the answer is recorded. It is committed before the block.
        message: the message, as `record_message` returned it.
        is_new: whether it was new, as `record_message` said.

    Raises:
        BeingAnsweredError: another delivery is being answered.

    Index: conversations_pkey.
    """
    session.commit()
    long_ago = func.now() - ANSWER_TIME
    if not is_new and not _set_created_at(session, message, func.now(), Conversation.created_at <= long_ago):
        raise BeingAnsweredError(
            "The message is being answered by another delivery of the same webhook: answer Meta with status 500, and it "
            "delivers again."
        )
    try:
        yield
    except BaseException:
        with suppress(SQLAlchemyError):
            session.rollback()
            _set_created_at(session, message, long_ago)
        raise


def _set_created_at(
    session: Session, message: Conversation, moment: ColumnElement[datetime], *conditions: ColumnElement[bool]
) -> bool:
    """Set the message's `created_at` as the login, and commit. Whether the row was there and met the conditions."""
    here = (Conversation.business_id == message.business_id, Conversation.id == message.id)
    change = update(Conversation).where(*here, *conditions).values(created_at=moment).returning(Conversation.id)
    with business_scope(None), BusinessSession(session.bind) as beyond, beyond.begin():
        changed = beyond.scalars(change, execution_options={"synchronize_session": False})
        return changed.one_or_none() is not None
