"""Visitors whose period is over, at the platform: what does not go through waits longer each time, and is forgotten only when it is gone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, policy
from core.privacy import retention_elsewhere
from core.processors.mongodb import MongoDB
from core.processors.remote import Trouble
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import rows

pytestmark = pytest.mark.usefixtures("house")
MINUTE = timedelta(minutes=1)
WAIT = "select document, attempts, error, next_at from privacy.sync_erasure order by document"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the platform answers, one for each call (nothing: it is gone); the calls themselves are appended behind None."""
    monkeypatch.setenv("RESOCODE_MONGODB_URI", "mongodb://127.0.0.1:1/platform")
    answers: list[Any] = []

    def forget(_self: MongoDB, _session: Session, keys: Sequence[str], *, now: datetime) -> None:
        answers.append(tuple(keys))
        if isinstance(answers[0], Trouble):
            raise answers.pop(0)

    monkeypatch.setattr(MongoDB, "forget_visitors", forget)
    return answers


def write(*documents: str) -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.sync_erasure (document, purged_at, next_at) values (:d, :now, :now)"),
                        [{"d": each, "now": NOW} for each in documents])  # fmt: skip


def part(now: datetime) -> tuple[dict[str, int], bool]:
    with db.transaction("worker") as session:
        return retention_elsewhere.part(session, policy.in_force(session, now), now)


def test_trouble_waits_longer_each_time_and_forgets_nobody(told: list[Any]) -> None:
    write("a", "b")
    now, pauses = NOW, list[float]()
    for attempt in range(1, 9):
        told.insert(0, Trouble("no connection"))
        assert part(now) == ({}, False)
        assert part(now) == ({}, False), "not before its time"
        assert len(told) == attempt and sorted(told[-1]) == ["a", "b"]
        [first, second] = rows(WAIT)
        assert first[1:3] == second[1:3] == (attempt, "no connection")
        pauses.append((max(first[3], second[3]) - now) / MINUTE)
        now = max(first[3], second[3])
    for pause, whole in zip(pauses, (1, 2, 4, 8, 16, 32, 60, 60), strict=True):
        assert whole / 2 <= pause <= whole
    assert part(now) == ({"other rows": 2}, False) and rows(WAIT) == []


def test_whoever_asks_to_wait_is_waited_for(told: list[Any]) -> None:
    write("a")
    told.insert(0, Trouble("too many requests", until=NOW + 90 * MINUTE))
    part(NOW)
    assert rows(WAIT) == [("a", 1, "too many requests", NOW + 90 * MINUTE)]


def test_only_documents_of_the_platform_are_noted_and_each_once() -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.visitor set source = 'mongodb', source_key = 'v-1' where id = :id"), {"id": id_of("vera")})  # fmt: skip
        for _ in range(2):
            retention_elsewhere.note(session, [id_of("vera"), id_of("viktor")], now=NOW)
    assert [each[0] for each in rows(WAIT)] == ["v-1"]
    with db.transaction("worker") as session:
        assert retention_elsewhere.oldest(session, NOW) == NOW
        assert not retention_elsewhere.is_due(session, policy.in_force(session, NOW), NOW), "no platform is connected"
