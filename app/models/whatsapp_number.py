"""A WhatsApp number of a business."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Flag, TenantOwned, Timestamped, UuidPk
from app.models.types import EXTRA_DIGIT, EncryptedToken, PhoneNumber

if TYPE_CHECKING:
    from app.models import Business, Conversation


class WhatsappNumber(TenantOwned, Timestamped, Base):
    """A number that receives messages for a business, with Meta's credentials where Meta provides it."""

    __tablename__ = "whatsapp_numbers"
    __table_args__: Any = (
        # What the composite foreign key of conversations refers to.
        UniqueConstraint("business_id", "id"),
        Index(
            "uq_whatsapp_numbers_phone_number_active",
            text(f"regexp_replace(phone_number, '{EXTRA_DIGIT}', '')"),
            unique=True,
            postgresql_where=text("is_active"),
        ),
        CheckConstraint(r"phone_number ~ '^\+[1-9][0-9]{7,14}$'", name="phone_number_is_e164"),
        # A Fernet token: version 0x80 and the high bytes of a timestamp give gAAAA, the shortest has 100 characters.
        CheckConstraint("access_token ~ '^gAAAA[A-Za-z0-9_-]{93,}={0,2}$'", name="access_token_is_ciphertext"),
        {"comment": "WhatsApp numbers, each of one business"},
    )

    id: Mapped[UuidPk]
    phone_number_id: Mapped[str | None] = mapped_column(
        String(255), unique=True, comment="Meta's phone_number_id; empty for numbers of other providers"
    )
    phone_number: Mapped[str] = mapped_column(PhoneNumber, comment="The number in E.164, such as +573001234567")
    access_token: Mapped[str | None] = mapped_column(
        EncryptedToken, info={"secret": True}, comment="Meta's access token, as Fernet ciphertext only"
    )
    is_active: Mapped[Flag] = mapped_column(comment="Whether messages to the number are served")

    business: Mapped["Business"] = relationship(back_populates="whatsapp_numbers")
    conversations: Mapped[list["Conversation"]] = relationship(
        back_populates="whatsapp_number", passive_deletes="all", foreign_keys="Conversation.whatsapp_number_id"
    )
