"""States and their history, alerts that are told once, attestations with an end, samples that can be drawn again."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import db, privacy_actions, queries
from core.errors import BadInput, NotFound, NotFresh, Refused
from core.jobs import JOBS
from core.policy.evidence import Evidence, State, not_proven
from core.policy.judging import judge
from core.policy.promises import LEDGER
from core.privacy import alerts, promises
from core.worker import Worker
from tests.admins import call
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import act, lines, rows, staff
from tests.mail_server import Server, server

__all__ = ["server"]

pytestmark = pytest.mark.usefixtures("house")
HOUR = timedelta(hours=1)
LATER = NOW + HOUR
YEAR = NOW.date() + timedelta(days=200)
LOOKED = "Looked at the encryption of every disk with the host's own tool."


def standing(state: State) -> Any:
    return lambda _session, _now: Evidence(state, f"It is {state}.")


def check(state: State, at: datetime, promise: str = "RET-MAIL90") -> dict[str, int]:
    """A run in which every check holds but one."""
    checks = {each.id: standing(State.HOLDS) for each in LEDGER} | {promise: standing(state)}
    with db.transaction("worker") as session:
        return privacy_actions.check_promises(session, now=at, checks=checks)


def board(who: str = "omar", at: datetime | None = None, now: datetime = LATER) -> queries.Board:
    with db.transaction(staff_id=id_of(who)) as session:
        found = queries.policy_board(session, at=at or now, now=now)
    assert found
    return found


def row(promise: str, **when: Any) -> queries.PromiseRow:
    return next(each for each in board(**when).rows if each.promise.id == promise)


def test_history_has_each_change_once_and_answers_for_any_day() -> None:
    for hour, state in enumerate((State.AT_RISK, State.AT_RISK, State.BROKEN, State.HOLDS)):
        check(state, NOW + hour * HOUR, "RET-GRACE")
    with db.transaction(staff_id=id_of("aiko")) as session:
        told = queries.promise_history(session, "RET-GRACE", at=NOW + 9 * HOUR)
    assert [each.state for each in told] == ["holds", "broken", "at risk"]
    assert [each.before for each in told] == ["broken", "at risk", None]
    after = NOW + 4 * HOUR
    for hour, state in ((0, State.AT_RISK), (1, State.AT_RISK), (2, State.BROKEN), (3, State.HOLDS)):
        at = NOW + hour * HOUR + timedelta(minutes=1)
        assert row("RET-GRACE", at=at, now=after).state is state
    assert row("RET-GRACE", at=NOW + HOUR, now=after).since == NOW
    assert board(at=NOW - HOUR, now=after).checked_at is None
    assert {each.state for each in board(at=NOW - HOUR, now=after).rows} == {State.NOT_PROVEN}


def test_evidence_that_is_too_old_proves_nothing_and_a_broken_promise_stays_broken() -> None:
    check(State.BROKEN, NOW)
    late = NOW + timedelta(hours=27)
    assert row("RET-GRACE", now=NOW + timedelta(hours=25)).state is State.HOLDS
    assert row("RET-GRACE", now=late).state is State.NOT_PROVEN
    assert (
        "26 Nov" not in row("RET-GRACE", now=late).told.sentence
        and "24 Nov 2026" in row("RET-GRACE", now=late).told.sentence
    )
    assert row("RET-MAIL90", now=late).state is State.BROKEN


def test_a_check_that_fails_or_hangs_is_not_proven_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(session: Session, _now: datetime) -> Evidence:
        session.execute(text("select 1 / 0"))
        raise AssertionError

    def hangs(session: Session, _now: datetime) -> Evidence:
        session.execute(text("select pg_sleep(30)"))
        raise AssertionError

    monkeypatch.setattr("core.policy.judging.SECONDS", 0.2)
    checks = {"RET-GRACE": standing(State.HOLDS), "RET-MAIL90": fails, "RET-ANON": hangs}
    with db.transaction("worker") as session:
        found = {each.promise.id: each.evidence[0] for each in judge(session, now=NOW, checks=checks)}
    assert found["RET-GRACE"].state is State.HOLDS
    assert found["RET-MAIL90"].sentence == "The check could not be run (DivisionByZero)."
    assert found["RET-ANON"].sentence == "The check could not be run (QueryCanceled)."
    assert found["RET-ACTIVE"].state is State.NOT_PROVEN


def test_evidence_about_the_dashboard_never_turns_a_promise_of_the_platform_green() -> None:
    check(State.HOLDS, NOW)
    split = [each for each in board().rows if each.promise.attested]
    assert len(split) > 15
    for each in split:
        assert each.state is State.NOT_PROVEN
        assert {place.place for place in each.evidence} == {each.promise.looks, *each.promise.attested}


def test_the_worker_checks_every_hour_and_when_somebody_asks() -> None:
    def due(at: datetime) -> list[str]:
        with db.transaction("worker") as session:
            return promises.checks_due(session, at)

    assert due(NOW)
    check(State.HOLDS, NOW)
    assert due(NOW + timedelta(minutes=59)) == []
    assert act("ask_check", "omar") is True
    assert act("ask_check", "ada") is False
    assert due(NOW) == ["asked for"]
    assert board().asked_at == NOW
    job = [each for each in JOBS if each.kind == "checks of promises"]
    done = Worker(clock=lambda: LATER, jobs=job, name="test").catch_up()
    assert [(each.became, sum(each.counts.values())) for each in done] == [("done", len(LEDGER))]
    assert board().asked_at is None and board().checked_at == LATER
    assert due(LATER) == [] and due(LATER + HOUR)
    with pytest.raises(Refused):
        act("ask_check", "aiko")


class Receiver(BaseHTTPRequestHandler):
    """A webhook that answers what it is told to, and keeps what came."""

    answers: ClassVar[list[int]] = []
    came: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.came.append(json.loads(body) | {"key": self.headers["idempotency-key"]})
        self.send_response(self.answers.pop(0) if self.answers else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Receiver]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Receiver.answers, Receiver.came = [], []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("RESOCODE_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_address[1]}/alerts")
    yield Receiver
    server.shutdown()
    server.server_close()
    thread.join()


def tell(at: datetime) -> list[str]:
    """What the job makes of every alert that is due."""
    with db.transaction("worker") as session:
        due = alerts.alerts_due(session, at)
        return [alerts.deliver_alert(session, alert_id=__import__("uuid").UUID(each), now=at) for each in due]


def test_a_broken_promise_is_told_once_and_once_when_it_is_kept_again(webhook: type[Receiver]) -> None:
    check(State.BROKEN, NOW)
    assert tell(NOW) == ["sent"]
    check(State.BROKEN, NOW + HOUR)
    check(State.NOT_PROVEN, NOW + 2 * HOUR)  # could not be run: neither broken anew nor mended
    check(State.BROKEN, NOW + 3 * HOUR)
    assert tell(NOW + 3 * HOUR) == []
    check(State.AT_RISK, NOW + 4 * HOUR)
    check(State.HOLDS, NOW + 5 * HOUR)
    assert tell(NOW + 5 * HOUR) == ["sent"]
    assert [(each["promise"], each["state"], each["since"]) for each in webhook.came] == [
        ("RET-MAIL90", "broken", "2026-11-24T12:00:00Z"),
        ("RET-MAIL90", "resolved", "2026-11-24T12:00:00Z"),
    ]
    check(State.BROKEN, NOW + 6 * HOUR)
    assert tell(NOW + 6 * HOUR) == ["sent"]
    assert set(webhook.came[0]) == {"id", "promise", "clause", "text", "state", "since", "at", "sentence", "key"}
    assert webhook.came[0]["key"] == webhook.came[0]["id"]
    assert lines().count("alert told") == 3


def test_an_alert_is_tried_again_until_it_arrives_and_given_up_when_it_is_refused(webhook: type[Receiver]) -> None:
    webhook.answers = [503, 429, 204]
    check(State.BROKEN, NOW)
    assert tell(NOW) == ["waiting"]
    assert tell(NOW + timedelta(seconds=59)) == []
    assert tell(NOW + timedelta(seconds=60)) == ["waiting"]
    assert tell(NOW + timedelta(minutes=3)) == ["sent"]
    assert len({each["id"] for each in webhook.came}) == 1
    webhook.answers = [404]
    check(State.BROKEN, NOW + HOUR, "RET-GRACE")
    assert tell(NOW + HOUR) == ["failed", "sent"] or tell(NOW + HOUR) == []
    assert rows("select distinct error from privacy.promise_alert where state = 'failed'") == [("404",)]


def test_mail_goes_to_each_configured_address(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("RESOCODE_ALERT_MAIL", "a@staff.example, b@staff.example")
    server.answers["b@staff.example"] = "451 later"
    check(State.BROKEN, NOW)
    assert sorted(tell(NOW)) == ["sent", "waiting"]
    server.answers.clear()
    assert tell(NOW + timedelta(minutes=2)) == ["sent"]
    assert [message["To"] for message in server.got] == ["a@staff.example", "b@staff.example"]
    assert server.got[0]["Subject"] == "RET-MAIL90 is broken"
    body = server.got[0].get_content()
    assert "It is broken." in body and "clause 8" in body
    assert len(set(server.ids)) == 2


def test_without_a_mail_server_nothing_waits_for_one_and_standing_breaks_are_told_once_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RESOCODE_ALERT_MAIL", "a@staff.example")
    check(State.BROKEN, NOW)
    assert tell(NOW) == []
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://localhost:25")
    check(State.BROKEN, NOW + HOUR)
    assert rows("select promise, state from privacy.promise_alert") == [("RET-MAIL90", "waiting")]


def attest(who: Any = "omar", *, now: datetime = NOW, **more: Any) -> Any:
    given = {"places": [("SEC-ENCRYPT", "host")], "statement": LOOKED, "owner_id": id_of("omar"), "expires_on": YEAR}
    return act("attest", who, now=now, **(given | more))


def vouched(at: datetime) -> Evidence:
    with db.transaction("worker") as session:
        found = judge(session, now=at, checks={})
    mine = next(each for each in found if each.promise.id == "SEC-ENCRYPT")
    return next(each for each in mine.evidence if each.place == "host")


def test_an_attestation_holds_warns_before_it_lapses_and_proves_nothing_afterwards(owner: Connection) -> None:
    assert vouched(NOW).state is State.NOT_PROVEN
    attest()
    end = datetime.combine(YEAR, datetime.min.time(), UTC)
    assert vouched(NOW).state is State.HOLDS
    assert vouched(end - timedelta(days=31)).state is State.HOLDS
    assert vouched(end - timedelta(days=30)).state is State.AT_RISK
    assert vouched(end - timedelta(seconds=1)).state is State.AT_RISK
    assert vouched(end).state is State.NOT_PROVEN
    attest(now=NOW + HOUR, owner_id=id_of("ada"), expires_on=YEAR + timedelta(days=60))
    assert vouched(end).state is State.HOLDS
    owner.execute(text("update staff.staff_member set disabled_at = now() where id = :id"), {"id": id_of("ada")})
    owner.commit()
    assert vouched(NOW + HOUR).state is State.AT_RISK
    with db.transaction(staff_id=id_of("aiko")) as session:
        told = queries.attestations(session, now=NOW + HOUR)
    assert [(each.owner, each.standing) for each in told] == [("Ada", True), ("Omar", False)]
    act("withdraw_attestation", "omar", attestation_id=told[0].id, now=NOW + 2 * HOUR)
    assert vouched(NOW + 2 * HOUR).state is State.HOLDS  # the one before it stands again
    with pytest.raises(NotFound):
        act("withdraw_attestation", "omar", attestation_id=told[0].id, now=NOW + 2 * HOUR)
    assert lines().count("promise attested") == 2 and lines().count("attestation withdrawn") == 1


@pytest.mark.parametrize(
    "more",
    [
        {"statement": "Short."},
        {"expires_on": NOW.date()},
        {"expires_on": NOW.date() + timedelta(days=366)},
        {"places": []},
        {"places": [("SEC-ENCRYPT", "moon")]},
        {"places": [("RGT-ACCESS", "platform")]},
        {"owner_id": id_of("dora")},
    ],
)
def test_what_cannot_be_attested_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        attest(**more)
    assert rows("select count(*) from privacy.attestation") == [(0,)]


@pytest.mark.parametrize("name", ["paula", "ines", "aiko"])
def test_others_do_not_attest_and_bare_sql_does_not_either(name: str) -> None:
    with pytest.raises(Refused):
        attest(name)
    bare = (
        "insert into privacy.attestation (id, promise, place, statement, owner_id, given_by, given_at, expires_on) values (gen_random_uuid(),"
        " 'SEC-ENCRYPT', 'host', 'Looked at everything there is.', :owner, :giver, :now, '2027-01-01') returning 1"
    )
    who = staff(name)
    with pytest.raises(ProgrammingError):
        call(bare, who, owner=id_of("omar"), giver=who.id, now=NOW)
    omar = staff("omar")
    with pytest.raises(ProgrammingError, match="row-level security"):
        call(bare, omar, owner=id_of("omar"), giver=id_of("ada"), now=NOW)
    assert rows("select count(*) from privacy.attestation") == [(0,)]


def test_whoever_attests_has_just_proved_who_they_are_and_nobody_changes_it() -> None:
    stale = staff("omar")
    with pytest.raises(NotFresh):
        attest(stale, now=NOW + timedelta(minutes=6))
    attest()
    omar = staff("omar")
    for change in ("statement = 'Something else altogether.'", "expires_on = '2029-01-01'"):
        with pytest.raises(ProgrammingError):
            call(f"update privacy.attestation set {change} returning 1", omar)


def test_nobody_but_the_worker_says_how_a_promise_stands() -> None:
    check(State.BROKEN, NOW)
    for name in ("omar", "ada", "aiko"):
        for change in (
            "update privacy.promise_state set state = 'holds' returning 1",
            "delete from privacy.promise_check returning 1",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"):
                call(change, staff(name))
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction("worker") as session:
        session.execute(text("update privacy.promise_check set state = 'holds'"))
    for name in ("paula", "ines", "marek"):
        with db.transaction(staff_id=id_of(name)) as session:
            assert not session.scalars(text("select promise from privacy.promise_state")).all()
            assert queries.worst_promise(session, now=LATER) is None
            assert queries.policy_text(session, at=NOW) is not None
    with db.transaction(staff_id=id_of("aiko")) as session:
        told = queries.worst_promise(session, now=LATER)
    assert told and told[0] is State.BROKEN and told[2] and told[2].promise.id == "RET-MAIL90"


def closed_requests(owner: Connection, many: int) -> None:
    owner.exec_driver_sql("set session_replication_role = replica")
    owner.execute(text("""insert into privacy.request (id, number, kind, student_id, state, received_at, due_at, answered_at, closed_at, source)
        select gen_random_uuid(), 9000 + n, 'access', :ben, 'answered', :at, :at + interval '1 month', :at + interval '5 days',
            :at + interval '5 days', 'test' from generate_series(1, :many) n"""),
        {"ben": id_of("ben"), "at": NOW - timedelta(days=60), "many": many})  # fmt: skip
    owner.commit()


def test_a_sample_is_drawn_again_from_its_seed_and_by_hand(owner: Connection) -> None:
    import hashlib

    closed_requests(owner, 40)
    period = {"closed_from": date(2026, 9, 1), "closed_to": NOW.date()}

    def drawn(who: str, **more: Any) -> list[int]:
        made = act("draw_sample", who, **({"size": 5, "seed": "audit 2026"} | period | more))
        with db.transaction(staff_id=id_of(who)) as session:
            return [each.number for each in queries.sampled_requests(session, made)]

    first = drawn("aiko")
    assert first == drawn("omar") and len(set(first)) == 5
    assert first[:3] == drawn("aiko", size=3)
    assert first != drawn("aiko", seed="another")
    numbers = [each[0] for each in rows("select number from privacy.request where closed_at >= '2026-09-01'")]
    assert first == sorted(numbers, key=lambda n: hashlib.sha256(f"audit 2026:{n}".encode()).digest())[:5]
    assert rows("select seed, size, population from privacy.sample_draw order by drawn_at, id limit 1") == [
        ("audit 2026", 5, 41)
    ]
    assert lines().count("sample drawn") == 4
    for name in ("ada", "paula"):
        with pytest.raises(Refused):
            drawn(name)
        with pytest.raises(ProgrammingError):
            call(
                "select privacy.draw_sample(gen_random_uuid(), 'x', 5, '2026-01-01', '2026-11-01', now())", staff(name)
            )


def test_a_sample_names_nobody(owner: Connection) -> None:
    closed_requests(owner, 3)
    made = act("draw_sample", "aiko", size=10, closed_from=date(2026, 1, 1), closed_to=NOW.date())
    with db.transaction(staff_id=id_of("aiko")) as session:
        found = queries.sampled_requests(session, made)
    told = repr(found).lower()
    assert len(found) == 4 and all(each.on_time for each in found)
    for secret in ("ben", "asha", "example", str(id_of("ben")), str(id_of("omar"))):
        assert secret not in told, secret
    for size, first, last in ((0, 1, 2), (101, 1, 2), (5, 30, 2)):
        with pytest.raises(BadInput):
            act("draw_sample", "aiko", size=size, closed_from=date(2026, 10, first), closed_to=date(2026, 10, last))


def test_a_promise_that_the_program_does_not_know_is_not_proven(owner: Connection) -> None:
    owner.exec_driver_sql("set session_replication_role = replica")
    owner.execute(
        text("""update privacy.policy_version set document = document ||
        '{"promises": [{"id": "RET-MAIL90", "text": "Mail logs go."}, {"id": "NEW-1", "clause": "5", "text": "Something new"}]}'""")
    )
    owner.commit()
    check(State.HOLDS, NOW)
    found = {each.promise.id: each for each in board().rows}
    assert list(found) == ["NEW-1", "RET-MAIL90"]
    assert found["NEW-1"].state is State.NOT_PROVEN and "no check" in found["NEW-1"].told.sentence
    assert found["RET-MAIL90"].promise.text == "Mail logs go."
    assert not_proven("x").state is State.NOT_PROVEN
