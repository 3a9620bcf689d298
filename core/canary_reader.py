"""Strangers who look for canaries: bare SQL over every table, plain HTTP, the documents themselves, the bytes of files.

Danger: the eraser and whoever checks it make the same mistake, and agree. Principle: nothing here is shared with what erases: neither
the labels, nor the ways to a person, nor the processors. Mechanism: tables and columns come from ``information_schema``, each table
is read once and whole, whatever its columns are for (numbers, dates and what is encrypted aside); third parties are asked by their own addresses with clients of our own. Every
reader first has to find a canary that is there.
"""

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.canaries import Values, values
from core.settings import Settings, settings

DATABASE, FILES = "this database", "files of this dashboard"
MONGODB, CLOUDINARY, PAYMENTS = "MongoDB Atlas", "Cloudinary", "payment gateway"
SECONDS = 20
MOST = 200
MEDIA = [(kind, how) for kind in ("image", "video", "raw") for how in ("upload", "private", "authenticated")]
# Where an id that leads nowhere stays, as proof: lines of the audit, that a file was kept and destroyed, what is known of the canary.
PROOF = re.compile(r"privacy\.(audit_\w+|artifact|canary\w*)")
SCHEMAS = ("platform", "privacy", "staff", "anon")
COLUMNS = """
select c.table_schema || '.' || c.table_name as place, array_agg(c.column_name::text order by c.ordinal_position) as names
from information_schema.columns c join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
where c.table_schema = any(:schemas) and t.table_type = 'BASE TABLE'
  and c.data_type not in ('boolean', 'smallint', 'integer', 'bigint', 'numeric', 'double precision', 'date', 'timestamp with time zone', 'bytea')
  and not exists (select from pg_inherits i where i.inhrelid = (quote_ident(c.table_schema) || '.' || quote_ident(c.table_name))::regclass)
group by 1 order by 1"""


ANYWHERE = "select {columns} from {table} t where concat_ws(chr(10), {columns}) ~* :any limit {most}"


@dataclass(frozen=True)
class Seen:
    """What a reader saw of one canary in one place. ``found``: where, and how often; ``looked``: how much was read.

    ``error`` is a code: then nothing was seen, and nothing is proven.
    """

    found: Mapping[str, int] = field(default_factory=dict)
    looked: Mapping[str, int] = field(default_factory=dict)
    error: str = ""

    @property
    def word(self) -> str:
        """ "found", "absent" or "unclear"."""
        return "unclear" if self.error else "found" if self.found else "absent"


def in_database(session: Session, canaries: Iterable[uuid.UUID]) -> dict[uuid.UUID, Seen]:
    """Read every table of this database once, as the worker, and return what stands there of each canary."""
    wanted = {each: values(each) for each in canaries}
    found: dict[uuid.UUID, dict[str, int]] = {each: {} for each in wanted}
    tables = session.execute(text(COLUMNS), {"schemas": list(SCHEMAS)}).all()
    columns = 0
    for place, names in tables:
        columns += len(names)
        for each, column, count in _in_table(session, place, names, wanted):
            found[each][f"{place}.{column}"] = count
    looked = {"tables": len(tables), "columns": columns}
    return {each: Seen(found[each], looked) for each in wanted}


def _in_table(
    session: Session, place: str, names: list[str], wanted: Mapping[uuid.UUID, Values]
) -> list[tuple[uuid.UUID, str, int]]:
    ids_count = not PROOF.fullmatch(place)
    patterns = {each: "|".join(map(re.escape, _traces(who, ids=ids_count))) for each, who in wanted.items()}
    schema, _, table = place.partition(".")
    read = [f't."{name}"::text' for name in names]
    asked = ANYWHERE.format(columns=", ".join(read), table=f'"{schema}"."{table}"', most=MOST * len(wanted))
    rows = session.execute(text(asked), {"any": "|".join(patterns.values())}).all()
    found: dict[tuple[uuid.UUID, str], int] = {}
    for row in rows:
        for name, told in zip(names, row, strict=True):
            for each, pattern in patterns.items():
                if told and re.search(pattern, told, re.IGNORECASE):
                    found[each, name] = found.get((each, name), 0) + 1
    return [(each, name, count) for (each, name), count in found.items()]


def _traces(who: Values, *, ids: bool = True) -> list[str]:
    """Whatever tells this canary from everybody else. The telephone number is left out: a person may have one that looks so."""
    token = who.name.split()[1]
    more = [str(who.student_id), str(who.visitor_id), str(who.enrollment_id)] if ids else []
    return [token, who.key, who.form_key, *more]


def in_files(canaries: Iterable[uuid.UUID]) -> dict[uuid.UUID, Seen]:
    """Read the files that this dashboard keeps beside its database: the erasure ledger, seals of the audit, logs, what it was set up with."""
    known = settings()
    files = [file for folder in _folders(known) for file in sorted(folder.rglob("*")) if _is_readable(file)]
    wanted = {each: [trace.encode() for trace in _traces(values(each), ids=False)] for each in canaries}
    found: dict[uuid.UUID, dict[str, int]] = {each: {} for each in wanted}
    for file in files:
        content = file.read_bytes().lower()
        for each, traces in wanted.items():
            if count := sum(content.count(trace) for trace in traces):
                found[each][file.name] = found[each].get(file.name, 0) + count
    return {each: Seen(found[each], {"files": len(files)}) for each in wanted}


def _folders(known: Settings) -> list[Path]:
    mine = [known.ledger, *(known.home / name for name in ("audit", "logs", "exports", "cache", "tmp"))]
    return [folder for folder in dict.fromkeys(mine) if folder.is_dir()]


def _is_readable(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_size < 50_000_000


def in_mongodb(who: Values) -> Seen:
    """Read the platform's documents, in every collection that it has: by id, by address, in lists of ids."""
    from bson import ObjectId
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    known = settings()
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            known.mongodb_uri, serverSelectionTimeoutMS=SECONDS * 1000, socketTimeoutMS=SECONDS * 1000
        )
        with client:
            database = (
                client.get_database(known.mongodb_database) if known.mongodb_database else client.get_default_database()
            )
            found: dict[str, int] = {}
            names = sorted(name for name in database.list_collection_names() if not name.startswith("system."))
            traces = {who.key, who.form_key, who.email}
            for name in names:
                fields = ["_id", *_fields(database[name].find_one() or {})]
                asked = [
                    {each: {"$in": [ObjectId(who.key), ObjectId(who.form_key), who.key, who.email]}}
                    for each in dict.fromkeys(fields)
                ]
                count = sum(_tells(document, traces) for document in database[name].find({"$or": asked}).limit(MOST))
                if count:
                    found[name] = count
            return Seen(found, {"collections": len(names)})
    except (PyMongoError, ValueError) as error:
        return Seen(error=type(error).__name__)


def _fields(document: Mapping[str, Any]) -> list[str]:
    return [name for name in document if re.fullmatch(r"\w+", name)]


def _tells(document: Mapping[str, Any], traces: set[str]) -> bool:
    return any(trace in json.dumps(document, default=str) for trace in traces)


def in_cloudinary(who: Values) -> Seen:
    """List the canary's folder in every kind and delivery type, and ask the address at which its picture was delivered."""
    account = settings().cloudinary
    assert account is not None
    found: dict[str, int] = {}
    try:
        for folder in account.folders:
            prefix = folder.format(id=who.key)
            for kind, how in MEDIA:
                asked = urllib.parse.urlencode({"prefix": prefix, "max_results": MOST})
                told = _get(
                    f"{account.api}/v1_1/{account.cloud}/resources/{kind}/{how}?{asked}", account.key, account.secret
                )
                if names := json.loads(told or b'{"resources": []}')["resources"]:
                    found[f"{kind}/{how}"] = found.get(f"{kind}/{how}", 0) + len(names)
            if _get(f"{account.delivery}/image/upload/v1/{prefix}canary.jpg") is not None:
                found["delivery network"] = 1
    except (OSError, ValueError, KeyError) as error:
        return Seen(error=_code(error))
    return Seen(found, {"folders": len(account.folders), "kinds": len(MEDIA)})


def in_payments(who: Values) -> Seen:
    """Ask the gateway for customers of the canary's address."""
    account = settings().stripe
    assert account is not None
    try:
        asked = urllib.parse.urlencode({"email": who.email, "limit": 100})
        told = json.loads(_get(f"{account.api}/v1/customers?{asked}", account.key, "") or b"{}")
        mine = [each for each in told["data"] if each.get("email") == who.email and not each.get("deleted")]
    except (OSError, ValueError, KeyError) as error:
        return Seen(error=_code(error))
    return Seen({"customers": len(mine)} if mine else {}, {"requests": 1})


def _get(address: str, user: str = "", password: str = "") -> bytes | None:
    """What an address answers; None when there is nothing."""
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"} if user else {}
    try:
        asked = urllib.request.Request(address, headers=headers)  # noqa: S310 - an address of the settings
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return None
        raise


def _code(error: BaseException) -> str:
    return f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__


OUTSIDE: dict[str, Callable[[Values], Seen]] = {MONGODB: in_mongodb, CLOUDINARY: in_cloudinary, PAYMENTS: in_payments}
