"""A scratch copy of the project, in which a test changes models and lets Alembic write revisions."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

from tests.support import ROOT, plain

BOOKING = '''"""A booking of a customer."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, TenantOwned, Timestamped


class Booking(TenantOwned, Timestamped, Base):
    """An appointment."""

    __tablename__ = "bookings"
    __table_args__: Any = (
        ForeignKeyConstraint(
            ["business_id", "whatsapp_id"], ["customers.business_id", "customers.whatsapp_id"], ondelete="CASCADE"
        ),
        {"comment": "Appointments"},
    )

    id: Mapped[int] = mapped_column(primary_key=True, comment="Identifier")
    whatsapp_id: Mapped[str] = mapped_column(String(50), comment="The customer")
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), comment="When it begins")
'''


class Copy:
    """A scratch copy of the project that a team works on, with a database of its own."""

    def __init__(self, folder: Path, url: URL) -> None:
        self.folder, self.url = folder, url
        for name in ("app", "alembic"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "alembic.ini", folder)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def add_model(self, module: str, text: str) -> None:
        self.write(f"app/models/{module}.py", text)
        init = self.folder / "app/models/__init__.py"
        line = f"from app.models.{module} import {module.capitalize()} as {module.capitalize()}\n"
        if line not in init.read_text(encoding="utf-8"):
            init.write_text(init.read_text(encoding="utf-8") + line, encoding="utf-8")

    def alembic(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def refused(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0
        return done.stderr.splitlines()[-1]

    def repair(self) -> str:
        done = self.run(module="app.tenancy.repair")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *arguments: str, module: str = "alembic") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env={**os.environ, "DATABASE_URL": plain(self.url), "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    def revise(self, message: str) -> str:
        self.alembic("revision", "--autogenerate", "-m", message)
        newest = max((self.folder / "alembic/versions").glob("*.py"), key=lambda path: path.stat().st_mtime_ns)
        text = newest.read_text(encoding="utf-8")
        ast.parse(text)
        return text
