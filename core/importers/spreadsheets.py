"""Spreadsheets from the office: ``python -m core import csv students.csv`` or ``enrollments.csv``, ``--dry-run`` first.

Danger: half an import, or a wrong column, changes people whom nobody meant. Principle: every row is judged before the first
one is written; one problem row and nothing is. Mechanism: the rows go by COPY into a temporary table that also holds what is
wrong with each; what Python cannot know (twice in the file, no such student, another age on record) is asked of the
database there, for all rows at once; only a sheet without problems is applied, in the same transaction.

People are recognized by the keyed hash of their normalized e-mail. An empty cell leaves what is there. An age goes into the
consent record and nowhere else, a birth date of minors only; an age or a guardian on record is not changed by a spreadsheet.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

from psycopg import Connection, sql
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import keys
from core.errors import BadInput
from core.importers import sheet_sql
from core.importers.loading import ImportRefused, Progress, line_count
from core.importers.sheets import SEPARATORS, Row, Sheet, day_of, email_of, moment_of, opened, rows, text_of, yes_of
from core.models.base import uuid7
from core.models.platform import ENROLLMENT_STATUS, EXPERIENCE_LEVELS
from core.policy import Parameters, in_force
from core.policy.age import Days, days
from core.privacy.audit import Action, append
from core.privacy.suppression import NOTHING, SetAside, sift

SOURCE = "csv"
SHOWN, TOLD_EVERY = 20, 5_000
OLDEST = 110
SYNONYMS = {
    "email": ("email", "emailaddress", "mail", "mailaddress"),
    "name": ("name", "fullname", "student", "studentname"),
    "first": ("firstname", "givenname", "forename"),
    "last": ("lastname", "surname", "familyname"),
    "level": ("level", "experience", "experiencelevel"),
    "phone": ("phone", "phonenumber", "telephone", "mobile", "mobilephone", "tel"),
    "birth_date": ("birthdate", "dateofbirth", "birthday", "dob", "born"),
    "adult": ("adult", "over18", "18orolder"),
    "guardian": ("guardian", "guardianname", "parent", "parentname", "parentorguardian"),
    "guardian_email": ("guardianemail", "guardianmail", "parentemail", "parentmail", "emailofguardian", "emailofparent"),
    "registered": ("registered", "registeredon", "registrationdate", "accountopened", "joined", "joinedon", "created", "createdon"),
    "cohort": ("cohort", "cohortcode", "class"),
    "enrolled": ("enrolled", "enrolledon", "enrollmentdate", "enrolmentdate", "enroldate"),
    "confirmed": ("confirmed", "confirmedon", "confirmationsent"),
    "withdrawn": ("withdrawn", "withdrawnon", "withdrawaldate"),
    "status": ("status", "enrollmentstatus"),
}  # fmt: skip
STUDENT_FIELDS = (
    "name",
    "first",
    "last",
    "level",
    "phone",
    "birth_date",
    "adult",
    "guardian",
    "guardian_email",
    "registered",
)
WORDS = {"email": "e-mail", "first": "first name", "last": "last name", "level": "experience level", "birth_date": "birth date", "guardian_email": "guardian's e-mail",
         "registered": "account opened", "enrolled": "enrolled on", "confirmed": "confirmed on", "withdrawn": "withdrawn on"}  # fmt: skip
ENCODINGS = {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16"}
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be imported; ``line`` counts from 1 with the header."""

    line: int
    reason: str


@dataclass(frozen=True)
class SheetReport:
    """What one file holds and what was (or, in a dry run, would be) done with it.

    ``kept`` counts values of the file that were corrected here since, and are left as corrected. ``problems`` counts rows; ``first_problems`` are the first ``SHOWN`` of them. With a problem nothing is written.
    """

    sheet: Sheet
    kind: str
    rows: int
    added: int
    changed: int
    unchanged: int
    problems: int
    first_problems: tuple[Problem, ...]
    dry_run: bool
    aside: SetAside = NOTHING
    kept: int = 0

    def lines(self) -> list[str]:
        """Return the report as people read it; the last line is its upshot."""
        sheet = self.sheet
        how = f"{ENCODINGS.get(sheet.encoding, sheet.encoding)} with {SEPARATORS[sheet.separator]}"
        told = [f"{self.rows:,} rows of {self.kind}, read as {how}."]
        told.append(f"Columns: {', '.join(f'“{title}” is {_word(field)}' for field, title in sheet.titles.items())}.")
        if sheet.ignored:
            told.append(f"Ignored columns: {', '.join(f'“{title[:40]}”' for title in sheet.ignored)}.")
        if not self.problems:
            done = "would be" if self.dry_run else "were"
            stale = "an older value of something that was corrected here: left as corrected."
            return [
                *told,
                *self.aside.lines,
                *([f"{self.kept:,} times {stale}"] if self.kept else []),
                f"{self.added:,} {done} added, {self.changed:,} {done} changed, {self.unchanged:,} are there already.",
            ]
        told += [f"  line {each.line:,}: {each.reason}" for each in self.first_problems]
        if self.problems > len(self.first_problems):
            told.append(f"  … and {self.problems - len(self.first_problems):,} more; --report FILE writes all of them.")
        return [*told, f"{self.problems:,} of {self.rows:,} rows have problems. Nothing was written."]


@dataclass(frozen=True)
class _Kind:
    """What there is to know of students or of enrollments: the temporary table, how a row gets into it, what is asked of
    the database before and what is done after."""

    name: str
    columns: dict[str, str]
    read: "Callable[[_Reader, _Setting], dict[str, Any]]"
    checks: tuple[str, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True)
class _Setting:
    """What every row is judged by."""

    now: datetime
    rules: Parameters
    hashes: Callable[[str, str], tuple[bytes, bytes]]

    @property
    def today(self) -> date:
        return self.now.astimezone(UTC).date()

    @property
    def days(self) -> Days:
        """The days of birth that decide who is of age, and who is below the minimum age."""
        return days(self.now, self.rules)


class _Reader:
    """The cells of one row, and everything that is wrong with them."""

    def __init__(self, row: Row) -> None:
        self.cells, self.wrong = row.cells, [row.misfit] if row.misfit else []

    def take(self, field: str, parse: Callable[[str], T]) -> T | None:
        """Return what a cell says, None when it is empty or wrong."""
        if not (value := self.cells.get(field, "")):
            return None
        try:
            return parse(value)
        except BadInput as error:
            self.wrong.append(f"{_word(field)}: {error.sentence.rstrip('.')}")
            return None

    def line_of_text(self, field: str) -> str | None:
        """Return a text of one line."""
        return self.take(field, lambda value: text_of(value, what="The cell"))


def import_sheet(
    session: Session, file: Path, *, now: datetime, dry_run: bool = False, encoding: str = "", report: Path | None = None,
    progress: Progress | None = None,
) -> SheetReport:  # fmt: skip
    """Import one spreadsheet as the worker: of enrollments when it has a column for the cohort, else of students.

    ``report`` is a CSV to write all problem rows into. Raises ImportRefused when the file as a whole cannot be used.
    """
    sheet = opened(file, SYNONYMS, encoding=encoding)
    kind = _kind(sheet)
    setting = _Setting(now, in_force(session, now), keys.person_hashes())
    many = _stage(session, sheet, kind, setting, progress)
    aside = _sifted(session, kind, now, dry_run)
    known = {"now": now, "today": setting.today, "adults_born": setting.days.adult}
    for statement in kind.checks:
        session.execute(text(statement), known)
        session.execute(text("analyze pg_temp.sheet"))  # each fills columns by which the next one joins
    problems, first = _problems(session, report)
    counts = {} if problems else {row.fate: row.many for row in session.execute(text(sheet_sql.FATES))}
    added, changed = counts.get("added", 0), counts.get("changed", 0)
    if added + changed and not dry_run:
        _apply(session, sheet, kind, known)
        append(session, Action.IMPORTED, now=now, source=SOURCE, rows=added + changed)
    kept = int(session.scalar(text(sheet_sql.KEPT)) or 0) if kind is STUDENTS else 0
    return SheetReport(
        sheet, kind.name, many, added, changed, counts.get("unchanged", 0), problems, first, dry_run, aside, kept
    )


def _sifted(session: Session, kind: _Kind, now: datetime, dry_run: bool) -> SetAside:
    """Take erased people out of the sheet: unknown e-mails only, because whoever is known has come in before."""
    if kind is STUDENTS:
        return sift(session, "sheet", "student", source=SOURCE, now=now, dated="s.registered_at", only=sheet_sql.NEW_WITH_NAME,
                    more=sheet_sql.MORE, only_count=dry_run)  # fmt: skip
    gone = session.execute(text(sheet_sql.LEAVE_OUT), {"now": now})
    return SetAside(refused=len(gone.all()))


def years_before(day: date, years: int) -> date:
    """Return the same day some years earlier; of 29 February, the 28th where there is none."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def _word(field: str) -> str:
    return WORDS.get(field, field)


def _kind(sheet: Sheet) -> _Kind:
    if "email" not in sheet.columns:
        raise ImportRefused(sheet.file.name, 1, "no column is an e-mail, by which people are recognized.")
    if "cohort" in sheet.columns:
        return ENROLLMENTS
    if set(sheet.columns) & set(STUDENT_FIELDS):
        return STUDENTS
    raise ImportRefused(
        sheet.file.name, 1, "beside the e-mail there is no column of students (name, …) or enrollments (cohort, …)."
    )


def _stage(session: Session, sheet: Sheet, kind: _Kind, setting: _Setting, progress: Progress | None) -> int:
    """Put every row with its problems into the temporary table; return how many there are."""
    connection: Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    columns = {"line": "int", "problem": "text", **kind.columns}
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    session.execute(text("drop table if exists pg_temp.sheet"))
    typed = ", ".join(f"{name} {type_}" for name, type_ in columns.items())
    session.execute(text(f"create temporary table sheet ({typed}) on commit drop"))
    many, whole = 0, line_count(sheet.file)
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy pg_temp.sheet ({}) from stdin").format(listed)) as copy,
    ):
        for many, row in enumerate(rows(sheet), start=1):
            copy.write_row(_values(row, kind, setting))
            if progress and many % TOLD_EVERY == 0:
                progress("rows read", min(many, whole), whole)
    if not many:
        raise ImportRefused(sheet.file.name, None, "there is no row below the header.")
    session.execute(text("create unique index on pg_temp.sheet (line)"))
    session.execute(text("analyze pg_temp.sheet"))
    return many


def _values(row: Row, kind: _Kind, setting: _Setting) -> list[Any]:
    reader = _Reader(row)
    values = dict.fromkeys(kind.columns) if row.misfit else kind.read(reader, setting)
    return [row.line, "; ".join(reader.wrong) or None, *(values.get(name) for name in kind.columns)]


def _problems(session: Session, report: Path | None) -> tuple[int, tuple[Problem, ...]]:
    many = int(session.scalar(text("select count(*) from pg_temp.sheet where problem is not null")) or 0)
    listed = text("select line, problem from pg_temp.sheet where problem is not null order by line")
    if many and report:
        with report.open("w", encoding="utf-8-sig", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(("line", "problem"))
            writer.writerows(session.execute(listed.execution_options(yield_per=TOLD_EVERY)))
    first = session.execute(text(f"{listed.text} limit {SHOWN}"))
    return many, tuple(Problem(row.line, row.problem) for row in first)


def _apply(session: Session, sheet: Sheet, kind: _Kind, known: dict[str, Any]) -> None:
    try:
        for statement in kind.effects:
            session.execute(text(statement), known)
    except IntegrityError as error:
        rule = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        raise ImportRefused(
            sheet.file.name, None, f"rows break the rule {rule}; did somebody else change these people just now?"
        ) from error


def _recognized(reader: _Reader, setting: _Setting) -> dict[str, Any]:
    """Who is meant."""
    email = reader.take("email", email_of)
    if email is None:
        if not reader.cells.get("email"):
            reader.wrong.append("the e-mail is missing")
        return {}
    email_hash, provider_hash = setting.hashes(email, f"{SOURCE}:{keys.normalized_email(email)}")
    return {"id": uuid7(), "email": email, "email_hash": email_hash, "provider_hash": provider_hash}


def _student(reader: _Reader, setting: _Setting) -> dict[str, Any]:
    parts = [reader.line_of_text(field) for field in ("first", "last")]
    values = {
        **_recognized(reader, setting),
        "name": reader.line_of_text("name") or " ".join(filter(None, parts)) or None,
        "level": reader.take("level", _level),
        "phone": reader.line_of_text("phone"),
        "registered_at": reader.take("registered", lambda value: _past(value, setting)),
        "birth_date": reader.take("birth_date", lambda value: _birth_date(value, setting)),
        "adult": reader.take("adult", yes_of),
        "guardian": reader.line_of_text("guardian"),
        "guardian_email": reader.take("guardian_email", email_of),
        "guardian_id": uuid7(),
    }
    if values["birth_date"] and values["adult"] not in (None, values["birth_date"] <= setting.days.adult):
        reader.wrong.append("adult: the birth date says otherwise")
    if (values["guardian"] is None) != (values["guardian_email"] is None):
        reader.wrong.append("guardian: give both name and e-mail")
    elif values["guardian"] and keys.normalized_email(values["guardian_email"]) == keys.normalized_email(
        values.get("email") or ""
    ):
        reader.wrong.append("guardian's e-mail: it is the student's own")
    return values


def _enrollment(reader: _Reader, setting: _Setting) -> dict[str, Any]:
    values = {
        **_recognized(reader, setting),
        "cohort": reader.line_of_text("cohort"),
        "status": reader.take("status", _status),
        **{
            f"{field}_at": reader.take(field, lambda value: _past(value, setting))
            for field in ("enrolled", "confirmed", "withdrawn")
        },
    }
    if not reader.cells.get("cohort"):
        reader.wrong.append("the cohort is missing")
    return values


def _level(value: str) -> str:
    if (level := value.casefold()) not in EXPERIENCE_LEVELS:
        raise BadInput(f"it is one of {', '.join(EXPERIENCE_LEVELS)}")
    return level


def _status(value: str) -> str:
    if (status := value.casefold()) not in ENROLLMENT_STATUS:
        raise BadInput(f"it is one of {', '.join(ENROLLMENT_STATUS)}")
    return status


def _past(value: str, setting: _Setting) -> datetime:
    moment = moment_of(value)
    if moment > setting.now:
        raise BadInput(f"{value} lies in the future")
    if moment.year < setting.now.year - OLDEST:
        raise BadInput(f"{value} is too long ago")
    return moment


def _birth_date(value: str, setting: _Setting) -> date:
    """Policy, clause 9: nobody below the minimum age."""
    day = day_of(value)
    if day > setting.today:
        raise BadInput(f"{value} lies in the future")
    if day <= years_before(setting.today, OLDEST):
        raise BadInput(f"{value} would make somebody of more than {OLDEST} years")
    if day > setting.days.allowed:
        raise BadInput(f"the student is below {setting.rules.minimum_age}, and may not have an account (clause 9)")
    return day


STUDENTS = _Kind("students", sheet_sql.STUDENT_COLUMNS, _student, sheet_sql.STUDENT_CHECKS, sheet_sql.STUDENT_EFFECTS)
ENROLLMENTS = _Kind(
    "enrollments", sheet_sql.ENROLLMENT_COLUMNS, _enrollment, sheet_sql.ENROLLMENT_CHECKS, sheet_sql.ENROLLMENT_EFFECTS
)
