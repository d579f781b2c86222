"""Errors as a user reads them: what the database said in one line, and how a command of `python -m` ends."""

import re
import sys
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Characters that begin a line, turn its direction, or tell a terminal something."""


def shown(text: str) -> str:
    """The text as one line, whatever the names in it are: control characters become <U+000A>."""
    return _ODD.sub(lambda odd: f"<U+{ord(odd[0]):04X}>", text)


def reason(error: DBAPIError) -> str:
    """What the server or libpq said, in one line: without the statement, nor DETAIL, which repeats values."""
    said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
    # Of a failed connection libpq writes a line for each address, and a question after it.
    lines = [" ".join(line.split()) for line in said.splitlines()]
    return shown("; ".join(line for line in lines if line and not line.endswith("?")))


def sentence(error: DBAPIError) -> str:
    """A database error as the sentence of a command that is not Alembic's."""
    code = getattr(error.orig, "pgcode", None)
    if code == "42P01":
        return "The database is not at revision 001: run `alembic upgrade head` first."
    advice = ""
    if code == "42501":
        advice = "; log in as the owner of the tables, or as an administrator run GRANT app_service TO this login"
    return f"The database refused: {reason(error)}{advice}."


def exit_status(
    work: Callable[[], int | None],
    *,
    failed: int = 1,
    failure: str = "",
    interrupted: str = "Interrupted: what was committed is kept.",
) -> int:
    """Run a command, and return its exit status; what the user can do something about is one sentence on stderr.

    Args:
        work: the command; it returns its exit status, or None for 0.
        failed: the exit status where it raises an error.
        failure: what is said before the sentence of the error.
        interrupted: what is said after Ctrl-C; the exit status is 130 then.
    """
    try:
        return work() or 0
    except DBAPIError as error:
        said = sentence(error)
    except (KeyboardInterrupt, EOFError):
        print(interrupted, file=sys.stderr)
        return 130
    except Exception as error:
        from alembic.util.exc import CommandError  # not at the top: the bot imports this module, and no Alembic

        if not isinstance(error, CommandError | ValueError | RuntimeError | OSError):
            raise
        said = " ".join(str(error).split())
    print(f"{failure}{said}", file=sys.stderr)
    return failed
