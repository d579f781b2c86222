"""What stands in the way of an upgrade: the refusals, and the commands that they end with."""

import re

from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.support import check, execute, migrate, psql, state

MOST_ROUNDS = 1
"""The commands of one refusal clear the way: a second one would name what the first kept back."""


def refusal_of(url: URL, *options: str) -> str | None:
    """What the upgrade refuses, or None where it goes through."""
    try:
        migrate(url, "upgrade", "head", *options)
    except CommandError as error:
        return str(error)
    return None


def commands(refusal: str) -> list[str]:
    """The command of each line, as it stands; fails where a line has none."""
    lines = refusal.split("\n- ")[1:] if "things stand in the way:\n- " in refusal else [refusal]
    found = [re.search(r": run (.*;)$", line, re.DOTALL) for line in lines]
    assert all(found), refusal
    return [match[1] for match in found if match]


def clear_the_way(url: URL) -> list[str]:
    """Run the commands of every refusal with psql until the upgrade goes through; returns the refusals."""
    refusals: list[str] = []
    while refusal := refusal_of(url):
        refusals.append(refusal)
        assert len(refusals) <= MOST_ROUNDS, refusals
        for command in commands(refusal):
            done = psql(url, command, "-v", "ON_ERROR_STOP=1")
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    check(url)
    return refusals


def named_and_cleared(url: URL, spoil: str, says: str) -> None:
    """What `spoil` puts in the way is named, before any change, and the commands of the refusal lose no row."""
    both = ("customers", "conversations")
    execute(url, spoil)
    before = state(url, *both)
    assert says in (refusal_of(url) or "")
    assert state(url, *both) == before
    clear_the_way(url)
    assert {t: len(held) for t, held in state(url, *both)[1].items()} == {t: len(h) for t, h in before[1].items()}
