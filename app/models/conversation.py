"""A message of a conversation."""

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, BigIntPk, TenantOwned, Timestamp

if TYPE_CHECKING:
    from app.models import Business, Customer, WhatsappNumber


class Conversation(TenantOwned, Base):
    """One message, of the customer, of the assistant or of the system."""

    __tablename__ = "conversations"
    __table_args__: Any = (
        # Composite, so that a message can never name another business's number.
        ForeignKeyConstraint(
            ["business_id", "whatsapp_number_id"],
            ["whatsapp_numbers.business_id", "whatsapp_numbers.id"],
            ondelete="SET NULL (whatsapp_number_id)",
        ),
        Index(None, "business_id", "whatsapp_id", "timestamp"),
        Index(None, "business_id", "whatsapp_number_id", postgresql_where=text("whatsapp_number_id IS NOT NULL")),
        Index(
            "uq_conversations_business_id_whatsapp_message_id",
            "business_id",
            "whatsapp_message_id",
            unique=True,
            postgresql_where=text("whatsapp_message_id IS NOT NULL"),
        ),
        {"comment": "Messages; a row is one message"},
    )

    id: Mapped[BigIntPk]
    # The index serves the single-business bot, which reads messages without a business.
    whatsapp_id: Mapped[str] = mapped_column(String(255), index=True, comment="WhatsApp id of the customer")
    message: Mapped[str] = mapped_column(Text, comment="Text of the message")
    role: Mapped[str] = mapped_column(String(20), comment="Who wrote it: user, assistant, or another role")
    timestamp: Mapped[Timestamp] = mapped_column(index=True, comment="When the message was sent")
    created_at: Mapped[Timestamp] = mapped_column(comment="When the row was inserted")
    whatsapp_number_id: Mapped[uuid.UUID | None] = mapped_column(
        sort_order=801, comment="The number of the business that the message went through"
    )
    whatsapp_message_id: Mapped[str | None] = mapped_column(
        String(255), sort_order=802, comment="Meta's message id (wamid.), unique in a business: webhooks repeat"
    )

    business: Mapped["Business"] = relationship(back_populates="conversations")
    whatsapp_number: Mapped["WhatsappNumber | None"] = relationship(
        back_populates="conversations", foreign_keys=[whatsapp_number_id]
    )
    customer: Mapped["Customer | None"] = relationship(
        back_populates="conversations",
        primaryjoin="and_(foreign(Conversation.business_id) == Customer.business_id, "
        "foreign(Conversation.whatsapp_id) == Customer.whatsapp_id)",
        viewonly=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """As `Base.to_dict`, with the text under `message` and, as bots expect it, `content`."""
        return super().to_dict() | {"content": self.message}
