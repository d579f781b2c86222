"""How tests look at drift: the lines of the check, and what repair makes of them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest
from sqlalchemy import URL, Connection, event

from app.tenancy import repair
from app.tenancy.declared import declared
from app.tenancy.migration import drift, runner
from app.tenancy.migration.catalogue import Catalogue
from tests.support import ROOT, engine_of, environment, execute, plain

Case = tuple[str, str, bool]
"""A statement, the beginning of the line that names what it changed, and whether repair puts that right."""


@contextmanager
def expected_once(known: dict[str, Catalogue | None]) -> Iterator[None]:
    """What the models declare is the same for every database of a test file, and built for its first one only."""
    build = drift.expectation

    def remembered(connection: Connection, *arguments: Any) -> Catalogue | None:
        key = repr(arguments[1:])
        if key not in known:
            known[key] = build(connection, *arguments)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "expectation", remembered)
        yield


def lines(url: URL) -> list[str]:
    """What the check finds, a line each; empty where it is clean."""
    engine = engine_of(url)
    event.listen(engine, "connect", runner.set_session_defaults)
    with engine.connect() as connection:
        return [str(found) for found in drift.find_drift(connection, declared()).drifts]


def repaired(url: URL, *arguments: str) -> tuple[int, str]:
    """Exit status and output of `python -m app.tenancy.repair`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with environment(DATABASE_URL=plain(url)), redirect_stdout(out), redirect_stderr(err):
        status = repair.main(["-c", str(ROOT / "alembic.ini"), *arguments])
    assert "Traceback" not in err.getvalue()
    return status, out.getvalue() + "".join(x for x in err.getvalue().splitlines(True) if not x.startswith("  "))


def assert_found(url: URL, case: Case) -> None:
    """The statement is found by a line that begins as said, and repair leaves nothing, or says what to do."""
    statement, expected, is_repaired = case
    execute(url, statement)
    found = lines(url)
    assert [line for line in found if line.startswith(expected)], found
    status, said = repaired(url)
    if is_repaired:
        assert f"fixed: {expected}" in said, said
        assert (status, lines(url)) == (0, []), said
    else:
        assert status == 1
        left = [line for line in said.splitlines() if line.startswith(f"not fixed: {expected}")]
        assert left, said
        assert "; " in left[0]
