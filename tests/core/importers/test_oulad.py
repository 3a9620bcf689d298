"""The dataset as our records: the mapping, twice in a row, moved to now, and everything or nothing.

Its tests know a small dataset by heart: two modules, three presentations, five students. Student 11 failed although a day
of unregistration stands there and came back for a second presentation; 12 withdrew without a day; 13 left before the
start, 15 after it; no day of registration is known of 14. Some files are quoted, one begins with a byte order mark.
"""

import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db
from core.importers.loading import ImportRefused
from core.importers.oulad import import_oulad
from core.settings import ROOT
from tests.cast import NOW

WHOLE = Path(os.environ.get("RESOCODE_OULAD") or ROOT.parent / "shared" / "oulad")
TODAY = NOW.date()
COUNTED = (
    "program", "cohort", "module", "student", "enrollment", "module_progress", "submission", "result", "certificate",
    "usage_event",
)  # fmt: skip

FILES = {
    "courses.csv": """\
code_module,code_presentation,module_presentation_length
AAA,2013J,268
BBB,2013J,260
BBB,2014B,240
""",
    "studentInfo.csv": """\
"code_module","code_presentation","id_student","gender","region","final_result"
"AAA","2013J","11","M","Scotland","Fail"
"AAA","2013J","12","F","Wales","Withdrawn"
"AAA","2013J","13","F","Wales","Withdrawn"
"BBB","2013J","14","M","Ireland","Distinction"
"BBB","2014B","11","M","Scotland","Pass"
"BBB","2014B","15","F","Scotland","Withdrawn"
""",
    "studentRegistration.csv": """\
\ufeffcode_module,code_presentation,id_student,date_registration,date_unregistration
AAA,2013J,11,-159,12
AAA,2013J,12,-53,?
AAA,2013J,13,-92,-12
BBB,2013J,14,,?
BBB,2014B,11,-20,
BBB,2014B,15,-10,30
""",
    "assessments.csv": """\
code_module,code_presentation,id_assessment,assessment_type,date,weight
AAA,2013J,1752,TMA,19,10
AAA,2013J,1753,TMA,54,20
AAA,2013J,1757,Exam,?,100
BBB,2013J,2001,CMA,40,7.5
BBB,2014B,3001,CMA,40,7.5
""",
    "studentAssessment.csv": """\
id_assessment,id_student,date_submitted,is_banked,score
1752,11,18,0,78
1753,11,53,0,39
1757,12,260,0,?
2001,14,-1,1,40
3001,11,41,0,
""",
    "vle.csv": """\
id_site,code_module,code_presentation,activity_type,week_from,week_to
546652,AAA,2013J,forumng,?,?
546614,AAA,2013J,homepage,?,?
""",
    "studentVle.csv": """\
code_module,code_presentation,id_student,id_site,date,sum_click
AAA,2013J,11,546652,-10,4
AAA,2013J,11,546652,-10,1
AAA,2013J,11,546614,3,11
""",
}


def write(folder: Path, *, without: tuple[str, ...] = (), **changed: str) -> Path:
    """Write the files; ``changed`` replaces a file by its name without the ending."""
    folder.mkdir(exist_ok=True)
    for name, published in FILES.items():
        if name not in without:
            (folder / name).write_text(changed.get(name.removesuffix(".csv"), published), encoding="utf-8")
    return folder


def with_line(name: str, line: int, text: str) -> str:
    """Return a file in which one line (counted from 1, the header) is another one."""
    lines = FILES[f"{name}.csv"].splitlines()
    lines[line - 1] = text
    return "\n".join(lines) + "\n"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


def rows(session: Session, query: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(text(query), values)]


def counts(session: Session) -> dict[str, int]:
    return {table: rows(session, f"select count(*) from platform.{table}")[0][0] for table in COUNTED}


def content(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    return {table: rows(session, f"select * from platform.{table} order by 1, 2") for table in COUNTED} | {
        "consent": rows(session, "select * from privacy.consent order by 1")
    }


def enrollment(session: Session, key: str) -> Any:
    found = session.execute(text("select * from platform.enrollment where source_key = :key"), {"key": key})
    return found.one()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tmp_path / "oulad")


def test_every_table_gets_its_rows(worker: Session, tiny: Path) -> None:
    report = import_oulad(worker, tiny, now=NOW)
    expected = dict(zip(COUNTED, (2, 3, 5, 5, 6, 5, 5, 6, 2, 2), strict=True))
    assert counts(worker) == expected
    assert {name: report.written[name] for name in COUNTED} == expected
    assert report.offset == 0
    assert any("submission" in line for line in report.lines())


def test_presentations_run_from_february_or_october(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    assert rows(worker, "select source_key, starts_on, ends_on from platform.cohort order by 1") == [
        ("AAA/2013J", date(2013, 10, 1), date(2014, 6, 26)),
        ("BBB/2013J", date(2013, 10, 1), date(2014, 6, 18)),
        ("BBB/2014B", date(2014, 2, 1), date(2014, 9, 29)),
    ]


def test_assessments_are_modules_of_their_cohort_in_order_of_the_day(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    query = """select m.source_key, m.position, m.kind, m.due_day, m.weight::float from platform.module m
        join platform.cohort c on c.id = m.cohort_id and c.program_id = m.program_id
        where c.source_key = 'AAA/2013J' order by 2"""
    assert rows(worker, query) == [
        ("1752", 1, "tutor-marked", 19, 10.0),
        ("1753", 2, "tutor-marked", 54, 20.0),
        ("1757", 3, "exam", 268, 100.0),
    ]


def test_work_becomes_submission_and_progress(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    query = """select s.source_key, s.submitted_at, s.status, s.score::float, p.status, p.score::float, p.done_at
        from platform.submission s
        join platform.module_progress p using (enrollment_id, module_id, cohort_id) order by s.source_key"""
    assert rows(worker, query) == [
        ("1752/11", utc(2013, 10, 19), "passed", 78.0, "done", 78.0, utc(2013, 10, 19)),
        ("1753/11", utc(2013, 11, 23), "failed", 39.0, "failed", 39.0, None),
        ("1757/12", utc(2014, 6, 18), "waiting for review", None, "in progress", None, None),
        ("2001/14", utc(2013, 9, 30), "passed", 40.0, "done", 40.0, utc(2013, 9, 30)),
        ("3001/11", utc(2014, 3, 14), "waiting for review", None, "in progress", None, None),
    ]


def test_clicks_of_a_day_on_a_page_are_one_event(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    assert rows(worker, "select at, item, clicks from platform.usage_event order by 1") == [
        (utc(2013, 9, 21), "forumng 546652", 5),
        (utc(2013, 10, 4), "homepage 546614", 11),
    ]


def test_the_result_decides_over_the_day_of_unregistration(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    failed, withdrew = enrollment(worker, "AAA/2013J/11"), enrollment(worker, "AAA/2013J/12")
    assert (failed.status, failed.withdrawn_at, failed.enrolled_at) == ("ended", None, utc(2013, 4, 25))
    assert (withdrew.status, withdrew.withdrawn_at) == ("withdrawn", utc(2014, 6, 26))


def test_a_missing_day_of_registration_is_the_first_day(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    assert enrollment(worker, "BBB/2013J/14").enrolled_at == utc(2013, 10, 1)


def test_who_left_before_the_start_never_started(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    early, stayed = enrollment(worker, "AAA/2013J/13"), enrollment(worker, "AAA/2013J/11")
    assert (early.status, early.withdrawn_at, early.started_at) == ("withdrawn", utc(2013, 9, 19), None)
    assert stayed.started_at == utc(2013, 10, 1)


def test_results_and_certificates(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    query = """select e.source_key, r.kind, r.decided_at, c.honors, c.issued_at from platform.result r
        join platform.enrollment e on e.id = r.enrollment_id
        left join platform.certificate c on c.enrollment_id = e.id order by 1"""
    assert rows(worker, query) == [
        ("AAA/2013J/11", "fail", utc(2014, 6, 26), None, None),
        ("AAA/2013J/12", "withdrawn", utc(2014, 6, 26), None, None),
        ("AAA/2013J/13", "withdrawn", utc(2013, 9, 19), None, None),
        ("BBB/2013J/14", "distinction", utc(2014, 6, 18), True, utc(2014, 6, 18)),
        ("BBB/2014B/11", "pass", utc(2014, 9, 29), False, utc(2014, 9, 29)),
        ("BBB/2014B/15", "withdrawn", utc(2014, 3, 3), None, None),
    ]


def test_a_student_is_one_person_who_first_came_at_the_first_registration(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    query = """select s.registered_at, s.experience_level, c.adult, c.birth_date, c.state, c.declared_at
        from platform.student s join privacy.consent c on c.student_id = s.id where s.source_key = '11'"""
    came = utc(2013, 4, 25)
    assert rows(worker, query) == [(came, "not stated", True, None, "not needed", came)]


def test_identities_are_made_up_and_lead_nowhere(worker: Session, tiny: Path) -> None:
    import_oulad(worker, tiny, now=NOW)
    for name, email, key in rows(worker, "select name, email, source_key from platform.student"):
        assert name.strip() == name and len(name) > 2
        assert email.isascii() and email.endswith("@students.example") and key in email


def test_identities_depend_on_the_student_alone(worker: Session, tmp_path: Path) -> None:
    query = "select source_key, id, name, email, email_hash, provider_hash from platform.student order by 1"
    with worker.begin_nested() as step:
        import_oulad(worker, write(tmp_path / "all"), now=NOW)
        before = {row[0]: row for row in rows(worker, query)}
        step.rollback()
    one = {
        name: "\n".join(line for number, line in enumerate(FILES[f"{name}.csv"].splitlines()) if number in (0, 4))
        for name in ("studentInfo", "studentRegistration")
    }
    optional = ("assessments.csv", "studentAssessment.csv", "vle.csv", "studentVle.csv")
    import_oulad(worker, write(tmp_path / "one", without=optional, **one), now=NOW)
    assert rows(worker, query) == [before["14"]]


@pytest.mark.parametrize("shift_to", [None, TODAY])
def test_twice_in_a_row_changes_nothing(worker: Session, tiny: Path, shift_to: date | None) -> None:
    import_oulad(worker, tiny, now=NOW, shift_to=shift_to)
    before = content(worker)
    again = import_oulad(worker, tiny, now=NOW, shift_to=shift_to)
    assert set(again.written.values()) == {0}
    assert content(worker) == before


def test_a_corrected_value_and_what_stands_about_a_person_survive_the_same_import_again(
    worker: Session, tiny: Path
) -> None:
    import_oulad(worker, tiny, now=NOW)
    [(student, experience), *_] = rows(worker, "select id, experience_level from platform.student order by id")
    other = "beginner" if experience != "beginner" else "advanced"
    mended = "update platform.student set name = 'Corrected Name', experience_level = :level where id = :id"
    worker.execute(text(mended), {"id": student, "level": other})
    stands = "insert into privacy.restriction (id, student_id, email_hash, basis, since) select gen_random_uuid(), id, email_hash, 'asked', :now from platform.student where id = :id"
    worker.execute(text(stands), {"id": student, "now": NOW})
    import_oulad(worker, tiny, now=NOW)
    assert rows(worker, "select name, experience_level from platform.student where id = :id", id=student) == [
        ("Corrected Name", other)
    ]
    assert rows(worker, "select until from privacy.restriction where student_id = :id", id=student) == [(None,)]


def test_moved_to_today_the_last_presentation_runs(worker: Session, tiny: Path) -> None:
    report = import_oulad(worker, tiny, now=NOW, shift_to=TODAY)
    (starts_on, ends_on), *_ = rows(
        worker, "select starts_on, ends_on from platform.cohort where source_key = 'BBB/2014B'"
    )
    assert starts_on < TODAY < ends_on
    assert (starts_on - date(2014, 2, 1)).days == report.offset
    assert enrollment(worker, "BBB/2014B/11").status == "active"
    assert enrollment(worker, "AAA/2013J/11").status == "ended"
    running = "select r.decided_at from platform.result r join platform.enrollment e on e.id = r.enrollment_id"
    assert rows(worker, f"{running} where e.source_key = 'BBB/2014B/11'")[0][0] > NOW


def test_all_days_move_by_one_offset(worker: Session, tiny: Path) -> None:
    report = import_oulad(worker, tiny, now=NOW, shift_to=TODAY)
    moved = enrollment(worker, "AAA/2013J/11").enrolled_at - utc(2013, 4, 25)
    handed_in = rows(worker, "select submitted_at from platform.submission where source_key = '1752/11'")[0][0]
    clicked = rows(worker, "select min(at) from platform.usage_event")[0][0]
    assert moved.days == (handed_in - utc(2013, 10, 19)).days == (clicked - utc(2013, 9, 21)).days == report.offset


@pytest.mark.parametrize("later", [None, date(2027, 3, 1)])
def test_the_first_offset_is_kept_and_a_later_wish_is_answered(worker: Session, tiny: Path, later: date | None) -> None:
    first = import_oulad(worker, tiny, now=NOW, shift_to=TODAY)
    before = content(worker)
    again = import_oulad(worker, tiny, now=NOW, shift_to=later)
    assert again.offset == first.offset
    assert content(worker) == before
    assert any("keep" in note for note in again.notes) == (later is not None)


def test_optional_files_may_be_absent_and_are_named(worker: Session, tmp_path: Path) -> None:
    optional = ("assessments.csv", "studentAssessment.csv", "vle.csv", "studentVle.csv")
    report = import_oulad(worker, write(tmp_path / "oulad", without=optional), now=NOW)
    assert counts(worker)["enrollment"] == 6
    assert [any(name in line for line in report.lines()) for name in optional] == [True] * 4


@pytest.mark.parametrize("name", ["courses.csv", "studentInfo.csv", "studentRegistration.csv"])
def test_without_an_obligatory_file_nothing_is_done(worker: Session, tmp_path: Path, name: str) -> None:
    with pytest.raises(ImportRefused, match=name):
        import_oulad(worker, write(tmp_path / "oulad", without=(name,)), now=NOW)
    assert set(counts(worker).values()) == {0}


MALFORMED = [
    ("courses", 3, "BBB,2013X,260", "code_presentation"),
    ("courses", 3, "BBB,2013J,many", "module_presentation_length"),
    ("studentRegistration", 4, "AAA,2013J,13,soon,-12", "date_registration"),
    ("studentRegistration", 4, "AAA,2013J,,-92,-12", "id_student"),
    ("studentRegistration", 4, "AAA,2013J", "cells"),
    ("studentRegistration", 4, "ZZZ,2013J,13,-92,-12", "courses.csv"),
    ("studentRegistration", 4, "AAA,2013J,13,99999999,-12", "date_registration"),
    ("studentInfo", 5, '"BBB","2013J","14","M","Ireland","Excellent"', "final_result"),
    ("studentInfo", 5, '"BBB","2013J","14","M","Ireland","?"', "final_result"),
    ("studentInfo", 5, '"BBB","2013J","99","M","Ireland","Pass"', "studentRegistration.csv"),
    ("studentInfo", 5, '"BBB","2013J","1\x004","M","Ireland","Pass"', "NUL"),
    ("assessments", 6, "BBB,2014B,3001,Quiz,40,7.5", "assessment_type"),
    ("assessments", 6, "BBB,2014B,3001,CMA,40,heavy", "weight"),
    ("studentAssessment", 6, "3001,11,41,0,101", "score"),
    ("studentAssessment", 6, "3001,11,?,0,50", "date_submitted"),
    ("studentAssessment", 6, "9999,11,41,0,50", "assessments.csv"),
    ("studentAssessment", 6, "3001,12,41,0,50", "not registered"),
    ("studentVle", 4, "AAA,2013J,11,546614,3,lots", "sum_click"),
    ("studentVle", 4, "AAA,2013J,15,546614,3,1", "not registered"),
]


@pytest.mark.parametrize(("name", "line", "row", "reason"), MALFORMED)
def test_a_malformed_row_stops_everything(
    database: str, tmp_path: Path, name: str, line: int, row: str, reason: str
) -> None:
    folder = write(tmp_path / "oulad", **{name: with_line(name, line, row)})
    with pytest.raises(ImportRefused, match=reason) as caught, db.transaction("worker") as session:
        import_oulad(session, folder, now=NOW)
    assert (caught.value.file, caught.value.line) == (f"{name}.csv", line)
    with db.transaction("worker") as session:
        assert set(counts(session).values()) == {0}


def test_progress_tells_each_file_and_reaches_its_end(worker: Session, tiny: Path) -> None:
    told: dict[str, tuple[int, int]] = {}
    import_oulad(worker, tiny, now=NOW, progress=lambda name, done, whole: told.update({name: (done, whole)}))
    assert set(told) == set(FILES)
    assert all(done == whole for done, whole in told.values())


@pytest.mark.slow
@pytest.mark.skipif(
    not (WHOLE / "studentInfo.csv").exists(), reason="the dataset is not here: name its folder in RESOCODE_OULAD"
)
def test_the_published_files_give_the_known_counts(worker: Session) -> None:
    import_oulad(worker, WHOLE, now=NOW, shift_to=TODAY)
    found = counts(worker)
    assert (found["program"], found["cohort"], found["student"]) == (7, 15, 19_720)
    assert (found["enrollment"], found["submission"]) == (21_333, 121_738)
    assert dict(rows(worker, "select kind, count(*) from platform.result group by 1")) == {
        "distinction": 1_860, "fail": 5_075, "pass": 8_068, "withdrawn": 6_330,
    }  # fmt: skip
    assert set(import_oulad(worker, WHOLE, now=NOW, shift_to=TODAY).written.values()) == {0}
