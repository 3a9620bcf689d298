"""What the worker does about ages: from the data and the instant, also after five days' sleep, twice without harm."""

import uuid
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, jobs
from core.errors import BadInput, NotFound
from core.models.requests import Outbox
from core.privacy import consent_watch, retention, standing
from core.worker import Worker
from tests import cast
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")
MOMENT = timedelta(microseconds=1)
AGES = ("below the minimum age", "not below the minimum age", "consent that lapses", "birth dates not needed", "restricted for age", "consent records",
        "guardians not needed", "letters about consent")  # fmt: skip


def work(now: datetime = NOW) -> dict[str, int]:
    """Everything of age that is due, as a worker does it, until nothing is; how often each kind of work was done."""
    done: dict[str, int] = {}
    for _ in range(10):
        again = False
        for job in jobs.JOBS:
            if job.kind not in AGES:
                continue
            with db.transaction("worker") as session:
                keys = job.due(session, now)
            for key in keys:
                with db.transaction("worker") as session:
                    job.run(session, key, now)
                done[job.kind] = done.get(job.kind, 0) + 1
                again = True
        if not again:
            return done
    raise AssertionError(f"it does not come to rest: {done}")


def test_every_job_is_known() -> None:
    assert set(AGES) <= {job.kind for job in jobs.JOBS}


@pytest.mark.parametrize("late", [timedelta(), timedelta(days=5)])
def test_consent_lapses_on_the_18th_birthday_wherever_the_worker_was(late: timedelta, owner: Connection) -> None:
    c.verified()
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    assert "consent that lapses" not in work(c.BIRTHDAY - MOMENT)
    assert work(c.BIRTHDAY + late)["consent that lapses"] == 1
    case = c.case()
    assert (case.state, case.guardian_id, case.method, case.verified_at) == ("lapsed", None, None, None)
    assert {("consent lapsed", email_of("cleo")), ("guardian released", "greta@guardians.example")} <= set(c.letters())
    assert requests.rows("select 1 from privacy.guardian where email like 'greta%'") == [], (
        "nobody needs the guardian any more"
    )
    assert c.restricted() == [] and c.needs(now=c.BIRTHDAY + late)["lapsed"] == 1
    assert work(c.BIRTHDAY + late) == {}
    c.on("declare_age", now=c.BIRTHDAY + late + timedelta(days=1), adult=True, how="answered our letter")
    assert (c.case().birth_date, c.case().adult, c.case().state) == (None, True, "not needed")
    assert cast.snapshot(owner, "ben") == before


@pytest.mark.parametrize("late", [timedelta(), timedelta(days=5)])
def test_the_birth_date_of_whoever_stays_silent_at_18_goes_and_they_stay_of_age(late: timedelta, owner: Connection) -> None:  # fmt: skip
    c.verified()
    c.minor("ben", born=c.BORN + timedelta(days=40))
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    work(c.BIRTHDAY)
    until = c.case().answer_by
    assert until == c.BIRTHDAY + timedelta(days=30) and c.case().birth_date == c.BORN
    assert "birth dates not needed" not in work(until - MOMENT)
    hold = {"student_id": id_of("cleo"), "basis": "court proceedings", "reference": "4 C 1", "review_on": date(2027, 6, 1)}  # fmt: skip
    if late:
        requests.act("place_hold", "omar", now=until, form_key=id_of("a form"), **hold)
        assert "birth dates not needed" not in work(until), "a hold keeps it"
        [(hold_id,)] = requests.rows("select id from privacy.legal_hold")
        requests.act("release_hold", "omar", now=until + late, hold_id=hold_id, confirmation="H-1", reason="proceedings ended")  # fmt: skip
    assert work(until + late)["birth dates not needed"] == 1
    case = c.case()
    assert (case.birth_date, case.adult, case.state) == (None, True, "not needed")
    assert c.restricted() == [] and c.history()[-1] == ("age declared", "not needed")
    assert requests.rows("select count(*) from privacy.consent_step where reason = 'came of age'") == [(1,)]
    assert cast.snapshot(owner, "ben") == before, "a minor keeps theirs"


def test_a_minor_who_was_restricted_is_not_any_more_at_18() -> None:
    c.requested()
    assert c.restricted() == ["consent missing"]
    work(c.BIRTHDAY)
    assert c.restricted() == [] and c.case().state == "lapsed"


def test_evidence_goes_with_the_birthday() -> None:
    c.given(evidence=c.picture())
    work(c.BIRTHDAY)
    assert requests.rows("select wrapped_key from privacy.artifact") == [(None,)] and c.case().evidence_id is None


def import_minor(owner: Connection, name: str, **more: object) -> None:
    """A minor as an import brings them: a row, and nobody's decision."""
    values = {"id": id_of(name), "born": c.BORN, "state": "missing"} | more
    with db.transaction("worker") as session:
        session.execute(
            text("update privacy.consent set birth_date = :born, adult = null, state = :state where student_id = :id"),
            values,
        )


def test_an_imported_minor_is_restricted_and_an_imported_yes_ends_it(owner: Connection) -> None:
    import_minor(owner, "cleo")
    assert work() == {"restricted for age": 1} and c.restricted() == ["consent missing"]
    assert c.history()[0] == ("imported", "missing")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.consent set adult = true, birth_date = null, state = 'not needed' where student_id = :id"),
                        {"id": id_of("cleo")})  # fmt: skip
    work()
    assert c.restricted() == [] and c.restricted("ben") == []


def test_a_restriction_that_was_asked_for_stays_whatever_the_age() -> None:
    c.minor()
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.restriction (id, student_id, basis, since, email_hash) values"
                             " (gen_random_uuid(), :id, 'asked', :now, '')"), {"id": id_of("cleo"), "now": NOW})  # fmt: skip
    c.on("declare_age", adult=True, how="told by the student")
    work()
    assert c.restricted() == ["asked"]


def undeclared(owner: Connection, *names: str) -> None:
    owner.execute(text("update privacy.consent set adult = null, declared_at = null where student_id = any (:ids)"),
                  {"ids": [id_of(name) for name in names]})  # fmt: skip
    owner.execute(text("delete from privacy.consent_step"))
    owner.commit()


def as_replica(owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))


def test_reminders_go_once_a_week_to_the_silent_only(owner: Connection) -> None:
    as_replica(owner)
    undeclared(owner, "ben")
    c.requested()
    with db.transaction("worker") as session:
        session.execute(text("update privacy.consent set asked_at = :at, answer_by = :until where student_id = :id"),
                        {"id": id_of("ben"), "at": NOW, "until": NOW + timedelta(days=30)})  # fmt: skip
    for after in (timedelta(), timedelta(days=7) - MOMENT):
        with pytest.raises(BadInput, match="nobody to write to"):
            requests.act("remind_silent", "omar", now=NOW + after, confirmation="0")
    week = NOW + timedelta(days=7)
    assert requests.act("remind_silent", "omar", now=week, confirmation="2") == 2
    work(week)
    assert ("consent reminder", "greta@guardians.example") in c.letters()
    assert c.letters("ben") == [("age reminder", email_of("ben"))]
    with pytest.raises(BadInput, match="once a day is enough"):
        requests.act("remind_silent", "olga", now=week + timedelta(hours=23), confirmation="2")
    with pytest.raises(BadInput, match="nobody to write to"):
        requests.act("remind_silent", "olga", now=week + timedelta(days=2), confirmation="2")
    assert requests.act("remind_silent", "olga", now=week + timedelta(days=7), confirmation="2") == 2
    with db.transaction("worker") as session, pytest.raises(DBAPIError, match="twice within a week"):
        session.execute(text("update privacy.consent set reminded_at = :at, version = version + 1, changed_at = :at, changed_what = 'x'"
                             " where student_id = :id"), {"id": id_of("ben"), "at": week + timedelta(days=6)})  # fmt: skip


def test_a_round_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    as_replica(owner)
    undeclared(owner, "cleo", "ben", "asha")
    monkeypatch.setattr(consent_watch, "AT_ONCE", 2)
    with db.transaction("worker") as session:
        session.execute(text("update privacy.consent set asked_at = :at, answer_by = :until where adult is null"),
                        {"at": NOW, "until": NOW + timedelta(days=30)})  # fmt: skip
    week = NOW + timedelta(days=7)
    requests.act("remind_silent", "omar", now=week, confirmation="3")
    with db.transaction("worker") as session:
        [key] = consent_watch.rounds_due(session, week)
    parts = []
    for _ in range(2):
        with db.transaction("worker") as session:
            parts.append(consent_watch.write_round(session, round_id=uuid.UUID(key), now=week))
    assert parts == [{"letters": 2, "more": 1}, {"letters": 1}]
    assert requests.rows("select people, written, done_at is null from privacy.consent_round") == [(3, 3, False)]
    with db.transaction("worker") as session:
        assert session.query(Outbox).filter(Outbox.kind == "age reminder").count() == 3
        assert consent_watch.write_round(session, round_id=uuid.UUID(key), now=week) == {}


def test_a_student_without_a_record_gets_one(owner: Connection) -> None:
    as_replica(owner)
    owner.execute(text("delete from privacy.consent where student_id = :id"), {"id": id_of("cleo")})
    owner.commit()
    assert work()["consent records"] == 1
    assert (c.case().state, c.case().adult) == ("not needed", None) and c.needs()["not asked"] == 1


def test_a_guardian_stays_as_long_as_a_hold_keeps_them() -> None:
    c.verified()
    hold = {
        "student_id": id_of("cleo"),
        "basis": "court proceedings",
        "reference": "4 C 1",
        "review_on": date(2027, 6, 1),
    }
    requests.act("place_hold", "omar", form_key=id_of("a form"), **hold)
    work(c.BIRTHDAY)
    assert len(requests.rows("select 1 from privacy.guardian where student_id = :id", id=id_of("cleo"))) == 2
    hold_id = requests.rows("select id from privacy.legal_hold")[0][0]
    requests.act(
        "release_hold", "omar", now=c.BIRTHDAY, hold_id=hold_id, confirmation="H-1", reason="proceedings ended"
    )
    work(c.BIRTHDAY)
    assert requests.rows("select 1 from privacy.guardian where student_id = :id", id=id_of("cleo")) == []
    assert requests.lines().count("guardian erased") == 2


def test_another_guardian_replaces_the_first() -> None:
    c.requested()
    c.on("request_consent", now=c.later(days=1), guardian_name="Gustav", guardian_email="gustav@guardians.example")
    work()
    assert requests.rows("select name from privacy.guardian where student_id = :id", id=id_of("cleo")) == [("Gustav",)]


def test_whoever_was_written_to_while_an_order_waits_gets_no_second_letter(owner: Connection) -> None:
    as_replica(owner)
    undeclared(owner, "ben")
    c.requested()
    with db.transaction("worker") as session:
        session.execute(text("update privacy.consent set asked_at = :at, answer_by = :until where student_id = :id"),
                        {"id": id_of("ben"), "at": NOW, "until": NOW + timedelta(days=30)})  # fmt: skip
    week = NOW + timedelta(days=8)
    assert requests.act("remind_silent", "omar", now=week, confirmation="2") == 2
    with db.transaction("worker") as session:  # a letter of another order, an hour after this one was given
        session.execute(text("update privacy.consent set reminded_at = :at, version = version + 1, changed_at = :at, changed_what = 'x'"
                             " where student_id = :id"), {"at": week + timedelta(hours=1), "id": id_of("cleo")})  # fmt: skip
    work(week + timedelta(hours=2))
    assert "consent reminder" not in [kind for kind, _ in c.letters()], (
        "nobody gets two within a week, whoever wrote the first"
    )
    assert c.letters("ben") == [("age reminder", email_of("ben"))]
    assert owner.scalar(text("select written from privacy.consent_round where done_at is not null")) == 1


def test_evidence_that_nobody_decided_about_is_gone_after_thirty_days_and_says_so() -> None:
    c.given(evidence=c.picture())
    assert c.seen("olga").has_evidence
    late = NOW + timedelta(days=30)
    seen = c.seen("olga", now=late)
    assert (seen.has_evidence, seen.evidence_gone_at) == (False, late), "also while the worker is off"
    with db.transaction("worker") as session:
        retention.go_on(session, rule="exports and evidence", now=late)
    later = late + timedelta(days=3)
    seen = c.seen("olga", now=later)
    assert (seen.has_evidence, seen.evidence_gone_at, seen.state) == (False, late, "given")
    with pytest.raises(NotFound, match="kept for 30 days"):
        requests.act("open_evidence", requests.staff("olga", now=later), now=later, student_id=id_of("cleo"))
    c.on("refuse_consent", requests.staff("olga", now=later), now=later, reason="the evidence cannot be read")
    assert c.case().evidence_id is None


def test_what_a_rule_restricts_is_passed_on_and_ends_elsewhere_too(owner: Connection) -> None:
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    c.minor()
    told = "select processor, what, state from privacy.propagation where restriction_id is not null order by planned_at, processor"
    planned = [(str(each), "restrict", "planned") for each in standing.receivers("student")]
    assert requests.rows(told) == planned and len(planned) > 2
    c.on("declare_age", adult=True, how="told by the student")
    assert requests.rows(told) == [(name, what, "canceled") for name, what, _ in planned], (
        "nothing has left, so nothing leaves"
    )
    c.minor(now=NOW + timedelta(minutes=1))
    passing = tuple(job for job in jobs.JOBS if job.kind == "propagations")
    Worker(lambda: NOW + timedelta(minutes=2), passing, name="w").catch_up()
    asked = requests.rows("select student_id, request_id, what from privacy.manual_step where state = 'open'")
    assert asked and {each[0] for each in asked} == {id_of("cleo")} and {each[1] for each in asked} == {None}
    c.on("declare_age", adult=True, how="told by the student", now=NOW + timedelta(minutes=3))
    ended = requests.rows(told.replace("where", "where what = 'restriction ended' and"))
    assert ended == [(name, "restriction ended", "planned") for name, *_ in planned]
    assert cast.snapshot(owner, "ben") == before


def test_no_line_of_the_audit_says_who_is_a_minor() -> None:
    c.minor()
    c.on("declare_age", adult=True, how="told by the student")
    found = requests.rows("select action, details from privacy.audit_event where action like '%restrict%' order by seq")
    assert [each[0] for each in found] == ["person restricted", "restriction lifted"]
    assert all("consent" not in str(each[1]) and "age" not in str(each[1]) for each in found)
    assert all('"asked": false' in str(each[1]) or '"asked":false' in str(each[1]) for each in found)
