"""Cases of consent, counted to a limit and a page at a time: the same as the one statement that decides what each case needs."""

import random
import uuid
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, queries
from core.models.consent import CONSENT_STATES
from core.policy import in_force
from core.policy.age import case_days
from core.queries import CONSENT_VIEWS
from core.reads import consent
from tests.cast import NOW, id_of
from tests.core.reads.test_enrollments import a_crowd

pytestmark = pytest.mark.usefixtures("house")
DECIDES = "select student_id, need, mine, writable from privacy.consent_cases(:adult, :allowed, :soon, :silent, :now)"
ONE = """insert into privacy.consent (student_id, state, birth_date, adult, asked_at, answer_by, requested_at, reminded_at, entered_at, entered_by,
    verified_at, changed_at, declared_at, source) values (:student, :state, :born, :adult, :asked, :until, :requested, :reminded, :entered, :by,
    :verified, :changed, :declared, 'test')"""
BIRTHDAYS = [None, *(date(year, month, 3) for year in (2007, 2008, 2009, 2010, 2011) for month in (11, 12))]


@pytest.fixture(autouse=True)
def cases(house: str) -> None:
    """Three hundred cases of every state and age, some of closed accounts; many without the date that a list is ordered by."""
    dice = random.Random(5)

    def then() -> Any:
        return dice.choice([None, NOW - timedelta(days=dice.choice([1, 6, 7, 8, 30, 30]))])

    with db.transaction("worker") as session:
        a_crowd(session, 300)
        for number in range(300):
            student, state, asked = (
                uuid.uuid5(uuid.NAMESPACE_URL, f"student {number}"),
                dice.choice(CONSENT_STATES),
                then(),
            )
            settled = state == "not needed"
            session.execute(text(ONE), {
                "student": student, "state": state, "born": None if settled else dice.choice(BIRTHDAYS),
                "adult": dice.choice([None, None, True]) if settled else dice.choice([None, False]), "asked": asked,
                "until": asked and NOW + timedelta(days=dice.choice([-1, 0, 1])), "requested": then(), "reminded": then(), "entered": then(),
                "by": dice.choice([id_of("omar"), id_of("olga"), None]), "verified": then(), "changed": then(), "declared": then(),
            })  # fmt: skip
            if number % 11 == 0:
                closed = "update platform.student set account_status = 'closed', closed_at = :now where id = :id"
                session.execute(text(closed), {"now": NOW, "id": student})


def decided(session: Session) -> list[Any]:
    return list(session.execute(text(DECIDES), case_days(NOW, in_force(session, NOW))))


def test_counts_are_those_of_the_one_statement() -> None:
    with db.transaction(staff_id=id_of("omar")) as session:
        expected, found = decided(session), queries.consent_counts(session, now=NOW)
        assert len(found.by_need) == len(consent.NEEDS), "every need is among the cases"
        assert found.by_need == dict(Counter(row.need for row in expected))
        assert found.mine_to_verify == sum(row.need == "verify" and not row.mine for row in expected) > 0
        for needs in (("not asked",), ("silent", "lapsed", "asked", "not answered")):
            reached = sum(row.need in needs and row.writable for row in expected)
            for cap in (None, 1_000):
                assert queries.people_to_write_to(session, needs, now=NOW, cap=cap) == queries.Total(
                    reached, capped=False
                )
            assert queries.people_to_write_to(session, needs[:1], now=NOW, cap=3) == queries.Total(3, capped=True)


def test_counting_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "MOST_COUNTED", 4)
    with db.transaction(staff_id=id_of("omar")) as session:
        found = queries.consent_counts(session, now=NOW)
    assert max(found.by_need.values()) == 5
    told = found.of("verify", "missing")
    assert (str(told), told.of("case"), bool(told)) == ("4+", "more than 4 cases", True)
    assert str(queries.Total(1_284, capped=False)) == "1,284" and not queries.Total(0, capped=False)


@pytest.mark.parametrize("view", CONSENT_VIEWS)
def test_pages_hold_every_case_once_most_urgent_first(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consent, "PAGE_SIZE", 7)
    rows, after = [], None
    with db.transaction(staff_id=id_of("omar")) as session:
        expected = {row.student_id: row.need for row in decided(session) if row.need in CONSENT_VIEWS[view]}
        while True:
            page = queries.consent_page(session, view, now=NOW, after=after)
            rows += page.rows
            if (after := page.after) is None:
                break
    assert [len(rows), {row.student_id: row.need for row in rows}] == [len(expected), expected]
    places = [consent.NEEDS.index(row.need) for row in rows]
    assert places == sorted(places)
    for need in set(expected.values()) - {"asked", "not answered", "not asked"}:
        told = [row.since for row in rows if row.need == need]
        known = [since for since in told if since]
        assert known == sorted(known) and told[: len(told) - len(known)] == [None] * (len(told) - len(known)), need


@pytest.mark.parametrize("name", ["paula", "ines", "ada", "aiko", "dora"])
def test_nobody_but_officers_learns_of_a_case(name: str) -> None:
    with db.transaction(staff_id=id_of(name)) as session:
        assert queries.consent_counts(session, now=NOW).by_need == {}
        assert all(queries.consent_page(session, view, now=NOW).rows == () for view in CONSENT_VIEWS)
        assert not queries.people_to_write_to(session, ("not asked",), now=NOW, cap=None)
        for parts in ("consent_parts('missing', true)",):
            with pytest.raises(Exception, match="permission denied"), session.begin_nested():
                session.execute(text(f"select privacy.{parts}"))
