"""A customer of a business."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, TenantOwned, Timestamped

if TYPE_CHECKING:
    from app.models import Business, Conversation


class Customer(TenantOwned, Timestamped, Base):
    """A person who writes to a business; the same person is another row in another business."""

    __tablename__ = "customers"
    __table_args__: Any = (
        UniqueConstraint("business_id", "whatsapp_id"),
        {"comment": "Customers, each of one business"},
    )

    id: Mapped[int] = mapped_column(primary_key=True, comment="Identifier")
    # The index serves the single-business bot, which looks customers up without a business.
    whatsapp_id: Mapped[str] = mapped_column(String(50), index=True, comment="WhatsApp id (wa_id) as Meta sends it")
    name: Mapped[str] = mapped_column(String(100), comment="Name of the customer")
    age: Mapped[int | None] = mapped_column(comment="Age in years")

    business: Mapped["Business"] = relationship(back_populates="customers")
    conversations: Mapped[list["Conversation"]] = relationship(
        back_populates="customer",
        primaryjoin="and_(Customer.business_id == foreign(Conversation.business_id), "
        "Customer.whatsapp_id == foreign(Conversation.whatsapp_id))",
        order_by="Conversation.timestamp",
        viewonly=True,
    )
