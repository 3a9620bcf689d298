"""Assignments and the access review: who decides, what it does, when it is over."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core import db, privacy_actions, queries
from core.errors import BadInput, NotFresh, Refused
from tests.admins import act, add_bea, bea, inside, row
from tests.cast import STAFF, id_of
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def assign(member: str, cohort: str, first: date = TODAY, last: date | None = None) -> Any:
    return act(
        privacy_actions.add_assignment,
        "ada",
        staff_id=id_of(member),
        cohort_id=id_of(cohort),
        starts_on=first,
        ends_on=last,
    )


def cohorts_of(member: str) -> list[Any]:
    with db.transaction(staff_id=id_of(member)) as session:
        return list(session.scalar(text("select staff.my_cohorts()")))


def end(assignment: Any, last: date | None = None) -> None:
    act(privacy_actions.end_assignment, "ada", assignment_id=assignment, last_day=last)


def test_an_assignment_opens_and_closes_learning_data() -> None:
    made = assign("ines", "cloud")
    assert set(cohorts_of("ines")) == {id_of("python"), id_of("cloud")}
    end(made)
    assert cohorts_of("ines") == [id_of("python")], "at once, though it began today"
    assert cohorts_of("marek") == [id_of("cloud")]
    later = assign("ines", "cloud", TODAY + 3 * DAY, TODAY + 9 * DAY)
    assert cohorts_of("ines") == [id_of("python")]
    end(later, TODAY + 5 * DAY)
    assert row("select ends_on from staff.assignment where id = :id", id=later).ends_on == TODAY + 5 * DAY
    end(id_of("ines python"), TODAY)
    assert cohorts_of("ines") == [id_of("python")], "the last day is included"


@pytest.mark.parametrize(
    ("member", "cohort", "first", "last", "sentence"),
    [
        ("paula", "cloud", TODAY, None, "instructors and mentors only"),
        ("dora", "cloud", TODAY, None, "disabled"),
        ("ines", "python", TODAY, None, "assigned to this person already, from"),
        ("ines", "java", TODAY - 30 * DAY, TODAY + DAY, "assigned to this person already, from"),
        ("ines", "cloud", TODAY, TODAY - DAY, "end before it starts"),
    ],
)
def test_what_makes_no_sense_is_refused(
    member: str, cohort: str, first: date, last: date | None, sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        assign(member, cohort, first, last)
    assert row("select count(*) from staff.assignment").count == 4
    assign("ines", "java", TODAY, TODAY)


def test_an_assignment_never_gets_longer_by_ending_it() -> None:
    with pytest.raises(BadInput, match="longer"):
        end(id_of("marek cloud"), TODAY + 90 * DAY)
    with pytest.raises(BadInput, match="must not be over"):
        end(id_of("marek cloud"), TODAY - 2 * DAY)
    with pytest.raises(BadInput, match="ended already"):
        end(id_of("ines java"))
    end(id_of("marek cloud"), TODAY + DAY)


def start(by: str = "ada") -> list[queries.ReviewItem]:
    act(privacy_actions.start_access_review, by, due_on=TODAY + 14 * DAY)
    return items()


def items(by: str = "ada") -> list[queries.ReviewItem]:
    who = inside(by)[1]
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return queries.review_items(session, now=now())


def decide(item: queries.ReviewItem, by: Any = "ada", verdict: str = "confirmed", reason: str = "") -> bool:
    return bool(act(privacy_actions.decide_right, by, item_id=item.id, verdict=verdict, reason=reason))


def right(listed: list[queries.ReviewItem], name: str, cohort: str | None = None) -> queries.ReviewItem:
    return next(item for item in listed if item.name == name and item.cohort == cohort)


def oversight() -> queries.Oversight:
    who = inside("ada")[1]
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return queries.oversight(session, now=now())


def test_a_review_lists_every_right_and_is_over_when_all_are_decided() -> None:
    assert oversight().review_due is None and oversight().reviewed_at is None
    listed = start()
    accounts = {(name.title(), role, None) for name, role in STAFF.items() if name != "dora"}
    taught = {("Ines", "instructor", "Python 26"), ("Marek", "mentor", "Cloud 26")}
    assert {(i.name, i.role, i.cohort) for i in listed} == accounts | taught, "nobody disabled, nothing that has ended"
    with pytest.raises(BadInput, match="open already"):
        start()
    assert (oversight().review_open, oversight().review_left, oversight().review_due) == (
        True,
        len(listed),
        TODAY + 14 * DAY,
    )
    mine = right(listed, "Ada")
    assert mine.mine
    with pytest.raises(Refused, match="their own rights"):
        decide(mine)
    overs = [decide(item) for item in listed if item.name != "Ada"]
    assert not any(overs)
    with pytest.raises(BadInput, match="reviewed already"):
        decide(right(listed, "Paula"))
    assert decide(mine, by="omar") is True
    found = oversight()
    assert (found.review_open, found.review_due) == (False, (now() + timedelta(days=90)).date())
    assert items() == []


def test_removing_a_right_ends_it_with_a_fresh_proof() -> None:
    listed = start()
    tab, _ = inside("marek")
    bystander, _ines = inside("ines")
    with pytest.raises(BadInput, match="one of these reasons"):
        decide(right(listed, "Ines", "Python 26"), verdict="removed")
    decide(right(listed, "Ines", "Python 26"), verdict="removed", reason="no longer needed")
    assert cohorts_of("ines") == [] and cohorts_of("marek") == [id_of("cloud")]
    ada = inside("ada")[1]
    with pytest.raises(NotFresh):
        act(privacy_actions.decide_right, ada, at=now() + timedelta(minutes=6), item_id=right(listed, "Marek").id, verdict="removed",
            reason="left the company")  # fmt: skip
    decide(right(listed, "Marek"), verdict="removed", reason="left the company")
    with db.transaction() as session:
        assert privacy_actions.live_session(session, secret=tab.token, now=now()) is None
        assert privacy_actions.live_session(session, secret=bystander.token, now=now()) is not None
    assert right(items(), "Marek", "Cloud 26").verdict == "gone", "it went with the account"


def test_the_only_admin_cannot_be_removed() -> None:
    listed = start()
    with pytest.raises(Refused, match="only admin"):
        decide(right(listed, "Ada"), by="omar", verdict="removed", reason="left the company")
    add_bea()
    assert decide(right(listed, "Ada"), by=bea()) is False


def without_officers() -> None:
    """A company with one admin and nobody at the privacy desk."""
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set disabled_at = now() where role = 'privacy_officer'"))


def test_one_admin_and_no_officer_finish_a_review_in_the_declared_mode_and_it_says_so() -> None:
    without_officers()
    listed = start()
    with pytest.raises(Refused, match="their own rights"):
        decide(right(listed, "Ada"))
    act(privacy_actions.declare_single_admin, "ada", reason="two people in all")
    with pytest.raises(Refused, match="only admin"):
        decide(right(listed, "Ada"), verdict="removed", reason="left the company")
    overs = [decide(item) for item in listed]
    assert overs == [False] * (len(listed) - 1) + [True]
    assert (oversight().reviews_alone, oversight().confirmed_alone, oversight().review_open) == (True, 1, False)
    who = inside("aiko")[1]
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        told = queries.oversight(session, now=now())
    assert (told.single_admin, told.reviews_alone, told.confirmed_alone) == (True, True, 1), "the auditor sees it"


def test_an_officer_ends_the_way_around_the_second_person() -> None:
    act(privacy_actions.declare_single_admin, "ada", reason="two people in all")
    listed = start()
    assert not oversight().reviews_alone, "Omar could review Ada"
    with pytest.raises(Refused, match="their own rights"):
        decide(right(listed, "Ada"))
    without_officers()
    decide(right(listed, "Ada"))
    assert [item.name for item in items() if item.decided_alone] == ["Ada"]
    with pytest.raises(Refused):
        decide(right(listed, "Paula"), by="paula")


def test_other_roles_neither_see_nor_decide() -> None:
    listed = start("omar")
    for name in ("paula", "ines", "marek", "aiko"):
        assert items(name) == []
        with pytest.raises(Refused):
            decide(right(listed, "Ada"), by=name)
    assert len(items("omar")) == len(listed)


def test_what_ends_by_itself_is_settled_by_the_worker() -> None:
    from core.jobs import JOBS

    job = next(job for job in JOBS if job.kind == "access review")
    listed = start()
    for item in listed:
        if item.name != "Ada" and item.cohort != "Cloud 26":
            decide(item)
    decide(right(listed, "Ada"), by="omar")
    later = now() + timedelta(days=31)
    with db.transaction("worker") as session:
        assert job.due(session, now()) == []
        assert job.due(session, later) == ["rights that ended"]
        assert job.run(session, "rights that ended", later) == {"over": True}
        assert job.due(session, later) == []
    assert (
        row(
            "select verdict from staff.access_review_item where id = :id", id=right(listed, "Marek", "Cloud 26").id
        ).verdict
        == "gone"
    )
    assert oversight().review_open is False
