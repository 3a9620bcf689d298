"""What those who teach decide: handled until, limits, who takes a review; and what the database refuses without any guard."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from core import db, privacy_actions
from core.errors import AdminError, BadInput, NotFound, Refused, Stale
from core.models.platform import HELP_LIMITS
from core.privacy import learning
from tests.cast import NOW, ROLES, id_of, snapshot
from tests.classroom import Classroom, at_work
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
TODAY = NOW.date()


def act(verb: Callable[..., Any], who: str, *, at: Any = NOW, **arguments: Any) -> Any:
    """Call a verb as somebody who is signed in."""
    with db.transaction() as session:
        return verb(session, by=at_work(who), now=at, **arguments)


def handle(who: str = "ines", name: str = "asha", *, days: int = 7, note: str = "Called.") -> None:
    act(
        privacy_actions.mark_handled,
        who,
        enrollment_id=id_of(f"{name} enrollment"),
        until=TODAY + timedelta(days=days),
        note=note,
    )


def notes(owner: Connection, name: str = "asha") -> list[Any]:
    rows = owner.execute(text("select handled_until, note, written_by from platform.help_note where enrollment_id = :e order by written_at desc"),
                         {"e": id_of(f"{name} enrollment")})  # fmt: skip
    return [tuple(row) for row in rows]


def lines(owner: Connection, action: str) -> list[tuple[Any, Any, dict[str, Any]]]:
    rows = owner.execute(
        text("select subject_kind, subject_id, details from privacy.audit_event where action = :a order by seq"),
        {"a": action},
    )
    return [(kind, subject, json.loads(details)) for kind, subject, details in rows]


def test_a_note_is_kept_and_recorded_without_its_words(owner: Connection) -> None:
    before = snapshot(owner, "ben")
    handle(note="  Rang   her\nup. ")
    assert notes(owner)[0] == (TODAY + timedelta(days=7), "Rang her up.", id_of("ines"))
    assert lines(owner, "help noted") == [
        ("student", id_of("asha"), {"handled_until": (TODAY + timedelta(days=7)).isoformat()})
    ]
    assert snapshot(owner, "ben") == before


def test_putting_back_keeps_the_earlier_notes(owner: Connection) -> None:
    handle()
    act(privacy_actions.put_back, "ines", at=NOW + timedelta(hours=1), enrollment_id=id_of("asha enrollment"))
    assert [row[0] for row in notes(owner)] == [None, TODAY + timedelta(days=7), TODAY - timedelta(days=10)]


@pytest.mark.parametrize(
    ("days", "note", "reason"),
    [
        (-1, "x", "from today"),
        (181, "x", "from today"),
        (1, "x" * 501, "501 characters"),
        (1, "a\x00b", "cannot be used"),
    ],
)
def test_a_note_that_cannot_be_used_changes_nothing(owner: Connection, days: int, note: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        handle(days=days, note=note)
    assert len(notes(owner)) == 1
    handle(days=180, note="x" * 500)
    assert len(notes(owner)) == 2


VERBS: dict[str, Callable[[str, str], None]] = {
    "handled": lambda who, name: handle(who, name),
    "put back": lambda who, name: act(privacy_actions.put_back, who, enrollment_id=id_of(f"{name} enrollment")),
    "limits": lambda who, name: act(
        privacy_actions.set_help_limits,
        who,
        cohort_id=id_of({"asha": "python", "ben": "cloud", "cleo": "java"}[name]),
        limits=dict.fromkeys(HELP_LIMITS, 3),
    ),
    "take": lambda who, name: act(
        privacy_actions.take_review, who, at=now(), submission_id=id_of(f"{name} submission")
    ),
}
OWN = {("ines", "asha"), ("marek", "ben")}


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("who", list(ROLES))
def test_every_verb_by_role_and_cohort(
    who: str, guarded: bool, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own, other and former cohort; with the guards of the verbs switched off the database refuses the same."""
    if not guarded:
        monkeypatch.setattr(learning, "TEACHING_ROLES", tuple(ROLES.values()))
        monkeypatch.setattr(learning, "_mine", lambda _column: text("true"))
    tables = ("help_note", "help_limit", "review_claim")
    state = lambda: [owner.execute(text(f"select * from platform.{t} order by 1")).all() for t in tables]  # noqa: E731
    for name in ("asha", "ben", "cleo"):
        for title, verb in VERBS.items():
            owner.rollback()
            before = state()
            owner.rollback()
            if (who, name) in OWN:
                verb(who, name)
                assert state() != before, f"{who} {title} {name}"
                continue
            with pytest.raises((Refused, NotFound) if guarded else (AdminError, DBAPIError)):
                verb(who, name)
            assert state() == before, f"{who} {title} {name}"


def test_limits_are_set_and_recorded(owner: Connection) -> None:
    chosen = {"quiet_days": 7, "behind_modules": 1, "failed_times": 3, "waiting_days": 0, "clicks_percent": 50}
    act(privacy_actions.set_help_limits, "ines", cohort_id=id_of("python"), limits=chosen)
    row = (
        owner.execute(text("select * from platform.help_limit where cohort_id = :c"), {"c": id_of("python")})
        .mappings()
        .one()
    )
    assert {name: row[name] for name in HELP_LIMITS} == chosen
    assert row["changed_by"] == id_of("ines")
    assert lines(owner, "help limits set") == [("cohort", id_of("python"), chosen)]


@pytest.mark.parametrize("wrong", [{"quiet_days": -1}, {"quiet_days": 61}, {"clicks_percent": 101}, {"odd": 1}])
def test_a_limit_out_of_its_range_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="within its range"):
        act(
            privacy_actions.set_help_limits,
            "ines",
            cohort_id=id_of("python"),
            limits=dict.fromkeys(HELP_LIMITS, 3) | wrong,
        )


@pytest.fixture
def two_teachers(house: str) -> None:
    """Marek is assigned to Python too."""
    with db.transaction("worker") as session:
        Classroom(session, name="python").assign("marek")


def claim(owner: Connection) -> Any:
    owner.rollback()
    return owner.execute(
        text("select staff_id from platform.review_claim where submission_id = :s"), {"s": id_of("asha submission")}
    ).scalar()


def take(who: str, *, at: Any = None) -> None:
    act(privacy_actions.take_review, who, at=at or now(), submission_id=id_of("asha submission"))


@pytest.mark.usefixtures("two_teachers")
def test_a_review_is_taken_once_given_back_and_free_again(owner: Connection) -> None:
    take("ines")
    take("ines")
    assert claim(owner) == id_of("ines")
    with pytest.raises(Stale, match="Ines took this review first"):
        take("marek")
    with pytest.raises(Stale, match="not yours"):
        act(privacy_actions.give_review_back, "marek", submission_id=id_of("asha submission"))
    act(privacy_actions.give_review_back, "ines", submission_id=id_of("asha submission"))
    take("marek")
    assert claim(owner) == id_of("marek")
    assert len(lines(owner, "review taken")) == 3


@pytest.mark.usefixtures("two_teachers")
def test_after_three_days_somebody_else_may_take_it_over(owner: Connection) -> None:
    take("ines", at=now() - timedelta(days=3, minutes=1))
    take("marek")
    assert claim(owner) == id_of("marek")


@pytest.mark.usefixtures("two_teachers")
def test_of_two_at_the_same_moment_the_first_wins(owner: Connection) -> None:
    owner.execute(text("delete from platform.review_claim"))
    owner.commit()
    people = {name: at_work(name) for name in ("ines", "marek")}
    barrier, outcome = threading.Barrier(2), {}

    def grab(name: str) -> None:
        try:
            with db.transaction() as session:
                session.execute(text("select 1"))
                barrier.wait(10)
                privacy_actions.take_review(session, submission_id=id_of("asha submission"), by=people[name], now=now())
                outcome[name] = "won"
        except Stale as error:
            outcome[name] = error.sentence

    threads = [threading.Thread(target=grab, args=(name,)) for name in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    winner = next(name for name, said in outcome.items() if said == "won")
    loser = "marek" if winner == "ines" else "ines"
    assert claim(owner) == id_of(winner)
    assert outcome[loser].startswith(f"{winner.title()} took this review first")


def test_a_reviewed_submission_cannot_be_taken(owner: Connection) -> None:
    owner.execute(text("update platform.submission set status = 'passed'"))
    owner.commit()
    with pytest.raises(Stale, match="reviewed by now"):
        take("ines")


@pytest.mark.parametrize(
    "statement",
    [
        # somebody else's name under a note, a limit, a claim
        "insert into platform.help_note (id, enrollment_id, cohort_id, written_by, written_at) values (gen_random_uuid(), :asha, :python, :marek, now())",
        "update platform.help_limit set quiet_days = 9, changed_by = :marek where cohort_id = :python",
        "update platform.review_claim set staff_id = :marek where submission_id = :submission",
        # another cohort's enrollment under one's own cohort, and the other way round
        "insert into platform.help_note (id, enrollment_id, cohort_id, written_by, written_at) values (gen_random_uuid(), :ben, :python, :ines, now())",
        "insert into platform.help_note (id, enrollment_id, cohort_id, written_by, written_at) values (gen_random_uuid(), :ben, :cloud, :ines, now())",
        "insert into platform.review_claim (submission_id, enrollment_id, cohort_id, staff_id, taken_at) values (:bens, :asha, :python, :ines, now())",
        # notes are never changed, claims never moved or deleted
        "update platform.help_note set note = 'x'",
        "delete from platform.help_note",
        "update platform.review_claim set cohort_id = :cloud",
        "delete from platform.review_claim",
    ],
)  # fmt: skip
def test_the_database_refuses_it_by_itself(statement: str, owner: Connection) -> None:
    owner.execute(text("delete from platform.review_claim where submission_id = :s"), {"s": id_of("ben submission")})
    owner.commit()
    values = {"asha": id_of("asha enrollment"), "ben": id_of("ben enrollment"), "python": id_of("python"), "cloud": id_of("cloud"),
              "ines": id_of("ines"), "marek": id_of("marek"), "submission": id_of("asha submission"), "bens": id_of("ben submission")}  # fmt: skip
    with pytest.raises((ProgrammingError, DBAPIError)), db.transaction(staff_id=id_of("ines")) as session:
        session.execute(text(statement), values)


def test_a_fresh_claim_of_somebody_else_is_out_of_reach(owner: Connection) -> None:
    owner.execute(text("update platform.review_claim set staff_id = :m, taken_at = now()"), {"m": id_of("marek")})
    owner.commit()
    with db.transaction(staff_id=id_of("ines")) as session:
        changed = session.connection().execute(
            text("update platform.review_claim set staff_id = :i, taken_at = now()"), {"i": id_of("ines")}
        )
        assert changed.rowcount == 0


def test_a_cohort_is_recorded_once_in_fifteen_minutes_and_for_each_session(owner: Connection) -> None:
    staff = at_work("ines")
    other = at_work("ines")
    for by, minutes in ((staff, 0), (staff, 14), (other, 14), (staff, 16)):
        with db.transaction() as session:
            privacy_actions.record_cohort_view(
                session, cohort_id=id_of("python"), purpose="progress", by=by, now=NOW + timedelta(minutes=minutes)
            )
    assert len(lines(owner, "cohort viewed")) == 3
