"""The attacks that need the product itself: its database, its deletion, its roles, its ledger."""

import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, queries
from core.anon import counting
from core.anon.builder import due_releases
from core.anon.method import planned
from core.anon.reader import SHAPES
from core.anon.workload import lifetime_cost
from core.jobs import JOBS
from core.policy import publish_first_version
from core.privacy import grace, releases
from core.queries import Question
from tests.anon.world import PROGRAMS, TODAY, Person, Place, Setting, add_people, build, publish_all, without_noise
from tests.core.privacy.house_of_erasures import send_letters, stores, work  # noqa: F401  (stores: a fixture)

LATER = Setting(history_quarters=5)
NOW = datetime(2026, 4, 21, tzinfo=UTC)
FULL = os.environ.get("RESOCODE_ATTACKS") == "full"


def history(number: int, rng: random.Random) -> Person:
    """A random, adversarial history: several programs, twice in one, everything reached at once, active all the time."""
    places = []
    for program, cohort in rng.sample([(p, c) for p in PROGRAMS for c in (1, 2, 3, 4)], rng.randint(1, 5)):
        begins = date(2025, 1, 1) + timedelta(days=rng.choice([10, 20, 100, 200, rng.randint(0, 360)]))
        done = tuple(begins + timedelta(days=rng.randint(0, 40)) for _ in range(rng.choice([0, 2, 4, 4])))
        seen = tuple(date(2025, month, 15) for month in rng.sample(range(1, 13), rng.randint(0, 4)))
        places.append(Place(program, cohort, begins, done=done, seen=seen))
    return Person(f"h{number}", tuple(places), level=rng.choice(["beginner", "intermediate", "advanced", "not stated"]))


def worst() -> Person:
    """Somebody who does all that can be done: the same program twice in one month, halves and wholes of two programs."""
    day, done = date(2025, 1, 5), (date(2025, 2, 1),) * 4
    seen = (date(2025, 2, 1), date(2025, 5, 1), date(2025, 8, 1), date(2025, 11, 1))
    return Person("worst", (Place("A", 1, day, done, seen), Place("A", 2, day, done), Place("B", 1, day + timedelta(days=1), done), Place("C", 1, day + timedelta(days=2), done), Place("C", 2, day + timedelta(days=2))))  # fmt: skip


# A10: what one account costs, over all releases.


@pytest.fixture
def histories(worker: Session) -> Session:
    """1000 random histories and the worst one."""
    rng = random.Random(10)
    build(worker, [worst(), *(history(number, rng) for number in range(1000))])
    return worker


def spent(session: Session, folder: Path) -> dict[uuid.UUID, float]:
    """What each account spends over all releases, squared mu: how much the exact counts change without it, by the product's SQL.

    The statement that counts is run as it is, but for its last line, which tells the rows instead of counting them.
    """
    file = Setting().write(folder)
    method = planned(session, file, today=TODAY)
    cells: Counter[tuple[uuid.UUID, str, str, str, str, str]] = Counter()
    for due in due_releases(session, file, today=TODAY):
        family = method.family(due.family)
        for flow in family.of(due.period.grain):
            counted = counting.statement(family, flow)
            told = counted.replace("select k.k1, k.k2, count(*) as people", "select k.student_id, k.k1, k.k2").replace("group by k.k1, k.k2\n", "")  # fmt: skip
            assert "select k.student_id, k.k1" in told and "group by k.k1" not in told
            for row in session.execute(text(told), counting.parameters(method, family, flow, due.period)):
                for marginal in flow.marginals:
                    second = "" if marginal == "program" and family.name == "enrollments" else row.k2
                    cells[row.student_id, family.name, due.period.name, marginal, row.k1, second] += 1
    costs: dict[uuid.UUID, float] = {}
    for (student, family_name, *_), times in cells.items():
        costs[student] = costs.get(student, 0.0) + times**2 / method.family(family_name).sigma ** 2
    return costs


def drop_the_bound(patch: pytest.MonkeyPatch) -> None:
    """A mutant: whoever does more is counted more often."""
    patch.setattr(counting, "_RECORD_AND_COUNT", counting._RECORD_AND_COUNT.replace("slot <= :at_most", "slot <= 8"))


def count_enrollments(patch: pytest.MonkeyPatch) -> None:
    """A mutant: every enrollment counts, not every learner."""
    every = counting._ENROLLED[: counting._ENROLLED.index("and not exists")].replace(
        "p.code as key", "p.code || '/' || e.id as key"
    )
    by_level = counting._ENROLLED_BY_LEVEL.replace("c.key as k1", "split_part(c.key, '/', 1) as k1").replace("c.key = any(:programs)", "true")  # fmt: skip
    changed = {("enrollments", "program"): every, ("enrollments", "experience"): by_level}
    patch.setattr(counting, "_TOUCHES", {**counting._TOUCHES, **changed})


def test_a10_no_account_spends_more_than_the_budget(
    histories: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is published is what was recorded, so that a bound on the one is a bound on the other."""
    file = Setting().write(tmp_path)
    lifetime = lifetime_cost([planned(histories, file, today=TODAY).families])
    with histories.begin_nested() as nested:
        costs = spent(histories, tmp_path)
        nested.rollback()
    assert len(costs) > 990
    assert 0.7 < max(costs.values()) <= lifetime + 1e-9 <= 1
    without_noise(monkeypatch)
    publish_all(histories, file)
    told = dict(histories.execute(text("""
        select r.family || '/' || c.marginal || '/' || r.period, sum(c.value)
        from anon.cell c join anon.release r on r.id = c.release_id where c.marginal <> 'month' group by 1""")).all())  # fmt: skip
    counted = text("select flow || '/' || period, count(*) from platform.analytics_contribution group by 1")
    assert {name: round(value) for name, value in told.items() if value} == dict(histories.execute(counted).all())


def test_a10_finds_bounds_that_do_not_hold(histories: Session, tmp_path: Path) -> None:
    for mutate in (drop_the_bound, count_enrollments):
        with pytest.MonkeyPatch.context() as patch, histories.begin_nested() as nested:
            mutate(patch)
            assert max(spent(histories, tmp_path).values()) > 1, mutate.__name__
            nested.rollback()


# A2, A6: what happens to people after the release changes nothing.


def erase_for_good(victims: list[Person], now: datetime) -> None:
    """The whole way of a deletion: closed by the students on the platform thirty days ago, adopted, erased by the worker."""
    gone = [victim.id for victim in victims]
    with db.transaction("worker") as session:
        closing = "update platform.student set account_status = 'closed', closed_at = :then where id = any(:gone)"
        session.execute(text(closing), {"then": now - timedelta(days=30), "gone": gone})
        for victim in gone:
            assert grace.adopt_closing(session, student_id=victim, now=now) == 1
    for hour in range(4):
        work(now + timedelta(hours=hour))
        send_letters(now + timedelta(hours=hour))
    with db.transaction("worker") as session:
        states = "select state, count(*) from privacy.request where received_at = :then group by 1"
        told = session.execute(text(states), {"then": now - timedelta(days=30)}).all()
    assert [tuple(row) for row in told] == [("erased", len(gone))]


@pytest.fixture
def published(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Person]]:
    """A world of 300 people whose year is published; the people."""
    rng = random.Random(2)
    people = [history(number, rng) for number in range(300)]
    file = LATER.write(tmp_path)
    monkeypatch.setattr(releases, "configuration_file", lambda: tmp_path / "analytics.yaml")
    with db.transaction("worker") as session:
        build(session, people)
        publish_all(session, file, today=NOW.date())
        publish_first_version(session, now=NOW)
    yield people


def retained() -> list[tuple[object, ...]]:
    """Every row of every table of ``anon``, as the database writes it."""
    with db.transaction("worker") as session:
        return [
            tuple(row)
            for table in ("method", "release", "cell", "ledger")
            for row in session.execute(text(f"select '{table}', t.ctid::text, t::text from anon.{table} t order by 3"))
        ]


def pages() -> list[object]:
    """Every figure that the page can show."""
    with db.transaction("worker") as session:
        questions = [
            Question(shape.family, tuple(by), (("milestone", ("50",)),) if "milestone" in shape.dimensions else ())
            for shape in SHAPES
            for by in [(), shape.dimensions[:1], *((shape.dimensions[0], time) for time in shape.times), *((time,) for time in shape.times)]
        ]  # fmt: skip
        found: list[object] = [queries.released_figures(session, question) for question in questions]
        found += queries.cohort_figures(session)
        for family in ("enrollments", "activity"):
            found += queries.compare_programs(session, family=family, one="A", other="B")
            found.append(queries.latest_changes(session, family=family))
        found.append(queries.analytics_state(session))
    assert len([answer for answer in found if getattr(answer, "rows", ())]) > 15
    return found


def nightly() -> None:
    """Every job of the worker that looks at people or figures."""
    for job in JOBS:
        if not job.kind.startswith("audit"):
            with db.transaction("worker") as session:
                for key in job.due(session, NOW):
                    job.run(session, key, NOW)


@pytest.mark.usefixtures("stores")
def test_a2_erasing_people_changes_no_byte_and_no_figure(published: list[Person]) -> None:
    before, shown = retained(), pages()
    rng = random.Random(4)
    victims = rng.sample(published[1:], 40 if FULL else 10)
    for day, some in enumerate(filter(None, (victims[:20], victims[20:]))):  # more in one day would put the brake on
        erase_for_good(some, NOW + timedelta(days=2 * day))
    nightly()
    with db.transaction("worker") as session:
        left = session.scalar(text("select count(*) from platform.student where source <> 'canary'"))
        bound = session.scalar(
            text("select count(*) from platform.analytics_contribution where student_id = any(:gone)"),
            {"gone": [victim.id for victim in victims]},
        )
        bystander = session.scalar(
            text("select count(*) from platform.analytics_contribution where student_id = :it"), {"it": published[0].id}
        )
    assert (left, bound) == (300 - len(victims), 0)
    assert bystander
    assert retained() == before
    assert pages() == shown


def test_a6_dummies_in_a_closed_period_change_nothing(published: list[Person]) -> None:
    before, shown = retained(), pages()
    for number in range(12):
        with db.transaction("worker") as session:
            add_people(
                session, [Person(f"dummy{number}", (Place("A", 1, date(2025, 2, 10), seen=(date(2025, 2, 11),)),))]
            )
    nightly()
    assert retained() == before
    assert pages() == shown


def test_the_same_question_in_any_words_has_the_same_answer(published: list[Person]) -> None:
    wordings = [
        Question("enrollments", ("program", "quarter"), (("program", ("A", "B")), ("quarter", ("2025-Q1", "2025-Q2")))),
        Question("enrollments", ("program", "quarter"), (("quarter", ("2025-Q2", "2025-Q1", "2025-Q1")), ("program", ("B", "A")))),
        Question("enrollments", ("program", "quarter", "program"), (("program", ("B", "A", "C")), ("quarter", ("2025-Q1", "2025-Q2")), ("program", ("A", "B")))),
    ]  # fmt: skip
    with db.transaction("worker") as session:
        assert len({queries.released_figures(session, question) for question in wordings}) == 1


# A5: nothing in what is kept leads to a person.


def test_a5_what_is_kept_names_nobody_and_points_to_nobody(worker: Session) -> None:
    columns = worker.execute(text("""
        select c.relname, a.attname, format_type(a.atttypid, null) from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = 'anon'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped""")).all()  # fmt: skip
    assert {kind for *_, kind in columns} == {"text", "integer", "double precision", "date", "jsonb"}
    suspicious = ("student", "person", "user", "mail", "session", "ip", "token", "hash", "uuid", "name", "time")
    assert [f"{table}.{name}" for table, name, _ in columns if name in suspicious or name.endswith("_at")] == []
    foreign = worker.scalars(text("""
        select conrelid::regclass || ' → ' || confrelid::regclass from pg_constraint
        where contype = 'f' and (conrelid::regclass::text like 'anon.%' or confrelid::regclass::text like 'anon.%')
          and (split_part(conrelid::regclass::text, '.', 1) <> 'anon' or split_part(confrelid::regclass::text, '.', 1) <> 'anon')""")).all()  # fmt: skip
    assert foreign == []


def test_a5_the_keys_of_what_is_kept_are_the_same_whoever_is_in_it(worker: Session, tmp_path: Path) -> None:
    def keys() -> list[tuple[object, ...]]:
        with worker.begin_nested() as nested:
            publish_all(worker, Setting().write(tmp_path))
            found = [
                tuple(row)
                for row in worker.execute(
                    text("select release_id, marginal, k1, k2 from anon.cell order by 1, 2, 3, 4")
                )
            ]
            nested.rollback()
        return found

    build(worker, [])
    empty = keys()
    rng = random.Random(1)
    add_people(worker, [history(number, rng) for number in range(50)])
    assert keys() == empty
    assert len(empty) == 3 * (4 * (1 + 3 + 2 + 1) + 4) + 4 * 2 + 3 * 3 * 3


# A9: the access path.


def test_a9_the_analyst_reads_releases_and_nothing_else(
    published: list[Person], cluster: object, database: str
) -> None:
    with psycopg.connect(cluster.conninfo(database), autocommit=True) as admin:  # type: ignore[attr-defined]
        tables = [row[0] for row in admin.execute("""
            select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'p', 'v', 'm')
            and c.relnamespace::regnamespace::text in ('platform', 'privacy', 'staff')""")]  # fmt: skip
        admin.execute("set role resocode_analyst")
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(f"select count(*) from {table}")
        for table in ("method", "release", "cell", "ledger"):
            assert admin.execute(f"select count(*) from anon.{table}").fetchone() != (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(f"delete from anon.{table}")
    assert len(tables) > 30
