"""A canary at third parties: what the platform would have kept there about a student.

Danger: a real system is given something that nobody takes out again. Principle: only where the eraser can take it out by itself, under
names that anybody sees to be synthetic, and on record here in the same transaction. Mechanism: every record is made under an id or
key that follows from the canary, so that a repeated call makes it once. A processor that is not connected gets nothing.
"""

import base64
import hashlib
import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any

from core.canary_reader import CLOUDINARY, MONGODB, PAYMENTS, SECONDS
from core.models.canaries import Values
from core.settings import settings

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def connected() -> dict[str, Callable[[Values, datetime], int]]:
    """Return the third parties in which a canary can be planted now, with what plants it and returns the number of records."""
    known = settings()
    there = {MONGODB: known.mongodb_uri, CLOUDINARY: known.cloudinary, PAYMENTS: known.stripe}
    return {name: PLANT[name] for name, configured in there.items() if configured}


def close_on_the_platform(who: Values, now: datetime) -> None:
    """Let the canary close its account on the platform, as a student does there. Nothing happens where none is connected."""
    if settings().mongodb_uri is None:
        return
    from bson import ObjectId

    from core.processors.mongodb_client import database
    from core.processors.mongodb_mapping import mapping

    for collection in mapping().collections:
        if collection.person == "student":
            closed = _paths(collection, {"account_status": "closed", "closed_at": now}) | {collection.changed: now}
            database()[collection.name].update_one({"_id": ObjectId(who.key)}, {"$set": closed})


def _in_mongodb(who: Values, now: datetime) -> int:
    from bson import ObjectId

    from core.processors.mongodb_client import database
    from core.processors.mongodb_mapping import mapping

    made = 0
    for collection in mapping().collections:
        if not collection.person or not collection.email:
            continue
        known = {"name": who.name, "email": who.email, "registered_at": now, "asked_at": now, "account_status": "open"}
        paths = (
            _paths(collection, known) | dict(collection.only) | {collection.changed: now, collection.email: who.email}
        )
        document: dict[str, Any] = {}
        for path, value in paths.items():
            _put(document, path, value)
        own = ObjectId(who.key if collection.person == "student" else who.form_key)
        database()[collection.name].replace_one({"_id": own}, document, upsert=True)
        made += 1
    return made


def _paths(collection: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Where the platform writes these of our columns, in its own words."""
    fields = [field for table in collection.tables if table.name == collection.person for field in table.fields]
    told = {}
    for field in fields:
        if field.column in known:
            theirs = {ours: word for word, ours in reversed(list(field.words.items()))}
            told[field.path] = theirs.get(known[field.column], known[field.column])
    return told


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        document = document.setdefault(folder, {})
    document[last] = value


def _in_cloudinary(who: Values, now: datetime) -> int:
    account = settings().cloudinary
    assert account is not None
    for folder in account.folders:
        given = {
            "overwrite": "true",
            "public_id": f"{folder.format(id=who.key)}canary",
            "timestamp": str(int(now.timestamp())),
        }
        signed = "&".join(f"{name}={given[name]}" for name in sorted(given))
        signature = hashlib.sha1(f"{signed}{account.secret}".encode()).hexdigest()  # noqa: S324 - Cloudinary asks for it
        picture = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
        form = urllib.parse.urlencode(given | {"api_key": account.key, "signature": signature, "file": picture})
        _ask(f"{account.api}/v1_1/{account.cloud}/image/upload", form.encode(), {})
    return len(account.folders)


def _in_payments(who: Values, now: datetime) -> int:
    account = settings().stripe
    assert account is not None
    basic = base64.b64encode(f"{account.key}:".encode()).decode()
    asked = {"Authorization": f"Basic {basic}", "Idempotency-Key": f"canary-{who.key}"}
    there = f"{account.api}/v1/customers?{urllib.parse.urlencode({'email': who.email, 'limit': 100})}"
    if any(each.get("email") == who.email for each in json.loads(_ask(there, None, asked))["data"]):
        return 1
    form = urllib.parse.urlencode({"email": who.email, "name": who.name, "description": "synthetic: a canary"})
    _ask(f"{account.api}/v1/customers", form.encode(), asked)
    return 1


def _ask(address: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    """Ask an address of the settings, which are HTTPS or on this machine; with a body: post it."""
    asked = urllib.request.Request(address, data=body, headers=headers)  # noqa: S310 - from the settings
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310 - from the settings
        return bytes(answer.read())


PLANT: dict[str, Callable[[Values, datetime], int]] = {
    MONGODB: _in_mongodb,
    CLOUDINARY: _in_cloudinary,
    PAYMENTS: _in_payments,
}
__all__ = ["close_on_the_platform", "connected"]
