"""Demo mode: accounts to try the product with. On the embedded database only (core.settings refuses anything else).

Their password is made at random for each home and kept in ``demo.json`` (0600): there is no default password anywhere.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys, privacy_actions
from core.errors import SettingsError
from core.importers.seed import SOURCE as SEED
from core.models.platform import Cohort, Visitor
from core.models.staff import StaffMember
from core.settings import settings

PEOPLE = (
    ("Paula Program", "program_staff", "paula"),
    ("Pia Program", "program_staff", "pia"),
    ("Ines Instructor", "instructor", "ines"),
    ("Ivo Instructor", "instructor", "ivo"),
    ("Marek Mentor", "mentor", "marek"),
    ("Omar Officer", "privacy_officer", "omar"),
    ("Olga Officer", "privacy_officer", "olga"),
    ("Ada Admin", "admin", "ada"),
    ("Arne Admin", "admin", "arne"),
    ("Aiko Auditor", "auditor", "aiko"),
)
WORDS = ("amber", "birch", "canyon", "delta", "ember", "fjord", "glacier", "harbor", "island", "juniper", "kelp", "lagoon",
         "meadow", "nectar", "orchid", "pebble", "quartz", "river", "summit", "tundra", "umber", "valley", "willow", "zephyr")  # fmt: skip
TAUGHT = 3
WEEKS_TOLD = 8
# Who teaches which of the synthetic cohorts, from when to when (days from today); the last ones are over.
TEACHING: tuple[tuple[str, str, int, int | None], ...] = (
    ("ines", "PY-13", -100, None),
    ("ines", "DATA-4", -80, None),
    ("ines", "WEB-8", -50, 90),
    ("ivo", "JAVA-8", -40, None),
    ("ivo", "LAB-1", -20, None),
    ("ivo", "WEB-8", -50, None),
    ("marek", "CLOUD-3", -60, None),
    ("marek", "WEB-6", -140, 1),
    ("marek", "PY-14", 10, None),
    ("ines", "PY-12", -470, -300),
    ("ivo", "PY-13", -100, -5),
)


@dataclass(frozen=True)
class DemoSignIn:
    """One demo account as it is printed at the start."""

    role: str
    email: str
    password: str


def ensure_demo_staff(session: Session, *, now: datetime) -> list[DemoSignIn]:
    """Make the demo accounts that are missing, give them cohorts and visitors, return all sign-ins.

    Raises SettingsError outside demo mode.
    """
    if not (settings().demo and settings().embedded):
        raise SettingsError("Demo accounts exist in demo mode only, on the embedded database.")
    password = _password()
    known = set(session.scalars(select(StaffMember.email).where(StaffMember.demo)))
    digest: str | None = None
    for name, role, local in PEOPLE:
        email = f"{local}@demo.example"
        if email not in known:
            made = privacy_actions.add_staff(
                session, email=email, name=name, role=role, password=password, now=now, demo=True, digest=digest
            )
            digest = session.scalars(select(StaffMember.password_hash).where(StaffMember.id == made)).one()
    _assign(session, now)
    _give_visitors(session)
    return sign_ins()


def take_weekly_figures(session: Session, *, now: datetime) -> None:
    """Tell the group figures of the last weeks of synthetic records, as a worker that was there would have: a history."""
    for weeks in range(WEEKS_TOLD, -1, -1):
        privacy_actions.take_group_figures(session, now=now - timedelta(weeks=weeks))


def sign_ins() -> list[DemoSignIn]:
    """Return the sign-ins of all demo accounts of this home."""
    return [DemoSignIn(role, f"{local}@demo.example", _password()) for _, role, local in PEOPLE]


def _password() -> str:
    file = settings().home / "demo.json"
    if not file.exists():
        keys.write_secret(
            file, json.dumps("-".join(secrets.choice(WORDS) for _ in range(5)) + f"-{secrets.randbelow(9000) + 1000}")
        )
    return str(json.loads(file.read_text()))


def _assign(session: Session, now: datetime) -> None:
    """The synthetic cohorts by plan, also former ones; of the running cohorts of any other source, three each in turn."""
    today = now.astimezone(UTC).date()
    known = {(row.email, row.cohort) for row in privacy_actions.assignments(session)}
    codes = set(session.scalars(select(Cohort.code).where(Cohort.source == SEED)))
    planned = [each for each in TEACHING if each[1] in codes] + _others(session, today)
    for local, code, first, last in planned:
        if (f"{local}@demo.example", code) not in known:
            ends_on = None if last is None else today + timedelta(days=last)
            privacy_actions.assign(session, email=f"{local}@demo.example", cohort=code, starts_on=today + timedelta(days=first), ends_on=ends_on,
                                   now=now)  # fmt: skip


def _others(session: Session, today: date) -> list[tuple[str, str, int, int | None]]:
    running = (Cohort.source != SEED) & (Cohort.starts_on <= today) & (Cohort.ends_on >= today)
    codes = session.scalars(select(Cohort.code).where(running).order_by(Cohort.source, Cohort.code).limit(3 * TAUGHT))
    return [(("ines", "marek", "ivo")[place // TAUGHT], code, -30, None) for place, code in enumerate(codes)]


def _give_visitors(session: Session) -> None:
    """The two who follow visitors up share the synthetic ones with a next contact that nobody has yet."""
    team = select(StaffMember.id).where(
        StaffMember.demo, StaffMember.role == "program_staff", StaffMember.disabled_at.is_(None)
    )
    owners = session.scalars(team.order_by(StaffMember.email)).all()
    free = (Visitor.source == SEED) & Visitor.owner_id.is_(None) & Visitor.next_contact_on.is_not(None)
    for place, visitor in enumerate(session.scalars(select(Visitor).where(free).order_by(Visitor.source_key))):
        visitor.owner_id = owners[place % len(owners)] if owners else None
