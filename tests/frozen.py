"""What revisions 000 and 001 emit, as hashes: `python -m tests.frozen` records them, for a release that freezes them."""

import hashlib
from pathlib import Path

from tests.support import script

RECORDED = Path(__file__).parent / "frozen.txt"
MOVES = (("upgrade", "base:000"), ("upgrade", "000:001"), ("downgrade", "001:000"), ("downgrade", "000:base"))


def changes(command: str, revisions: str) -> str:
    """The SQL with which a script changes the database, without comments, psql's commands, and line breaks.

    What comes before the first transaction is left out: settings of the session, and refusals, which a release may
    add to or word better.
    """
    text = script(command, revisions)
    lines = text[text.index("\nBEGIN;") :].splitlines()
    return " ".join(" ".join(line for line in lines if not line.lstrip().startswith(("--", "\\"))).split())


def hashes() -> list[str]:
    """One line for each way of each revision."""
    return [
        f"{command} {revisions} {hashlib.sha256(changes(command, revisions).encode()).hexdigest()}"
        for command, revisions in MOVES
    ]


if __name__ == "__main__":
    RECORDED.write_text("\n".join(hashes()) + "\n", encoding="utf-8")
