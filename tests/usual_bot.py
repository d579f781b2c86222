"""A single-business WhatsApp bot of the usual shape, as files by path: what docs/into-your-bot.md starts from."""

from pathlib import Path

FILES = {
    "run.py": """from app import create_app

app = create_app()

if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8000)
""",
    "requirements.txt": """Flask==3.0.3
SQLAlchemy==2.0.36
psycopg2-binary==2.9.9
openai==1.55.0
""",
    "app/__init__.py": """from flask import Flask

from app.config import load_configurations
from app.views import receive


def create_app():
    app = Flask(__name__)
    load_configurations(app)
    app.add_url_rule("/webhook", view_func=receive, methods=["POST"])
    return app
""",
    "app/config.py": """import os


def load_configurations(app):
    app.config["APP_SECRET"] = os.environ["APP_SECRET"]
""",
    "app/views.py": """from flask import jsonify, request

from app.services.whatsapp import handle_webhook


def receive():
    handle_webhook(request.get_json())
    return jsonify({"status": "ok"}), 200
""",
    "app/database/__init__.py": "",
    "app/database/models.py": """import os
from datetime import datetime

from sqlalchemy import Column, DateTime, Integer, String, Text, create_engine
from sqlalchemy.orm import declarative_base, sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
SessionLocal = sessionmaker(bind=engine)
Base = declarative_base()


class Customer(Base):
    __tablename__ = "customers"
    id = Column(Integer, primary_key=True)
    whatsapp_id = Column(String(50), unique=True, index=True, nullable=False)
    name = Column(String(100), nullable=False)
    age = Column(Integer)
    created_at = Column(DateTime, default=datetime.utcnow, nullable=False)
    updated_at = Column(DateTime, default=datetime.utcnow, onupdate=datetime.utcnow, nullable=False)


class Conversation(Base):
    __tablename__ = "conversations"
    id = Column(Integer, primary_key=True)
    whatsapp_id = Column(String(50), index=True, nullable=False)
    message = Column(Text, nullable=False)
    role = Column(String(20), nullable=False)
    timestamp = Column(DateTime, default=datetime.utcnow, index=True, nullable=False)
    created_at = Column(DateTime, default=datetime.utcnow, nullable=False)


def get_db_session():
    return SessionLocal()


Base.metadata.create_all(bind=engine)
""",
    "app/services/__init__.py": "",
    "app/services/conversations.py": """from datetime import datetime

from app.database.models import Conversation, Customer, get_db_session


def get_or_create_customer(whatsapp_id, name):
    session = get_db_session()
    try:
        customer = session.query(Customer).filter(Customer.whatsapp_id == whatsapp_id).first()
        if customer is None:
            session.add(Customer(whatsapp_id=whatsapp_id, name=name))
            session.commit()
    finally:
        session.close()


def store_message(whatsapp_id, message, role):
    session = get_db_session()
    try:
        session.add(Conversation(whatsapp_id=whatsapp_id, message=message, role=role, timestamp=datetime.utcnow()))
        session.commit()
    finally:
        session.close()


def get_history(whatsapp_id, limit=10):
    session = get_db_session()
    try:
        found = session.query(Conversation).filter(Conversation.whatsapp_id == whatsapp_id)
        newest = found.order_by(Conversation.timestamp.desc(), Conversation.id.desc()).limit(limit).all()
        return [{"role": row.role, "content": row.message} for row in reversed(newest)]
    finally:
        session.close()
""",
    "app/services/whatsapp.py": """from app.services.conversations import get_history, get_or_create_customer, store_message


def generate_response(history):
    return "You said: " + history[-1]["content"]


def send_message(to, text):
    print(to, text)


def handle_webhook(body):
    value = body["entry"][0]["changes"][0]["value"]
    for message in value.get("messages", []):
        wa_id, name = value["contacts"][0]["wa_id"], value["contacts"][0]["profile"]["name"]
        answer_message(wa_id, name, message["text"]["body"])


def answer_message(wa_id, name, text):
    get_or_create_customer(wa_id, name)
    store_message(wa_id, text, "user")
    answer = generate_response(get_history(wa_id))
    store_message(wa_id, answer, "assistant")
    send_message(wa_id, answer)
""",
}

FLASK = '''"""As much of flask as the bot needs, so that the tests need not install it."""

request = None


def jsonify(body):
    return body


class Flask:
    def __init__(self, name):
        self.config = {}

    def add_url_rule(self, *args, **kwargs):
        pass
'''


def write_bot(folder: Path) -> Path:
    """Write the bot's files into a folder, and return it."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
