"""Keys of the access tokens: `python -m app.tenancy.tokens new-key` and `python -m app.tenancy.tokens rotate`."""

import argparse
import sys

from cryptography.fernet import Fernet, InvalidToken
from rich.console import Console
from rich.progress import track
from sqlalchemy import Engine, Text, bindparam, select, text, type_coerce, update

from app.db import get_engine
from app.models import WhatsappNumber as Number
from app.models.types import TokenError, token_keys
from app.tenancy.errors import exit_status

HIDDEN = "SELECT row_security_active('whatsapp_numbers') AND NOT pg_has_role(current_user, 'app_service', 'USAGE')"


def rotate(engine: Engine, batch: int = 500) -> tuple[int, int]:
    """Encrypt every token under the first key: how many were encrypted anew, and how many tokens there are.

    A batch is a transaction, and a token that the first key reads is left alone, so that an interrupted run
    goes on where it stopped. Messages go on; a change of a number waits for a batch at most.

    Raises:
        app.models.types.TokenError: no key, none fits a token (the batches before it are kept), or the role does not see all rows.
    """
    first = token_keys()[0]
    stored = type_coerce(Number.access_token, Text).label("stored")
    query = select(Number.id, Number.access_token.label("token"), stored).where(stored.is_not(None))
    encrypt = update(Number).where(Number.id == bindparam("row")).values(access_token=bindparam("token"))
    with engine.begin() as connection:
        if connection.scalar(text(HIDDEN)):
            raise TokenError(
                "Row level security hides tokens from this role: log in as one that owns whatsapp_numbers, or run "
                "GRANT app_service TO it."
            )
        ids = connection.scalars(select(Number.id).where(stored.is_not(None)).order_by(Number.id)).all()
    changed = 0
    batches, console = range(0, len(ids), batch), Console(stderr=True)
    for start in track(batches, "Batches of tokens", console=console, disable=not console.is_terminal):
        page = (
            query.where(Number.id.in_(ids[start : start + batch])).order_by(Number.id).with_for_update(key_share=True)
        )
        with engine.begin() as connection:
            rows = connection.execute(page).all()
            if old := [{"row": row.id, "token": row.token} for row in rows if not _reads(first, row.stored)]:
                connection.execute(encrypt, old)
        changed += len(old)
    return changed, len(ids)


def _reads(key: Fernet, ciphertext: str) -> bool:
    try:
        key.decrypt(ciphertext)
    except InvalidToken:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command line; an error is one sentence on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m app.tenancy.tokens", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("new-key", help="print a new key for ACCESS_TOKEN_KEYS")
    rotation = commands.add_parser("rotate", help="encrypt every token under the first key of ACCESS_TOKEN_KEYS")
    rotation.add_argument("--batch", type=int, default=500, metavar="N", help="tokens in a transaction (%(default)s)")
    parsed = parser.parse_args(arguments)

    def work() -> None:
        if parsed.command == "new-key":
            print(Fernet.generate_key().decode())
        else:
            changed, seen = rotate(get_engine(), max(1, parsed.batch))
            print(f"{changed} of {seen} tokens were encrypted anew; all are under the first key.")

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
