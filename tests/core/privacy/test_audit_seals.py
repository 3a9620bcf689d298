"""A break of the audit that no backup mends: two people acknowledge it, it is named for ever, and nothing else is let through."""

import json
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, jobs, queries
from core.errors import BadInput, NotFresh, Refused
from core.privacy import audit
from core.privacy.audit_export import export_csv, export_jsonl, verify_file
from tests.cast import NOW, ROLES, id_of
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.test_audit import signed, write
from tests.core.privacy.test_audit_checks import checked, tamper

pytestmark = pytest.mark.usefixtures("house")
CHANGED = "update privacy.audit_event set action = 'signed out' where seq = 3"
REWRITTEN = (
    "update privacy.audit_event set details = '{}', hash = privacy.audit_hash(previous, seq, at, actor, actor_id, session_id, action,"
    " subject_kind, subject_id, '{}') where seq = 5"
)


def newest() -> int:
    return int(requests.rows("select max(number) from privacy.audit_check")[0][0])


def propose(by: str = "omar", reason: str = "changed, cause unknown") -> uuid.UUID:
    seal: uuid.UUID = requests.act("propose_seal", by, check_number=newest(), reason=reason)
    return seal


def acknowledge() -> None:
    requests.act("confirm_seal", "ada", seal_id=propose())


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (CHANGED, "line 3"),
        ("delete from privacy.audit_event where seq = 3", "lines 3 to 4"),
        ("delete from privacy.audit_event where seq >= 4", "lines 4 to 5"),
        (REWRITTEN, "line 5"),
        ("delete from privacy.audit_event where seq = 1", "lines 1 to 2"),
        ("delete from privacy.audit_event", "lines 1 to 5"),
    ],
)
def test_what_two_people_acknowledged_is_named_and_the_log_goes_on(
    breaks: str, words: str, owner: Connection, tmp_path: Path
) -> None:
    write(5)
    signed(tmp_path)
    assert checked(tmp_path).sound
    tamper(owner, breaks)
    assert not checked(tmp_path, minutes=2).sound
    assert not checked(tmp_path, minutes=3).sound, "the next daily check finds the same break"
    acknowledge()
    found = checked(tmp_path, minutes=4)
    assert (found.sound, [gap.words for gap in found.gaps]) == (True, [words])
    write(8)
    with db.transaction("worker") as session:
        audit.demand_sound(session)
    assert signed(tmp_path) is not None
    later = checked(tmp_path, minutes=5)
    assert (later.sound, [gap.words for gap in later.gaps]) == (True, [words]), "named in every later check"
    assert {"audit break put up", "audit break acknowledged", "audit found sound"} <= set(requests.lines())


@pytest.mark.parametrize(
    "again",
    [
        'update privacy.audit_event set details = \'{"reason":"y"}\' where seq = 3',
        "update privacy.audit_event set action = 'signed out' where seq = 2",
        "update privacy.audit_event set action = 'signed out' where seq = 4",
        "delete from privacy.audit_event where seq = 3",
        "delete from privacy.audit_event where seq > 4",
    ],
)
def test_it_lets_nothing_else_through(again: str, owner: Connection) -> None:
    write(5)
    checked()
    tamper(owner, CHANGED)
    checked(minutes=2)
    acknowledge()
    assert checked(minutes=3).sound
    tamper(owner, again)
    found = checked(minutes=4)
    assert not found.sound and found.problem


def test_a_second_break_needs_an_acknowledgement_of_its_own_and_both_are_named(owner: Connection) -> None:
    write(5)
    checked()
    for line, minutes in ((3, 2), (5, 4)):
        tamper(owner, f"update privacy.audit_event set action = 'signed out' where seq = {line}")
        assert not checked(minutes=minutes).sound
        acknowledge()
        assert checked(minutes=minutes + 1).sound
    assert [gap.words for gap in checked(minutes=9).gaps] == ["line 3", "line 5"]


def test_checkpoints_that_are_lost_can_be_acknowledged(tmp_path: Path) -> None:
    write(3)
    signed(tmp_path)
    assert checked(tmp_path).sound
    (tmp_path / "checkpoints.jsonl").unlink()
    assert not checked(tmp_path, minutes=2).sound
    acknowledge()
    found = checked(tmp_path, minutes=3)
    assert found.sound and found.gaps[0].words.startswith("checkpoints before 2026-11-24")


@pytest.fixture
def broken(owner: Connection) -> None:
    """A log of which one line was changed, and the check that found it."""
    write(5)
    checked()
    tamper(owner, CHANGED)
    checked(minutes=2)


@pytest.mark.usefixtures("broken")
def test_nobody_acknowledges_what_they_put_up_and_who_acts_proves_it() -> None:
    seal = propose()
    assert propose() == seal, "put up twice is put up once"
    with pytest.raises(Refused, match="You put this break up"):
        requests.act("confirm_seal", "omar", seal_id=seal)
    with pytest.raises(NotFresh):
        requests.act("confirm_seal", requests.staff("ada"), now=NOW + timedelta(minutes=6), seal_id=seal)
    with pytest.raises(BadInput, match="Choose a reason"):
        propose(reason="because")
    for _ in range(2):
        requests.act("confirm_seal", "ada", seal_id=seal)
    assert requests.lines().count("audit break acknowledged") == 1


@pytest.mark.parametrize("name", [name for name in ROLES if ROLES[name] not in ("privacy_officer", "admin")])
@pytest.mark.usefixtures("broken")
def test_other_roles_do_not(name: str) -> None:
    with pytest.raises(Refused):
        propose(name)


def test_a_sound_audit_and_an_older_check_have_nothing_to_acknowledge(owner: Connection) -> None:
    write(5)
    checked()
    with pytest.raises(BadInput, match="is sound"):
        propose()
    tamper(owner, CHANGED)
    checked(minutes=2)
    seal = propose()
    tamper(owner, "update privacy.audit_event set action = 'signed out' where seq = 2")
    checked(minutes=3)
    with pytest.raises(BadInput, match="found something else"):
        requests.act("confirm_seal", "ada", seal_id=seal)


@pytest.mark.usefixtures("broken")
def test_the_worker_checks_again_at_once_and_only_then() -> None:
    with db.transaction("worker") as session:
        assert jobs._check_due(session, NOW + timedelta(minutes=3)) == []
    acknowledge()
    with db.transaction("worker") as session:
        assert jobs._check_due(session, NOW + timedelta(minutes=3)) == ["after an acknowledgement"]
    checked(minutes=4)
    with db.transaction("worker") as session:
        assert jobs._check_due(session, NOW + timedelta(minutes=5)) == []


@pytest.mark.usefixtures("broken")
def test_an_acknowledgement_that_our_key_did_not_sign_counts_for_nothing(owner: Connection) -> None:
    acknowledge()
    owner.execute(text("alter table privacy.audit_seal disable trigger all"))
    owner.execute(text("update privacy.audit_seal set reason = 'fault of disk or software'"))
    owner.commit()
    assert checked(minutes=3).problem == "line 3 was changed"


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        (
            "omar",
            "update privacy.audit_seal set confirmed_at = :now, confirmed_by = :omar, public_key = 'x', signature = 'x'",
        ),
        (
            "ada",
            "update privacy.audit_seal set confirmed_at = :now, confirmed_by = :omar, public_key = 'x', signature = 'x'",
        ),
        ("ada", "update privacy.audit_seal set reason = 'fault of disk or software'"),
        (
            "aiko",
            "update privacy.audit_seal set confirmed_at = :now, confirmed_by = :aiko, public_key = 'x', signature = 'x'",
        ),
        ("ada", "delete from privacy.audit_seal"),
        ("", "delete from privacy.audit_seal"),
        (
            "",
            "update privacy.audit_seal set confirmed_at = :now, confirmed_by = :ada, public_key = 'x', signature = 'x'",
        ),
    ],
)
@pytest.mark.usefixtures("broken")
def test_bare_sql_acknowledges_nothing(name: str, statement: str) -> None:
    propose()
    who = requests.staff(name) if name else None
    values = {"now": NOW, **{each: id_of(each) for each in ("omar", "ada", "aiko")}}
    try:
        with db.transaction(
            "app" if who else "worker", **({"staff_id": who.id, "session_id": who.session_id} if who else {})
        ) as session:
            assert session.execute(text(statement), values).rowcount == 0  # type: ignore[attr-defined]
    except DBAPIError:
        pass
    assert requests.rows("select confirmed_at, reason from privacy.audit_seal") == [(None, "changed, cause unknown")]


@pytest.mark.usefixtures("broken")
def test_a_break_that_no_check_found_is_not_put_up_with_bare_sql() -> None:
    who = requests.staff("omar")
    made = ("insert into privacy.audit_seal (id, check_number, checked_at, first_line, last_line, problem, reason, proposed_at, proposed_by)"
            " select gen_random_uuid(), number, checked_at, 1, 5, problem, 'changed, cause unknown', :now, :me from privacy.audit_check"
            " order by number desc limit 1")  # fmt: skip
    with (
        pytest.raises(DBAPIError, match="nothing else"),
        db.transaction(staff_id=who.id, session_id=who.session_id) as session,
    ):
        session.execute(text(made), {"now": NOW, "me": who.id})


@pytest.mark.usefixtures("broken")
def test_those_who_oversee_read_the_breaks_and_nobody_else() -> None:
    acknowledge()
    for name, seen in (("omar", 1), ("ada", 1), ("aiko", 1), ("paula", 0), ("ines", 0)):
        with db.transaction(staff_id=id_of(name)) as session:
            assert len(queries.audit_breaks(session)) == seen, name


@pytest.mark.usefixtures("broken")
def test_an_exported_file_names_the_break_and_nobody_adds_one(tmp_path: Path) -> None:
    acknowledge()
    checked(minutes=3)
    with db.transaction("worker") as session:
        lines = list(export_jsonl(session, queries.AuditFilter(), now=NOW))
    file = tmp_path / "audit.jsonl"
    file.write_text("\n".join(lines) + "\n")
    found = verify_file(file)
    assert (found.problem, found.broken, found.lines) == ("", ("line 3",), len(lines) - 2)
    file.write_text("\n".join(lines).replace('"action":"refused"', '"action":"signed out"', 1) + "\n")
    assert verify_file(file).problem == "line 1 was changed"
    head = json.loads(lines[0])
    head["breaks"][0]["last_line"] = 5
    file.write_text("\n".join([json.dumps(head), *lines[1:]]) + "\n")
    with pytest.raises(BadInput, match="not signed as it says"):
        verify_file(file)


@pytest.mark.usefixtures("broken")
def test_a_csv_names_the_break_too_and_nobody_adds_one(tmp_path: Path) -> None:
    acknowledge()
    checked(minutes=3)
    with db.transaction("worker") as session:
        lines = list(export_csv(session, queries.AuditFilter()))
    file = tmp_path / "audit.csv"
    file.write_text("\n".join(lines) + "\n")
    found = verify_file(file)
    assert (found.problem, found.broken, found.lines) == ("", ("line 3",), len(lines) - 2)
    file.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert verify_file(file).problem, "without the acknowledgement the break shows"
    file.write_text("\n".join([lines[0], lines[1].replace('""last_line"":3', '""last_line"":5'), *lines[2:]]) + "\n")
    with pytest.raises(BadInput, match="not signed as it says"):
        verify_file(file)
    file.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    assert verify_file(file).problem, "it stands before the first line, or nowhere"
