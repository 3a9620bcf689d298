"""Corrections: two officers, old and new value, what follows from it, and that no stale import undoes it."""

import csv
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, keys, privacy_actions
from core.errors import AdminError, BadInput, NotFresh, Refused, Stale
from core.importers.seed import seed
from core.importers.spreadsheets import SheetReport, import_sheet
from core.models.base import Base
from core.privacy import correcting, suppression
from core.processors.protocol import Person
from core.words import clean
from tests.cast import NOW, email_of, id_of, snapshot
from tests.core.privacy.house_of_requests import DAY, act, file, lines, on, row, rows, staff, verified
from tests.hostile import NAMES

pytestmark = pytest.mark.usefixtures("house")
NEW = {"name": "Cleo Renamed", "e-mail": "cleo.renamed@students.example", "phone": "+49 111"}


def entered(values: dict[str, str] | None = None, *, by: str = "omar", reason: str = "changed", **more: Any) -> Any:
    """A request whose correction waits for the second person."""
    person = {key: value for key, value in more.items() if key in ("student_id", "visitor_id")}
    filed = verified("correct", **person)
    rest = {key: value for key, value in more.items() if key not in person}
    act("enter_correction", by, values=NEW if values is None else values, reason=reason, **rest, **on(filed))
    return filed


def corrected(values: dict[str, str] | None = None, **more: Any) -> Any:
    filed = entered(values, **more)
    act("confirm_correction", "olga", **on(filed))
    return filed


def student(name: str = "cleo") -> tuple[Any, ...]:
    asked = "select s.name, s.email, f.phone, s.email_hash from platform.student s left join platform.student_profile f on f.student_id = s.id where s.id = :id"
    return tuple(rows(asked, id=id_of(name))[0])


def follow(request_id: uuid.UUID) -> None:
    """As if every processor had answered that it has the new value."""
    with db.transaction("worker") as session:
        session.execute(text("update privacy.propagation set state = 'done', done_at = :now, proof = 'answered'"
                             " where request_id = :id and state = 'planned'"), {"id": request_id, "now": NOW})  # fmt: skip


def test_nothing_changes_before_a_second_officer_confirms(owner: Connection) -> None:
    before, bystander = student(), snapshot(owner, "ben")
    owner.commit()
    filed = entered()
    assert student() == before
    with pytest.raises(Refused, match="You entered this"):
        act("confirm_correction", "omar", **on(filed))
    with pytest.raises(NotFresh):
        act("confirm_correction", staff("olga", now=NOW - timedelta(minutes=6)), **on(filed))
    receipt = act("confirm_correction", "olga", **on(filed))
    new_hash = keys.person_hashes()(NEW["e-mail"], "")[0]
    assert student() == (NEW["name"], NEW["e-mail"], NEW["phone"], new_hash)
    assert (receipt.state, row(filed.request_id)["outcome"]) == ("answered", "corrected")
    assert lines(filed.request_id)[-2:] == ["correction entered", "record corrected"]
    assert snapshot(owner, "ben") == bystander


def test_what_follows_is_planned_for_who_holds_it_and_both_addresses_are_told() -> None:
    filed = corrected()
    told = rows(
        "select processor, what, state from privacy.propagation where request_id = :id order by 1", id=filed.request_id
    )
    assert told == [(each, "correct", "planned") for each in ("MongoDB Atlas", "SMTP", "Vercel")], (
        "the media library gets no words"
    )
    sent = dict(rows("select kind, address from privacy.outbox where request_id = :id", id=filed.request_id))
    assert sent == {"corrected": NEW["e-mail"], "address changed": email_of("cleo")}
    body = rows("select body from privacy.outbox where kind = 'corrected'")[0][0]
    assert "corrected: e-mail, name, phone." in body
    assert not any(value in body for value in (email_of("cleo"), NEW["phone"]))


def test_an_address_that_was_never_theirs_gets_no_letter_and_keeps_nobody_out() -> None:
    filed = corrected({"e-mail": "right@students.example"}, reason="never theirs")
    assert {
        each[0] for each in rows("select kind from privacy.outbox where request_id = :id", id=filed.request_id)
    } == {"corrected"}
    old = keys.person_hashes()(email_of("cleo"), "")[0]
    with db.transaction("worker") as session:
        person = Person("student", id_of("cleo"), email_hash=student()[3])
        assert ("e-mail", old) not in suppression.hashes_of(session, person)


def test_an_earlier_address_is_kept_out_after_an_erasure_too() -> None:
    corrected({"e-mail": "new@students.example"})
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.email_log where student_id = :id"), {"id": id_of("cleo")})
        found = suppression.hashes_of(session, Person("student", id_of("cleo"), email_hash=student()[3]))
    assert {
        ("e-mail", keys.person_hashes()(each, "")[0]) for each in (email_of("cleo"), "new@students.example")
    } <= set(found)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "Cleo Example"}, "Nothing would change"),
        ({}, "Nothing would change"),
        ({"name": " "}, "cannot be empty"),
        ({"e-mail": "no address"}, "not an e-mail"),
        ({"e-mail": "ben@students.example"}, "Another student has this"),
        ({"e-mail": "BEN@Students.Example"}, "Another student has this"),
        ({"experience level": "wizard"}, "one of"),
        ({"personal link": "javascript:alert(1)"}, "https://"),
        ({"result": "pass"}, "cannot be corrected here"),
        ({"phone": "1\n2"}, "cannot be used"),
    ],
)
def test_what_cannot_be_corrected_is_said_in_a_sentence(values: dict[str, str], sentence: str) -> None:
    filed = verified("correct")
    with pytest.raises(BadInput, match=sentence):
        act("enter_correction", "omar", values=values, reason="changed", **on(filed))
    assert rows("select count(*) from privacy.correction") == [(0,)]


def test_only_a_confirmed_person_of_a_request_for_correction() -> None:
    for filed in (file("correct"), verified("access")):
        with pytest.raises(BadInput, match="person is confirmed"):
            act("enter_correction", "omar", values=NEW, reason="changed", **on(filed))
    with pytest.raises(BadInput, match="nothing to confirm"):
        act("confirm_correction", "olga", **on(verified("correct", student_id=id_of("ben"))))


def test_a_second_click_a_stale_screen_and_a_record_that_changed_meanwhile() -> None:
    filed = entered()
    stale = on(filed)
    act("return_correction", "olga", reason="mistyped here", **on(filed))
    assert rows("select state from privacy.correction") == [("returned",)] * 3
    with pytest.raises(Stale):
        act("confirm_correction", "olga", **stale)
    act("enter_correction", "omar", values={"name": "Cleo Two"}, reason="changed", **on(filed))
    act("enter_correction", "omar", values={"name": "Cleo Three"}, reason="changed", **on(filed))
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set name = 'From Elsewhere' where id = :id"), {"id": id_of("cleo")}
        )
    with pytest.raises(BadInput, match="changed since this was entered"):
        act("confirm_correction", "olga", **on(filed))
    act("enter_correction", "omar", values={"name": "Cleo Four"}, reason="changed", **on(filed))
    given = on(filed)
    first = act("confirm_correction", "olga", **given)
    assert act("confirm_correction", "olga", **given).again
    assert (student()[0], first.again) == ("Cleo Four", False)


def test_a_visitor_is_corrected_too_and_other_forms_follow_only_when_they_are_theirs(owner: Connection) -> None:
    owner.execute(text("update platform.visitor set email = :e, email_hash = (select email_hash from platform.visitor where id = :a) where id = :b"),
                  {"e": "VERA@visitors.example", "a": id_of("vera"), "b": id_of("viktor")})  # fmt: skip
    owner.commit()
    corrected({"e-mail": "vera@new.example", "name": "Vera New"}, visitor_id=id_of("vera"), with_forms=True)
    asked = "select name, email from platform.visitor order by name"
    assert rows(asked) == [("Vera New", "vera@new.example"), ("Viktor", "vera@new.example")]  # another name stays
    corrected({"e-mail": "vera@newer.example"}, visitor_id=id_of("vera"))
    assert rows(asked)[1][1] == "vera@new.example"


def test_what_stands_goes_along_with_the_address() -> None:
    file("opt_out")
    corrected({"e-mail": "cleo@new.example"})
    with db.transaction(staff_id=id_of("paula")) as session:
        assert session.scalar(text("select privacy.has_opted_out(:id)"), {"id": id_of("cleo")})


# --- what comes back ------------------------------------------------------------------------------------------------------


def sheet(tmp_path: Path, *lines_: dict[str, str], dry_run: bool = False) -> SheetReport:
    columns = list(dict.fromkeys(key for line in lines_ for key in line))
    path = tmp_path / "sheet.csv"
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(lines_)
    with db.transaction("worker") as session:
        return import_sheet(session, path, now=NOW + DAY, dry_run=dry_run)


OLD_ROW = {"email": email_of("cleo"), "name": "Cleo Example", "phone": "+49 000", "level": "advanced"}


@pytest.mark.parametrize("passed_on", [False, True])
def test_an_old_spreadsheet_finds_the_student_and_brings_nothing_back(tmp_path: Path, passed_on: bool) -> None:
    """Also after the processors have it: no spreadsheet ever says that it learned of the correction."""
    filed = corrected()
    if passed_on:
        follow(filed.request_id)
    before = student()
    report = sheet(tmp_path, OLD_ROW, {"email": "new@students.example", "name": "Somebody New"})
    assert (report.added, report.changed, report.problems, report.kept) == (1, 1, 0, 2)
    assert student() == before
    assert rows("select experience_level from platform.student where id = :id", id=id_of("cleo")) == [("advanced",)]
    assert "left as corrected" in " ".join(report.lines())
    enrolled = sheet(tmp_path, {"email": email_of("cleo"), "cohort": "CLOUD-26", "enrolled": "2026-11-01"})
    assert (enrolled.added, enrolled.problems) == (1, 0)
    assert rows("select count(*) from platform.student where email like 'cleo%'") == [(1,)]


def test_an_old_address_under_another_name_is_asked_about(tmp_path: Path) -> None:
    corrected()
    report = sheet(
        tmp_path, {"email": email_of("cleo"), "name": "Quite Another"}, {"email": NEW["e-mail"], "level": "advanced"}
    )
    assert report.problems == 1
    assert "student with another name" in report.first_problems[0].reason
    assert student()[0] == NEW["name"]


def test_a_sync_that_does_not_know_yet_brings_nothing_back_and_a_newer_value_enters() -> None:
    filed = corrected()
    before = student()
    old_hash = keys.person_hashes()(email_of("cleo"), "")[0]
    stale = "update platform.student set name = 'Cleo Example', email = :e, email_hash = :h, experience_level = 'advanced' where id = :id"

    def sync() -> None:
        with db.transaction("worker") as session:
            session.execute(text(stale), {"e": email_of("cleo").upper(), "h": old_hash, "id": id_of("cleo")})
            session.execute(
                text("update platform.student_profile set phone = '+49 000' where student_id = :id"),
                {"id": id_of("cleo")},
            )

    sync()
    assert student() == before
    assert rows("select experience_level from platform.student where id = :id", id=id_of("cleo")) == [("advanced",)]
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set name = 'Cleo Newest' where id = :id"), {"id": id_of("cleo")})
    assert student()[0] == "Cleo Newest"
    follow(filed.request_id)  # from now on the platform knows: what it says is what the person wants
    sync()
    assert student()[:3] == ("Cleo Example", email_of("cleo").upper(), "+49 000")


def test_the_seed_again_undoes_nothing(owner: Connection) -> None:
    owner.execute(text("update platform.program set code = code || '-x'"))
    owner.execute(text("update platform.cohort set code = code || '-x'"))
    owner.commit()
    with db.transaction("worker") as session:
        seed(session, now=NOW)
        asha = session.execute(
            text("select id, name, email from platform.student where source = 'seed' order by id limit 1")
        ).one()
    filed = verified("correct", student_id=asha.id)
    act(
        "enter_correction",
        "omar",
        values={"name": "Named Anew", "e-mail": "anew@students.example"},
        reason="changed",
        **on(filed),
    )
    act("confirm_correction", "olga", **on(filed))
    follow(filed.request_id)
    with db.transaction("worker") as session:
        seed(session, now=NOW)
    assert rows("select name, email from platform.student where id = :id", id=asha.id) == [
        ("Named Anew", "anew@students.example")
    ]


# --- the database, with the guards off ------------------------------------------------------------------------------------


def test_the_database_refuses_what_the_verbs_refuse(owner: Connection) -> None:
    filed = entered({"name": "Cleo Renamed"})

    def tried(name: str, statement: str, **values: Any) -> str:
        who = staff(name)
        try:
            with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
                done = session.execute(
                    text(statement), {"r": filed.request_id, "now": NOW, "me": who.id, "id": uuid.uuid4()} | values
                )
                return "" if done.rowcount else "0 rows"  # type: ignore[attr-defined]
        except DBAPIError as error:
            return str(error.orig)

    make = "select privacy.make_corrections(:r, :now)"
    assert "You entered this" in tried("omar", make)
    assert "not open to your role" in tried("paula", make) or tried("paula", make)
    for name in ("omar", "olga"):
        answer = tried(name, "update privacy.correction set state = 'in force', decided_at = :now, decided_by = :me")
        assert "in force when it was made" in answer
    assert "permission denied" in tried("olga", "update privacy.correction set new_value = 'x'")
    assert "permission denied" in tried("olga", "update platform.student set name = 'x'")
    bare = ("insert into privacy.correction (id, request_id, student_id, record_id, field, old_value, new_value, reason, entered_at, entered_by)"
            " values (:id, :r, :who, :who, :field, 'a', 'b', 'changed', :now, :as)")  # fmt: skip
    good = {"who": id_of("cleo"), "field": "platform.student.email", "as": id_of("olga")}
    for wrong in ({"field": "platform.result.kind"}, {"who": id_of("ben")}, {"as": id_of("omar")}):
        assert tried("olga", bare, **(good | wrong)), wrong
    assert tried("olga", bare, **good) == ""
    assert student()[0] == "Cleo Example"
    owner.execute(text("update staff.session set confirmed_at = now() - interval '1 day'"))
    owner.commit()
    with pytest.raises(DBAPIError), db.transaction(staff_id=id_of("oskar")) as session:
        session.execute(text(make), {"r": filed.request_id, "now": NOW})


def test_labels_and_database_agree_what_may_be_corrected() -> None:
    said = {field.place for person in ("student", "visitor") for field in correcting.correctable(person)}
    known = [f"{table.fullname}.{column.name}" for table in Base.metadata.tables.values() for column in table.columns]
    assert said == {each for each in known if rows("select privacy.may_be_corrected(:f)", f=each) == [(True,)]}


def test_two_hundred_hostile_names_are_kept_exactly_or_refused_in_words() -> None:
    """Through the form of a correction, the table, the letter and the record itself."""
    filed = verified("correct")
    kept = 0
    for name in NAMES:
        try:
            act("enter_correction", "omar", values={"name": name}, reason="changed", **on(filed))
        except AdminError as error:
            assert error.sentence.endswith(".")
            continue
        stands = rows("select new_value from privacy.correction where state = 'proposed'")
        assert stands == [(clean(name, what="name"),)]
        kept += 1
        last = name
    assert kept > len(NAMES) / 2
    act("confirm_correction", "olga", **on(filed))
    assert student()[0] == clean(last, what="name")
    assert privacy_actions.correctable("student")[0].name == "name"
