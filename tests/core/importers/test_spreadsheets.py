"""Spreadsheets from the office: all rows or none, every problem told before anything is written, twice changes nothing."""

import csv
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from core import db, keys, policy
from core.errors import BadInput
from core.importers.loading import ImportRefused
from core.importers.spreadsheets import SHOWN, SheetReport, import_sheet, years_before
from core.models import Base
from tests.cast import NOW, email_of, id_of
from tests.core.test_cli import run

Sheet = Callable[..., SheetReport]
TODAY = NOW.date()
COUNTED = ("added", "changed", "unchanged", "problems")


@pytest.fixture
def sheet(house: str, folder: Path) -> Sheet:
    """Import lines of text into the house of the cast, in a transaction of its own."""

    def imported(*lines: str, **more: Any) -> SheetReport:
        file = folder / "sheet.csv"
        file.write_text("\n".join(lines), encoding="utf-8")
        with db.transaction("worker") as session:
            return import_sheet(session, file, now=NOW, **more)

    return imported


def counts(report: SheetReport) -> tuple[int, ...]:
    return tuple(getattr(report, name) for name in COUNTED)


def reasons(report: SheetReport) -> dict[int, str]:
    return {each.line: each.reason for each in report.first_problems}


def everything(owner: Connection) -> dict[str, list[str]]:
    """Every row of every table."""
    found = {name: sorted(owner.scalars(text(f"select t::text from {name} t"))) for name in Base.metadata.tables}
    owner.rollback()
    return found


def one(owner: Connection, query: str, **values: Any) -> Any:
    found = owner.execute(text(query), values).one()
    owner.rollback()
    return found


def test_students_are_added_changed_and_left_alone_by_their_address(sheet: Sheet, owner: Connection) -> None:
    lines = (
        "Full Name;E-mail;Experience;Phone;Date of birth;Joined on;Shoe size",
        "Dana New;Dana@Students.Example;Beginner;+49 30 1;24 Nov 2000;01.10.2026;38",
        "=cmd|' /C calc'!A0;evil@students.example;;;;;",
        f"Asha Renamed; {email_of('asha').upper()} ;advanced;;;;",
        f"Ben Example;{email_of('ben')};beginner;+49 000;;;",
    )
    ben = one(owner, "select s::text from platform.student s where id = :id", id=id_of("ben"))
    report = sheet(*lines)
    assert counts(report) == (2, 1, 1, 0)
    assert report.sheet.ignored == ("Shoe size",)
    dana = one(owner, "select s.*, c.birth_date, c.adult, c.state, p.phone from platform.student s join privacy.consent c on c.student_id = s.id "
                      "join platform.student_profile p on p.student_id = s.id where email = 'Dana@Students.Example'")  # fmt: skip
    assert (dana.name, dana.experience_level, dana.phone, dana.birth_date, dana.adult, dana.state, dana.source) == (
        "Dana New", "beginner", "+49 30 1", None, True, "not needed", "csv"), "of somebody of age no birth date is kept"  # fmt: skip
    assert dana.registered_at.date().isoformat() == "2026-10-01" and dana.account_status == "open"
    hashes = keys.person_hashes()("dana@students.example", "csv:dana@students.example")
    assert (dana.email_hash, dana.provider_hash) == hashes
    asha = one(
        owner, "select name, email, experience_level, source from platform.student where id = :id", id=id_of("asha")
    )
    assert tuple(asha) == ("Asha Renamed", email_of("asha"), "advanced", "cast")
    assert one(owner, "select s::text from platform.student s where id = :id", id=id_of("ben")) == ben
    evil = one(owner, "select name, registered_at from platform.student where email = 'evil@students.example'")
    assert evil.name == "=cmd|' /C calc'!A0" and evil.registered_at == NOW
    after = everything(owner)
    assert counts(sheet(*lines)) == (0, 0, 4, 0)
    assert everything(owner) == after, "twice changes nothing, not even the audit"
    lines_of_audit = one(
        owner, "select count(*), min(details) from privacy.audit_event where action = 'records imported'"
    )
    assert tuple(lines_of_audit) == (1, '{"rows":3,"source":"csv"}')


def test_a_dry_run_tells_the_same_and_writes_nothing(sheet: Sheet, owner: Connection) -> None:
    before = everything(owner)
    report = sheet(
        "name,email",
        "Dana,dana@students.example",
        f"Other,{email_of('asha')}",
        f"Ben Example,{email_of('ben')}",
        dry_run=True,
    )
    assert counts(report) == (1, 1, 1, 0) and "would be added" in report.lines()[-1]
    assert everything(owner) == before


def test_every_problem_row_is_told_with_its_line_and_nothing_is_written(
    sheet: Sheet, owner: Connection, folder: Path
) -> None:
    before = everything(owner)
    lines = (
        "name,email,level,birth date,adult,joined",
        "Fine,fine@students.example,,,,",
        "Twice,same@students.example,,,,",
        "No address,,,,,",
        "Bad address,nobody,guru,,,",
        "Future,future@students.example,,2031-01-01,,2031-01-01",
        "Old,old@students.example,,1850-01-01,,",
        "Young,young@students.example,,2011-01-01,,",
        "Both ways,both@students.example,,03/04/2000,perhaps,",
        "Says otherwise,adult@students.example,,2009-06-01,yes,",
        "Again,SAME@students.example,,,,",
        ",nameless@students.example,,,,",
        "too,few",
        "Third,Same@Students.example,,,,",
        "Control\x07,bell@students.example,,,,",
        f"{'Long' * 60},long@students.example,,,,",
    )
    report = sheet(*lines, report=folder / "problems.csv")
    found = reasons(report)
    assert counts(report) == (0, 0, 0, 14)
    assert sorted(found) == [*range(3, 17)]
    assert found[3] == "the same e-mail is also on line 11, 14"
    assert found[11] == "the same e-mail is also on line 3, 14"
    assert found[4] == "the e-mail is missing"
    assert found[5].startswith("e-mail: 'nobody' is not an e-mail address; experience level: it is one of beginner")
    assert found[6] == "account opened: 2031-01-01 lies in the future; birth date: 2031-01-01 lies in the future"
    assert "more than 110 years" in found[7] and "below 16" in found[8] and "clause 9" in found[8]
    assert "3 April and as 4 March" in found[9] and "neither yes nor no" in found[9]
    assert found[10] == "adult: the birth date says otherwise"
    assert found[12] == "a new student needs a name"
    assert found[13] == "it has 2 cells, the header has 6"
    assert "cannot be used" in found[15] and "240 characters long" in found[16]
    assert everything(owner) == before
    with (folder / "problems.csv").open(encoding="utf-8-sig") as handle:
        assert [(int(row["line"]), row["problem"]) for row in csv.DictReader(handle)] == sorted(found.items())


def test_a_long_list_of_problems_is_cut_and_counted(sheet: Sheet) -> None:
    report = sheet("name,email", *(f"Nobody {number},wrong" for number in range(50)))
    assert report.problems == 50 and len(report.first_problems) == SHOWN
    assert report.lines()[-2:] == [
        "  … and 30 more; --report FILE writes all of them.",
        "50 of 50 rows have problems. Nothing was written.",
    ]


@pytest.mark.parametrize(
    ("born", "adult", "state", "is_adult"),
    [
        (years_before(TODAY, 18), "", "not needed", True),
        (years_before(TODAY, 18) + timedelta(days=1), "", "missing", None),
        (years_before(TODAY, 16), "", "missing", None),
        ("", "yes", "not needed", True),
        ("", "no", "missing", False),
        ("", "", "not needed", None),
    ],
)
def test_ages_stand_in_the_consent_record_and_decide_on_consent(
    sheet: Sheet, owner: Connection, born: Any, adult: str, state: str, is_adult: bool | None
) -> None:
    assert counts(sheet("name,email,born,adult", f"Dana,dana@students.example,{born},{adult}")) == (1, 0, 0, 0)
    row = one(
        owner,
        "select c.* from privacy.consent c join platform.student s on s.id = c.student_id where s.email = 'dana@students.example'",
    )
    assert (str(row.birth_date or ""), row.state, row.adult) == ("" if is_adult else str(born), state, is_adult)
    assert (row.declared_at is None) == (not born and not adult)


def test_an_age_that_is_on_record_is_never_changed_and_one_that_is_not_is_added(
    sheet: Sheet, owner: Connection
) -> None:
    sheet(
        "name,email,born,adult",
        "A,a@students.example,2000-01-01,",
        "B,b@students.example,,yes",
        "C,c@students.example,,",
    )
    conflicts = sheet(
        "email,born,adult", "a@students.example,2009-01-02,", "b@students.example,2009-01-01,", "b@students.example,,no"
    )
    assert {line: "another age is on record" in reason for line, reason in reasons(conflicts).items()} == {
        2: True,
        3: True,
        4: True,
    }
    agreeing = (
        "email,born,adult",
        "a@students.example,2000-01-01,yes",
        "b@students.example,1999-05-05,",
        "c@students.example,2009-01-01,",
    )
    assert counts(sheet(*agreeing)) == (0, 1, 2, 0)
    row = one(
        owner,
        "select c.birth_date, c.adult, c.state from privacy.consent c join platform.student s on s.id = c.student_id where email = 'c@students.example'",
    )
    assert (str(row.birth_date), row.adult, row.state) == ("2009-01-01", None, "missing")
    assert counts(sheet(*agreeing)) == (0, 0, 3, 0)


def test_a_guardian_comes_with_a_minor_and_is_never_changed(sheet: Sheet, owner: Connection) -> None:
    header = "name,email,born,adult,Parent,Parent e-mail"
    wrong = sheet(
        header,
        "A,a@students.example,2009-01-01,,Mum,",
        "B,b@students.example,2009-01-01,,Mum,B@students.example",
        "C,c@students.example,,yes,Mum,mum@example.org",
        "D,d@students.example,,,Mum,mum@example.org",
    )
    assert {line: reason.split(":")[0] for line, reason in reasons(wrong).items()} == {
        2: "guardian", 3: "guardian's e-mail", 4: "guardian", 5: "guardian"}  # fmt: skip
    good = (
        header,
        "E,e@students.example,2009-01-01,,=Mum,mum@example.org",
        "F,f@students.example,,no,Dad,dad@example.org",
    )
    assert counts(sheet(*good)) == (2, 0, 0, 0)
    found = (
        "select g.name, g.email, c.state from privacy.consent c join privacy.guardian g on g.id = c.guardian_id"
        " join platform.student s on s.id = c.student_id where s.email = :e"
    )
    assert tuple(one(owner, found, e="e@students.example")) == ("=Mum", "mum@example.org", "missing")
    assert counts(sheet(*good)) == (0, 0, 2, 0)
    other = sheet(header, "E,e@students.example,2009-01-01,,Dad,dad@example.org")
    assert "another one is on record" in reasons(other)[2] and "Mum" not in reasons(other)[2]


def test_enrollments_by_address_and_cohort_follow_the_calendar(sheet: Sheet, owner: Connection) -> None:
    lines = (
        "E-Mail,Cohort code,Enrolled on,Withdrawn on",
        f"{email_of('asha')},cloud-26,1 Nov 2026,",
        f"{email_of('cleo')},CLOUD-26,2026-10-01,20.11.2026",
        f"{email_of('ben')},CLOUD-26,,",
    )
    assert counts(sheet(*lines)) == (2, 0, 1, 0)
    found = "select status, enrolled_at::date::text, started_at::date::text, withdrawn_at::date::text, source, program_id from platform.enrollment where student_id = :s and cohort_id = :c"
    asha = one(owner, found, s=id_of("asha"), c=id_of("cloud"))
    assert tuple(asha) == ("active", "2026-11-01", "2026-11-01", None, "csv", id_of("cloud program"))
    cleo = one(owner, found, s=id_of("cleo"), c=id_of("cloud"))
    assert tuple(cleo)[:4] == ("withdrawn", "2026-10-01", "2026-10-01", "2026-11-20")
    result = "select r.kind, r.decided_at::date::text from platform.result r join platform.enrollment e on e.id = r.enrollment_id where e.student_id = :s and e.cohort_id = :c"
    assert tuple(one(owner, result, s=id_of("cleo"), c=id_of("cloud"))) == ("withdrawn", "2026-11-20")
    after = everything(owner)
    assert counts(sheet(*lines)) == (0, 0, 3, 0) and everything(owner) == after
    assert counts(sheet(lines[0], f"{email_of('asha')},CLOUD-26,2 Nov 2026,21 Nov 2026")) == (0, 1, 0, 0)
    assert tuple(one(owner, found, s=id_of("asha"), c=id_of("cloud")))[:4] == (
        "withdrawn",
        "2026-11-02",
        "2026-11-02",
        "2026-11-21",
    )


def test_enrollments_that_cannot_be(sheet: Sheet, owner: Connection) -> None:
    owner.execute(
        text("update platform.student set account_status = 'closed', closed_at = now() where id = :id"),
        {"id": id_of("cleo")},
    )
    owner.execute(
        text("update platform.cohort set starts_on = '2026-01-01', ends_on = '2026-06-01' where id = :id"),
        {"id": id_of("java")},
    )
    owner.commit()
    before = everything(owner)
    asha, ben = email_of("asha"), email_of("ben")
    report = sheet(
        "email,cohort,enrolled,withdrawn,status",
        f"{asha},NOPE,,,",
        "stranger@students.example,CLOUD-26,,,",
        f"{email_of('cleo')},CLOUD-26,,,",
        f"{asha},CLOUD-26,2026-10-01,,withdrawn",
        f"{asha},,,,",
        f"{asha},JAVA-26,,,",
        f"{ben},JAVA-26,2026-07-01,,",
        f"{ben},PYTHON-26,2026-10-01,2026-09-01,",
        f"{asha},cloud-26,,,ended",
        f"{ben},CLOUD-26,,2026-11-01,",
    )
    found = reasons(report)
    assert report.problems == 10 and sorted(found) == [*range(2, 12)]
    assert found[2] == "there is no cohort with this code"
    assert found[3] == "no student has this e-mail; import the students first"
    assert found[4] == "the account is closed"
    assert "also on line 10" in found[5] and "withdrawn needs its day" in found[5]
    assert found[6] == "the cohort is missing"
    assert found[7] == "the cohort ended on 2026-06-01; say when the student enrolled"
    assert found[8] == "enrolled after the cohort ended on 2026-06-01"
    assert found[9] == "withdrawn before enrolled"
    assert "also on line 5" in found[10] and "by its dates the enrollment is active, not ended" in found[10]
    assert found[11] == "there is another result already"
    assert everything(owner) == before


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("name,phone", "no column is an e-mail"),
        ("email,shoe size", "no column of students"),
        ("email,name", "no row below the header"),
        ("", "no column is an e-mail"),
    ],
)
def test_a_sheet_without_the_columns_is_refused_in_words(sheet: Sheet, header: str, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        sheet(header)


def test_the_command_tells_how_it_read_the_file_and_ends_with_an_error(house: str, folder: Path) -> None:
    file = folder / "students.csv"
    file.write_bytes("Vorname;First name;Surname;Mail\nx;Zoë;[bold]O'Brien;zoe@students.example\n".encode("cp1252"))
    told = run("import", "csv", str(file), "--dry-run")
    assert "1 rows of students, read as Windows-1252 with semicolons" in told and "Ignored columns: “Vorname”" in told
    assert "1 would be added" in told
    assert "1 were added" in run("import", "csv", str(file))
    file.write_text("name,email\nZ,wrong\n")
    with pytest.raises(BadInput, match=r"1 of 1 rows have problems\. Nothing was written"):
        run("import", "csv", str(file))


def test_memory_does_not_grow_with_the_sheet(worker: Session, folder: Path) -> None:
    policy.publish_first_version(worker, now=NOW)
    file = folder / "students.csv"
    with file.open("w") as handle:
        handle.write("name;email;birth date\n")
        handle.writelines(f"Person {n};person{n}@students.example;1990-01-{n % 28 + 1:02}\n" for n in range(8_000))
    tracemalloc.start()
    assert import_sheet(worker, file, now=NOW).added == 8_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_500_000, "the rows alone would take more, held as a list"
