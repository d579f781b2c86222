"""A person who manages businesses."""

from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Flag, Timestamped, UuidPk
from app.models.types import PASSWORD_HASH, Email, PasswordHash

if TYPE_CHECKING:
    from app.models import Business, UserBusiness


class User(Timestamped, Base):
    """A login of the staff console; its roles are in `user_businesses`."""

    __tablename__ = "users"
    __table_args__: Any = (
        Index("uq_users_email_lower", text("lower(email)"), unique=True),
        CheckConstraint(f"password_hash ~ '{PASSWORD_HASH}'", name="password_hash_is_a_hash"),
        {"comment": "People who manage businesses"},
    )
    __tenancy__: ClassVar[dict[str, str]] = {
        "using": "EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id "
        "AND member.business_id = (SELECT current_business_id()))",
        "using_flat": "is_colleague(id)",
        "grant": "SELECT (id, email, full_name, is_active, created_at, updated_at)",
    }

    id: Mapped[UuidPk]
    email: Mapped[str] = mapped_column(Email, comment="Login, unique without regard to case")
    # Deferred: app_tenant may not read the column, and nothing but a login needs it.
    password_hash: Mapped[str] = mapped_column(
        PasswordHash, deferred=True, info={"secret": True}, comment="Hash of the password, never the password"
    )
    full_name: Mapped[str | None] = mapped_column(String(255), comment="Name to show")
    is_active: Mapped[Flag] = mapped_column(comment="Whether the user may log in")

    user_businesses: Mapped[list["UserBusiness"]] = relationship(back_populates="user", passive_deletes="all")
    businesses: Mapped[list["Business"]] = relationship(
        secondary="user_businesses", back_populates="users", viewonly=True
    )
