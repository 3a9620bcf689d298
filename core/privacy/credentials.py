"""What a member of staff does about their own sign-in: redeem a one-time code, change password and one-time codes.

Danger: a path on which somebody else chooses or learns a secret. Principle: a password is typed by its owner and a TOTP
secret is shown to its owner; an admin starts, and never finishes. Mechanism: no verb here takes a staff id, except what
the database derives from the session or from the code; every change ends the other sessions of the person.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import keys
from core.db import identify
from core.errors import Refused
from core.models.staff import CODED_ROLES
from core.privacy import codes, passwords
from core.privacy.audit import Action, append
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh, printable

FOREIGN = "This code does not belong to this e-mail address, or it was mistyped. Check both."
DEAD = {
    "used": "This code was used already. If that was not you, tell an admin at once; otherwise sign in with your password.",
    "replaced": "A newer code has taken the place of this one. Use the newest.",
    "expired": "This code has expired. Ask an admin for a new one.",
    "disabled": "This account is not open. Ask an admin.",
    "waits": "This invitation waits for the approval of a second admin. Try again later with the same code.",
}


@dataclass(frozen=True)
class Invited:
    """Whom a one-time code lets in, and what for ("invitation", "password reset" or "full reset")."""

    name: str
    email: str
    role: str
    kind: str

    @property
    def needs_codes(self) -> bool:
        """True when one-time codes come next."""
        return self.role in CODED_ROLES


def check_invitation(session: Session, *, email: str, code: str, now: datetime) -> Invited | str:
    """Return whom an unused code lets in; otherwise the sentence that says why it does not.

    Counted against throttling of its own and, when it fails, written to the audit: do not roll back.
    """
    name_hash = keys.current("passwords").digest("invitation", printable(keys.normalized_email(email)))
    attempt = session.execute(
        text("select * from staff.begin_attempt(:hash, :now)"), {"hash": name_hash, "now": now}
    ).one()
    if not attempt.allowed:
        append(session, Action.CODE_REFUSED, now=now, reason="throttled")
        return "That were too many tries. Wait a few minutes and try again."
    asked = {"email": printable(email.strip()), "hash": codes.invitation_digest(code), "now": now}
    found = session.execute(text("select * from staff.code_holder(:email, :hash, :now)"), asked).first()
    if found is None or found.state != "open":
        append(session, Action.CODE_REFUSED, now=now, reason=found.state if found else "foreign")
        return DEAD[found.state] if found else FOREIGN
    session.execute(text("select staff.forget_failures(:hash)"), {"hash": name_hash})
    return Invited(found.name, found.email, found.role, found.kind)


def redeem_invitation(session: Session, *, email: str, code: str, password: str, now: datetime) -> Invited | str:
    """Use a one-time code up and give its owner the password they chose; their sessions end.

    Return the sentence that says why when the code does not work (as :func:`check_invitation`). Raises BadInput when the
    password is easy to guess; nothing is changed then.
    """
    invited = check_invitation(session, email=email, code=code, now=now)
    if isinstance(invited, str):
        return invited
    digest = passwords.hashed(password, email=invited.email, name=invited.name)
    used = {"email": invited.email, "code": codes.invitation_digest(code), "password": digest, "now": now}
    owner = ask(session, "staff.redeem_code(:email, :code, :password, :now)", **used)
    append(session, Action.CODE_REDEEMED, now=now, subject_kind="staff", subject_id=owner, kind=invited.kind)
    return invited


def change_password(session: Session, *, password: str, by: Staff, now: datetime) -> None:
    """Give ``by`` a new password and end all their sessions, this one too.

    Raises NotFresh unless they proved who they are, BadInput when the password is easy to guess.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    demand_fresh(by, now)
    digest = passwords.hashed(password, email=by.email, name=by.name)
    ask(session, "staff.set_my_password(:hash, :now)", hash=digest, now=now)
    append(session, Action.PASSWORD_CHANGED, now=now, subject_kind="staff", subject_id=by.id)


def set_up_codes(session: Session, *, secret: str, code: str, by: Staff, now: datetime) -> bool:
    """Turn one-time codes on (or replace them) with a secret that was shown to ``by``, once its code is typed right.

    Their other sessions end. Return False for a wrong code, which is counted and written to the audit: do not roll back.
    Raises NotFresh unless they proved who they are within five minutes, Refused after too many wrong codes.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    demand_fresh(by, now)
    name_hash = keys.current("passwords").digest("codes", str(by.id))
    attempt = session.execute(
        text("select * from staff.begin_attempt(:hash, :now)"), {"hash": name_hash, "now": now}
    ).one()
    if not attempt.allowed:
        raise Refused("That were too many wrong codes. Wait a few minutes and try again.")
    step = codes.step_of(secret, code, now=now)
    if step is None:
        append(session, Action.CODES_REFUSED, now=now, subject_kind="staff", subject_id=by.id)
        return False
    session.execute(text("select staff.forget_failures(:hash)"), {"hash": name_hash})
    kept = codes.sealed(secret, staff_id=by.id)
    ask(session, "staff.set_my_codes(:secret, :step, :now)", secret=kept, step=step, now=now)
    append(session, Action.CODES_SET_UP, now=now, subject_kind="staff", subject_id=by.id)
    return True


def remove_codes(session: Session, *, by: Staff, now: datetime) -> None:
    """Turn one-time codes off, for roles that need none. Raises Refused for the others, NotFresh without a fresh proof."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    demand_fresh(by, now)
    ask(session, "staff.drop_my_codes(:now)", now=now)
    append(session, Action.CODES_REMOVED, now=now, subject_kind="staff", subject_id=by.id)
