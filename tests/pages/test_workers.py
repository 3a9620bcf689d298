"""How the workers fare on Today: for admins and privacy officers, and for nobody else."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
BEAT = text("insert into staff.worker_heartbeat values ('w1', :at)")
JOB = text(
    "insert into staff.job (id, kind, key, state, attempts, next_at, created_at, finished_at, error) values"
    " (gen_random_uuid(), 'months ahead', 'email_log 2027-01', :state, 5, :at, :at, :at, 'F-3A2B ValueError')"
)


def today(name: str) -> str:
    return words(opened(name, "overview"))


@pytest.mark.parametrize("name", ["ada", "omar"])
def test_alive_late_or_never(name: str, owner: Connection) -> None:
    assert "No worker has run yet" in today(name)
    owner.execute(BEAT, {"at": now() - timedelta(minutes=2)})
    owner.commit()
    assert "No worker is running" in today(name)
    owner.execute(text("update staff.worker_heartbeat set beat_at = :at"), {"at": now()})
    owner.commit()
    shown = today(name)
    assert "No worker" not in shown
    assert "alive" in shown.lower()


@pytest.mark.parametrize("name", ["ada", "omar"])
def test_what_failed_for_good_shows_with_its_code(name: str, owner: Connection) -> None:
    owner.execute(BEAT, {"at": now()})
    owner.execute(JOB, {"state": "failed", "at": now()})
    owner.commit()
    shown = today(name).replace("\\", "")
    assert "1 job has failed for good" in shown
    assert "months ahead email_log 2027-01: 5 attempts" in shown
    assert "F-3A2B ValueError" in shown


def test_what_waits_too_long_shows(owner: Connection) -> None:
    owner.execute(BEAT, {"at": now()})
    owner.execute(JOB, {"state": "waiting", "at": now() - timedelta(minutes=14)})
    owner.commit()
    assert "behind" not in today("ada")
    owner.execute(text("update staff.job set next_at = :at"), {"at": now() - timedelta(minutes=16)})
    owner.commit()
    assert "The worker is behind" in today("ada")


@pytest.mark.parametrize("name", ["paula", "ines", "aiko"])
def test_the_machinery_is_nobody_elses_business(name: str, owner: Connection) -> None:
    owner.execute(JOB, {"state": "failed", "at": now()})
    owner.commit()
    shown = today(name)
    assert "F-3A2B" not in shown and "No worker" not in shown
