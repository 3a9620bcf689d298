"""The demo: every role, some twice, with cohorts now and before, and visitors to call."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import demo, policy, queries
from core.errors import SettingsError
from core.importers.generate import generate, prepare
from core.importers.seed import seed
from core.importers.sizes import Sizes
from core.policy.checks import CHECKS
from core.policy.evidence import State
from core.privacy import consent_watch
from tests.cast import NOW


@pytest.fixture
def trial(worker: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A database with the synthetic records that calls itself embedded and a trial."""
    policy.publish_first_version(worker, now=NOW)
    seed(worker, now=NOW)
    known = demo.settings()
    monkeypatch.setattr(
        demo, "settings", lambda: type("Trial", (), {"demo": True, "embedded": True, "home": known.home})
    )
    return worker


def taught(session: Session, day: int = 0) -> dict[str, set[str]]:
    query = """select m.email, c.code from staff.assignment a join staff.staff_member m on m.id = a.staff_id
        join platform.cohort c on c.id = a.cohort_id where :day between a.starts_on and coalesce(a.ends_on, 'infinity')"""
    found: dict[str, set[str]] = {}
    for row in session.execute(text(query), {"day": NOW.date() + timedelta(days=day)}):
        found.setdefault(row.email.partition("@")[0], set()).add(row.code)
    return found


def test_programs_have_a_history_from_the_first_day(trial: Session) -> None:
    demo.take_weekly_figures(trial, now=NOW)
    whole = queries.group_figures(trial)[0]
    for kind in ("active", "on plan", "completed", "withdrawn"):
        told = [each for each in whole.history(kind) if each.percent is not None]
        assert len(told) == demo.WEEKS_TOLD + 1, kind
    assert whole.figures[-1].week == NOW.date() - timedelta(days=NOW.weekday())


def test_minors_without_consent_are_restricted_before_promises_are_checked(trial: Session) -> None:
    assert CHECKS["AGE-PARENT"](trial, NOW).state is State.BROKEN, "as imported"
    assert consent_watch.settle_all(trial, now=NOW) > 0
    assert CHECKS["AGE-PARENT"](trial, NOW).state is not State.BROKEN
    assert consent_watch.restrictions_due(trial, NOW) == []
    assert consent_watch.settle_all(trial, now=NOW) == 0


def test_every_role_signs_in_and_the_second_time_nothing_is_new(trial: Session) -> None:
    made = demo.ensure_demo_staff(trial, now=NOW)
    roles = [each.role for each in made]
    assert {role: roles.count(role) for role in roles} == {
        "program_staff": 2, "instructor": 2, "mentor": 1, "privacy_officer": 2, "admin": 2, "auditor": 1}  # fmt: skip
    names = set(trial.scalars(text("select name from staff.staff_member where demo and disabled_at is null")))
    assert {name.split()[0] for name in names} == {
        "Paula",
        "Pia",
        "Ines",
        "Ivo",
        "Marek",
        "Omar",
        "Olga",
        "Ada",
        "Arne",
        "Aiko",
    }
    count = text(
        "select (select count(*) from staff.staff_member), (select count(*) from staff.assignment), (select count(*) from privacy.audit_event)"
    )
    before = trial.execute(count).one()
    assert demo.ensure_demo_staff(trial, now=NOW) == made
    assert trial.execute(count).one() == before


def test_cohorts_are_taught_now_and_before_and_visitors_have_owners(trial: Session) -> None:
    demo.ensure_demo_staff(trial, now=NOW)
    assert taught(trial)["ines"] == {"PY-13", "DATA-4", "WEB-8"}
    assert taught(trial)["ivo"] == {"JAVA-8", "LAB-1", "WEB-8"} and "PY-13" in taught(trial, -10)["ivo"]
    assert taught(trial)["marek"] == {"CLOUD-3", "WEB-6"}
    assert "PY-12" in taught(trial, -310)["ines"]
    running = set(
        trial.scalars(
            text("select code from platform.cohort where :day between starts_on and ends_on"), {"day": NOW.date()}
        )
    )
    assert set().union(*taught(trial).values()) == running, "somebody teaches every running cohort"
    owned = trial.execute(text("""select m.email, count(*), count(*) filter (where v.next_contact_on < :today) from platform.visitor v
        join staff.staff_member m on m.id = v.owner_id group by 1 order by 1"""), {"today": NOW.date()}).all()  # fmt: skip
    assert [tuple(row) for row in owned] == [("paula@demo.example", 2, 1), ("pia@demo.example", 2, 1)]


def test_running_cohorts_of_another_source_are_shared_too(trial: Session) -> None:
    prepare(trial, Sizes(300), now=NOW)
    generate(trial, Sizes(300), now=NOW)
    demo.ensure_demo_staff(trial, now=NOW)
    running = trial.scalar(text("""select count(*) from platform.cohort where source = 'generated'
        and :day between starts_on and ends_on"""), {"day": NOW.date()})  # fmt: skip
    assert len(taught(trial)["ines"] - {"PY-13", "DATA-4", "WEB-8"}) == min(3, running)


def test_outside_a_trial_there_are_no_demo_accounts(worker: Session) -> None:
    with pytest.raises(SettingsError, match="demo mode only"):
        demo.ensure_demo_staff(worker, now=NOW)
