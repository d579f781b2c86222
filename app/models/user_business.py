"""The role of a user in a business."""

import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from sqlalchemy import CheckConstraint, ForeignKey, PrimaryKeyConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, TenantOwned, Timestamped

if TYPE_CHECKING:
    from app.models import Business, User

Role = Literal["owner", "admin", "staff"]
"""What a user may be in a business. A role more is a word here and the revision that Alembic writes for it."""

ROLES: tuple[Role, ...] = get_args(Role)

# PostgreSQL writes `role IN (...)` down differently after a dump and restore, and `role::text = ANY (...)` the same.
_ROLE_LIST = ", ".join(f"'{role}'::text" for role in ROLES)


class UserBusiness(TenantOwned, Timestamped, Base):
    """A user's membership of a business, with a role."""

    __tablename__ = "user_businesses"
    __table_args__: Any = (
        PrimaryKeyConstraint("user_id", "business_id"),
        CheckConstraint(f"role::text = ANY (ARRAY[{_ROLE_LIST}])", name="role_is_known"),
        {"comment": "Which user has which role in which business"},
    )
    __tenancy__: ClassVar[dict[str, str]] = {"grant": "SELECT, UPDATE (role), DELETE"}

    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), comment="The user")
    role: Mapped[str] = mapped_column(
        String(50), server_default=text("'staff'"), comment=f"{', '.join(ROLES[:-1])} or {ROLES[-1]}"
    )

    user: Mapped["User"] = relationship(back_populates="user_businesses")
    business: Mapped["Business"] = relationship(back_populates="user_businesses")
