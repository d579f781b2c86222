"""The six tables as SQLAlchemy models, one entity a file; import them from here."""

from app.models.base import DEFAULT_BUSINESS_ID, Base, TenantOwned, Timestamped
from app.models.business import Business
from app.models.conversation import Conversation
from app.models.customer import Customer
from app.models.user import User
from app.models.user_business import UserBusiness
from app.models.whatsapp_number import WhatsappNumber

__all__ = [
    "DEFAULT_BUSINESS_ID",
    "Base",
    "Business",
    "Conversation",
    "Customer",
    "TenantOwned",
    "Timestamped",
    "User",
    "UserBusiness",
    "WhatsappNumber",
]
