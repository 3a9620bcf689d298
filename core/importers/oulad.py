"""The Open University Learning Analytics Dataset, as records of our platform.

Kuzilek J., Hlosta M., Zdrahal Z.: Open University Learning Analytics dataset. Scientific Data 4, 170171 (2017), CC BY 4.0.

A module of theirs is a program of ours, a presentation a cohort (B starts on 1 February, J on 1 October), an assessment a
module of that cohort, assessed work a submission with its score and the progress it means, a registration an enrollment,
the final result a result and, when passed, a certificate; clicks of one day on one page are one usage event. Days count
from the start of the presentation; an exam without a day is due on the last one.

- The final result decides where it and the day of unregistration disagree: 9 who failed had unregistered (they stay
  enrolled), 6 who withdrew have no such day (the cohort's last day stands for it).
- The data names nobody. Each student gets a stable synthetic name (Faker, seeded by the id), an address below the
  reserved domain ``students.example``, and a declaration of adulthood (the university teaches adults).
- Gender, region, deprivation index, disability, age band, education and credits are not imported: the policy states what
  is collected (clause 1), and these are not in it.
- Work scored below 40 is failed; without a score it waits for review.
- ``shift_to`` moves all days by one offset so that the last presentation is two thirds through. The offset is stored by
  the cohorts themselves: a later run keeps it. What the moved records foretell (results and submissions of the running
  cohorts) stays in the tables with its day to come.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys
from core.importers.loading import (
    ImportRefused,
    Progress,
    Record,
    followed,
    line_count,
    load,
    make_months,
    records,
    stable_id,
    table_of,
)
from core.importers.statuses import refresh_statuses
from core.models.base import Base
from core.models.platform import (
    Certificate,
    Cohort,
    Enrollment,
    Module,
    ModuleProgress,
    Program,
    Result,
    Student,
    Submission,
    UsageEvent,
)
from core.models.privacy import Consent
from core.privacy.audit import Action, append

if TYPE_CHECKING:
    from faker import Faker

SOURCE = "oulad"
STARTS = {"B": (2, 1), "J": (10, 1)}
KINDS = {"TMA": "tutor-marked", "CMA": "computer-marked", "Exam": "exam"}
RESULTS = {"Distinction": "distinction", "Pass": "pass", "Fail": "fail", "Withdrawn": "withdrawn"}
PASS_SCORE = 40
MOST_CLICKS = 100_000
SHIFTED_TO = 2 / 3
OBLIGATORY = ("courses.csv", "studentInfo.csv", "studentRegistration.csv")
OPTIONAL = ("assessments.csv", "studentAssessment.csv", "vle.csv", "studentVle.csv")


@dataclass(frozen=True)
class OuladReport:
    """What one run did: rows in the files and rows written, by table; ``offset`` is the shift in days."""

    seen: dict[str, int]
    written: dict[str, int]
    offset: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as people read it."""
        table = [f"{name:<16}{self.seen[name]:>9,} in the files {self.written[name]:>9,} written" for name in self.seen]
        return [
            *table,
            f"All days are moved by {self.offset:,} days." if self.offset else "Days are as published.",
            *self.notes,
        ]


@dataclass(frozen=True)
class _Run:
    """One presentation: our cohort, when it starts and ends."""

    module: str
    presentation: str
    starts_on: date
    ends_on: date

    @property
    def id(self) -> Any:
        return stable_id(SOURCE, "cohort", self.module, self.presentation)

    def at(self, day: int) -> datetime:
        """The instant of a day of the presentation."""
        return _midnight(self.starts_on + timedelta(days=day))


@dataclass(frozen=True)
class _Place:
    """One registration: our enrollment."""

    run: _Run
    student: int

    @property
    def id(self) -> Any:
        return stable_id(SOURCE, "enrollment", self.run.module, self.run.presentation, self.student)


class _Import:
    """One run over one folder: what was read so far, and what was written."""

    def __init__(self, session: Session, folder: Path, progress: Progress | None, now: datetime) -> None:
        self.session, self.folder, self.progress, self.now = session, folder, progress, now
        self.seen: dict[str, int] = {}
        self.written: dict[str, int] = {}

    def has(self, *names: str) -> bool:
        """Whether all of these files are there."""
        return all((self.folder / name).exists() for name in names)

    def rows(self, name: str, *columns: str) -> Iterator[Record]:
        """The rows of a file, with progress."""
        file = self.folder / name
        return followed(records(file, columns), name=name, whole=line_count(file), progress=self.progress)

    def keep(self, model: type[Base], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Load rows and count them."""
        name = table_of(model).name
        self.seen[name] = self.seen.get(name, 0) + len(rows)
        self.written[name] = self.written.get(name, 0) + load(self.session, model, columns, rows, now=self.now)


def import_oulad(
    session: Session, folder: Path, *, now: datetime, shift_to: date | None = None, progress: Progress | None = None
) -> OuladReport:
    """Load a folder of the dataset, as the worker. Twice in a row changes nothing.

    Raises ImportRefused (file, line, reason) for anything malformed; the caller's transaction then holds half an import and
    must be rolled back, which core.db.transaction does.
    """
    job = _Import(session, folder, progress, now)
    missing = [name for name in OBLIGATORY if not job.has(name)]
    if missing:
        raise ImportRefused(folder.name, None, f"{', '.join(missing)} is missing.")
    runs, offset, notes = _courses(job, shift_to)
    places = _enrollments(job, runs)
    modules = _modules(job, runs) if job.has("assessments.csv") else {}
    if job.has("assessments.csv", "studentAssessment.csv"):
        _submissions(job, places, modules)
    if job.has("studentVle.csv"):
        _usage(job, places)
    notes += [f"{name} is not there: left out." for name in OPTIONAL if not job.has(name)]
    refresh_statuses(session, now)
    if any(job.written.values()):
        append(session, Action.IMPORTED, now=now, source=SOURCE, rows=sum(job.written.values()))
    return OuladReport(job.seen, job.written, offset, tuple(notes))


def _courses(job: _Import, shift_to: date | None) -> tuple[dict[tuple[str, str], _Run], int, list[str]]:
    lengths: dict[tuple[str, str], int] = {}
    for row in job.rows("courses.csv", "code_module", "code_presentation", "module_presentation_length"):
        length = row.needed("module_presentation_length")
        if not 1 <= length <= 1000:
            raise row.refused(f"module_presentation_length must be 1 to 1000 days, not {length}.")
        _published_start(row)
        key = (row.text("code_module"), row.text("code_presentation"))
        if key in lengths:
            raise row.refused(f"{' '.join(key)} is there twice.")
        lengths[key] = length
    if not lengths:
        raise ImportRefused("courses.csv", None, "it names no presentation.")
    offset, notes = _offset(job.session, lengths, shift_to)
    runs = {
        (module, presentation): _Run(
            module, presentation, start + timedelta(days=offset), start + timedelta(days=offset + length)
        )
        for (module, presentation), length in lengths.items()
        for start in (_start(presentation),)
    }
    _write_courses(job, list(runs.values()))
    return runs, offset, notes


def _write_courses(job: _Import, runs: list[_Run]) -> None:
    modules = sorted({run.module for run in runs})
    programs = [(stable_id(SOURCE, "program", m), f"OU-{m}", f"Open University {m}", SOURCE, m) for m in modules]
    job.keep(Program, ("id", "code", "title", "source", "source_key"), programs)
    cohorts = [
        (run.id, stable_id(SOURCE, "program", run.module), f"OU-{run.module}-{run.presentation}",
         f"{run.module} {run.presentation[:4]}-{run.presentation[4:]}", run.starts_on, run.ends_on, SOURCE,
         f"{run.module}/{run.presentation}")
        for run in runs
    ]  # fmt: skip
    job.keep(Cohort, ("id", "program_id", "code", "title", "starts_on", "ends_on", "source", "source_key"), cohorts)


def _offset(session: Session, lengths: dict[tuple[str, str], int], shift_to: date | None) -> tuple[int, list[str]]:
    """The stored offset when there is one; else the one that puts ``shift_to`` two thirds into the last presentation."""
    key = max(lengths, key=lambda each: (_start(each[1]), lengths[each], each))
    natural = _start(key[1])
    wanted = (shift_to - natural).days - round(lengths[key] * SHIFTED_TO) if shift_to else 0
    kept = session.execute(select(Cohort.source_key, Cohort.starts_on).where(Cohort.source == SOURCE).limit(1)).first()
    if kept is None or kept.source_key is None:
        return wanted, []
    stored = (kept.starts_on - _start(kept.source_key.split("/")[1])).days
    changed = shift_to is not None and stored != wanted
    return stored, ["The records are here already and keep the days they were moved to."] if changed else []


def _published_start(row: Record) -> None:
    try:
        _start(row.text("code_presentation"))
    except (ValueError, KeyError, IndexError) as error:
        raise row.refused(
            f"code_presentation must be a year and B or J, not {row.text('code_presentation')[:20]!r}."
        ) from error


def _start(presentation: str) -> date:
    month, day = STARTS[presentation[4:]]
    if not 1990 <= int(presentation[:4]) <= 2100:
        raise ValueError(presentation)
    return date(int(presentation[:4]), month, day)


def _enrollments(job: _Import, runs: dict[tuple[str, str], _Run]) -> dict[tuple[str, str, int], _Place]:
    days: dict[_Place, tuple[int | None, int | None]] = {}
    registrations: dict[_Place, Record] = {}
    columns = ("code_module", "code_presentation", "id_student", "date_registration", "date_unregistration")
    for row in job.rows("studentRegistration.csv", *columns):
        place = _place(row, runs)
        _once(row, place, days)
        days[place] = (row.day("date_registration"), row.day("date_unregistration"))
        registrations[place] = row
    results: dict[_Place, str] = {}
    for row in job.rows("studentInfo.csv", "code_module", "code_presentation", "id_student", "final_result"):
        if (result := row.text("final_result")) not in RESULTS:
            raise row.refused(f"final_result must be one of {', '.join(RESULTS)}, not {result[:20]!r}.")
        if (place := _place(row, runs)) not in days:
            raise row.refused(f"student {place.student} is not in studentRegistration.csv.")
        _once(row, place, results)
        results[place] = RESULTS[result]
    for place, row in registrations.items():
        if place not in results:
            raise row.refused(f"student {place.student} is not in studentInfo.csv.")
    _write_students(job, days)
    _write_enrollments(job, days, results)
    return {(place.run.module, place.run.presentation, place.student): place for place in days}


def _place(row: Record, runs: dict[tuple[str, str], _Run]) -> _Place:
    run = runs.get((row.text("code_module"), row.text("code_presentation")))
    if run is None:
        raise row.refused(f"courses.csv has no presentation {row.text('code_module')} {row.text('code_presentation')}.")
    return _Place(run, row.needed("id_student"))


def _once(row: Record, place: _Place, known: Container[_Place]) -> None:
    if place in known:
        raise row.refused(f"student {place.student} is there twice for {place.run.module} {place.run.presentation}.")


def _first_day(registered: int | None, left: int | None) -> int:
    """The day of registration; when it is missing, the first one, or the day of a withdrawal before it."""
    return min(left or 0, 0) if registered is None else registered


def _write_students(job: _Import, days: dict[_Place, tuple[int | None, int | None]]) -> None:
    first: dict[int, datetime] = {}
    for place, known in days.items():
        moment = place.run.at(_first_day(*known))
        first[place.student] = min(first.get(place.student, moment), moment)
    from faker import Faker  # half a second that no other command needs

    hashes, fake = keys.person_hashes(), Faker("en_GB")
    students, consents = [], []
    for number, moment in first.items():
        name, email = _identity(fake, number)
        student = stable_id(SOURCE, "student", number)
        students.append((student, name, email, moment, *hashes(email, f"{SOURCE}:{number}"), SOURCE, str(number)))
        consents.append((student, True, moment, "not needed", SOURCE))
    columns = ("id", "name", "email", "registered_at", "email_hash", "provider_hash", "source", "source_key")
    job.keep(Student, columns, students)
    job.keep(Consent, ("student_id", "adult", "declared_at", "state", "source"), consents)


def _identity(fake: "Faker", number: int) -> tuple[str, str]:
    fake.seed_instance(number)
    first, last = fake.first_name(), fake.last_name()
    local = "".join(char for char in f"{first}.{last}".lower() if char.isascii() and (char.isalnum() or char == "."))
    return f"{first} {last}", f"{local}.{number}@students.example"


def _write_enrollments(
    job: _Import, days: dict[_Place, tuple[int | None, int | None]], results: dict[_Place, str]
) -> None:
    enrollments, outcomes, certificates = [], [], []
    for place, (registered, left) in days.items():
        run, key = place.run, f"{place.run.module}/{place.run.presentation}/{place.student}"
        enrolled = run.at(_first_day(registered, left))
        enrollments.append((place.id, stable_id(SOURCE, "student", place.student), run.id, stable_id(SOURCE, "program", run.module),
                            "registered", enrolled, enrolled, SOURCE, key))  # fmt: skip
        if place not in results:
            continue
        ended = _midnight(run.ends_on)
        withdrew = results[place] == "withdrawn"
        outcomes.append(
            (place.id, run.id, results[place], run.at(left) if withdrew and left is not None else ended, SOURCE)
        )
        if results[place] in ("pass", "distinction"):
            number = f"OU-{run.module}-{run.presentation}-{place.student}"
            certificates.append(
                (
                    stable_id(SOURCE, "certificate", key),
                    place.id,
                    run.id,
                    number,
                    results[place] == "distinction",
                    ended,
                    SOURCE,
                )
            )
    columns = (
        "id",
        "student_id",
        "cohort_id",
        "program_id",
        "status",
        "enrolled_at",
        "confirmed_at",
        "source",
        "source_key",
    )
    job.keep(Enrollment, columns, enrollments)
    job.keep(Result, ("enrollment_id", "cohort_id", "kind", "decided_at", "source"), outcomes)
    job.keep(Certificate, ("id", "enrollment_id", "cohort_id", "number", "honors", "issued_at", "source"), certificates)


def _modules(job: _Import, runs: dict[tuple[str, str], _Run]) -> dict[int, _Run]:
    listed: dict[_Run, list[tuple[int, int, str, float | None]]] = {}
    known: dict[int, _Run] = {}
    for row in job.rows(
        "assessments.csv", "code_module", "code_presentation", "id_assessment", "assessment_type", "date", "weight"
    ):
        run = runs.get((row.text("code_module"), row.text("code_presentation")))
        if run is None:
            continue  # the published file names presentations that a part of the data leaves out
        if (kind := row.text("assessment_type")) not in KINDS:
            raise row.refused(f"assessment_type must be one of {', '.join(KINDS)}, not {kind[:20]!r}.")
        due, weight = row.day("date"), row.decimal("weight")
        if weight is not None and not 0 <= weight <= 100:
            raise row.refused(f"weight must be 0 to 100, not {weight:g}.")
        assessment = row.needed("id_assessment")
        if assessment in known:
            raise row.refused(f"the assessment {assessment} is there twice.")
        known[assessment] = run
        last_day = (run.ends_on - run.starts_on).days
        listed.setdefault(run, []).append((last_day if due is None else due, assessment, kind, weight))
    rows = []
    for run, entries in listed.items():
        numbers: dict[str, int] = {}
        for position, (due, assessment, kind, weight) in enumerate(sorted(entries), start=1):
            numbers[kind] = numbers.get(kind, 0) + 1
            rows.append((_module_id(assessment), stable_id(SOURCE, "program", run.module), run.id, position,
                         f"{kind} {numbers[kind]}", KINDS[kind], weight, due, SOURCE, str(assessment)))  # fmt: skip
    columns = (
        "id",
        "program_id",
        "cohort_id",
        "position",
        "title",
        "kind",
        "weight",
        "due_day",
        "source",
        "source_key",
    )
    job.keep(Module, columns, rows)
    return known


def _submissions(job: _Import, places: dict[tuple[str, str, int], _Place], modules: dict[int, _Run]) -> None:
    work, progress = [], []
    known: set[tuple[int, int]] = set()
    for row in job.rows("studentAssessment.csv", "id_assessment", "id_student", "date_submitted", "score"):
        assessment = row.needed("id_assessment")
        if (run := modules.get(assessment)) is None:
            raise row.refused(f"assessments.csv has no assessment {assessment}.")
        student = row.needed("id_student")
        if (place := places.get((run.module, run.presentation, student))) is None:
            raise row.refused(f"student {student} is not registered for {run.module} {run.presentation}.")
        if (assessment, student) in known:
            raise row.refused(f"the work of student {student} for assessment {assessment} is there twice.")
        known.add((assessment, student))
        if (day := row.day("date_submitted")) is None:
            raise row.refused("date_submitted is missing.")
        score, at, key = row.decimal("score"), run.at(day), f"{assessment}/{student}"
        if score is not None and not 0 <= score <= 100:
            raise row.refused(f"score must be 0 to 100, not {score:g}.")
        status = "waiting for review" if score is None else "passed" if score >= PASS_SCORE else "failed"
        url = f"https://submissions.example.org/{assessment}/{student}"
        work.append(
            (
                stable_id(SOURCE, "submission", key),
                place.id,
                run.id,
                _module_id(assessment),
                at,
                status,
                score,
                url,
                SOURCE,
                key,
            )
        )
        state = {"waiting for review": "in progress", "passed": "done", "failed": "failed"}[status]
        progress.append((stable_id(SOURCE, "progress", key), place.id, run.id, _module_id(assessment), state, score, at,
                         at if state == "done" else None, at))  # fmt: skip
    columns = (
        "id",
        "enrollment_id",
        "cohort_id",
        "module_id",
        "submitted_at",
        "status",
        "score",
        "url",
        "source",
        "source_key",
    )
    job.keep(Submission, columns, work)
    columns_of_progress = (
        "id",
        "enrollment_id",
        "cohort_id",
        "module_id",
        "status",
        "score",
        "started_at",
        "done_at",
        "active_at",
    )
    job.keep(ModuleProgress, columns_of_progress, progress)


def _usage(job: _Import, places: dict[tuple[str, str, int], _Place]) -> None:
    kinds = {}
    if job.has("vle.csv"):
        kinds = {
            row.needed("id_site"): row.text("activity_type") for row in job.rows("vle.csv", "id_site", "activity_type")
        }
    clicks: dict[tuple[_Place, int, int], int] = {}
    for row in job.rows(
        "studentVle.csv", "code_module", "code_presentation", "id_student", "id_site", "date", "sum_click"
    ):
        place = places.get((row.text("code_module"), row.text("code_presentation"), row.needed("id_student")))
        if place is None:
            raise row.refused(f"student {row.needed('id_student')} is not registered for this presentation.")
        if (day := row.day("date")) is None:
            raise row.refused("date is missing.")
        key = (place, row.needed("id_site"), day)
        if not 0 <= (number := row.needed("sum_click")) <= MOST_CLICKS:
            raise row.refused(f"sum_click must be 0 to {MOST_CLICKS:,}, not {number:,}.")
        clicks[key] = clicks.get(key, 0) + number
    rows = [
        (place.run.at(day), stable_id(SOURCE, "usage", place.id, site, day), place.id, place.run.id, "page viewed",
         f"{kinds.get(site, 'page')} {site}", number, SOURCE)
        for (place, site, day), number in clicks.items()
    ]  # fmt: skip
    make_months(job.session, "usage_event", {row[0].date() for row in rows})
    job.keep(UsageEvent, ("at", "id", "enrollment_id", "cohort_id", "kind", "item", "clicks", "source"), rows)


def _module_id(assessment: int) -> Any:
    return stable_id(SOURCE, "module", assessment)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
