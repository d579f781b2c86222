"""The role of a user in a business."""

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, PrimaryKeyConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, TenantOwned, Timestamped

if TYPE_CHECKING:
    from app.models import Business, User


class UserBusiness(TenantOwned, Timestamped, Base):
    """A user's membership of a business: owner, admin or staff."""

    __tablename__ = "user_businesses"
    __table_args__: Any = (
        PrimaryKeyConstraint("user_id", "business_id"),
        CheckConstraint("role::text = ANY (ARRAY['owner'::text, 'admin'::text, 'staff'::text])", name="role_is_known"),
        {"comment": "Which user has which role in which business"},
    )
    __tenancy__ = TenantOwned.__tenancy__ | {"grant": "SELECT, UPDATE (role), DELETE"}

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), comment="The user")
    role: Mapped[str] = mapped_column(String(50), server_default=text("'staff'"), comment="owner, admin or staff")

    user: Mapped["User"] = relationship(back_populates="user_businesses")
    business: Mapped["Business"] = relationship(back_populates="user_businesses")
