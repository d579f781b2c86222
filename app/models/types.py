"""Column types that hold their promise on ORM, Core and bulk writes alike, for they act where a value is bound.

pydantic and cryptography are imported where a value needs them: they would take half of the time of `import app.models`.
"""

import json
import re
import unicodedata
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    TIMESTAMP,
    UUID,
    ColumnElement,
    Dialect,
    Label,
    SQLColumnExpression,
    String,
    Text,
    cast,
    inspect,
    literal_column,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.sql import operators
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from cryptography.fernet import Fernet


class InvalidValueError(ValueError, DontWrapMixin):
    """A value that its column refuses; the message names the fault and, for a secret, never the value."""


class TokenError(RuntimeError, DontWrapMixin):
    """An access token cannot be encrypted or decrypted; the message names the row, never the secret."""


def normalise_phone_number(value: str | int) -> str:
    """E.164 (ITU-T): `+`, then 8 to 15 digits that do not begin with 0.

    Takes what people and providers write: `whatsapp:+57 300 123 4567`, `0057300...`, `tel:+44 (0)20 ...`. Without
    `+` or `00` the country code is believed from 12 digits on, for no national number has so many: `300 123 4567`
    of Colombia would become a number of Greece.

    Raises:
        InvalidValueError: the value cannot be a number with its country code.
    """
    known = isinstance(value, str | int) and not isinstance(value, bool)  # a float would become another number
    written = str(value) if known else ""
    visible = "".join(c for c in written.casefold() if unicodedata.category(c) not in {"Cf", "Pd"}).strip()
    compact = re.sub(r"\(0\)|[\s()./]", "", re.sub("^(whatsapp|tel):", "", visible))
    number = re.fullmatch(r"(?:(?:\+|00)(?=[0-9]{8,15}$)|(?=[0-9]{12,15}$))([1-9][0-9]*)", compact)
    if number is None:
        raise InvalidValueError(
            f"phone_number {value!r} is not a number in E.164, such as +573001234567: "
            "write + and the country code first, 8 to 15 digits in all."
        )
    return f"+{number[1]}"


EXTRA_DIGIT = r"(?<=^\+52)1(?=[2-9][0-9]{9}$)|(?<=^\+54)9(?=[1-3][0-9]{9}$)|(?<=^\+55[1-9][0-9])9(?=[6-9][0-9]{7}$)"
"""The digit that some write and others leave out, in E.164: Mexico's 1, Argentina's 9, and Brazil's ninth digit.

A regular expression that Python and PostgreSQL read alike. Brazil's landlines (the 8 digits begin with 2 to 5) never
had the digit, and a mobile number with such digits after its 9 is not a landline's.
"""


def without_extra_digit(number: str) -> str:
    """The shorter form of a number in E.164, which is the same for each form of a number."""
    return re.sub(EXTRA_DIGIT, "", number)


def phone_forms(number: str) -> list[str]:
    """A number in E.164, and then the other form in which WhatsApp may write it, where it has one."""
    short = without_extra_digit(number)
    others = [short, *(f"{short[:at]}{digit}{short[at:]}" for at, digit in ((3, "1"), (3, "9"), (5, "9")))]
    return [number, *(form for form in others if form != number and without_extra_digit(form) == short)]


USER_ID = r"[A-Za-z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}"


def is_user_id(value: object) -> bool:
    """Whether a value has the shape of Meta's business-scoped user ids: country, dot, up to 128 letters and digits."""
    return isinstance(value, str) and re.fullmatch(USER_ID, value) is not None


def check_user_id(value: str) -> str:
    """The value, where it has the shape of Meta's business-scoped user ids; None, which the column takes, is None.

    Raises:
        InvalidValueError: it has not.
    """
    if value is not None and not is_user_id(value):
        raise InvalidValueError(
            f"whatsapp_user_id {value!r} is not a business-scoped user id such as US.13491208655302741918: "
            "take user_id of the webhook as it is."
        )
    return value


def normalise_email(value: str) -> str:
    """The address trimmed and in lower case.

    Raises:
        InvalidValueError: it is no text, or there is no printable text on both sides of one @.
    """
    email = value.strip().lower() if isinstance(value, str) else ""
    if not email.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise InvalidValueError(f"email {value!r} is not an address such as ana@example.com.")
    return email


PASSWORD_HASH = (
    r"^\$(argon2(id|i|d)|2[abxy]|bcrypt-sha256|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$"
    r"|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$"
    r"|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$"
)
"""What a password hash looks like: PHC and crypt(3) strings, Werkzeug's form, Django's form."""


def check_password_hash(value: str | bytes) -> str:
    """The value, where it can be a hash, as `str`: bcrypt gives bytes.

    Raises:
        InvalidValueError: it cannot; the message does not repeat it.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    if not re.match(PASSWORD_HASH, text):
        raise InvalidValueError(
            "password_hash is not a password hash: hash the password first (argon2, bcrypt, scrypt or PBKDF2)."
        )
    return text


class Secret(str):
    """A plain string but for its repr, with which SQLAlchemy's echo="debug" and tracebacks write rows down."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


class Checked(TypeDecorator[str]):
    """A string that passes through `check` when it is set on a model (see `Base`), written or compared."""

    impl: Any = String
    cache_ok = True

    def __init__(self, impl: String, check: Callable[[str], str], read: Callable[[str], str] = str) -> None:
        super().__init__()
        self.impl, self.check, self.read = impl, check, read

    def when_set(self, row: object, value: Any, *_: object) -> Any:
        """Listener for the attribute's event `set`: the row has the checked value at once; SQL is the database's."""
        return value if isinstance(value, SQLColumnExpression) else self.check(value)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.check(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.read(value)

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """A pattern of LIKE is text, no value of the column."""
        return self if op in {operators.eq, operators.ne, operators.in_op, operators.not_in_op} else self.impl_instance


PhoneNumber = Checked(String(50), normalise_phone_number)
UserId = Checked(String(255), check_user_id)
Email = Checked(String(255), normalise_email)
PasswordHash = Checked(Text(), check_password_hash, read=Secret)


def token_keys() -> list["Fernet"]:
    """The keys of ACCESS_TOKEN_KEYS: the first encrypts, all decrypt.

    Raises:
        TokenError: no key, or one that is not a Fernet key (32 bytes in URL-safe base64).
    """
    from cryptography.fernet import Fernet

    from app.tenancy.environment import get_settings

    configured = get_settings().access_token_keys
    keys = [key.strip() for key in configured.split(",") if key.strip()]
    if not keys:
        raise TokenError(
            "ACCESS_TOKEN_KEYS is not set, so access tokens can be neither stored nor read: "
            "make a key with `python -m app.tenancy.tokens new-key` and put it into the environment or .env."
        )
    if not all(re.fullmatch("[A-Za-z0-9_-]{43}=", key) for key in keys):  # base64 would stop at the first =
        raise TokenError(
            "ACCESS_TOKEN_KEYS holds something that is not a Fernet key: "
            "separate keys made with `python -m app.tenancy.tokens new-key` by commas."
        )
    return [Fernet(key) for key in keys]


def _origin(column: ColumnElement[Any]) -> object:
    """The table that a column of a table, an alias or a subquery comes from."""
    return getattr(next(iter(column.base_columns)), "table", None)


class Uuid(TypeDecorator[uuid.UUID]):
    """A uuid that may be given as text, as bots pass it on; rows and results hold `uuid.UUID`."""

    impl = UUID
    cache_ok = True

    def when_set(self, row: object, value: Any, *_: object) -> Any:
        """Listener for the attribute's event `set`: the row has the uuid at once; SQL is the database's."""
        return value if isinstance(value, SQLColumnExpression) else self.process_bind_param(value, None)

    def process_bind_param(self, value: uuid.UUID | str | None, dialect: Dialect | None) -> uuid.UUID | None:
        try:
            return uuid.UUID(value) if isinstance(value, str) else value
        except ValueError:
            raise InvalidValueError(f"{value!r} is not a UUID such as 00000000-0000-0000-0000-000000000001.") from None


class Timestamptz(TypeDecorator[datetime]):
    """A moment: a datetime without a zone, which each session would read in its own, is refused."""

    impl: Any = TIMESTAMP(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if isinstance(value, date) and not (isinstance(value, datetime) and value.utcoffset() is not None):
            raise InvalidValueError(
                f"timestamp {value} has no time zone: use datetime.now(UTC) or datetime.fromtimestamp(t, UTC)."
            )
        return value

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """What is added to a moment is an interval."""
        return self if isinstance(value, date) else self.impl_instance.coerce_compared_value(op, value)


class EncryptedToken(TypeDecorator[str]):
    """A plain string to its user and Fernet ciphertext in the database, on ORM, Core and bulk writes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        from cryptography.fernet import MultiFernet

        try:
            return None if value is None else MultiFernet(token_keys()).encrypt(value.encode()).decode()
        except (AttributeError, UnicodeEncodeError):
            fault = InvalidValueError(
                "access_token is not text that can be encrypted: set it to the str that Meta gave."
            )
        raise fault

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """Select the row's id with its ciphertext, so that an error can name the row."""
        columns = getattr(getattr(column.element if isinstance(column, Label) else column, "table", None), "c", {})
        known = "id" in columns and _origin(columns["id"]) is _origin(column)
        row = cast(columns["id"], Text) if known else literal_column("''")
        return type_coerce(row.concat(literal_column("' '")).concat(column), self)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        from cryptography.fernet import InvalidToken, MultiFernet

        row, _, ciphertext = value.rpartition(" ")
        cipher = MultiFernet(token_keys())
        try:
            return Secret(cipher.decrypt(ciphertext).decode())
        except InvalidToken:
            raise TokenError(
                f"The access token of whatsapp_numbers {row or '(id not selected)'} cannot be decrypted: no key in "
                "ACCESS_TOKEN_KEYS fits, or the ciphertext was altered; add the key it was written with, or set the token "
                "by session.execute(update(WhatsappNumber).where(WhatsappNumber.id == id).values(access_token=token))."
            ) from None


LONGEST_RETENTION = 36_500
"""The most days for which the settings of a business may say that it keeps messages: a hundred years."""

NUL_IN_JSON = re.compile(r"(?<!\\)(\\\\)*\\u0000")


class SettingsJson(TypeDecorator[dict[str, Any]]):
    """jsonb that is validated as `BusinessSettings` when written, and kept as it was given."""

    impl = JSONB
    cache_ok = True

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> Any:
        """What the settings are searched for is a key or a part of them, not settings."""
        return self.impl_instance.coerce_compared_value(op, value)

    def when_set(self, row: object, value: Any, *_: object) -> Any:
        """Listener for the attribute's event `set`: what belongs to another row is copied, not shared with it."""
        return dict(value) if {*getattr(value, "_parents", ())} - {inspect(row)} else value

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> dict[str, Any] | None:
        from pydantic import ValidationError

        from app.models.settings import BusinessSettings

        try:
            BusinessSettings.model_validate(value)
            if not NUL_IN_JSON.search(json.dumps(value, ensure_ascii=False).encode().decode()):
                return value
            faults = "settings: a NUL cannot be stored"
        except ValidationError as error:
            faults = "; ".join(
                ".".join(["settings", *map(str, fault["loc"])]) + f": {fault['msg']}" for fault in error.errors()
            )
        except ValueError:
            faults = "settings: half of a surrogate pair, or a number of thousands of digits, cannot be stored"
        raise InvalidValueError(f"Business settings are not valid: {faults}.")
