"""docs/staged-move.md: each stage works, as the login that it names, and the database confines what is not changed yet."""

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import ProgrammingError

from tests.documents import blocks, shell
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, add_business, check, execute, plain, rows, scalar

PAGE = "docs/staged-move.md"


def test_each_stage(canonical: URL) -> None:
    name = str(canonical.database)
    login, move, clean = (
        sql.replace("old_bot", f"old_{name}").replace("ROLE bot", f"ROLE bot_{name}").replace("TO bot", f"TO bot_{name}")
        .replace("DATABASE postgres", f"DATABASE {name}")
        for sql in blocks(PAGE, "sql")
    )  # fmt: skip
    models, scope = blocks(PAGE, "python")
    migrate, second = blocks(PAGE, "bash")
    old, bot = canonical.set(username=f"old_{name}"), canonical.set(username=f"bot_{name}")

    def as_owner(sql: str) -> None:
        execute(canonical, *filter(str.strip, sql.split(";\n")))

    def run(command: str, url: URL) -> str:
        done = shell(command, ROOT, DATABASE_URL=plain(url))
        assert done.returncode == 0, done.stderr
        return done.stdout

    as_owner(login)
    run(migrate, canonical)
    add_business(canonical)
    execute(canonical, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '1', 'x')")
    execute(old, "INSERT INTO customers (whatsapp_id, name) VALUES ('new', 'by the old code')")
    assert rows(old, "SELECT DISTINCT business_id::text FROM customers") == [(DEFAULT_ID,)]
    with pytest.raises(ProgrammingError, match="permission denied"):
        rows(old, "SELECT * FROM businesses")

    before = scalar(canonical, "SELECT count(*) FROM conversations WHERE whatsapp_id = '573001234567'")
    assert run(f"python - <<'E'\n{models}\nE", old) == f"{before + 1}\n"
    assert rows(old, "SELECT DISTINCT business_id::text FROM customers") == [(DEFAULT_ID,)]

    as_owner(move)
    run(f"python - <<'E'\n{scope}\nE", bot)
    stored = "SELECT business_id::text FROM conversations WHERE message = '¿Tienen cita?'"
    assert rows(canonical, stored) == [(DEFAULT_ID,)]
    refused = shell("python - <<'E'\n" + scope.partition("\n\nwith")[0] + '\nstore_message("1", "x", "user")\nE', ROOT, DATABASE_URL=plain(bot))  # fmt: skip
    assert "no business is in scope" in refused.stderr

    run(second, bot)
    assert scalar(canonical, "SELECT count(*) FROM businesses") == 3
    assert scalar(canonical, f"SELECT count(*) FROM whatsapp_numbers WHERE business_id = '{DEFAULT_ID}'") == 1
    as_owner(clean)
    check(canonical)
    execute(canonical, f"DROP OWNED BY bot_{name}", f"DROP ROLE bot_{name}")
