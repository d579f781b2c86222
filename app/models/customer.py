"""A customer of a business."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, BigIntPk, TenantOwned, Timestamped
from app.models.types import UserId

if TYPE_CHECKING:
    from app.models import Business, Conversation


class Customer(TenantOwned, Timestamped, Base):
    """A person who writes to a business; the same person is another row in another business.

    `app.tenancy.customers` finds or makes the row of a webhook's sender, and joins two that are one person.
    """

    __tablename__ = "customers"
    __table_args__: Any = (
        UniqueConstraint("business_id", "whatsapp_id"),
        Index(
            "uq_customers_business_id_whatsapp_user_id",
            "business_id",
            "whatsapp_user_id",
            unique=True,
            postgresql_where=text("whatsapp_user_id IS NOT NULL"),
        ),
        {"comment": "Customers, each of one business"},
    )

    id: Mapped[BigIntPk]
    # The index serves the single-business bot, which looks customers up without a business.
    whatsapp_id: Mapped[str] = mapped_column(
        String(255),
        index=True,
        comment="The id under which messages are filed: Meta's wa_id where the phone is known, else the user id",
    )
    name: Mapped[str] = mapped_column(String(100), comment="Name of the customer")
    age: Mapped[int | None] = mapped_column(comment="Age in years")

    whatsapp_user_id: Mapped[str | None] = mapped_column(
        UserId, sort_order=801, comment="Meta's business-scoped user id, such as US.13491208655302741918"
    )
    username: Mapped[str | None] = mapped_column(String(255), sort_order=802, comment="WhatsApp username")

    business: Mapped["Business"] = relationship(back_populates="customers")
    conversations: Mapped[list["Conversation"]] = relationship(
        back_populates="customer",
        primaryjoin="and_(Customer.business_id == foreign(Conversation.business_id), "
        "Customer.whatsapp_id == foreign(Conversation.whatsapp_id))",
        order_by="Conversation.timestamp",
        viewonly=True,
    )
