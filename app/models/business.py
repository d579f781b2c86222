"""A business: the tenant that everything else belongs to."""

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import CheckConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Flag, Timestamped, UuidPk
from app.models.tracked import SettingsDict
from app.models.types import SettingsJson

if TYPE_CHECKING:
    from app.models import Conversation, Customer, User, UserBusiness, WhatsappNumber


class Business(Timestamped, Base):
    """A business, such as a barbershop. Deleting one leaves the cascade to the database."""

    __tablename__ = "businesses"
    __table_args__: Any = (
        CheckConstraint("jsonb_typeof(settings) = 'object'", name="settings_is_object"),
        {"comment": "Businesses: the tenants of the bot"},
    )
    __tenancy__: ClassVar[dict[str, str]] = {
        "using": "id = (SELECT current_business_id())",
        "grant": "SELECT, UPDATE (name, business_type, settings)",
    }

    id: Mapped[UuidPk]
    name: Mapped[str] = mapped_column(String(255), comment="Name as customers know it")
    business_type: Mapped[str] = mapped_column(
        String(50), server_default=text("'barberia'"), comment="Kind of business"
    )
    settings: Mapped[dict[str, Any]] = mapped_column(
        SettingsDict.as_mutable(SettingsJson()),
        server_default=text("'{}'::jsonb"),
        comment="Services with prices, hours, barbers, ai_personality; unknown keys are kept",
    )
    is_active: Mapped[Flag] = mapped_column(comment="Whether the bot serves the business")

    whatsapp_numbers: Mapped[list["WhatsappNumber"]] = relationship(back_populates="business", passive_deletes="all")
    customers: Mapped[list["Customer"]] = relationship(back_populates="business", passive_deletes="all")
    conversations: Mapped[list["Conversation"]] = relationship(back_populates="business", passive_deletes="all")
    user_businesses: Mapped[list["UserBusiness"]] = relationship(back_populates="business", passive_deletes="all")
    users: Mapped[list["User"]] = relationship(secondary="user_businesses", back_populates="businesses", viewonly=True)

    def get_setting(self, key: str, default: Any = None) -> Any:
        """The value of a top-level key of `settings`, or `default` where the key is missing."""
        return (self.settings or {}).get(key, default)
