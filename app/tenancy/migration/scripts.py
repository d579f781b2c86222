"""The SQL of a revision that is longer than a line, kept in files beside the folder of the revisions."""

import re
from pathlib import Path

from alembic import op


def script(name: str, /, **values: str) -> str:
    """The text of `<name>` in the folder `sql` beside that of its revision, whose identifier it begins with.

    `{{key}}` stands for a value, or for that script of the revision.
    """
    directory = op.get_context().script
    assert directory is not None  # noqa: S101
    revision = name.split("_")[0]
    versions = Path(directory.get_revision(revision).path).parent
    text = (versions.parent / "sql" / name).read_text(encoding="utf-8")

    def fill(key: re.Match[str]) -> str:
        return values[key[1]] if key[1] in values else script(f"{revision}_{key[1]}.sql", **values)

    return re.sub(r"{{(\w+)}}", fill, text).strip()  # in one go: a value is never searched
