"""What is counted, who is not, and what is refused. Exact counts are looked at through a noise of nothing."""

from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db
from core.anon import builder, noise
from core.anon.builder import PublishRefused, due_releases, publish
from core.anon.method import MethodRefused, NotConfigured, read_configuration
from core.anon.workload import OverBudget
from core.errors import AdminError
from core.models.anon import Contribution, LedgerEntry, Release, ReleasedCell
from core.privacy.releases import publish_release, verify_releases
from tests.anon.world import PROGRAMS, TODAY, Person, Place, Setting, build, publish_all, without_noise

Q1, Q2, Q3, Q4 = (date(2025, month, 10) for month in (2, 5, 8, 11))


def told(session: Session) -> dict[tuple[str, str, str, str, str], float]:
    """Every released figure that is not zero: (family, period, marginal, k1, k2) → value."""
    rows = session.execute(
        select(Release.family, Release.period, ReleasedCell.marginal, ReleasedCell.k1, ReleasedCell.k2, ReleasedCell.value)
        .join(ReleasedCell, ReleasedCell.release_id == Release.id)
    )  # fmt: skip
    return {tuple(row[:5]): row[5] for row in rows if abs(row[5]) > 1e-9}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    without_noise(monkeypatch)


@pytest.mark.usefixtures("exact")
def test_one_history_is_counted_where_it_belongs(worker: Session, tmp_path: Path) -> None:
    days = (date(2025, 2, 20), date(2025, 3, 1), date(2025, 5, 1), date(2025, 5, 2))
    build(worker, [Person("one", (Place("A", 1, Q1, done=days, seen=(date(2025, 8, 1),)),), level="advanced")])
    publish_all(worker, Setting().write(tmp_path))
    assert told(worker) == {
        ("enrollments", "2025-Q1", "program", "A", ""): 1,
        ("enrollments", "2025-Q1", "month", "A", "2025-02"): 1,
        ("enrollments", "2025-Q2", "cohort", "A-1", ""): 1,
        ("enrollments", "2025", "experience", "A", "advanced"): 1,
        ("milestones", "2025-Q1", "program", "A", "50"): 1,
        ("milestones", "2025-Q2", "program", "A", "100"): 1,
        ("milestones", "2025-Q2", "cohort", "A-1", "50"): 1,
        ("milestones", "2025-Q2", "cohort", "A-1", "100"): 1,
        ("milestones", "2025", "experience", "advanced", "50"): 1,
        ("milestones", "2025", "experience", "advanced", "100"): 1,
        ("activity", "2025-Q1", "program", "A", ""): 1,
        ("activity", "2025-Q2", "program", "A", ""): 1,
        ("activity", "2025-Q3", "program", "A", ""): 1,
    }


@pytest.mark.usefixtures("exact")
def test_people_are_counted_not_enrollments(worker: Session, tmp_path: Path) -> None:
    """Twice in a program, and half of two programs in a year: one person in each cell; a third program is one too many."""
    halves = (date(2025, 6, 1), date(2025, 6, 2))
    places = (Place("A", 1, Q1), Place("A", 2, Q2, done=halves), Place("B", 2, Q2, done=halves), Place("C", 3, Q3))
    build(worker, [Person("one", places)])
    publish_all(worker, Setting().write(tmp_path))
    found = told(worker)
    assert {key[1:] for key in found if key[0] == "enrollments" and key[2] == "program"} == {
        ("2025-Q1", "program", "A", ""), ("2025-Q2", "program", "B", "")
    }  # fmt: skip
    assert found["milestones", "2025", "experience", "beginner", "50"] == 1
    assert (
        found["milestones", "2025-Q2", "program", "A", "50"]
        == found["milestones", "2025-Q2", "program", "B", "50"]
        == 1
    )
    assert {key[3] for key in found if key[2] == "cohort" and key[0] == "enrollments"} == {"A-1", "A-2"}
    assert max(found.values()) == 1


@pytest.mark.usefixtures("exact")
def test_a_certificate_means_the_whole_program(worker: Session, tmp_path: Path) -> None:
    build(worker, [Person("one", (Place("A", 1, Q1, certificate=date(2025, 7, 5)),))])
    publish_all(worker, Setting().write(tmp_path))
    reached = {key[1:] for key in told(worker) if key[0] == "milestones" and key[2] == "program"}
    assert reached == {("2025-Q3", "program", "A", "50"), ("2025-Q3", "program", "A", "100")}


@pytest.mark.usefixtures("exact")
def test_what_was_before_the_first_period_is_never_counted(worker: Session, tmp_path: Path) -> None:
    old = date(2024, 12, 1)
    done = (date(2024, 12, 2), date(2024, 12, 3), Q1, Q1)
    build(worker, [Person("one", (Place("A", 1, old, done=done), Place("A", 2, Q2)))])
    publish_all(worker, Setting().write(tmp_path))
    found = told(worker)
    assert not [key for key in found if key[0] == "enrollments" and key[2] != "cohort"]
    assert {key[4] for key in found if key[0] == "milestones" and key[2] == "program"} == {"100"}


@pytest.mark.usefixtures("exact")
def test_what_comes_late_goes_into_the_next_period(worker: Session, tmp_path: Path) -> None:
    from tests.anon.world import add_people

    file = Setting().write(tmp_path)
    build(worker, [])
    for family in ("enrollments", "milestones", "activity"):
        publish(worker, file, family=family, period="2025-Q1", today=TODAY)
    add_people(worker, [Person("late", (Place("A", 1, Q1, done=(Q1, Q1)),))])
    publish_all(worker, file)
    found = told(worker)
    assert found["enrollments", "2025-Q2", "month", "A", "2025-04"] == 1
    assert found["milestones", "2025-Q2", "program", "A", "50"] == 1
    assert not [key for key in found if key[1] == "2025-Q1" or key[0] == "activity"]


LEFT_OUT = {
    "objects": Person("objects", request=("object", "received")),
    "objected": Person("objected", request=("object", "answered")),
    "restricted": Person("restricted", request=("restrict", "answered")),
    "closed": Person("closed", closed=True),
    "minor": Person("minor", consent="missing"),
    "withdrawn": Person("withdrawn", consent="withdrawn"),
}
COUNTED = {
    "plain": Person("plain"),
    "refused": Person("refused", request=("object", "refused")),
    "access": Person("access", request=("access", "received")),
    "consented": Person("consented", consent="verified"),
}


@pytest.mark.usefixtures("exact")
def test_who_objected_or_is_restricted_is_left_out(worker: Session, tmp_path: Path) -> None:
    place = Place("A", 1, Q1, done=(Q1, Q1, Q1, Q1), seen=(Q2,))
    people = [Person(each.name, (place,), closed=each.closed, request=each.request, consent=each.consent)
              for each in [*LEFT_OUT.values(), *COUNTED.values()]]  # fmt: skip
    build(worker, people)
    publish_all(worker, Setting().write(tmp_path))
    counted = {person.name for person in people if worker.scalar(select(Contribution.flow).where(Contribution.student_id == person.id).limit(1))}  # fmt: skip
    assert counted == set(COUNTED)
    assert set(told(worker).values()) == {len(COUNTED)}


@pytest.mark.usefixtures("exact")
def test_the_domain_is_dense_and_comes_from_the_configuration(worker: Session, tmp_path: Path) -> None:
    """Every cell is there with nobody in it, and a program outside the configuration is not there with somebody in it."""
    build(worker, [Person("one", (Place("C", 1, Q1),))])
    publish_all(worker, Setting(programs=("A", "B")).write(tmp_path))
    cells = set(worker.execute(select(Release.family, Release.period, ReleasedCell.marginal, ReleasedCell.k1, ReleasedCell.k2)
                               .join(ReleasedCell, ReleasedCell.release_id == Release.id)))  # fmt: skip
    assert len([cell for cell in cells if cell[2] == "month"]) == 2 * 12
    assert len([cell for cell in cells if cell[2] == "experience" and cell[0] == "enrollments"]) == 2 * 4
    assert {cell[3] for cell in cells if cell[2] == "cohort"} == {"A-1", "A-2", "A-3", "B-1", "B-2", "B-3"}
    assert not told(worker)


def test_a_year_adds_up_to_its_quarters(worker: Session, tmp_path: Path) -> None:
    build(worker, [Person(f"p{n}", (Place("A", 1, Q1),)) for n in range(30)])
    publish_all(worker, Setting().write(tmp_path))
    found = told(worker)
    for program in PROGRAMS:
        quarters = sum(v for k, v in found.items() if k[0] == "enrollments" and k[2] == "program" and k[3] == program)
        months = sum(v for k, v in found.items() if k[2] == "month" and k[3] == program)
        levels = sum(v for k, v in found.items() if k[0] == "enrollments" and k[2] == "experience" and k[3] == program)
        assert months == pytest.approx(quarters) and levels == pytest.approx(quarters)


def test_noise_is_in_every_figure(worker: Session, tmp_path: Path) -> None:
    build(worker, [])
    publish_all(worker, Setting().write(tmp_path))
    values = list(worker.scalars(select(ReleasedCell.value)))
    assert len([value for value in values if abs(value) > 1e-9]) > 0.8 * len(values)


def test_a_period_is_published_once(worker: Session, tmp_path: Path) -> None:
    file = Setting().write(tmp_path)
    build(worker, [])
    publish(worker, file, family="enrollments", period="2025-Q1", today=TODAY)
    with pytest.raises(PublishRefused, match="once, and never again"):
        publish(worker, file, family="enrollments", period="2025-Q1", today=TODAY)


@pytest.mark.parametrize(
    ("family", "period", "today", "sentence"),
    [
        ("enrollments", "2025-Q2", TODAY, "Publish 2025-Q1 first"),
        ("enrollments", "2025", TODAY, "Publish 2025-Q1, 2025-Q2, 2025-Q3, 2025-Q4 first"),
        ("enrollments", "2026-Q1", TODAY, "it closes on 2026-04-15"),
        ("enrollments", "2024-Q4", TODAY, "the first period begins on 2025-01-01"),
        ("activity", "2025", TODAY, "not told by year"),
        ("ages", "2025-Q1", TODAY, "There is no family"),
    ],
)
def test_what_may_not_be_published_is_refused(
    family: str, period: str, today: date, sentence: str, worker: Session, tmp_path: Path
) -> None:
    build(worker, [])
    with pytest.raises(PublishRefused, match=sentence):
        publish(worker, Setting().write(tmp_path), family=family, period=period, today=today)
    assert worker.scalar(select(Release.id)) is None


def test_the_constraint_stops_a_second_builder_that_passed_the_checks(
    worker: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Setting().write(tmp_path)
    build(worker, [])
    publish(worker, file, family="enrollments", period="2025-Q1", today=TODAY)
    monkeypatch.setattr(builder, "_check", lambda *_: None)
    with pytest.raises(DBAPIError, match="uq_release_family_period"):
        publish(worker, file, family="enrollments", period="2025-Q1", today=TODAY)


def test_a_changed_domain_needs_a_new_version(worker: Session, tmp_path: Path) -> None:
    build(worker, [])
    publish_all(worker, Setting(programs=("A",)).write(tmp_path), today=date(2025, 4, 20))
    with pytest.raises(MethodRefused, match="Give it a new version"):
        due_releases(worker, Setting(programs=("A", "B")).write(tmp_path), today=TODAY)
    made = publish_all(worker, Setting(version="2", programs=("A", "B")).write(tmp_path))
    assert {each.family for each in made} == {"enrollments", "milestones", "activity"}
    assert set(worker.scalars(select(Release.method))) == {"1", "2"}
    total = worker.scalar(select(LedgerEntry.total).order_by(LedgerEntry.seq.desc()))
    assert total and total <= 1


@pytest.mark.parametrize(
    "setting",
    [
        Setting(families={"enrollments": {"sigma": 3, "at_most": 2}, "milestones": {"sigma": 8, "at_most": 4}, "activity": {"sigma": 6, "at_most": 8}}),
        Setting(mu=2),
    ],
)  # fmt: skip
def test_more_than_the_budget_is_refused(setting: Setting, worker: Session, tmp_path: Path) -> None:
    build(worker, [])
    with pytest.raises(OverBudget):
        publish(worker, setting.write(tmp_path), family="enrollments", period="2025-Q1", today=TODAY)


def test_a_second_version_cannot_spend_the_first_ones_budget_again(worker: Session, tmp_path: Path) -> None:
    build(worker, [])
    publish_all(worker, Setting().write(tmp_path), today=date(2025, 4, 20))
    quieter = {"enrollments": {"sigma": 8, "at_most": 2}, "milestones": {"sigma": 4.5, "at_most": 4}, "activity": {"sigma": 8, "at_most": 8}}  # fmt: skip
    with pytest.raises(OverBudget):
        due_releases(worker, Setting(version="2", families=quieter).write(tmp_path), today=TODAY)


def test_a_small_site_gets_yearly_totals_only(worker: Session, tmp_path: Path) -> None:
    build(worker, [Person("one", (Place("A", 1, Q1),))])
    publish_all(worker, Setting(capacity=120).write(tmp_path))
    assert set(worker.scalars(select(Release.period))) == {"2025"}
    assert set(worker.scalars(select(ReleasedCell.marginal))) == {"program"}


def test_a_program_the_catalog_does_not_have_is_refused(worker: Session, tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="analytics domain"):
        due_releases(worker, Setting().write(tmp_path), today=TODAY)


@pytest.mark.parametrize(
    "content",
    ["", "version: 1", "[]", "a: b: c", "version: '1'\nmu: 1\ncapacity: x\nhistory_quarters: 4\nfamilies: {}\nexperience: []\nprograms: {}"],
)  # fmt: skip
def test_a_broken_configuration_is_one_sentence(content: str, tmp_path: Path) -> None:
    file = tmp_path / "analytics.yaml"
    file.write_text(content)
    with pytest.raises(MethodRefused):
        read_configuration(file)


def test_exact_counts_are_written_nowhere(worker: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """37 people in a cell, noise replaced by +5000: no parameter, no table (temporary or not) ever holds a 37."""
    without_noise(monkeypatch, plus=5000)
    build(worker, [Person(f"p{n}", (Place("A", 1, Q1, done=(Q1, Q1), seen=(Q2,)),)) for n in range(37)])
    seen: list[object] = []

    def watch(_conn: object, _cursor: object, statement: str, parameters: object, *_more: object) -> None:
        seen.append((statement, parameters))

    engine = db.engine("worker")
    event.listen(engine, "before_cursor_execute", watch)
    before = set(worker.scalars(text("select oid::regclass::text from pg_class where relkind = 'r'")))
    publish_all(worker, Setting().write(tmp_path))
    event.remove(engine, "before_cursor_execute", watch)
    assert any("analytics_contribution" in str(each) for each in seen)
    assert not [each for each in seen if holds(each, 37)]
    assert set(worker.scalars(text("select oid::regclass::text from pg_class where relkind = 'r'"))) == before
    for table in ("anon.method", "anon.release", "anon.cell", "anon.ledger", "privacy.audit_event"):
        assert not [row for row in worker.execute(text(f"select * from {table}")) if holds(tuple(row), 37)], table


def holds(found: object, number: int) -> bool:
    if isinstance(found, dict):
        return any(holds(each, number) for each in found.values())
    if isinstance(found, list | tuple):
        return any(holds(each, number) for each in found)
    return isinstance(found, int | float) and not isinstance(found, bool) and round(found, 9) == number


def test_a_failed_draw_publishes_nothing(worker: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_a: object, **_k: object) -> noise.Measured:
        raise noise.NoiseFailed("The noise could not be drawn.")

    build(worker, [Person("one", (Place("A", 1, Q1),))])
    monkeypatch.setattr(noise, "measure", fail)
    with pytest.raises(AdminError):
        publish(worker, Setting().write(tmp_path), family="enrollments", period="2025-Q1", today=TODAY)
    assert worker.scalar(select(Release.id)) is None


# What the database refuses by itself.


def change(session: Session, statement: str) -> None:
    with session.begin_nested():
        session.execute(text(statement))


@pytest.mark.parametrize("table", ["method", "release", "cell", "ledger"])
def test_no_role_changes_a_release(table: str, database: str, tmp_path: Path) -> None:
    file = Setting().write(tmp_path)
    with db.transaction("worker") as session:
        build(session, [])
        publish(session, file, family="enrollments", period="2025-Q1", today=TODAY)
    column = {"method": "mu", "release": "sigma", "cell": "value", "ledger": "total"}[table]
    for statement in (
        f"update anon.{table} set {column} = 1",
        f"delete from anon.{table}",
        f"truncate anon.{table} cascade",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), db.transaction("worker") as session:
            session.execute(text(statement))
        with pytest.raises(DBAPIError, match="never changed"), db.engine("owner").begin() as connection:
            connection.execute(text("set local role resocode_ledger"))  # the owner of the tables itself
            connection.execute(text(statement))


def test_a_release_is_whole_or_not_there(database: str, tmp_path: Path) -> None:
    file = Setting().write(tmp_path)
    with db.transaction("worker") as session:
        build(session, [])
        publish(session, file, family="enrollments", period="2025-Q1", today=TODAY)
    more = "insert into anon.cell (release_id, marginal, k1, k2, value, se) values (1, 'age', 'A', '16', 3, 4)"
    with pytest.raises(DBAPIError, match="all its cells"), db.transaction("worker") as session:
        session.execute(text(more))
    half = ("insert into anon.release select 2, method, 'enrollments', '2025-Q2', first_day, last_day, sigma, mechanism, builder,"
            " published, 5, content_sha256 from anon.release")  # fmt: skip
    with pytest.raises(DBAPIError, match="committed whole"), db.transaction("worker") as session:
        session.execute(text(half))


def test_the_database_bounds_by_itself_how_often_somebody_is_counted(worker: Session) -> None:
    build(worker, [Person("one")])
    add = "insert into platform.analytics_contribution values (:id, 'enrollments/program', :slot, :key, '2025-Q1')"
    worker.execute(text(add), {"id": Person("one").id, "slot": 1, "key": "A"})
    for slot, key in ((1, "B"), (2, "A"), (9, "C")):
        with pytest.raises(DBAPIError), worker.begin_nested():
            worker.execute(text(add), {"id": Person("one").id, "slot": slot, "key": key})


# The check of what is published.


@pytest.fixture
def published(database: str, tmp_path: Path) -> str:
    """A database with two releases, published through the verb; its name."""
    file = tmp_path / "analytics.yaml"
    Setting().write(tmp_path)
    with db.transaction("worker") as session:
        build(session, [])
        for family in ("enrollments", "milestones"):
            publish_release(session, family=family, period="2025-Q1", now=datetime(2026, 2, 1, tzinfo=UTC), file=file)
    return database


def problem() -> str:
    with db.transaction("worker") as session:
        return verify_releases(session).problem


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("update anon.cell set value = value + 1e-9 where release_id = 1 and marginal = 'month' and k1 = 'A' and k2 = '2025-01'", "enrollments 2025-Q1 is not as"),
        ("update anon.release set published = published + 1 where id = 2", "milestones 2025-Q1 is not as"),
        ("delete from anon.cell where release_id = 2 and k1 = 'A'", "milestones 2025-Q1 is not as"),
        ("update anon.ledger set total = 0.9 where seq = 2", "milestones 2025-Q1 is not as"),
        ("delete from anon.ledger where seq = 2; delete from anon.cell where release_id = 2; delete from anon.release where id = 2", "milestones 2025-Q1 is not what the audit says"),
    ],
)  # fmt: skip
def test_a_superuser_who_rewrites_a_release_is_found(
    statement: str, found: str, published: str, cluster: object
) -> None:
    assert problem() == ""
    with psycopg.connect(cluster.conninfo(published)) as admin:  # type: ignore[attr-defined]
        admin.execute("set session_replication_role = replica")
        admin.execute(statement)
    assert found in problem()
