"""From a document to the values of rows: every value is read by the kind of its column, or the document is a misfit with a code.

Nothing is guessed and nothing is cut. A code and the name of a field tell what is wrong; the value itself is nowhere written
down. Whatever looks like a password hash, a token or a key is refused, whichever field it stands in.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128, ObjectId

from core.errors import BadInput
from core.importers.loading import stable_id
from core.importers.sheets import email_of
from core.processors.mongodb_client import Document, key_of
from core.processors.mongodb_mapping import Collection, Table, is_secret
from core.processors.mongodb_tables import Column, Kind
from core.words import clean, clean_text

SOURCE = "mongodb"
FIRST_YEAR, LAST_YEAR = 1900, 2199
Hashes = Callable[[str, str], tuple[bytes, bytes]]
# How password hashes, tokens and private keys look (crypt, PHC, LDAP, JWT, PEM).
SECRET = re.compile(
    r"\$(2[abxy]?|argon2\w*|scrypt|pbkdf2[\w-]*|[156y]|7|sha1|bcrypt[\w-]*)\$.{8,}|(pbkdf2|bcrypt|argon2)[_$:].{16,}|\{(S?SHA\d*|SSHA|CRYPT|MD5)\}.{8,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_IP = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}")
_PHONE = re.compile(r"\+?[0-9][0-9 ()/.-]{6,18}[0-9]")


class Misfit(Exception):
    """A document does not fit. ``code`` says why, ``field`` where; neither holds a value."""

    def __init__(self, code: str, field: str = "") -> None:
        super().__init__(code)
        self.code, self.field = code, field


@dataclass(frozen=True)
class Read:
    """What became of one document: for each table the values of its row. ``key`` is its id there, ``plain`` the same without type."""

    key: str
    changed: datetime | None
    gone: datetime | None
    rows: Mapping[str, tuple[Any, ...]]

    @property
    def plain(self) -> str:
        """The id as ``source_key`` keeps it."""
        return self.key[2:]


def columns_of(table: Table) -> list[str]:
    """Return the columns of a table's rows, in the order in which :func:`read` gives them."""
    more = ["email_hash", "provider_hash"] if table.target.person else []
    return [
        "document",
        "changed",
        "id",
        *(each.column for each in table.fields),
        *(f"ref_{name}" for name in table.references),
        *more,
    ]


def read(collection: Collection, document: Document, hashes: Hashes, now: datetime) -> Read:
    """Read one document. Raises Misfit."""
    key = key_of(document.get("_id"))
    if not key:
        raise Misfit("id cannot be used", "_id")
    changed = moment(at(document, collection.changed), collection.changed)
    rows = {
        table.name: _row(collection, table, document, key, changed, hashes)
        for table in collection.tables
        if not table.when or at(document, table.when) not in (None, "", False)
    }
    _withdraw(collection, rows)
    return Read(key, changed, _gone(collection, document, changed or now), rows)


def row_id(collection: str, plain: str) -> Any:
    """Return the id that the row of a document gets: the same each time, so that nothing is doubled."""
    return stable_id(SOURCE, collection, plain)


def at(document: Mapping[str, Any], path: str) -> Any:
    """Return what stands at a path; None when there is nothing."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _gone(collection: Collection, document: Document, otherwise: datetime) -> datetime | None:
    mark = at(document, collection.gone) if collection.gone else None
    if mark in (None, False, ""):
        return None
    return mark if isinstance(mark, datetime) else otherwise


def _row(
    collection: Collection, table: Table, document: Document, key: str, changed: datetime | None, hashes: Hashes
) -> tuple[Any, ...]:
    target = table.target
    values = {}
    for field in table.fields:
        column = target.columns[field.column]
        value = READERS[column.kind](at(document, field.path), field.path, column, field.words)
        if value is None:
            value = column.default
            if value is None and column.needed:
                raise Misfit("missing", field.path)
        values[field.column] = value
    references = [_reference(table, name, at(document, path), path) for name, path in table.references.items()]
    more: tuple[Any, ...] = hashes(values["email"], f"{SOURCE}:{key[2:]}") if target.person else ()
    if table.name == "student":
        _close(collection, document, values, changed)
    _agree(table, values)
    return (key[2:], changed, row_id(f"{collection.name}", key[2:]), *values.values(), *references, *more)


def _withdraw(collection: Collection, rows: dict[str, tuple[Any, ...]]) -> None:
    """Whoever's result is "withdrawn" has withdrawn, also where the document of the enrollment does not say when."""
    if {"enrollment", "result"} <= rows.keys():
        named = {table.name: columns_of(table) for table in collection.tables}
        result = dict(zip(named["result"], rows["result"], strict=True))
        values = dict(zip(named["enrollment"], rows["enrollment"], strict=True))
        if result["kind"] == "withdrawn" and values.get("withdrawn_at", 1) is None:
            values["withdrawn_at"] = max(result["decided_at"], values["enrolled_at"])
            rows["enrollment"] = tuple(values.values())


def _close(collection: Collection, document: Document, values: dict[str, Any], changed: datetime | None) -> None:
    """Status and day of closing say the same: a day alone does not close an open account, a closed one has a day."""
    gone = _gone(collection, document, changed or datetime(1970, 1, 1, tzinfo=UTC))
    if "account_status" in values and gone:
        values["account_status"] = "closed"
    if "closed_at" in values:
        closed = values.get("account_status", "open") == "closed"
        values["closed_at"] = (values["closed_at"] or gone or changed) if closed else None


def _agree(table: Table, values: Mapping[str, Any]) -> None:
    """Days in the wrong order are nobody's row."""
    for first, last in (("starts_on", "ends_on"), ("enrolled_at", "withdrawn_at")):
        if values.get(first) and values.get(last) and values[last] < values[first]:
            raise Misfit("days in the wrong order", next(each.path for each in table.fields if each.column == last))


def _reference(table: Table, name: str, value: Any, path: str) -> str | None:
    if isinstance(value, dict):  # populated, or a DBRef
        value = value.get("_id", value.get("$id"))
    key = key_of(value)
    if key:
        return key[2:]
    if value is not None:
        raise Misfit("no id of a document", path)
    if any(name in one and one <= set(table.references) for one in table.target.parents):
        raise Misfit("missing", path)
    return None


def _text(value: Any, path: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Misfit("wrong kind", path)
    suspicious = "$" in value or "{" in value or value.startswith(("eyJ", "-----", "pbkdf2", "bcrypt", "argon2"))
    if suspicious and SECRET.fullmatch(value.strip()):
        raise Misfit("looks like a secret", path)
    return value


def _line(value: Any, path: str, column: Column, _words: Mapping[str, str]) -> str | None:
    if (found := _text(value, path)) is None:
        return None
    if not (found.isascii() and found.isprintable()):
        found = _cleaned(clean, found, path, column)
    return _bounded(found.strip(), path, column)


def _long(value: Any, path: str, column: Column, _words: Mapping[str, str]) -> str | None:
    found = _text(value, path)
    return None if found is None else _bounded(_cleaned(clean_text, found, path, column), path, column)


def _cleaned(how: Callable[..., str], value: str, path: str, column: Column) -> str:
    _bounded(unicodedata.normalize("NFC", value).strip(), path, column)
    try:
        return how(value, what=path, longest=column.longest)
    except BadInput as error:
        raise Misfit("characters that cannot be kept", path) from error


def _bounded(value: str, path: str, column: Column) -> str | None:
    if len(value) > column.longest:
        raise Misfit("too long", path)
    return value or None


def _email(value: Any, path: str, _column: Column, _words: Mapping[str, str]) -> str | None:
    if (found := _text(value, path)) is None or not found.strip():
        return None
    if len(found) <= 254 and _EMAIL.fullmatch(found):
        return found
    try:
        return email_of(found)
    except BadInput as error:
        raise Misfit("no e-mail address", path) from error


def moment(value: Any, path: str) -> datetime | None:
    """Return an instant: a date of BSON, or a text of ISO 8601 (without a zone: UTC). Raises Misfit."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise Misfit("no date", path) from error
    if not isinstance(value, datetime) or not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise Misfit("no date", path)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _moment(value: Any, path: str, _column: Column, _words: Mapping[str, str]) -> datetime | None:
    return moment(value, path)


def _day(value: Any, path: str, _column: Column, _words: Mapping[str, str]) -> date | None:
    found = moment(value, path)
    return found.astimezone(UTC).date() if found else None


def _number(value: Any, path: str, column: Column, _words: Mapping[str, str]) -> int | None:
    found = _decimal(value, path, column, _words)
    if found is None:
        return None
    if found != int(found):
        raise Misfit("no whole number", path)
    return int(found)


def _decimal(value: Any, path: str, column: Column, _words: Mapping[str, str]) -> Any:
    if value is None:
        return None
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not math.isfinite(value):
        raise Misfit("no number", path)
    if (column.least is not None and value < column.least) or (column.most is not None and value > column.most):
        raise Misfit("out of range", path)
    return value


def _yes(value: Any, path: str, _column: Column, _words: Mapping[str, str]) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise Misfit("neither yes nor no", path)
    return value


def _word(value: Any, path: str, column: Column, words: Mapping[str, str]) -> str | None:
    if value is None or value == "":
        return None
    word = (
        value.casefold() if isinstance(value, str) else str(value).casefold() if isinstance(value, (bool, int)) else ""
    )
    found = words.get(word, word if word in column.words else "")
    if not found:
        raise Misfit("unknown word", path)
    return found


READERS: dict[Kind, Callable[[Any, str, Column, Mapping[str, str]], Any]] = {
    Kind.LINE: _line, Kind.LINK: _line, Kind.TEXT: _long, Kind.EMAIL: _email, Kind.MOMENT: _moment, Kind.DAY: _day, Kind.NUMBER: _number,
    Kind.DECIMAL: _decimal, Kind.YES: _yes, Kind.WORD: _word,
}  # fmt: skip


def looks_like(path: str, value: Any) -> str:
    """Return what an unmapped field seems to hold, for whoever completes the data map. The value itself is not kept."""
    if isinstance(value, list):
        return f"list: {looks_like(path, value[0])}" if value else "list"
    if is_secret(path) or (isinstance(value, str) and SECRET.fullmatch(value.strip())):
        return "secret"
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, datetime):
        return "date"
    if isinstance(value, (int, float, Decimal128)):
        return "number"
    if isinstance(value, ObjectId):
        return "id of a document"
    if not isinstance(value, str):
        return "" if value is None else "other"
    if _EMAIL.fullmatch(value.strip()):
        return "e-mail address"
    if _IP.fullmatch(value.strip()):
        return "network address"
    return "phone number" if _PHONE.fullmatch(value.strip()) else "text"
