"""The audit: complete, chained, signed; every way of changing the past is found."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db
from core.errors import DatabaseError, Refused
from core.privacy import audit
from core.privacy.audit import Action
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import rows

pytestmark = pytest.mark.usefixtures("house")


def write(many: int = 1) -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        for _ in range(many):
            audit.append(session, Action.REFUSED, now=NOW, what="page", role="program_staff")


def verified(folder: Path) -> audit.Verification:
    with db.transaction("worker") as session:
        return audit.verify(session, folder=folder)


def signed(folder: Path) -> audit.Checkpoint | None:
    with db.transaction("worker") as session:
        return audit.checkpoint(session, now=NOW, folder=folder)


def test_a_chain_as_written_is_sound(tmp_path: Path) -> None:
    write(5)
    assert signed(tmp_path) is not None
    assert signed(tmp_path) is None, "nothing new"
    write(5)
    found = verified(tmp_path)
    assert (found.sound, found.lines, found.checkpoints) == (True, 10, 1)


def test_a_line_exists_exactly_when_its_effect_does(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), db.transaction(staff_id=id_of("paula")) as session:
        audit.append(session, Action.REFUSED, now=NOW, what="page")
        raise RuntimeError
    write()
    assert verified(tmp_path).lines == 1, "no gap after a rollback"


def test_parallel_writers_neither_fork_nor_leave_gaps(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write(5), range(40)))
    found = verified(tmp_path)
    assert (found.sound, found.lines) == (True, 200)


def test_who_acted_comes_from_the_transaction_and_not_from_an_argument() -> None:
    write()
    with db.transaction("worker") as session:
        audit.append(session, Action.IMPORTED, now=NOW)
    with db.transaction() as session:
        audit.append(session, Action.SIGN_IN_FAILED, now=NOW)
    with db.transaction("worker") as session:
        rows = session.execute(text("select actor, actor_id from privacy.audit_event order by seq")).all()
    assert [tuple(row) for row in rows] == [("staff", id_of("paula")), ("system", None), ("nobody", None)]


@pytest.mark.parametrize("role", ["app", "worker", "owner"])
@pytest.mark.parametrize("statement", ["update privacy.audit_event set action = 'x'", "delete from privacy.audit_event", "truncate privacy.audit_event",
                                       "alter table privacy.audit_event disable trigger all"])  # fmt: skip
def test_no_role_that_signs_in_changes_a_line(role: str, statement: str) -> None:
    write()
    with pytest.raises(DBAPIError), db.engine(role).begin() as connection:
        connection.execute(text("select set_config('app.staff_id', :id, true)"), {"id": str(id_of("omar"))})
        connection.execute(text(statement))


TAMPERING = {
    "edit": ("update privacy.audit_event set details = '{}' where seq = 4", 4),
    "cut the middle": ("delete from privacy.audit_event where seq = 4", 4),
    "cut the tail": ("delete from privacy.audit_event where seq > 7", 8),
    "cut everything": ("delete from privacy.audit_event", 1),
    "swap two": ("update privacy.audit_event set seq = case seq when 3 then 904 when 4 then 903 end where seq in (3, 4);"
                 "update privacy.audit_event set seq = seq - 900 where seq > 900", 3),
    "move the time": ("update privacy.audit_event set at = at + interval '1 second' where seq = 2", 2),
    "change the actor": ("update privacy.audit_event set actor_id = gen_random_uuid() where seq = 6", 6),
    "rewrite a tail with its hashes": (
        "update privacy.audit_event set details = '{}' where seq = 10;"
        "update privacy.audit_event a set hash = privacy.audit_hash(previous, seq, at, actor, actor_id, session_id, action,"
        " subject_kind, subject_id, details) where seq = 10", 10),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_whoever_owns_the_machine_is_found_out(name: str, owner: Connection, tmp_path: Path) -> None:
    write(10)
    signed(tmp_path)
    assert verified(tmp_path).sound
    statement, line = TAMPERING[name]
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    for part in statement.split(";"):
        owner.execute(text(part))
    owner.commit()
    found = verified(tmp_path)
    assert not found.sound
    assert found.broken_at == line


def started(folder: Path, *, later: timedelta = timedelta(hours=1)) -> bool:
    with db.transaction("worker") as session:
        return audit.check_at_start(session, now=NOW + later, folder=folder)


def tampered(owner: Connection, statement: str) -> None:
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    owner.execute(text(statement))
    owner.commit()


@pytest.fixture
def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From which line on each verification read."""
    begun, real = list[int](), audit._lines

    def counted(session: Session, *, after: int = 0) -> Iterator[Any]:
        begun.append(after)
        return real(session, after=after)

    monkeypatch.setattr(audit, "_lines", counted)
    return begun


def test_a_start_reads_what_was_added_since_the_last_checkpoint(lines_read: list[int], tmp_path: Path) -> None:
    write(10)
    assert started(tmp_path, later=timedelta()) and lines_read == [0], "nothing was checked before"
    signed(tmp_path)
    write(2)
    lines_read.clear()
    assert started(tmp_path) and started(tmp_path) and lines_read == [10, 10]
    assert rows("select lines from privacy.audit_check order by number") == [(0,), (10,)], (
        "a look at the end is no check"
    )
    assert started(tmp_path, later=timedelta(hours=24)) and lines_read[2:] == [0], "the whole once a day"


@pytest.mark.parametrize(
    "what",
    ["delete from privacy.audit_event where seq > 11", "update privacy.audit_event set details = '{}' where seq = 12",
     "delete from privacy.audit_event where seq > 9", "a checkpoint is missing", "a checkpoint is not ours", "the last check was broken"],
)  # fmt: skip
def test_a_start_that_finds_something_verifies_the_whole(what: str, owner: Connection, tmp_path: Path) -> None:
    write(5)
    signed(tmp_path)
    write(5)
    signed(tmp_path)
    write(2)
    with db.transaction("worker") as session:
        assert audit.check(session, now=NOW, folder=tmp_path).sound
    file = tmp_path / "checkpoints.jsonl"
    if what == "a checkpoint is missing":
        file.write_text(file.read_text().splitlines(keepends=True)[1])
    elif what == "a checkpoint is not ours":
        file.write_text(file.read_text().replace('"at": "2026', '"at": "2025'))
    elif what == "the last check was broken":
        tampered(owner, "update privacy.audit_event set details = '{}' where seq = 2")
        with db.transaction("worker") as session:
            assert not audit.check(session, now=NOW, folder=tmp_path).sound
    else:
        tampered(owner, what)
    assert not started(tmp_path)
    with db.transaction("worker") as session, pytest.raises(Refused):
        audit.demand_sound(session)


def test_what_a_start_does_not_read_is_found_by_the_whole_check(owner: Connection, tmp_path: Path) -> None:
    write(10)
    signed(tmp_path)
    with db.transaction("worker") as session:
        audit.check(session, now=NOW, folder=tmp_path)
    tampered(owner, TAMPERING["edit"][0])
    assert started(tmp_path), "see docs/security.md"
    with db.transaction("worker") as session:
        assert audit.check(session, now=NOW + timedelta(hours=24), folder=tmp_path).broken_at == 4


def test_a_checkpoint_that_we_did_not_sign_is_found(tmp_path: Path) -> None:
    write(3)
    signed(tmp_path)
    file = tmp_path / "checkpoints.jsonl"
    file.write_text(file.read_text().replace('"size": 3', '"size": 2'))
    assert "signed" in verified(tmp_path).problem


@pytest.mark.parametrize("stump", [b'{"at": "2026-', b"\x00\x00\x00\n"])
def test_a_checkpoint_that_was_torn_by_a_power_failure_does_not_stop_signing(stump: bytes, tmp_path: Path) -> None:
    write(3)
    signed(tmp_path)
    with (tmp_path / "checkpoints.jsonl").open("ab") as file:
        file.write(stump)
    write(2)
    assert verified(tmp_path).sound
    made = signed(tmp_path)
    assert made is not None
    assert made.size == 5
    found = verified(tmp_path)
    assert (found.sound, found.checkpoints) == (True, 2)


def test_a_checkpoint_that_cannot_be_read_among_others_is_a_finding(tmp_path: Path) -> None:
    for _ in range(2):
        write(3)
        signed(tmp_path)
    file = tmp_path / "checkpoints.jsonl"
    file.write_bytes(b"?" + file.read_bytes())
    assert "Line 1" in verified(tmp_path).problem
    with pytest.raises(DatabaseError, match="Line 1"):
        signed(tmp_path)


def test_a_restored_log_is_broken_until_somebody_signs_for_what_is_lost(owner: Connection, tmp_path: Path) -> None:
    write(7)
    signed(tmp_path)
    write(3)
    signed(tmp_path)
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    owner.execute(text("delete from privacy.audit_event where seq > 5"))
    owner.commit()
    assert verified(tmp_path).broken_at == 6
    with pytest.raises(DatabaseError):
        signed(tmp_path)
    with db.transaction("worker") as session:
        made = audit.accept_restore(session, now=NOW, folder=tmp_path)
    assert made is not None
    assert (made.size, made.lost) == (5, 10)
    assert verified(tmp_path).sound
    write(10)
    assert signed(tmp_path) is not None
    found = verified(tmp_path)
    assert (found.sound, found.lines, found.checkpoints) == (True, 16, 4)
    with db.transaction("worker") as session:
        assert audit.accept_restore(session, now=NOW, folder=tmp_path) is None, "nothing is lost any more"
        line = session.execute(text("select action, details from privacy.audit_event where seq = 6")).one()
    assert tuple(line) == ("audit restored", '{"line":6,"lost":5}')
    file = tmp_path / "checkpoints.jsonl"
    file.write_text(file.read_text().replace('"lost": 10', '"lost": 9'))
    assert not verified(tmp_path).sound, "nobody forges an acceptance"


def test_what_was_changed_within_a_restored_log_is_not_accepted(owner: Connection, tmp_path: Path) -> None:
    write(7)
    signed(tmp_path)
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    owner.execute(text("delete from privacy.audit_event where seq > 5"))
    owner.execute(text("update privacy.audit_event set details = '{}' where seq = 3"))
    owner.commit()
    with pytest.raises(DatabaseError, match="line 3"), db.transaction("worker") as session:
        audit.accept_restore(session, now=NOW, folder=tmp_path)


def test_views_are_recorded_once_per_session_person_and_purpose_in_a_quarter_of_an_hour() -> None:
    from datetime import timedelta

    def look(session_name: str, purpose: str, minutes: int) -> int:
        with db.transaction(staff_id=id_of("paula"), session_id=id_of(session_name)) as session:
            return audit.append_view(
                session,
                person_kind="student",
                person_ids=[id_of("asha")],
                purpose=purpose,
                now=NOW + timedelta(minutes=minutes),
            )

    assert [
        look("one", "list", 0),
        look("one", "list", 14),
        look("one", "page", 14),
        look("two", "list", 14),
        look("one", "list", 15),
    ] == [1, 0, 1, 1, 1]
