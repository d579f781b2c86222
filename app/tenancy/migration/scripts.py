"""SQL that is longer than a line, kept in files: a revision's in `alembic/sql`, the tools' own in `sql` beside them."""

import re
from collections.abc import Mapping
from pathlib import Path

from alembic import op
from app.tenancy.migration.steps import literal

OWN = Path(__file__).parent / "sql"
"""The folder of the SQL that belongs to the tools, not to a revision."""


def script(name: str, /, **values: str) -> str:
    """The text of the file `name`, in the folder `sql` beside that of its revision, whose identifier it begins with.

    `{{key}}` stands for the value of that key, `{{'key'}}` for it as a string literal, and `{{> file}}` for a file of
    the folder, which takes the same values.

    Raises:
        KeyError: a key has no value.
        FileNotFoundError: the file, or one that it includes, is not there.
    """
    directory = op.get_context().script
    assert directory is not None  # noqa: S101
    versions = Path(directory.get_revision(name.split("_")[0]).path).parent
    return filled(versions.parent / "sql", name, values)


def query(name: str, /, **values: str) -> str:
    """The text of the file `name` of the tools' own SQL; see `script`."""
    return filled(OWN, name, values)


def filled(folder: Path, name: str, values: Mapping[str, str]) -> str:
    """The text of a file of the folder with its values and the files that it includes."""

    def fill(key: re.Match[str]) -> str:
        if key["file"]:
            return f"\n{filled(folder, key['file'], values)}\n"
        return values[key["value"]] if key["value"] else literal(values[key["text"]])

    text = (folder / name).read_text(encoding="utf-8")
    place = r"{{(?:> (?P<file>[\w.]+)|(?P<value>\w+)|'(?P<text>\w+)')}}"
    return re.sub(place, fill, text).strip()  # at once: no value is searched


def answer(name: str, /, **values: str) -> str:
    """A file that is a query of one value, as an SQL expression."""
    return f"(\n{script(name, **values)}\n)"
