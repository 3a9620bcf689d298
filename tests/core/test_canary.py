"""Canaries: planted in every store, erased by the real engine, looked for by strangers; counted nowhere; a trace turns red."""

import json
import uuid
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from typer.testing import CliRunner

from core import canary, canary_reader, canary_rows, cli, db, jobs, privacy_actions, worker
from core.errors import AdminError
from core.models.canaries import DOMAIN, values
from core.models.ways import PERSONS, ways_to
from core.policy import in_force
from core.policy.checks import CHECKS, canaries
from core.policy.evidence import Evidence, State
from core.policy.judging import judge
from core.processors import mail
from core.settings import settings
from core.worker import Worker
from tests.cast import NOW
from tests.core.privacy.house_of_erasures import Clock, bystander
from tests.core.privacy.house_of_requests import DAY, rows
from tests.core.processors.rigs import cloudinary_rig, mongo_rig, stripe_rig

__all__ = ["bystander"]
pytestmark = pytest.mark.usefixtures("house")
KINDS = ("canaries", "accounts closed by students", "erasures", "approved plans", "signs of life in grace", "months ahead", "propagations",
         "letters by mail", "guardians not needed", "tidying", "mail by rule", "acknowledgements", "roll-ups")  # fmt: skip
MINE = tuple(job for job in jobs.JOBS if job.kind in KINDS)
WAY = (0, 8, 9, 10, 39, 40, 41)
ALL_STORES = ("MongoDB Atlas", "Cloudinary", "payment gateway")


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest) -> None:
    """Nobody else's rows change; only where letters are sent to everybody there is no bystander."""
    if "mailed" not in request.node.name:
        request.getfixturevalue("bystander")


@pytest.fixture(autouse=True)
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that fails ends the test with what failed."""

    def note(error: BaseException) -> str:
        raise error

    monkeypatch.setattr(worker, "note", note)


def live(*days: int, name: str = "w") -> None:
    """Let a worker catch up on these days after NOW."""
    clock = Clock(NOW)
    made = Worker(clock, MINE, name=name)
    for day in days:
        clock.now = NOW + day * DAY
        made._asked.clear()
        made.catch_up()


def first() -> uuid.UUID:
    """The first canary."""
    found: uuid.UUID = rows("select id from privacy.canary order by week limit 1")[0][0]
    return found


def looks(stage: str = "erased", about: uuid.UUID | None = None) -> dict[str, tuple[str, dict[str, int], str]]:
    """What was seen last of the first canary, by place."""
    found = rows("select place, seen, found, error from privacy.canary_look where canary_id = :id and stage = :stage order by at",
                 id=about or first(), stage=stage)  # fmt: skip
    return {place: (seen, there, error) for place, seen, there, error in found}


def look_again(days: int) -> None:
    """Look for every canary that is due so many days after NOW."""
    with db.transaction("worker") as session:
        canary.go_on(session, key="look", now=NOW + days * DAY)


def says(promise: str, now: datetime) -> Evidence | None:
    with db.transaction("worker") as session:
        return canaries.seen(session, promise, now)


def test_every_table_about_people_has_a_canary_or_a_reason() -> None:
    tables = {table for person in PERSONS for table in ways_to(person)}
    planted, others = canary_rows.planted_tables(), canary_rows.ON_ITS_WAY.keys() | canary_rows.NOWHERE.keys()
    assert planted | others == tables, "a table nobody decided about"
    assert not planted & others
    assert all(why for why in canary_rows.NOWHERE.values())


def test_it_goes_the_whole_way_and_is_looked_for_by_strangers(owner: Connection) -> None:
    live(0)
    mine, who = first(), values(first())
    seen, found, _ = looks("planted")["this database"]
    tables = {column.rpartition(".")[0] for column in found}
    assert seen == "found"
    later = {
        "privacy.request_text",
        "privacy.export_text",
        "privacy.artifact",
        "privacy.artifact_part",
    }  # encrypted; with its request
    assert tables >= canary_rows.planted_tables() - later, "a table in which the looker does not find it"
    live(8, 9, 10)
    [(request, closed)] = rows("select request_id, closed_at from privacy.canary where id = :id", id=mine)
    [(source, grace)] = rows("select source, grace_ends_at from privacy.request where id = :id", id=request)
    with db.transaction("worker") as session:
        assert grace == closed + in_force(session, NOW).grace_days * DAY
    assert source == "canary"
    assert rows("select count(*) from privacy.request_text where student_id = :id", id=who.student_id) == [(1,)]
    live(36)
    assert rows("select gone_at from privacy.canary where id = :id", id=mine) == [(None,)], "one day too early"
    live(39, 40, 40, 41)  # looked for by the turn after the one that erases
    assert rows("select gone_at is not null from privacy.canary where id = :id", id=mine) == [(True,)]
    assert {place: seen for place, (seen, _, _) in looks().items()} == {
        "this database": "absent",
        "files of this dashboard": "absent",
    }
    assert rows("select count(*) from privacy.erasure_certificate") == [(1,)]
    assert rows("select count(*) from privacy.outbox where state <> 'canceled' or address is not null") == [(0,)]
    assert rows("select count(*) from privacy.manual_step where state <> 'canceled'") == [(0,)]
    for promise in ("RET-GRACE", "RGT-DELETE"):
        told = says(promise, NOW + 40 * DAY)
        assert told is not None and told.state is State.HOLDS and told.place == "canaries", told
    with db.transaction("worker") as session:
        state = CHECKS["RET-GRACE"](session, NOW + 40 * DAY)
    assert state.state is State.HOLDS and "canary" in state.sentence
    stages = rows("select count(*) filter (where closed_at is null), count(*) filter (where closed_at is not null and gone_at is null),"
                  " count(*) filter (where gone_at is not null) from privacy.canary")  # fmt: skip
    assert all(stages[0]), "always some in each stage"


def test_doing_it_twice_and_by_two_workers_changes_nothing() -> None:
    for name in ("one", "other"):
        live(0, name=name)
    with db.transaction("worker") as session:
        assert canary.plant(session, week=NOW.date() - timedelta(days=NOW.weekday()), now=NOW) == {}
        mine = session.get(canary.Canary, first())
        assert mine is not None and canary_rows.plant(session, mine, from_platform=False, now=NOW) == 0
    for name in ("one", "other"):
        live(8, 9, 10, name=name)
    for key in (f"close {first()}", f"see to {first()}", f"plant {first()} MongoDB Atlas", f"close {uuid.uuid4()}"):
        with db.transaction("worker") as session:
            assert not any(canary.go_on(session, key=key, now=NOW + 10 * DAY).values()), key
    assert rows("select count(*) from privacy.canary where week <= :monday", monday=NOW.date()) == [(1,)]
    assert rows("select count(*) from privacy.request where source = 'canary'") == [(1,)]


@pytest.mark.parametrize(
    "trace",
    [
        "update platform.cohort set title = 'Moved for ' || :name",
        "update privacy.policy_version set document = document || jsonb_build_object('note', cast(:email as text))",
        "update staff.assignment set cohort_id = cohort_id, id = :student where id = (select id from staff.assignment limit 1)",
        "insert into platform.email_log select now() - interval '1 day', gen_random_uuid(), s.id, null, 'account', upper(:email), 'sent', 'test'"
        " from platform.student s where s.name like 'Cleo%'",
    ],
)  # fmt: skip
def test_a_trace_in_this_database_turns_red_and_alerts_once(
    trace: str, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESOCODE_ALERT_WEBHOOK", "http://127.0.0.1:9/alerts")
    live(*WAY)
    who = values(first())
    owner.execute(text("set session_replication_role = replica"))
    asked = {"name": who.name, "email": who.email, "student": who.student_id}
    owner.execute(text(trace), {name: value for name, value in asked.items() if f":{name}" in trace})
    owner.commit()
    look_again(48)
    seen, found, _ = looks()["this database"]
    assert seen == "found" and len(found) == 1, found
    for day in (48, 49):
        with db.transaction("worker") as session:
            privacy_actions.check_promises(session, now=NOW + day * DAY)
    states = dict(
        rows(
            "select promise, state from privacy.promise_state where promise in ('RET-GRACE', 'RGT-DELETE', 'PRC-MONGODB')"
        )
    )
    assert states["RET-GRACE"] == states["RGT-DELETE"] == "broken" != states["PRC-MONGODB"]
    alerts = rows("select promise, sentence from privacy.promise_alert where promise in ('RET-GRACE', 'RGT-DELETE')")
    assert sorted(promise for promise, _ in alerts) == ["RET-GRACE", "RGT-DELETE"], "told once"
    assert not [sentence for _, sentence in alerts if who.email in sentence or who.name in sentence]


def test_a_trace_in_a_file_turns_red() -> None:
    live(*WAY)
    file = settings().ledger / "forgotten.txt"
    file.write_text(f"please call {values(first()).name}")
    look_again(48)
    assert looks()["files of this dashboard"][0] == "found"
    file.unlink()
    look_again(49)
    assert looks()["files of this dashboard"][0] == "absent", "looked for again a day after something was found"


def test_every_connected_store_has_it_and_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        rigs = {
            rig.name: rig
            for rig in (stack.enter_context(made(monkeypatch)) for made in (cloudinary_rig, stripe_rig, mongo_rig))
        }
        mongo, pictures, gateway = (rigs[name] for name in ("MongoDB Atlas", "Cloudinary", "payment gateway"))
        live(0)
        planted = looks("planted")
        assert {place: seen for place, (seen, _, _) in planted.items()} == dict.fromkeys(
            (*ALL_STORES, "this database"), "found"
        ), planted
        who = values(first())
        live(8, 9, 10, 39, 40, 41)
        steps = dict(rows("select s.place, s.state from privacy.erasure_step s join privacy.canary c on c.id = :id"
                          " join privacy.erasure e on e.request_id = c.request_id where s.erasure_id = e.id", id=first()))  # fmt: skip
        assert {steps[place] for place in ALL_STORES} == {"proven"}
        assert steps["Vercel"] == "exempt", "not connected: nothing was ever there"
        last = rows("select s.state, s.error from privacy.erasure_step s where s.what = 'letter'")
        assert last == [("exempt", "a canary: nobody is there to write to")], "no officer canceled it"
        gone = looks()
        assert {gone[place][0] for place in ALL_STORES} == {"absent"}, gone
        assert says("PRC-CLOUDINARY", NOW + 41 * DAY).state is State.HOLDS  # type: ignore[union-attr]
        mongo.server.db["payments"].insert_one({"_id": "left", "student": who.key})  # type: ignore[attr-defined]
        pictures.library.put(f"students/{who.key}/canary")  # type: ignore[attr-defined]
        gateway.gateway.post("/v1/customers", email=who.email, name="x")  # type: ignore[attr-defined]
        look_again(49)
        left = looks()
        assert {place: left[place][0] for place in ALL_STORES} == dict.fromkeys(ALL_STORES, "found"), left
        with db.transaction("worker") as session:
            found = {each.promise.id: each.state for each in judge(session, now=NOW + 49 * DAY)}
        broken = {"PRC-MONGODB", "PRC-CLOUDINARY", "PRC-PAYMENTS", "RET-GRACE", "RGT-DELETE"}
        assert {promise for promise in broken if found[promise] is not State.BROKEN} == set()
        pictures.breaks("500", reading=True)
        look_again(50)
        assert looks()["Cloudinary"][0] == "unclear"
        assert says("PRC-CLOUDINARY", NOW + 50 * DAY).state is State.NOT_PROVEN  # type: ignore[union-attr]


def test_a_looker_who_is_blind_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(canary_reader, "_in_table", lambda *_: [])
        live(0)
    live(*WAY[1:])
    told = says("RET-GRACE", NOW + 42 * DAY)
    assert told is not None and told.state is State.NOT_PROVEN and "proves nothing" in told.sentence


def test_a_worker_that_is_off_shows() -> None:
    assert says("RET-GRACE", NOW) is None, "nothing to say before the first one"
    live(0)
    assert says("RET-GRACE", NOW + 8 * DAY) is None
    assert says("RET-GRACE", NOW + 10 * DAY).state is State.AT_RISK  # type: ignore[union-attr]
    live(8, 9, 10)
    late = says("RET-GRACE", NOW + 41 * DAY)
    assert late is not None and late.state is State.NOT_PROVEN and "not erased" in late.sentence
    live(41, 42, 43, 44)
    assert says("RET-GRACE", NOW + 44 * DAY).state is State.HOLDS  # type: ignore[union-attr]


def test_nothing_is_ever_mailed_to_a_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DOMAIN.endswith(".invalid"), "RFC 2606"
    sent: list[str] = []
    monkeypatch.setattr(mail, "configured", lambda: True)
    monkeypatch.setattr(mail, "sender", lambda: "x@resocode.example")

    class Line:
        def __enter__(self) -> "Line":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def send(self, letter: Any) -> Any:
            sent.append(letter.address)
            return mail.Delivery("taken", "")

    monkeypatch.setattr(mail, "Line", Line)
    live(*WAY)
    assert not [address for address in sent if DOMAIN in address]


def test_the_commands_plant_tell_and_ring() -> None:
    run = CliRunner()
    assert "There is no canary yet" in run.invoke(cli.app, ["canary", "status"]).output
    assert "Planted, in" in run.invoke(cli.app, ["canary", "plant"]).output
    assert "is there already" in run.invoke(cli.app, ["canary", "plant"]).output
    [told] = json.loads(run.invoke(cli.app, ["canary", "status", "--json"]).stdout)
    assert (told["stage"], told["places"]) == ("lives", ["this database"])
    with db.transaction("worker") as session:
        gone = "update privacy.canary set closed_at = planted_at, gone_at = planted_at"
        session.execute(text(gone))
        left = "insert into privacy.canary_look (id, canary_id, place, stage, at, seen, found) select gen_random_uuid(), id, 'Cloudinary', 'erased', planted_at, 'found', '{\"image\": 1}' from privacy.canary"
        session.execute(text(left))
    done = run.invoke(cli.app, ["canary", "status"])
    assert done.exit_code == 1 and "found in Cloudinary" in done.output
    assert isinstance(done.exception, AdminError) and "1 of 1 canaries" in done.exception.sentence
    assert values(first()).email not in done.output
