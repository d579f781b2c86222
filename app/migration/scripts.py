"""The SQL of a revision that is longer than a line, kept in files beside the revisions."""

import re
from pathlib import Path

from alembic import op


def script(name: str, /, **values: str) -> str:
    """The text of `alembic/sql/<name>`, with every `{{key}}` replaced by its value."""
    directory = op.get_context().script
    assert directory is not None  # noqa: S101
    text = (Path(directory.dir) / "sql" / name).read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda key: values[key[1]], text).strip()  # in one go: a value is never searched
