"""Two barbershops to play with: `python examples/demo.py`, for the embedded database only unless --anywhere is given."""

import argparse
import sys
import uuid
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from app.db import session_scope, tenant_session
from app.models import Business, User, UserBusiness, WhatsappNumber
from app.tenancy.customers import find_or_create_customer
from app.tenancy.environment import get_settings
from app.tenancy.messages import Sender
from app.tenancy.queries import record_answer, record_message

SHOPS: list[dict[str, Any]] = [
    {
        "name": "Barbería Central",
        "number": "whatsapp:+57 300 123 4567",
        "owner": ("ana@example.com", "Ana Gómez"),
        "settings": {
            "services": [
                {"name": "Corte", "price": 30000, "duration_minutes": 30},
                {"name": "Barba", "price": 20000, "duration_minutes": 20},
            ],
            "hours": {"monday": {"open": "09:00", "close": "19:00"}, "sunday": "closed"},
            "barbers": ["Luis", "Marta"],
            "ai_personality": "cercana y breve",
        },
    },
    {
        "name": "The Fade Room",
        "number": "whatsapp:+1 415 555 0132",
        "owner": ("kim@example.com", "Kim Lee"),
        "settings": {
            "services": [{"name": "Skin fade", "price": 45, "duration_minutes": 45}],
            "hours": {"saturday": {"open": "10:00", "close": "16:00"}},
            "barbers": ["Kim"],
            "ai_personality": "friendly",
        },
    },
]
SENDERS = [
    Sender(phone="573007654320", user_id="CO.13491208655302741918", name="Zoë"),
    Sender(user_id="US.13491208655302741918", name="Zoë", username="zoe"),  # Meta does not say the phone
]
TALK = [("Hola, ¿tienen cita mañana?", "Sí, a las diez o a las tres. ¿Cuál prefieres?"), ("A las diez 💈", "")]
# A hash that no password has: a demo login cannot be used.
NO_PASSWORD = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43


def add_shop(session: Session, shop: dict[str, Any]) -> tuple[uuid.UUID, uuid.UUID]:
    """A business with its number, owner and settings; the ids of business and number."""
    business = Business(name=shop["name"], settings=shop["settings"])
    number = WhatsappNumber(business=business, phone_number=shop["number"], phone_number_id=uuid.uuid4().hex[:15])
    if get_settings().access_token_keys:
        number.access_token = "a token that Meta does not know"
    email, full_name = shop["owner"]
    owner = User(email=email, full_name=full_name, password_hash=NO_PASSWORD)
    session.add_all([business, number, UserBusiness(user=owner, business=business, role="owner")])
    session.flush()
    return business.id, number.id


def add_talk(business_id: uuid.UUID, number_id: uuid.UUID, sender: Sender) -> None:
    """A customer of the business, and what was said."""
    with tenant_session(business_id) as session:
        customer = find_or_create_customer(session, business_id, sender)
        for turn, (question, answer) in enumerate(TALK):
            said, is_new = record_message(
                session,
                business_id=business_id,
                whatsapp_id=customer.whatsapp_id,
                message=question,
                role="user",
                whatsapp_message_id=f"wamid.demo.{turn}",
                whatsapp_number_id=number_id,
            )
            if answer and is_new:
                record_answer(session, said, answer)
        session.commit()


def main() -> int:
    """Write the demo data through the models; what cannot be is one sentence, and exit status 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--anywhere", action="store_true", help="also write to the database of DATABASE_URL")
    anywhere = parser.parse_args().anywhere
    if get_settings().database_url and not anywhere:
        print("DATABASE_URL is set, and demo data belong into the embedded database: add --anywhere.", file=sys.stderr)
        return 1
    try:
        with session_scope() as session:
            made = [add_shop(session, shop) for shop in SHOPS]
        for (business_id, number_id), sender in zip(made, SENDERS, strict=True):
            add_talk(business_id, number_id, sender)
    except IntegrityError:
        print("The demo data are there already, or one of their numbers or e-mails is: nothing was changed.")
    except ProgrammingError:
        print("The database is not at revision 001 yet: run `alembic upgrade head` first.", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, DBAPIError) as error:
        print(" ".join(str(getattr(error, "orig", error)).split()), file=sys.stderr)
        return 1
    else:
        print(f"Made {', '.join(shop['name'] for shop in SHOPS)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
