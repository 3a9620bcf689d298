"""Bea, a second admin: she plays only where two persons are needed. And short ways to act as somebody of the cast."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import insert, text

from core import db, privacy_actions
from core.models import staff as s
from core.privacy import codes, passwords, sessions
from core.privacy_actions import SignedIn, Staff
from tests import cast
from ui.clock import now

BEA = "bea@staff.example"


def add_bea() -> None:
    """Bea's account, as if it had always been there."""
    bea, since = cast.id_of("bea"), cast.NOW
    with db.transaction("worker") as session:
        digest = passwords.hashed(cast.PASSWORD, email="cast@staff.example", name="Cast")
        session.execute(
            insert(s.StaffMember).values(
                id=bea,
                email=BEA,
                name="Bea",
                role="admin",
                password_hash=digest,
                password_since=since,
                created_at=since,
                totp_secret=codes.sealed(cast.CODE_SECRET, staff_id=bea),
                totp_since=since,
            )
        )


def bea() -> Staff:
    """Bea, signed in."""
    return inside("bea")[1]


def inside(name: str) -> tuple[SignedIn, Staff]:
    """Somebody with a new session, without the quarter of a second that a password takes."""
    with db.transaction() as session:
        made = sessions._open(session, staff_id=cast.id_of(name), now=now())
        found = privacy_actions.live_session(session, secret=made.token, now=now())
    assert found
    return made, found


def act(verb: Callable[..., Any], by: Staff | str, at: datetime | None = None, **arguments: Any) -> Any:
    """Run a verb as the dashboard does: one transaction, as whoever acts (a name of the cast gets a session first)."""
    who = inside(by)[1] if isinstance(by, str) else by
    with db.transaction() as session:
        db.identify(session, staff_id=who.id, session_id=who.session_id)
        return verb(session, by=who, now=at or now(), **arguments)


def call(statement: str, by: Staff, **values: Any) -> Any:
    """Run bare SQL as the app role: the guard in Python is off."""
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        return session.scalar(text(statement), values)


def row(statement: str, **values: Any) -> Any:
    """One row as the worker sees it."""
    with db.transaction("worker") as session:
        return session.execute(text(statement), values).one()
