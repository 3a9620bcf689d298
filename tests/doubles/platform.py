"""Documents as the platform writes them, for the mapping that is shipped: a small school, or as many people as one likes."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HASH = "$2b$12$C6UzMDM.H6dfI/f/IKcEeO7ZC6fYb0QkzV5X1o5u0u5f3y5e5e5e2"


def oid(name: str) -> ObjectId:
    """The id of anything, by its name: ``oid("mia")``."""
    return ObjectId(hashlib.sha256(name.encode()).digest()[:12])


def ago(days: float = 0, minutes: float = 0) -> datetime:
    """An instant before the one at which everything plays."""
    return NOW - timedelta(days=days, minutes=minutes)


def user(who: str, /, **more: Any) -> dict[str, Any]:
    """A student's account."""
    return {
        "_id": oid(who), "name": f"{who.title()} Platform", "email": f"{who}@platform.example", "password": HASH, "role": "student",
        "status": "active", "profile": {"experienceLevel": "junior", "phone": "+49 30 1234", "headline": "Learns", "avatar": {"url": f"https://img.example/{who}.png"}},
        "birthDate": datetime(2000, 5, 1, tzinfo=UTC), "createdAt": ago(90), "updatedAt": ago(10),
    } | more  # fmt: skip


def school(db: Any, *names: str) -> None:
    """A program with a cohort, and students with a document in every collection."""
    insert = {
        "programs": [{"_id": oid("data"), "code": "DATA", "title": "Data", "updatedAt": ago(200)}],
        "cohorts": [{"_id": oid("data-1"), "program": oid("data"), "code": "DATA-1", "title": "Data 1", "startsOn": ago(60), "endsOn": ago(-60),
                     "seats": 20, "students": [oid(name) for name in names], "updatedAt": ago(150)}],
        "modules": [{"_id": oid("sql"), "program": oid("data"), "position": 1, "title": "SQL", "kind": "project", "dueDay": 20, "updatedAt": ago(150)}],
    }  # fmt: skip
    for collection, documents in insert.items():
        db[collection].insert_many(documents)
    for name in names:
        for collection, document in of(name).items():
            db[collection].insert_one(document)


def of(name: str) -> dict[str, dict[str, Any]]:
    """A student's documents, by collection."""
    enrollment, who = oid(f"{name} enrollment"), {"student": oid(name), "updatedAt": ago(5)}
    return {
        "users": user(name),
        "enrollments": {"_id": enrollment, **who, "cohort": oid("data-1"), "enrolledAt": ago(70), "confirmedAt": ago(70)},
        "progress": {"_id": oid(f"{name} progress"), **who, "enrollment": enrollment, "module": oid("sql"), "status": "completed", "score": 81, "lastActiveAt": ago(5)},
        "submissions": {"_id": oid(f"{name} submission"), **who, "enrollment": enrollment, "module": oid("sql"), "submittedAt": ago(7), "status": "passed", "score": 81.5},
        "reviews": {"_id": oid(f"{name} review"), **who, "submission": oid(f"{name} submission"), "reviewedAt": ago(6), "passed": True, "comment": "Good."},
        "certificates": {"_id": oid(f"{name} certificate"), **who, "enrollment": enrollment, "number": f"P-{name}", "issuedAt": ago(5)},
        "events": {"_id": oid(f"{name} event"), "student": oid(name), "enrollment": enrollment, "at": ago(4), "kind": "page", "item": "lesson", "clicks": 3},
        "subscriptions": {"_id": oid(f"{name} subscription"), **who, "startsOn": ago(90)},
        "payments": {"_id": oid(f"{name} payment"), **who, "paidAt": ago(90), "amount": 4900, "currency": "EUR", "reference": f"pay-{name}",
                     "billing": {"name": f"{name.title()} Platform"}},
        "leads": {"_id": oid(f"{name} lead"), "name": name.title(), "email": f"{name}@platform.example", "program": oid("data"), "message": "Hello", "createdAt": ago(95),
                  "updatedAt": ago(95), "device": {"userAgent": "Browser", "ip": "192.0.2.9"}},
    }  # fmt: skip
