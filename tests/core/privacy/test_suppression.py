"""Old records of erased people do not come back, whoever brings them; new people enter; what is doubtful waits for an officer."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session

from core import db, keys
from core.errors import BadInput, NotFresh, Refused
from core.importers import generate, made_up
from core.importers.loading import load
from core.importers.seed import seed
from core.importers.spreadsheets import import_sheet
from core.models.platform import Enrollment, Student
from core.privacy import suppression
from core.privacy.suppression import SetAside
from core.processors import local
from core.processors.protocol import Person
from tests import cast
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_requests import act, rows, staff

ERASED = datetime.now(UTC) - timedelta(days=1)  # the triggers ask the database's own clock
ERASURE = uuid.uuid4()
UNTIL = ERASED + timedelta(days=1096)
ADD = """insert into platform.{0} (id, name, email, {1}, email_hash, provider_hash, source)
    values (gen_random_uuid(), 'Asha', :mail, :at, :digest, :provider, 'sync')"""


def listed(name: str = "asha", *, until: datetime = UNTIL) -> int:
    """Put somebody on the suppression list and erase their own rows."""
    with db.transaction("worker") as session:
        person = local.known(session, Person("student", id_of(name)))
        hashes = suppression.hashes_of(session, person)
        return suppression.suppress(
            session, erasure_id=ERASURE, hashes=hashes, basis="legitimate interest", until=until, now=ERASED
        )


@pytest.fixture
def gone(owner: Connection) -> None:
    """Asha is erased: on the list, and without a row."""
    from core.processors.local import Local
    from core.processors.protocol import Order

    listed()
    with db.transaction("worker") as session:
        Local().erase(session, Order(Person("student", id_of("asha")), "key"), now=NOW)


def add(
    table: str = "student", *, days: float = -3, email: str = "", provider: str = "cast:asha", role: str = "worker"
) -> None:
    """Insert a person row as a sync would, dated some days from the erasure."""
    mail = email or email_of("asha")
    digest, of_provider = keys.person_hashes()(mail, provider)
    dated = {"student": "registered_at", "visitor": "asked_at"}[table]
    with db.transaction(role) as session:
        session.execute(
            text(ADD.format(table, dated)),
            {"mail": mail, "at": ERASED + timedelta(days=days), "digest": digest, "provider": of_provider},
        )


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("table", ["student", "visitor"])
def test_an_old_record_is_refused_and_a_later_sign_up_enters(table: str) -> None:
    for more in (
        {},
        {"email": " ASHA@Students.example"},
        {"provider": "new"},
        {"email": "other@x.example"},
        {"days": 0},
    ):
        with pytest.raises(IntegrityError, match="erased"):
            add(table, **more)
    with pytest.raises(IntegrityError):
        add(table, days=0.5, provider="cast:asha")  # the erased account itself, with a later date
    add(table, days=0.5, provider="new")
    assert rows(f"select count(*) from platform.{table} where email = :mail", mail=email_of("asha"))[0][0] == 1


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("role", ["worker", "owner"])
def test_no_update_takes_the_address_of_somebody_erased(role: str) -> None:
    digest = keys.person_hashes()(email_of("asha"), "")[0]
    change = text("update platform.student set email_hash = :digest where id = :id")
    with pytest.raises((IntegrityError, ProgrammingError)), db.transaction("worker") as session:
        session.execute(change, {"digest": digest, "id": id_of("ben")})
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set name = 'Ben B.', email_hash = email_hash where id = :id"),
            {"id": id_of("ben")},
        )


@pytest.mark.usefixtures("house")
def test_the_list_holds_earlier_addresses_and_forms_says_why_and_ends() -> None:
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.email_log set address = 'Old@x.example' where student_id = :id"),
            {"id": id_of("asha")},
        )
    add("visitor", provider="form")
    assert listed() == 4  # two addresses, the provider's id, the form's
    assert listed() == 0
    with db.transaction("worker") as session:
        assert suppression.entries(session, [ERASURE]) == {ERASURE: (4, UNTIL)}
    with pytest.raises(IntegrityError):
        add(email="old@X.example", provider="another")
    with db.transaction("worker") as session:
        assert suppression.suppression_over(session, UNTIL - timedelta(seconds=1)) == []
        assert suppression.suppression_over(session, UNTIL) == ["suppression list"]
        assert suppression.drop_expired(session, now=UNTIL) == {"entries": 4, "records": 0}
        assert suppression.suppression_over(session, UNTIL) == []
    add("visitor", email="old@x.example", provider="another")


@pytest.mark.usefixtures("house")
def test_the_dashboard_reads_no_hash_and_writes_no_entry() -> None:
    listed()
    for statement in ("select hash from privacy.suppression", "insert into privacy.suppression default values",
                      "update privacy.suppression set until = now()", "delete from privacy.suppression"):  # fmt: skip
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db.transaction(staff_id=id_of("omar")) as session,
        ):
            session.execute(text(statement))
    with db.transaction(staff_id=id_of("omar")) as session:
        assert session.scalar(text("select count(id) from privacy.suppression")) > 0
    with db.transaction(staff_id=id_of("paula")) as session:
        assert session.scalar(text("select count(id) from privacy.suppression")) == 0


def student(name: str, *, at: datetime, email: str, provider: str) -> tuple[object, ...]:
    return (id_of(name), name.title(), email, at, *keys.person_hashes()(email, provider), "sync")


COLUMNS = ("id", "name", "email", "registered_at", "email_hash", "provider_hash", "source")


@pytest.mark.usefixtures("gone")
def test_an_import_goes_on_without_the_erased_and_what_belongs_to_them(owner: Connection) -> None:
    before = cast.snapshot(owner, "ben")
    later = ERASED + timedelta(hours=1)
    people = [
        student("asha", at=ERASED - timedelta(days=9), email=email_of("asha"), provider="cast:asha"),
        student("doubtful", at=later, email="d@x.example", provider="cast:asha"),
        student("nils", at=later, email="nils@x.example", provider="nils"),
    ]
    enrolled = [
        (id_of(f"{name} again"), id_of(name), id_of("cloud"), id_of("cloud program"), "active", later, "sync")
        for name in ("asha", "doubtful", "nils", "cleo")
    ]
    for _ in range(2):  # twice changes nothing
        with db.transaction("worker") as session:
            load(session, Student, COLUMNS, people, now=NOW)
            load(
                session,
                Enrollment,
                ("id", "student_id", "cohort_id", "program_id", "status", "enrolled_at", "source"),
                enrolled,
                now=NOW,
            )
            assert suppression.set_aside(session) == SetAside(refused=1, waiting=1)
    assert {name for (name,) in rows("select name from platform.student where source = 'sync'")} == {"Nils"}
    assert rows("select count(*) from platform.enrollment where source = 'sync'")[0][0] == 2
    [(why, record, source)] = rows("select why, record, source from privacy.quarantine")
    assert (why, record["email"], source) == ("same account, later date", "d@x.example", "sync")
    assert cast.snapshot(owner, "ben") == before


def sheet(folder: Path, content: str, *, dry_run: bool = False) -> object:
    file = folder / "sheet.csv"
    file.write_text(content)
    with db.transaction("worker") as session:
        return import_sheet(session, file, now=datetime.now(UTC), dry_run=dry_run)


@pytest.mark.usefixtures("gone")
def test_a_spreadsheet_meets_the_list_and_its_other_rows_go_in(tmp_path: Path) -> None:
    before, after = (ERASED - timedelta(days=3)).date(), datetime.now(UTC).date()
    content = f"e-mail,name,joined on\n{email_of('asha')},Asha Example,{{}}\nnils@x.example,Nils New,{after}\n"
    tried = sheet(tmp_path, content.format(before), dry_run=True)
    assert (tried.aside, tried.added) == (SetAside(refused=1), 1)
    assert rows("select count(*) from privacy.quarantine")[0][0] == 0
    undated = sheet(tmp_path, content.format(""))
    assert (undated.aside, undated.added) == (SetAside(waiting=1), 1), "when they signed up, the sheet does not say"
    assert any("quarantine" in line for line in undated.lines())
    assert "left out" in " ".join(sheet(tmp_path, content.format(before)).lines())
    enrollments = sheet(tmp_path, f"e-mail,cohort\n{email_of('asha')},CLOUD-26\nnils@x.example,CLOUD-26\n")
    assert (enrollments.problems, enrollments.added, enrollments.aside.refused) == (0, 1, 1)
    assert {row[0] for row in rows("select details from privacy.audit_event where action = 'records set aside'")} == {
        '{"refused":0,"source":"csv","waiting":1}', '{"refused":1,"source":"csv","waiting":0}'}  # fmt: skip


@pytest.fixture
def waiting(gone: None, tmp_path: Path) -> uuid.UUID:
    """A record in quarantine: no date."""
    sheet(tmp_path, f"e-mail,name,level\n{email_of('asha')},Asha Example,advanced\n")
    [(found,)] = rows("select id from privacy.quarantine")
    return uuid.UUID(str(found))


def test_an_officer_lets_a_record_in_once_and_the_next_import_knows_it(waiting: uuid.UUID, tmp_path: Path) -> None:
    made = act("let_in", "omar", record_id=waiting, reason="signed up again", now=datetime.now(UTC))
    assert act("let_in", "omar", record_id=waiting, reason="signed up again", now=datetime.now(UTC)) is None
    [(name, level, email, record)] = rows(
        "select s.name, experience_level, email, q.record from platform.student s, privacy.quarantine q where s.id = :id", id=made)  # fmt: skip
    assert (name, level, email, record) == ("Asha Example", "advanced", email_of("asha"), None)
    again = sheet(tmp_path, f"e-mail,name\n{email_of('asha')},Asha Example\n")
    assert (again.aside, again.added, again.unchanged) == (SetAside(), 0, 1)
    with pytest.raises(BadInput, match="already"):
        act("discard", "omar", record_id=waiting, reason="old record", now=datetime.now(UTC))
    assert len(rows("select 1 from privacy.audit_event where action = 'quarantine decided'")) == 1


@pytest.mark.usefixtures("gone")
def test_the_erased_account_itself_enters_when_an_officer_says_so_and_its_past_does_not() -> None:
    def sync(name: str, days: float) -> SetAside:
        with db.transaction("worker") as session:
            row = student(name, at=ERASED + timedelta(days=days), email="other@x.example", provider="cast:asha")
            load(session, Student, COLUMNS, [row], now=datetime.now(UTC))
            return suppression.set_aside(session)

    assert sync("one", 0) == SetAside(refused=1), "at that very instant it is old"
    assert sync("two", 0.5) == SetAside(waiting=1)
    [(record,)] = rows("select id from privacy.quarantine")
    assert act("let_in", "omar", record_id=record, reason="erased by mistake", now=datetime.now(UTC)) == id_of("two")
    with db.transaction("worker") as session:
        session.execute(text("delete from privacy.consent where student_id = :id"), {"id": id_of("two")})
        session.execute(text("delete from platform.student where id = :id"), {"id": id_of("two")})
    assert sync("three", 0.5) == SetAside(), "what was let in does not wait again"


def test_what_an_officer_discarded_is_refused_from_then_on(waiting: uuid.UUID, tmp_path: Path) -> None:
    for _ in range(2):
        act("discard", "omar", record_id=waiting, reason="old record", now=datetime.now(UTC))
    again = sheet(tmp_path, f"e-mail,name\n{email_of('asha')},Asha Example\n")
    assert again.aside == SetAside(refused=1)
    assert rows("select decision, record from privacy.quarantine") == [("discarded", None)]


def test_who_decides_is_an_officer_who_has_just_proved_it_and_not_about_themselves(waiting: uuid.UUID) -> None:
    now = datetime.now(UTC)
    for name in ("paula", "ada", "aiko", "ines"):
        with pytest.raises(Refused):
            act("let_in", name, record_id=waiting, reason="signed up again", now=now)
        with (
            pytest.raises(Exception, match=r"role|permission"),
            db.transaction(staff_id=id_of(name)) as session,
        ):  # the guard is off
            session.execute(text("select privacy.decide_quarantined(:id, true, 'x', now())"), {"id": waiting})
    with pytest.raises(NotFresh):
        act(
            "let_in",
            staff("omar", now=now - timedelta(minutes=6)),
            record_id=waiting,
            reason="signed up again",
            now=now,
        )
    with db.transaction("worker") as session:
        session.execute(
            text("update staff.staff_member set email = :mail where id = :id"),
            {"mail": email_of("asha"), "id": id_of("omar")},
        )
    with pytest.raises(Refused, match="own record"):
        act("let_in", "omar", record_id=waiting, reason="signed up again", now=now)
    with pytest.raises(BadInput):
        act("discard", "olga", record_id=waiting, reason="felt like it", now=now)
    assert rows("select decision from privacy.quarantine") == [(None,)]


def test_what_nobody_decides_about_in_time_is_emptied(waiting: uuid.UUID) -> None:
    late = datetime.now(UTC) + timedelta(days=suppression.QUARANTINED_DAYS, minutes=1)
    with db.transaction("worker") as session:
        assert suppression.suppression_over(session, late) == ["quarantine"]
        assert suppression.drop_expired(session, now=late)["records"] == 1
    assert rows("select decision, record from privacy.quarantine") == [("expired", None)]


def test_a_record_that_waits_goes_with_the_next_erasure_of_that_address(waiting: uuid.UUID) -> None:
    with db.transaction("worker") as session:
        digest = keys.person_hashes()(email_of("asha"), "")[0]
        suppression.suppress(
            session, erasure_id=uuid.uuid4(), hashes=[("e-mail", digest)], basis="x", until=UNTIL, now=NOW
        )
    assert rows("select decision, record, reason from privacy.quarantine") == [("discarded", None, "erased meanwhile")]


class Undone(Exception):
    """Ends a transaction of which nothing is to stay."""


def came_with(bring: Callable[[Session], object]) -> tuple[uuid.UUID, list[tuple[str, bytes]]]:
    """Bring records in, pick one student who did work, and undo it all: their id and hashes."""
    picked = text("""select s.id, s.email_hash, s.provider_hash from platform.student s join platform.enrollment e on e.student_id = s.id
        join platform.submission w on w.enrollment_id = e.id order by s.id limit 1""")
    found: list[tuple[uuid.UUID, bytes, bytes]] = []
    with pytest.raises(Undone), db.transaction("worker") as session:
        bring(session)
        row = session.execute(picked).one()
        found.append((row[0], bytes(row[1]), bytes(row[2])))
        raise Undone
    return found[0][0], [("e-mail", found[0][1]), ("provider id", found[0][2])]


@pytest.mark.parametrize("importer", ["generate", "seed"])
def test_made_up_and_synthetic_records_meet_the_list_too(importer: str, database: str) -> None:
    now = datetime.now(UTC)
    sizes = made_up.Sizes(100)
    if importer == "generate":
        with db.transaction("worker") as session:
            generate.prepare(session, sizes, now=now)

    def bring(session: Session) -> object:
        return generate.generate(session, sizes, now=now) if importer == "generate" else seed(session, now=now)

    who, hashes = came_with(bring)
    with db.transaction("worker") as session:
        suppression.suppress(
            session, erasure_id=ERASURE, hashes=hashes, basis="x", until=now + timedelta(days=900), now=now
        )
    with db.transaction("worker") as session:
        bring(session)
        assert suppression.set_aside(session) == SetAside(refused=1)
    assert rows("select count(*) from platform.student where id = :id", id=who) == [(0,)]
    assert rows("select count(*) > 90 from platform.student") == [(True,)]
    assert rows("select count(*) from platform.enrollment where student_id = :id", id=who) == [(0,)]
