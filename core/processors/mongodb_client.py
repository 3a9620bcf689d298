"""The line to the platform's database: how it is opened, how ids of documents are written down, what went wrong as a code.

Danger: a write that half a cluster has is taken for done; an error text carries an address or a document into a log. Principle:
majority for every read and write, from the primary, with a limit of time; whatever is raised becomes a code here, and nothing
else of it goes on. Mechanism: one client for each address; :func:`code_of` knows every kind of error of pymongo, and says of which
of them nobody knows whether it was done (:data:`UNCLEAR`).
"""

import logging
import re
import uuid
from contextlib import suppress
from functools import lru_cache
from typing import Any

from bson import Int64, ObjectId
from bson.codec_options import CodecOptions
from bson.errors import BSONError, InvalidId
from pymongo import MongoClient, ReadPreference, errors
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from core.errors import SettingsError
from core.settings import settings

Document = dict[str, Any]
SECONDS, ANSWER = 5.0, 4  # to connect; an answer may take so many times as long
UNCLEAR = frozenset({"connection lost", "timed out", "not confirmed by a majority"})
MAJORITY = WriteConcern(w="majority", wtimeout=int(SECONDS * ANSWER * 1000))
CODES = {
    13: "not allowed", 18: "sign-in refused", 8000: "sign-in refused", 43: "cursor lost", 50: "timed out", 262: "timed out",
    64: "not confirmed by a majority", 100: "not confirmed by a majority", 91: "not primary", 189: "not primary", 10107: "not primary",
    13435: "not primary", 11600: "not primary", 11602: "not primary", 16500: "too many requests", 121: "document refused", 11000: "document refused",
}  # fmt: skip
_OPAQUE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def configured() -> bool:
    """Return whether the address of the platform's database is set."""
    return settings().mongodb_uri is not None


def database() -> "Database[Document]":
    """Return the platform's database. Raises SettingsError when none is set. Nothing is sent before the first command."""
    known = settings()
    if known.mongodb_uri is None:
        raise SettingsError("Set RESOCODE_MONGODB_URI (or RESOCODE_MONGODB_URI_FILE) to reach the platform's database.")
    return _database(known.mongodb_uri, known.mongodb_database)


@lru_cache(maxsize=4)
def _database(uri: str, name: str | None) -> "Database[Document]":
    logging.getLogger("pymongo").setLevel(logging.WARNING)  # below that it writes commands with their values
    try:
        client: MongoClient[Document] = MongoClient(
            uri, appname="resocode-admin", serverSelectionTimeoutMS=int(SECONDS * 1000), connectTimeoutMS=int(SECONDS * 1000),
            socketTimeoutMS=int(SECONDS * ANSWER * 1000), maxPoolSize=8, retryReads=True, retryWrites=True,
        )  # fmt: skip
        named = name or client.get_default_database().name
    except (errors.PyMongoError, ValueError) as error:
        raise SettingsError(
            "RESOCODE_MONGODB_URI cannot be used, or names no database. Set RESOCODE_MONGODB_DATABASE, or end it with /name."
        ) from error
    options: CodecOptions[Document] = CodecOptions(tz_aware=True, uuid_representation=4)
    return client.get_database(
        named, codec_options=options, read_preference=ReadPreference.PRIMARY, write_concern=MAJORITY, read_concern=ReadConcern("majority")
    )  # fmt: skip


def code_of(error: BaseException) -> str:
    """Return what went wrong as a code: words of our own, never those of the error, which may name an address or hold a document."""
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return "no connection"
    if isinstance(error, (errors.NetworkTimeout, errors.ExecutionTimeout, errors.WTimeoutError)):
        return "not confirmed by a majority" if isinstance(error, errors.WTimeoutError) else "timed out"
    if isinstance(error, errors.NotPrimaryError):
        return "not primary"
    if isinstance(error, errors.ConnectionFailure):
        return "connection lost"
    if isinstance(error, errors.CursorNotFound):
        return "cursor lost"
    if isinstance(error, errors.OperationFailure):
        return CODES.get(error.code or 0, f"mongodb {error.code or 0}")
    if isinstance(error, (BSONError, errors.InvalidOperation, UnicodeDecodeError)):
        return "document unreadable"
    return "mongodb" if isinstance(error, errors.PyMongoError) else type(error).__name__


def key_of(value: object) -> str:
    """Return the id of a document as text that keeps its type ("o:65f0…"). "" when it may name somebody, like an address as id."""
    if isinstance(value, ObjectId):
        return f"o:{value}"
    if isinstance(value, uuid.UUID):
        return f"u:{value}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"i:{value}"
    return f"s:{value}" if isinstance(value, str) and _OPAQUE.fullmatch(value) else ""


def id_of(key: str) -> object:
    """Return the id that :func:`key_of` has written. Raises ValueError for anything else."""
    kind, _, rest = key.partition(":")
    with suppress(InvalidId):
        if kind == "o":
            return ObjectId(rest)
    if kind == "u":
        return uuid.UUID(rest)
    if kind == "i":
        return Int64(rest)
    if kind == "s":
        return rest
    raise ValueError(key)


def ids_of(source_key: str) -> list[object]:
    """Return every id that a row's ``source_key`` may stand for: it is kept without its type, as the platform's own pages use it."""
    found: list[object] = [source_key]
    with suppress(InvalidId):
        found.append(ObjectId(source_key))
    with suppress(ValueError):
        found.append(uuid.UUID(source_key))
    if re.fullmatch(r"-?[0-9]{1,18}", source_key):
        found.append(Int64(source_key))
    return found
