"""The SQL files of the revisions: each is a whole, says what it does, and takes its values by name."""

import re
from pathlib import Path

import pytest

from app.tenancy.migration.scripts import filled
from tests.support import ROOT

FILES = sorted((ROOT / "alembic" / "sql").glob("*.sql"))
file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@file
def test_a_file_says_what_it_does(path: Path) -> None:
    assert re.match(r"-- \w[^\n]{20,}", path.read_text(encoding="utf-8"))


@file
def test_a_file_is_a_whole(path: Path) -> None:
    """It begins with a statement and does not end in the middle of one."""
    text = re.sub(r"(?m)(^|  ) *--.*", "", path.read_text(encoding="utf-8")).strip()
    assert re.match(r"(SELECT|WITH|INSERT|CREATE|ALTER|DROP|DO)\s", text)
    assert not text.endswith((",", "("))
    bare = re.sub(r"'(?:[^']|'')*'", "", text)
    assert bare.count("(") == bare.count(")")


@file
def test_what_an_included_file_includes_includes_none(path: Path) -> None:
    """So that nobody has to follow more than two."""
    for name in included(path):
        for inner in included(path.with_name(name)):
            assert included(path.with_name(inner)) == []


def included(path: Path) -> list[str]:
    """The files that one includes."""
    return re.findall(r"{{> ([\w.]+)}}", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "error"),
    [("SELECT {{forgotten}}", KeyError), ("SELECT * FROM ({{> forgotten.sql}}) AS f", FileNotFoundError)],
)
def test_what_is_forgotten_is_an_error(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "check.sql").write_text(text, encoding="utf-8")
    (tmp_path / "001_forgotten.sql").write_text("SELECT 1", encoding="utf-8")
    with pytest.raises(error, match="forgotten"):
        filled(tmp_path, "check.sql", {})


def test_a_value_is_never_searched(tmp_path: Path) -> None:
    (tmp_path / "said.sql").write_text("SELECT '{{first}}', '{{second}}'\n", encoding="utf-8")
    assert filled(tmp_path, "said.sql", {"first": "{{second}}", "second": "2"}) == "SELECT '{{second}}', '2'"
