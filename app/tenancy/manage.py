"""What a maintainer does by hand with businesses, users and their data: `python -m app.tenancy.manage --help`."""

import argparse
import getpass
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from app.db import get_engine, session_scope
from app.tenancy import businesses as admin
from app.tenancy import personal_data
from app.tenancy.environment import import_models
from app.tenancy.errors import exit_status

TOKEN_VARIABLE = "WHATSAPP_ACCESS_TOKEN"
PASSWORD_VARIABLE = "USER_PASSWORD"


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 where it is done; one sentence on stderr and 1 where it cannot be."""
    parsed = _parser().parse_args(arguments)

    def work() -> int | None:
        import_models()
        status: int | None = parsed.run(parsed)
        return status

    return exit_status(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app.tenancy.manage",
        description=__doc__,
        epilog=f"Secrets are never arguments: an access token comes from {TOKEN_VARIABLE}, a password from "
        f"{PASSWORD_VARIABLE}, or else from a prompt, or from standard input where that is no terminal.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, about: str, *names: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        for argument in names:
            added.add_argument(argument, help=_HELP[argument])
        return added

    add = command("add", _add, "add a business with its number and owner; repeatable without doubles", "name")
    add.add_argument("--type", help="kind of business; the default of the database where it is left out")
    source = add.add_mutually_exclusive_group()
    source.add_argument("--settings", type=Path, metavar="FILE", help="its settings, as a JSON file")
    source.add_argument("--barbershop", action="store_true", help="settings of a barbershop to start from")
    add.add_argument("--phone-number", help="its WhatsApp number, with the country code")
    add.add_argument("--phone-number-id", help="Meta's phone_number_id of that number")
    add.add_argument("--token", action="store_true", help="also store the number's access token (asked for)")
    add.add_argument("--owner", metavar="EMAIL", help="its owner; a new user's password is asked for")
    add.add_argument("--owner-name", help="the owner's full name")
    add.add_argument("--password-hash", action="store_true", help="what is asked for is a hash, not a password")

    listing = command("list", _list, "list businesses with numbers, users, and counts")
    listing.add_argument("--json", action="store_true", help="as JSON")
    command("deactivate", _activity(False), "stop serving a business; nothing is deleted", "business")
    command("activate", _activity(True), "serve a business again", "business")

    token = command("set-token", _set_token, "replace the access token of a number, or of all of a business")
    which = token.add_mutually_exclusive_group(required=True)
    which.add_argument("--phone-number", help="the number")
    which.add_argument("--business", help=_HELP["business"])

    role = command("set-role", _set_role, "give a user a role; a new user is invited", "business", "email")
    role.add_argument("role", choices=admin.ROLES)
    role.add_argument("--name", help="the full name of a new user")
    command("remove-role", _remove_role, "take a user's role in a business away", "business", "email")
    command("set-password", _set_password, "give a user another password", "email")
    command("login", _login, "verify a login: exit status 0 where the password is right", "email").add_argument(
        "--json", action="store_true", help="print the user's businesses as JSON"
    )

    export = command("export", _export, "write all data of a business as JSON Lines, a file for each table", "business")
    export.add_argument("folder", type=Path, help="an empty folder, or one to create")
    one = command("export-customer", _export_customer, "write a customer and all their messages", "business")
    one.add_argument("whatsapp_id", help=_HELP["whatsapp_id"])
    one.add_argument("folder", type=Path, help="an empty folder, or one to create")
    customer = command("erase-customer", _erase_customer, "delete a customer and all their messages", "business")
    customer.add_argument("whatsapp_id", help=_HELP["whatsapp_id"])
    erase = command("erase-business", _erase_business, "delete a business with all its data, for good", "business")
    erase.add_argument("--yes", action="store_true", help="do not ask")
    purge = command("purge", _purge, "delete messages older than their business keeps them (settings: retention_days)")
    purge.add_argument(
        "--days", type=int, help="days to keep messages of businesses that set none; without it, for ever"
    )
    purge.add_argument("--batch", type=int, default=1_000, help="messages in a transaction (%(default)s)")
    return parser


_HELP = {
    "name": "the name of the business",
    "business": "the id of the business, or its name",
    "email": "the user's e-mail address",
    "whatsapp_id": "the customer's WhatsApp id, phone number, or Meta's user id",
}


def _add(args: argparse.Namespace) -> None:
    settings = admin.BARBERSHOP if args.barbershop else None
    if args.settings is not None:
        settings = json.loads(args.settings.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise admin.AdministrationError(f"{args.settings} does not hold a JSON object.")
    with session_scope() as session:
        new_owner = args.owner is not None and admin.find_user(session, args.owner) is None
        secret = (
            _secret(PASSWORD_VARIABLE, "Password hash" if args.password_hash else "Password") if new_owner else None
        )
        token = _secret(TOKEN_VARIABLE, "Access token") if args.token else None
        added = admin.add_business(
            session,
            args.name,
            business_type=args.type,
            settings=settings,
            phone_number=args.phone_number,
            phone_number_id=args.phone_number_id,
            access_token=token,
            owner_email=args.owner,
            owner_name=args.owner_name,
            owner_password_hash=secret if secret is None or args.password_hash else admin.hash_password(secret),
        )
        said = f"{'Added' if added.is_new else 'Found'} {added.business.name!r}, id {added.business.id}"
        said += f", number {added.number.phone_number}" if added.number else ""
        said += f", owner {added.owner.email}" if added.owner else ""
    print(f"{said}.")


def _list(args: argparse.Namespace) -> None:
    with session_scope() as session:
        found = admin.list_businesses(session)
    if args.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for business in found:
        print(f"{business['name']} ({business['id']}){'' if business['is_active'] else ', not active'}")
        for number in business["numbers"]:
            print(f"  number  {number['phone_number']}{'' if number['is_active'] else ', not active'}")
        for user in business["users"]:
            print(f"  {user['role']:<7} {user['email']}{'' if user['is_active'] else ', not active'}")
        print(f"  {business['customers']:,} customers, {business['messages']:,} messages")


def _activity(is_active: bool) -> Any:
    def run(args: argparse.Namespace) -> None:
        with session_scope() as session:
            business = admin.set_active(session, args.business, is_active)
            print(f"{business.name!r} is {'active' if is_active else 'not active any more'}.")

    return run


def _set_token(args: argparse.Namespace) -> None:
    with session_scope() as session:
        token = _secret(TOKEN_VARIABLE, "Access token")
        changed = admin.set_access_token(session, token, phone_number=args.phone_number, business=args.business)
    print(f"Stored the new token of {', '.join(changed)}.")


def _set_role(args: argparse.Namespace) -> None:
    with session_scope() as session:
        is_new = admin.find_user(session, args.email) is None
        admin.invite(session, args.business, args.email, args.role, full_name=args.name)
    print(f"{args.email} is {args.role} of {args.business!r}.")
    if is_new:
        print(f"The user is new and cannot log in yet: python -m app.tenancy.manage set-password {args.email}")


def _remove_role(args: argparse.Namespace) -> None:
    with session_scope() as session:
        admin.remove_role(session, args.business, args.email)
    print(f"{args.email} has no role in {args.business!r} any more.")


def _set_password(args: argparse.Namespace) -> None:
    with session_scope() as session:
        admin.set_password(session, args.email, _secret(PASSWORD_VARIABLE, "New password"))
    print(f"{args.email} has the new password.")


def _login(args: argparse.Namespace) -> int:
    with session_scope() as session:
        user = admin.verify_login(session, args.email, _secret(PASSWORD_VARIABLE, "Password"))
        if user is None:
            print("Wrong address or password, or the user is not active.", file=sys.stderr)
            return 1
        member_of = admin.businesses_of(session, args.email)
    if args.json:
        print(json.dumps(member_of, ensure_ascii=False, indent=2))
    else:
        print("\n".join([f"{args.email} logs in.", *(f"  {b['role']:<7} {b['name']} ({b['id']})" for b in member_of)]))
    return 0


def _export(args: argparse.Namespace) -> None:
    with session_scope() as session:
        counts = personal_data.export_business(session, args.business, args.folder)
    print(f"Wrote to {args.folder}: {_counted(counts)}.")


def _export_customer(args: argparse.Namespace) -> None:
    with session_scope() as session:
        counts = personal_data.export_customer(session, args.business, args.whatsapp_id, args.folder)
    print(f"Wrote to {args.folder}: {_counted(counts)}.")


def _erase_customer(args: argparse.Namespace) -> None:
    with session_scope() as session:
        erased = personal_data.erase_customer(session, args.business, args.whatsapp_id)
    print(f"Erased {_counted(erased)}.")


def _erase_business(args: argparse.Namespace) -> None:
    with session_scope() as session:
        business = admin.find_business(session, args.business, admin.UNREAD_SETTINGS)
        name, business_id = business.name, business.id
    if not args.yes and _ask(f"Erase {name!r} with all its data, for good? Type its name: ") != name:
        raise admin.AdministrationError("Nothing was erased: the name was not repeated.")
    print(f"Erased {_counted(personal_data.erase_business(get_engine(), business_id))}.")


def _purge(args: argparse.Namespace) -> None:
    deleted: Counter[str] = Counter()
    try:
        for name, count in personal_data.purge_messages(get_engine(), days=args.days, batch=max(1, args.batch)):
            deleted[name] += count
    finally:
        for name, count in deleted.items():
            print(f"{name}: deleted {count:,} messages.")
    if not deleted:
        print("No message is older than its business keeps it.")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {table}" for table, count in counts.items())


def _secret(variable: str, prompt: str) -> str:
    """A secret from the environment, else from a prompt that does not show it, else the first line of stdin."""
    secret = os.environ.get(variable) or (
        getpass.getpass(f"{prompt}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    )
    if not secret:
        raise admin.AdministrationError(f"{prompt} is empty: type it, pipe it in, or set {variable}.")
    return secret


def _ask(question: str) -> str:
    print(question, end="", flush=True, file=sys.stderr)
    return sys.stdin.readline().strip()


if __name__ == "__main__":
    sys.exit(main())
