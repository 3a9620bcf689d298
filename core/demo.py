"""Demo mode: accounts to try the product with. On the embedded database only (core.settings refuses anything else).

Their password is made at random for each home and kept in ``demo.json`` (0600): there is no default password anywhere.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys, privacy_actions
from core.errors import SettingsError
from core.models.platform import Cohort
from core.models.staff import StaffMember
from core.settings import settings

PEOPLE = (
    ("Paula Program", "program_staff", "paula"),
    ("Ines Instructor", "instructor", "ines"),
    ("Marek Mentor", "mentor", "marek"),
    ("Omar Officer", "privacy_officer", "omar"),
    ("Ada Admin", "admin", "ada"),
    ("Aiko Auditor", "auditor", "aiko"),
)
WORDS = ("amber", "birch", "canyon", "delta", "ember", "fjord", "glacier", "harbor", "island", "juniper", "kelp", "lagoon",
         "meadow", "nectar", "orchid", "pebble", "quartz", "river", "summit", "tundra", "umber", "valley", "willow", "zephyr")  # fmt: skip
TAUGHT = 3


@dataclass(frozen=True)
class DemoSignIn:
    """One demo account as it is printed at the start."""

    role: str
    email: str
    password: str


def ensure_demo_staff(session: Session, *, now: datetime) -> list[DemoSignIn]:
    """Make the demo accounts that are missing, assign running cohorts to those who teach, return all sign-ins.

    Raises SettingsError outside demo mode.
    """
    if not (settings().demo and settings().embedded):
        raise SettingsError("Demo accounts exist in demo mode only, on the embedded database.")
    password = _password()
    known = set(session.scalars(select(StaffMember.email).where(StaffMember.demo)))
    for name, role, local in PEOPLE:
        email = f"{local}@demo.example"
        if email not in known:
            privacy_actions.add_staff(session, email=email, name=name, role=role, password=password, now=now, demo=True)
    _assign_running(session, now)
    return sign_ins()


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


def _assign_running(session: Session, now: datetime) -> None:
    """The instructor gets the first running cohorts, the mentor the next ones; cohorts of a later import too."""
    today = now.astimezone(UTC).date()
    mine = {(row.email, row.cohort) for row in privacy_actions.assignments(session)}
    running = (
        select(Cohort.code)
        .where(Cohort.starts_on <= today, Cohort.ends_on >= today)
        .order_by(Cohort.source, Cohort.code)
    )
    for place, code in enumerate(session.scalars(running).all()[: 2 * TAUGHT]):
        email = "ines@demo.example" if place < TAUGHT else "marek@demo.example"
        if (email, code) not in mine:
            start = today - timedelta(days=30)
            privacy_actions.assign(session, email=email, cohort=code, starts_on=start, ends_on=None, now=now)
