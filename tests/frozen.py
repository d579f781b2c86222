"""What revisions 000 and 001 emit, as hashes: `python -m tests.frozen` records them, for a release that freezes them."""

import hashlib
import re
from pathlib import Path

from tests.support import script

RECORDED = Path(__file__).parent / "frozen.txt"
MOVES = (("upgrade", "base:000"), ("upgrade", "000:001"), ("downgrade", "001:000"), ("downgrade", "000:base"))

STEP = re.compile(r"^DO \$(step_*)\$\n.*?^-- begin\n(.*?)^-- end\n.*?^\$\1\$;", re.DOTALL | re.MULTILINE)
"""A step of a script: its second group is what the revision does, the rest is how the tools wait, retry and resume."""


def changes(command: str, revisions: str) -> str:
    """The SQL with which the revision itself changes the database, without comments, psql's commands, and line breaks.

    What the living tools put around it is left out, for a release may better it: settings of the session, refusals,
    how long a lock is waited for, what is said when it was not to be had, and whether a step is done already.
    """
    text = script(command, revisions)
    text = STEP.sub(r"\2", text[text.index("\nBEGIN;") :])
    tools = ("--", "\\", "SET lock_timeout ")
    return " ".join(" ".join(line for line in text.splitlines() if not line.lstrip().startswith(tools)).split())


def hashes() -> list[str]:
    """One line for each way of each revision."""
    return [
        f"{command} {revisions} {hashlib.sha256(changes(command, revisions).encode()).hexdigest()}"
        for command, revisions in MOVES
    ]


if __name__ == "__main__":
    RECORDED.write_text("\n".join(hashes()) + "\n", encoding="utf-8")
