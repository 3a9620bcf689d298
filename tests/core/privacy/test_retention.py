"""E-mail logs go by their age: months whole, the edge in parts, around what a hold keeps; every run leaves a row and a line."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, jobs, keys, queries
from core.privacy import artifacts, brakes, retention, retention_mail, retention_proof
from core.processors.local import Local
from core.processors.protocol import Order, Person, Spared
from core.worker import Worker
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_erasures import Clock
from tests.core.privacy.house_of_requests import DAY, act, lines, rows

pytestmark = pytest.mark.usefixtures("house")
PROOF = (retention_proof.REQUESTS, retention_proof.CERTIFICATES, retention_proof.HOLDS)
MAIL, VISITORS = "e-mail logs", "visitors"
BEFORE = NOW - 90 * DAY
JOBS = tuple(job for job in jobs.JOBS if job.kind == "retention")


def work(now: datetime = NOW) -> list[tuple[str, str, dict[str, int]]]:
    """Let a worker do all of retention that is due; what became of proof is told in test_retention_proof.py."""
    done = Worker(Clock(now), JOBS).catch_up()
    return [(each.key, each.became, dict(each.counts)) for each in done if each.key not in PROOF]


def mail(*ages: timedelta, to: str = "ben") -> list[uuid.UUID]:
    """Mails to somebody, so long ago."""
    made = []
    with db.transaction("worker") as session:
        for age in ages:
            at, made_id = NOW - age, uuid.uuid4()
            session.execute(text("select platform.make_months('email_log', :at, :at)"), {"at": at.date()})
            whose = "visitor_id" if to in ("vera", "viktor") else "student_id"
            session.execute(text(f"insert into platform.email_log (sent_at, id, {whose}, kind, address, outcome, source)"
                                 " values (:at, :id, :to, 'notice', 'x@y.example', 'sent', 'test')"),
                            {"at": at, "id": made_id, "to": id_of(to)})  # fmt: skip
            made.append(made_id)
    return made


def left() -> set[uuid.UUID]:
    return {each for (each,) in rows("select id from platform.email_log")}


def aside() -> set[uuid.UUID]:
    return {each for (each,) in rows("select id from platform.held_mail")}


def runs(rule: str = MAIL) -> list[tuple[bool, dict[str, int], str | None]]:
    found = rows(
        "select ended_at is not null, counts, waits_for from privacy.retention_run where rule = :r order by id", r=rule
    )
    return [tuple(each) for each in found]


def months() -> int:
    return rows("select count(*) from pg_inherits where inhparent = 'platform.email_log'::regclass")[0][0]


@pytest.fixture(autouse=True)
def no_mails_of_the_cast(house: str) -> None:
    """The cast's own mails are past their period: away with them, so that each test knows its own."""
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.email_log"))


@contextmanager
def held(**scope: object) -> Iterator[str]:
    """A legal hold, released in the end."""
    kwargs = {
        "basis": "claim of ours",
        "reference": "4711",
        "review_on": NOW.date() + 30 * DAY,
        "form_key": uuid.uuid4(),
    }
    number = act("place_hold", "omar", **kwargs, **scope)
    yield number
    [found] = rows("select id from privacy.legal_hold where 'H-' || number = :n", n=number)
    act("release_hold", "omar", hold_id=found[0], confirmation=number, reason="claim settled")


def test_what_is_older_than_ninety_days_goes_and_nothing_else(owner: Connection) -> None:
    bystander = cast.snapshot(owner, "ben")
    owner.rollback()
    young = set(mail(90 * DAY, timedelta(days=89)))
    mail(90 * DAY + timedelta(seconds=1), 91 * DAY + timedelta(hours=13), 140 * DAY, 500 * DAY, to="cleo")
    before = months()
    done = {key: counts for key, _, counts in work()}
    assert left() == young
    assert done[MAIL] == {"rows": 4, "months": before - months()}
    assert runs() == [(True, done[MAIL], None)]
    assert rows("select before, oldest_left from privacy.retention_run where rule = :r", r=MAIL) == [(BEFORE, BEFORE)]
    assert lines().count("retention run") == len(retention.WORK), "one line for each run"
    assert work() == [], "nothing is left to do, and nothing is looked at twice in a day"
    after = cast.snapshot(owner, "ben")
    assert {**after, "email_log": []} == {**bystander, "email_log": []}


def test_days_without_a_worker_are_caught_up_at_once_whenever_it_last_ran() -> None:
    mail(*(timedelta(days=day) for day in range(86, 95)))
    work()
    assert len(left()) == 5
    assert {key for key, _, _ in work(NOW + DAY)} == set(retention.WORK) - set(PROOF), (
        "a look a day, also where nothing is due"
    )
    assert len(left()) == 4
    work(NOW + 6 * DAY)  # off for five days
    assert not left()
    mail(100 * DAY)  # an old list is imported, an hour after the run
    assert work(NOW + 6 * DAY + timedelta(hours=1)) == [(MAIL, "done", {"rows": 1, "months": 1})]


def test_the_oldest_row_is_never_older_than_ninety_days_and_one_run() -> None:
    mail(*(timedelta(days=88, hours=hour) for hour in range(0, 72, 3)))
    for hours in range(0, 72, 6):
        now = NOW + timedelta(hours=hours)
        work(now)
        oldest = rows("select min(sent_at) from platform.email_log")[0][0]
        assert oldest is None or oldest > now - 91 * DAY


def test_a_hold_on_a_person_a_table_or_a_record_keeps_its_mails_and_is_found(owner: Connection) -> None:
    asha, ben, cleo = (
        mail(95 * DAY, 200 * DAY, to="asha"),
        mail(95 * DAY, to="ben"),
        mail(95 * DAY, 201 * DAY, to="cleo"),
    )
    vera, viktor = mail(200 * DAY, to="vera"), mail(200 * DAY, to="viktor")
    young = mail(10 * DAY, to="asha")
    with (
        held(student_id=id_of("asha")),
        held(student_id=id_of("cleo"), table="platform.email_log", record_id=cleo[1]),
        held(visitor_id=id_of("vera"), table="platform.email_log"),
    ):
        work()
        kept = {*asha, cleo[1], *vera}
        assert (aside(), left()) == (kept, set(young)), f"not {ben}, {viktor}"
        assert work(NOW + DAY) and aside() == kept
        listed = act("records_to_hold", "omar", table="platform.held_mail", student_id=id_of("asha"))
        assert {each.id for each in listed} == set(asha)
        exported = export_of("asha")
        assert len(exported["platform.held_mail"]) == 2 and len(exported["platform.email_log"]) == 1
    work(NOW + DAY + timedelta(minutes=1))
    assert not aside(), "what no hold keeps any more goes, although no day has passed"
    assert left() == set(young)


def export_of(name: str) -> dict[str, object]:
    with db.transaction("worker") as session:
        return dict(Local().export(session, Person("student", id_of(name)), now=NOW).records)


def test_an_erasure_spares_a_held_mail_where_it_was_moved_and_takes_the_rest() -> None:
    one, other = mail(95 * DAY, 96 * DAY, to="asha")
    with held(student_id=id_of("asha"), table="platform.email_log"):
        work()
    mail(95 * DAY, to="cleo")
    with db.transaction("worker") as session:
        person = Person("student", id_of("asha"))
        spared = (Spared("platform.email_log", one), Spared("platform.held_mail", one))
        assert aside() == {one, other}
        Local().erase(session, Order(person, "k", spared), now=NOW)
    assert aside() == {one}


def test_a_reader_in_the_way_is_never_stopped_and_the_drop_tries_again() -> None:
    mail(200 * DAY, 95 * DAY)
    with Session(db.engine("worker")) as reader, reader.begin():
        assert reader.scalar(text("select count(*) from platform.email_log")) == 2
        assert work()[0] == (MAIL, "done", {})
        assert runs() == [(False, {}, "readers")]
        assert reader.scalar(text("select count(*) from platform.email_log")) == 2, "nobody was ended for it"
    assert work(NOW + timedelta(minutes=2))[0][2]["rows"] == 2
    assert runs()[0][0] and len(runs()) == 1, "one run, however often it tried"


def test_readers_see_no_gap_while_months_go() -> None:
    young = mail(*(timedelta(days=day) for day in range(0, 80, 4)))
    mail(*(timedelta(days=day) for day in range(100, 400, 15)))
    stop, seen, failed = threading.Event(), set(), []

    def read() -> None:
        try:
            while not stop.is_set():
                with db.transaction("worker") as session:
                    found = session.scalar(
                        text("select count(*) from platform.email_log where sent_at > :b"), {"b": BEFORE}
                    )
                    seen.add(found)
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for minute in range(5):
        work(NOW + timedelta(minutes=2 * minute))
    stop.set()
    reader.join()
    assert (seen, failed) == ({len(young)}, [])
    assert left() == set(young)


def test_nobody_can_place_a_hold_between_the_look_and_the_drop() -> None:
    with db.transaction("worker") as session:
        retention.go_on(session, rule=MAIL, now=NOW)
        modes = session.scalars(
            text("select mode from pg_locks where relation = 'privacy.legal_hold'::regclass and pid = pg_backend_pid()")
        )
        assert "ShareLock" in set(modes), "which no insert passes"


def test_the_database_refuses_a_month_that_is_not_past_its_period() -> None:
    mail(40 * DAY, 200 * DAY)
    young = (NOW - 40 * DAY).date().replace(day=1)
    with pytest.raises(DBAPIError, match="is not past the period"), db.transaction("worker") as session:
        session.execute(text("select platform.drop_month(:m, :now)"), {"m": young, "now": NOW})
    with pytest.raises(DBAPIError, match="permission denied"), db.transaction(staff_id=id_of("ada")) as session:
        session.execute(text("select platform.drop_month(:m, :now)"), {"m": date(2026, 5, 1), "now": NOW})
    assert len(left()) == 2


def test_nobody_writes_into_a_month_between_its_count_and_its_drop() -> None:
    """Elsewhere writing goes on; and all months that are due go together, counted exactly."""
    mail(200 * DAY, 200 * DAY, 130 * DAY, 95 * DAY)
    late = text("update platform.email_log set outcome = 'bounced' where sent_at < :before")
    with db.transaction("worker") as session:
        closed = session.execute(text("select month, mails from platform.close_months(:now, 24)"), {"now": NOW}).all()
        young = mail(5 * DAY)
        with pytest.raises(DBAPIError, match="lock timeout"), db.transaction("worker") as other:
            other.execute(text("set local lock_timeout = '50ms'"))
            other.execute(late, {"before": NOW - 120 * DAY})
    with_mails = {row.month: row.mails for row in closed if row.mails}
    assert with_mails == {(NOW - 200 * DAY).date().replace(day=1): 2, (NOW - 130 * DAY).date().replace(day=1): 1}
    with db.transaction("worker") as session:
        counts = retention.go_on(session, rule=MAIL, now=NOW)
    assert counts == {"rows": 3, "months": len(closed), "more": 1}
    with pytest.raises(DBAPIError, match="permission denied"), db.transaction(staff_id=id_of("ada")) as session:
        session.execute(text("select platform.close_months(:now, 24)"), {"now": NOW})
    assert len(left()) == 2 and set(young) < left(), "the edge is the next part's"


def test_the_edge_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_mail, "PART", 3)
    at = datetime(2026, 8, 1, 5, tzinfo=UTC)
    mail(*(NOW - at + timedelta(minutes=minute) for minute in range(8)))
    taken: list[dict[str, int]] = []
    with db.transaction("worker") as session:
        while (counts := retention.go_on(session, rule=MAIL, now=NOW)).pop("more", 0):
            taken.append(counts)
    assert [each.get("rows") for each in taken if "months" not in each] == [3, 3] and counts == {"rows": 2}


def test_more_than_usual_asks_an_officer_and_an_answer_lets_it_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_mail, "UNUSUAL_ROWS", 4)
    mail(*([100 * DAY] * 5), 10 * DAY)
    assert work()[0] == (MAIL, "done", {})
    assert runs() == [(False, {}, "brake")] and len(left()) == 6
    assert rows("select kind, due, people from privacy.brake") == [("mail", 5, 6)]
    [brake] = rows("select id from privacy.brake")
    act("answer_brake", "omar", brake_id=brake[0], confirmation="5", reason=brakes.REASONS[0])
    assert work(NOW + timedelta(minutes=2))[0][2]["rows"] == 5
    mail(*([100 * DAY] * 50))
    assert work(NOW + timedelta(minutes=5))[0] == (MAIL, "done", {}), "as many as were asked about, not more"


@pytest.mark.parametrize("why", ["clock", "audit"])
def test_a_wrong_clock_or_a_broken_audit_stops_everything(why: str, owner: Connection) -> None:
    mail(100 * DAY)
    if why == "clock":
        with db.transaction("worker") as session:
            brakes._raise(session, "clock", "clock jumped", NOW)
    else:
        owner.execute(text("insert into privacy.audit_check (checked_at, lines, head, problem, checkpoints, place)"
                           " values (:now, 1, '', 'changed', 0, 'test')"), {"now": NOW})  # fmt: skip
        owner.commit()
    work()
    assert len(left()) == 1
    assert {waits for _, _, waits in runs()} == {"brake" if why == "clock" else "audit"}


def visitor(
    name: str, asked: timedelta, *, email: str = "", answered: timedelta | None = None, planned: timedelta | None = None
) -> uuid.UUID:
    """A form that was left so long ago; ``planned``: the next contact, so far ahead."""
    made, address = uuid.uuid4(), email or f"{name}@example.org"
    email_hash, provider_hash = keys.person_hashes()(address, f"test:{made}")
    with db.transaction("worker") as session:
        session.execute(text("insert into platform.visitor (id, name, email, asked_at, answered_at, next_contact_on, email_hash, provider_hash, source)"
                             " values (:id, :name, :email, :asked, :answered, :planned, :eh, :ph, 'test')"),
                        {"id": made, "name": name, "email": address, "asked": NOW - asked, "answered": NOW - answered if answered else None,
                         "planned": (NOW + planned).date() if planned else None, "eh": email_hash, "ph": provider_hash})  # fmt: skip
    return made


def visitors() -> set[str]:
    return {each for (each,) in rows("select name from platform.visitor where source = 'test'")}


def followed_up(who: uuid.UUID, ago: timedelta) -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into platform.follow_up (id, visitor_id, step, at, by_id, kind) values (gen_random_uuid(), :v, 1, :at, :by, 'contact made')"),
                        {"v": who, "at": NOW - ago, "by": id_of("paula")})  # fmt: skip


YEAR = timedelta(days=366)


def test_visitors_go_twelve_months_after_the_last_contact_with_all_their_forms(owner: Connection) -> None:
    before = rows("select count(*) from platform.visitor")[0][0], cast.snapshot(owner, "ben")
    owner.rollback()
    visitor("gone", 2 * YEAR)
    visitor("gone twice", 3 * YEAR, email="same@example.org")
    visitor("gone again", 2 * YEAR, email="Same@example.org")
    visitor("young form", 3 * YEAR, email="young@example.org")
    visitor("old form", 10 * DAY, email="young@example.org")
    visitor("just inside", timedelta(days=364))
    visitor("answered late", 2 * YEAR, answered=30 * DAY)
    visitor("planned", 2 * YEAR, planned=10 * DAY)
    followed_up(visitor("followed up", 2 * YEAR), 20 * DAY)
    followed_up(visitor("gone with notes", 3 * YEAR), 2 * YEAR)
    done = {key: counts for key, _, counts in work()}
    assert visitors() == {"young form", "old form", "just inside", "answered late", "planned", "followed up"}
    assert done[VISITORS] == {"visitors": 4, "other rows": 1}
    owner.rollback()
    after = cast.snapshot(owner, "ben")
    assert {**after, "email_log": []} == {**before[1], "email_log": []}
    assert rows("select count(*) from platform.visitor where source <> 'test'")[0][0] == before[0]


def test_visitors_with_an_open_request_or_under_a_hold_stay_until_it_is_over() -> None:
    asking, kept, same = (
        visitor("asking", 2 * YEAR),
        visitor("kept", 2 * YEAR),
        visitor("kept too", 3 * YEAR, email="kept@example.org"),
    )
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.request (id, kind, visitor_id, state, received_at, due_at, source)"
                             " values (gen_random_uuid(), 'access', :who, 'received', :now, :now, 'test')"), {"who": asking, "now": NOW})  # fmt: skip
    with held(visitor_id=kept):
        work()
        assert visitors() == {"asking", "kept", "kept too"}, f"{same} has the same address"
    work(NOW + DAY)
    assert visitors() == {"asking"}


@pytest.mark.parametrize("part", [1, 2, 200])
def test_the_oldest_contact_is_found_from_the_oldest_forms(part: int) -> None:
    def oldest(before: datetime = NOW) -> datetime | None:
        with db.transaction("worker") as session:
            return session.scalar(text("select privacy.oldest_visitor(:now, :part)"), {"now": before, "part": part})

    visitor("answered late", 990 * DAY, answered=3 * DAY)
    followed_up(visitor("followed up", 980 * DAY), 5 * DAY)
    kept = visitor("kept", 970 * DAY)
    visitor("forms", 960 * DAY, email="forms@example.org")
    visitor("again", DAY, email="forms@example.org")
    visitor("oldest", 940 * DAY, answered=920 * DAY)
    visitor("younger", 910 * DAY)
    assert oldest(NOW - 1000 * DAY) is None
    with held(visitor_id=kept):
        assert oldest() == NOW - 920 * DAY
    assert oldest() == NOW - 970 * DAY


@pytest.mark.parametrize("part", [1, 2, 200])
def test_old_visitors_are_counted_from_the_oldest_forms_to_a_limit(part: int) -> None:
    visitor("answered late", 990 * DAY, answered=3 * DAY)
    kept = visitor("kept", 970 * DAY)
    visitor("forms", 960 * DAY, email="forms@example.org")
    visitor("again", DAY, email="forms@example.org")
    for number in range(3):
        visitor(f"old {number}", 900 * DAY)
    asked = "select due, held from privacy.some_old_visitors(:before, :most, :part)"
    with held(visitor_id=kept):
        assert [rows(asked, before=NOW - 365 * DAY, most=most, part=part)[0][0] for most in (2, 3, 4)] == [2, 3, 3]
        assert rows(asked, before=NOW - 365 * DAY, most=4, part=part) == [(3, 1)]
    assert rows(asked, before=NOW - 1000 * DAY, most=4, part=part) == [(0, 0)]


def test_many_visitors_at_once_are_a_question() -> None:
    for number in range(21):
        visitor(f"v{number}", 2 * YEAR)
    work()
    assert len(visitors()) == 21 and runs(VISITORS) == [(False, {}, "brake")]
    assert rows("select due from privacy.brake where kind = 'visitors'") == [(21,)]


def test_an_import_that_brings_old_visitors_back_is_undone_by_the_next_run() -> None:
    visitor("back", 2 * YEAR)
    work()
    visitor("back", 2 * YEAR)
    assert work(NOW + timedelta(minutes=5)) == [(VISITORS, "done", {"visitors": 1})]


def test_files_whose_time_is_over_are_destroyed() -> None:
    with db.transaction("worker") as session:
        kept = [artifacts.keep(session, kind="export", owner_id=uuid.uuid4(), name="x.zip", media_type="application/zip", chunks=[b"x"],
                               expires_at=NOW + when, now=NOW - DAY) for when in (timedelta(0), DAY)]  # fmt: skip
    done = {key: counts for key, _, counts in work()}
    assert done["exports and evidence"] == {"files": 1}
    assert rows("select id, wrapped_key is null from privacy.artifact order by expires_at") == [
        (kept[0], True),
        (kept[1], False),
    ]


def test_a_dry_run_counts_exactly_what_a_run_takes_around_holds() -> None:
    mail(95 * DAY, 200 * DAY, 89 * DAY, to="asha")
    [_, record] = mail(95 * DAY, 96 * DAY, to="cleo")
    visitor("gone", 2 * YEAR)
    with held(student_id=id_of("asha")), held(student_id=id_of("cleo"), table="platform.email_log", record_id=record):
        with db.transaction("worker") as session:
            told = {each.rule.name: each.due and each.due.count for each in queries.retention(session, now=NOW, exact=True).rules}  # fmt: skip
        done = {key: counts for key, _, counts in work()}
        assert told[MAIL] == done[MAIL]["rows"] == 1
        assert told[VISITORS] == done[VISITORS]["visitors"] == 1


def test_what_the_pages_hold_bounds_the_rows_from_above() -> None:
    """Whether it is more than usual is first asked of the files: they may tell of more rows than there are, never of fewer."""
    mail(100 * DAY)
    fill = text("insert into platform.email_log (sent_at, id, student_id, kind, address, outcome, source)"
                " select :at, gen_random_uuid(), :ben, '', '', 'sent', '' from generate_series(1, 5000)")  # fmt: skip
    with db.transaction("worker") as session:
        session.execute(fill, {"at": NOW - 100 * DAY, "ben": id_of("ben")})
        bound = retention_mail._at_most(session, NOW - 90 * DAY)
        session.execute(text("delete from platform.email_log where kind = ''"))
    assert 5001 <= bound < 20_000


def test_a_mail_that_two_holds_keep_is_kept_once_and_as_it_is_at_the_drop(owner: Connection) -> None:
    """Copied before the month is locked, changed meanwhile by a bounce: what stays is what was there last."""
    kept, gone = mail(130 * DAY, to="cleo"), mail(130 * DAY)
    for _ in range(2):
        act("place_hold", "oskar", student_id=id_of("cleo"), table="platform.email_log", basis="court proceedings", reference="C 1/26",
            review_on=(NOW + 60 * DAY).date(), form_key=uuid.uuid4())  # fmt: skip
    with db.transaction("worker") as session:
        first = retention_mail._copy_held(session, NOW - 90 * DAY)
        session.execute(text("update platform.email_log set outcome = 'bounced' where id = :id"), {"id": kept[0]})
        while retention.go_on(session, rule=MAIL, now=NOW).get(retention.MORE):
            pass
    assert first == 1
    assert rows("select id, outcome from platform.held_mail") == [(kept[0], "bounced")]
    assert rows("select count(*) from platform.email_log where id = any(:ids)", ids=[*kept, *gone]) == [(0,)]
