"""Sign-in and sessions of staff.

Danger: a stolen or stale session acts as somebody else. Principle: the session is a row; every rerun, action and file asks
for it anew, so that signing out, disabling and a change of role end every tab at its next move. Mechanism: 256-bit
secrets, of which the database holds SHA-256 only. The tab keeps the *token* in its server-side state; a single-use
*ticket* is exchanged for the *cookie* that brings a reload back. Sources: OWASP ASVS 5.0, 6.3 and 7; NIST SP 800-63B-4.
"""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core import keys
from core.db import identify
from core.errors import NotFresh
from core.models.base import uuid7
from core.models.staff import CODED_ROLES
from core.privacy import codes, passwords
from core.privacy.audit import Action, append

LONGEST_SESSION = timedelta(hours=8)
LONGEST_IDLE = timedelta(minutes=15)  # kept by staff.touch_session
TICKET_LIFE = timedelta(seconds=60)
FRESH = timedelta(minutes=5)


@dataclass(frozen=True)
class Staff:
    """The staff member behind a live session, as the database knows them at this moment."""

    session_id: uuid.UUID
    id: uuid.UUID
    name: str
    email: str
    role: str
    demo: bool
    cookie_hash: bytes | None
    started_at: datetime
    expires_at: datetime
    confirmed_at: datetime
    second_factor: bool

    @property
    def must_set_up_codes(self) -> bool:
        """True when one-time codes are obligatory for the role and not set up yet: nothing else opens until then.

        Demo accounts are exempt; they exist on the embedded database only.
        """
        return self.role in CODED_ROLES and not self.second_factor and not self.demo


@dataclass(frozen=True)
class SignedIn:
    """The secrets of a new session: each is shown once, here."""

    token: str
    ticket: str


def sign_in(session: Session, *, email: str, password: str, now: datetime, code: str | None = None) -> SignedIn | None:
    """Check a name, a password and, where one is set up, a one-time code; open a session, or return None (one answer for every failure).

    The failure is counted before the password is looked at, and written to the audit: do not roll back.
    """
    staff_id = _proven(session, email=email, password=password, code=code, now=now, failed=Action.SIGN_IN_FAILED)
    return _open(session, staff_id=staff_id, now=now) if staff_id else None


def redeem_ticket(session: Session, *, ticket: str, now: datetime) -> str | None:
    """Exchange a ticket for the cookie of its session, once, within 60 seconds. Return None otherwise."""
    cookie = secrets.token_urlsafe(32)
    asked = {"ticket": digest(ticket), "cookie": digest(cookie), "now": now}
    done = session.scalar(text("select staff.redeem_ticket(:ticket, :cookie, :now)"), asked)
    return cookie if done else None


def live_session(session: Session, *, secret: str, now: datetime, quietly: bool = False) -> Staff | None:
    """Return who holds this token or cookie, and count it as a sign of life, unless ``quietly``: for what moves by itself. Return
    None when the session is over."""
    asked = {"secret": digest(secret), "now": now}
    look, touch = (
        "select * from staff.look_at_session(:secret, :now)",
        "select * from staff.touch_session(:secret, :now)",
    )
    row = session.execute(text(look if quietly else touch), asked).first()
    if row is None:
        return None
    return Staff(row.session_id, row.staff_id, row.name, row.email, row.role, row.demo, row.cookie_hash,
                 row.started_at, row.expires_at, row.confirmed_at, row.second_factor)  # fmt: skip


def is_fresh(by: Staff, now: datetime) -> bool:
    """Return whether ``by`` proved who they are within the last five minutes (OWASP ASVS 5.0, 7.5.3)."""
    return now - by.confirmed_at <= FRESH


def demand_fresh(by: Staff, now: datetime) -> None:
    """Raise NotFresh unless ``by`` proved who they are within the last five minutes. First line of every dangerous verb."""
    if not is_fresh(by, now):
        raise NotFresh("Confirm with your password first: the last time was more than 5 minutes ago.")


def confirm_identity(session: Session, *, password: str, code: str | None, by: Staff, now: datetime) -> SignedIn | None:
    """Check the password (and the one-time code, if ``by`` has one) again; return the renewed secrets, or None.

    The session goes on with a new token and, through the new ticket, a new cookie: whoever holds a copy of the old ones is
    out before the confirmation could serve them (OWASP ASVS 5.0, 7.2.4). A failure counts against the same throttling
    as a failed sign-in and is written to the audit: do not roll back.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if not _proven(session, email=by.email, password=password, code=code, now=now, failed=Action.CONFIRMATION_FAILED):
        return None
    made = SignedIn(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    renewed = {"now": now, "token": digest(made.token), "ticket": digest(made.ticket), "until": now + TICKET_LIFE}
    if not session.scalar(text("select staff.confirm_session(:now, :token, :ticket, :until)"), renewed):
        return None
    append(session, Action.IDENTITY_CONFIRMED, now=now)
    return made


def sign_out(session: Session, *, by: Staff, now: datetime) -> None:
    """End the session everywhere."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    asked = {"id": by.session_id, "now": now}
    if session.scalar(text("select staff.end_session(:id, :now, 'signed out')"), asked):
        append(session, Action.SIGNED_OUT, now=now)


def refuse_session(session: Session, *, by: Staff, now: datetime) -> None:
    """Record that a tab showed a live token without the cookie of its browser; the caller empties the tab."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append(session, Action.SESSION_REFUSED, now=now)


def digest(secret: str) -> bytes:
    """Return what the database keeps of a secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(printable(secret).encode()).digest()


def _proven(
    session: Session, *, email: str, password: str, code: str | None, now: datetime, failed: Action
) -> uuid.UUID | None:
    """Return whose e-mail, password and code these are; otherwise None, counted and written to the audit."""
    name_hash = keys.current("passwords").digest("name", printable(keys.normalized_email(email)))
    asked = {"hash": name_hash, "now": now}
    attempt = session.execute(text("select * from staff.begin_attempt(:hash, :now)"), asked).one()
    found = session.execute(text("select * from staff.candidate(:email)"), {"email": printable(email.strip())}).first()
    right = passwords.matches(password, found.password_hash if found else None)
    if not (attempt.allowed and right and found and _code_counts(session, found, code, now)):
        append(session, failed, now=now, reason="wrong" if attempt.allowed else "throttled")
        return None
    session.execute(text("select staff.forget_failures(:hash)"), asked)
    return cast(uuid.UUID, found.id)


def _code_counts(session: Session, found: Row[Any], code: str | None, now: datetime) -> bool:
    """Return whether the one-time code is right and was not used before; True for an account that has none set up."""
    if found.totp_secret is None:
        return True
    secret = codes.unsealed(found.totp_secret, staff_id=found.id)
    step = codes.step_of(secret, code or "", now=now) if secret else None
    used = {"id": found.id, "step": step}
    return step is not None and bool(session.scalar(text("select staff.use_code_step(:id, :step)"), used))


def _open(session: Session, *, staff_id: uuid.UUID, now: datetime) -> SignedIn:
    made = SignedIn(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
    session_id = uuid7()
    identify(session, staff_id=staff_id, session_id=session_id)
    session.execute(
        text("select staff.open_session(:id, :staff, :token, :ticket, :now, :expires, :ticket_expires)"),
        {
            "id": session_id,
            "staff": staff_id,
            "token": digest(made.token),
            "ticket": digest(made.ticket),
            "now": now,
            "expires": now + LONGEST_SESSION,
            "ticket_expires": now + TICKET_LIFE,
        },
    )
    append(session, Action.SIGNED_IN, now=now)
    return made


def printable(typed: str) -> str:
    """A name or secret as the database can take it: what nobody can have stays a miss instead of an error."""
    return typed.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\0")[:1000]
