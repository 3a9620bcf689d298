"""The way back in when nobody can let anybody in: accounts from the command line, for whoever has the machine.

Danger: a way around the second admin is what an intruder looks for. Principle: it takes the machine *and* the database
owner's secret, which could change anything anyway, and it leaves a line of its own in the audit that every overseer sees.
Mechanism: the same verbs as in the dashboard, run by the operator through the worker role; nobody learns a password, the
only secret that is told is a one-time code; closed while the audit does not verify, like every grant.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import BadInput
from core.models.staff import StaffMember
from core.privacy.audit import Action, append, guarded
from core.privacy.staff_accounts import (
    OneTimeCode,
    declare_single_admin,
    end_single_admin,
    invite_staff,
    reset_sign_in,
)
from core.privacy.staffing import staff_id


@guarded
def rescue_invite(session: Session, *, email: str, name: str, role: str, reason: str, now: datetime) -> OneTimeCode:
    """Make an account that works without a second admin, and its one-time code. Raises BadInput as ``invite_staff``."""
    made = invite_staff(session, email=email, name=name, role=role, reason=reason, by=None, now=now)
    _record(session, "invitation", now)
    return made


@guarded
def rescue_reset(session: Session, *, email: str, full: bool, reason: str, now: datetime) -> OneTimeCode:
    """Take a password away (``full``: one-time codes too), end all sessions, and return the one-time code for a new one.

    Raises NotFound for an unknown address, BadInput for a disabled account or an unknown reason.
    """
    member = staff_id(session, email=email)
    made = reset_sign_in(session, staff_id=member, full=full, reason=reason, by=None, now=now)
    _record(session, "full reset" if full else "password reset", now)
    return made


@guarded
def rescue_single_admin(session: Session, *, on: bool, reason: str, now: datetime) -> None:
    """Declare the single-admin mode, or end it. Raises BadInput when there are other admins, or it is so already."""
    if on:
        works = (
            (StaffMember.role == "admin") & StaffMember.disabled_at.is_(None) & StaffMember.password_since.is_not(None)
        )
        if (admins := session.scalar(select(func.count(StaffMember.id)).where(works)) or 0) > 1:
            raise BadInput(f"There are {admins} admins who can sign in. The mode is for a company with one.")
        declare_single_admin(session, reason=reason, by=None, now=now)
    else:
        end_single_admin(session, by=None, now=now)
    _record(session, "single-admin mode on" if on else "single-admin mode off", now)


def _record(session: Session, what: str, now: datetime) -> None:
    append(session, Action.RESCUE_USED, now=now, what=what)
