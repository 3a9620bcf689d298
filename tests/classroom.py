"""A cohort of one's own beside the cast: students whose every state is chosen, for the tests of progress and reviews.

Days are counted back from ``cast.NOW``. Ines is assigned unless a test says otherwise.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core import db
from core.models import platform as p
from core.models import staff as s
from core.privacy import sessions
from core.privacy_actions import Staff
from tests.cast import NOW, id_of
from ui.clock import now


def ago(days: float) -> datetime:
    """The instant so many days before NOW (negative: after it)."""
    return NOW - timedelta(days=days)


def at_work(name: str) -> Staff:
    """A member of the cast in a session of their own, without the quarter of a second that a password takes."""
    with db.transaction() as session:
        made = sessions._open(session, staff_id=id_of(name), now=now())
        staff = sessions.live_session(session, secret=made.token, now=now())
    assert staff is not None
    return staff


@dataclass
class Classroom:
    """Writes rows as the worker. ``modules`` many modules, the n-th due on day 10 · n."""

    session: Session
    name: str = "rust"
    began: int = 45
    lasts: int = 100
    modules: int = 4
    program: str = ""
    teacher: str | None = "ines"

    def open(self) -> "Classroom":
        """Write program, cohort, modules and assignment; return the same."""
        program = id_of(f"{self.program or self.name} program")
        if not self.session.get(p.Program, program):
            self.add(p.Program, id=program, code=self.program or self.name, title=self.program or self.name, source="t")
        self.add(p.Cohort, id=self.id, program_id=program, code=self.name.upper(), title=f"{self.name.title()} 1",
                 starts_on=self.starts_on, ends_on=self.starts_on + timedelta(days=self.lasts), source="t")  # fmt: skip
        for number in range(1, self.modules + 1):
            self.add(p.Module, id=self.module(number), program_id=program, cohort_id=self.id, position=number, title=f"Part {number}",
                     kind="exercise", due_day=10 * number, source="t")  # fmt: skip
        if self.teacher:
            self.assign(self.teacher)
        return self

    def assign(self, name: str, *, until: date | None = None) -> None:
        """Assign somebody; days around the real one, because the database asks its own clock."""
        today = datetime.now(UTC).date()
        self.add(s.Assignment, id=id_of(f"{name} {self.name} {until}"), staff_id=id_of(name), cohort_id=self.id,
                 starts_on=today - timedelta(days=90), ends_on=until, created_at=NOW)  # fmt: skip

    def student(
        self, name: str, *, enrolled: float | None = None, withdrawn: float | None = None, closed: bool = False
    ) -> str:
        """Enroll somebody; return the name."""
        closed_at = ago(1) if closed else None
        self.add(p.Student, id=id_of(name), name=f"{name.title()} Example", email=f"{name}@students.example", registered_at=ago(200),
                 account_status="closed" if closed else "open", closed_at=closed_at, email_hash=name.encode(), provider_hash=name.encode(), source="t")  # fmt: skip
        self.enroll(name, enrolled=enrolled, withdrawn=withdrawn)
        return name

    def enroll(self, name: str, *, enrolled: float | None = None, withdrawn: float | None = None) -> None:
        """Enroll somebody who has an account."""
        at, left = ago(self.began + 20 if enrolled is None else enrolled), None if withdrawn is None else ago(withdrawn)
        status = "withdrawn" if left and left <= NOW else "active"
        self.add(p.Enrollment, id=self.enrollment(name), student_id=id_of(name), cohort_id=self.id,
                 program_id=id_of(f"{self.program or self.name} program"), status=status, enrolled_at=at,
                 withdrawn_at=left if status == "withdrawn" else None, source="t")  # fmt: skip

    def progress(
        self, name: str, number: int, status: str = "done", *, at: float = 20, score: int | None = None
    ) -> None:
        """How far somebody is in a module: begun two days before, done (or last active) so many days ago."""
        done_at = ago(at) if status == "done" else None
        self.add(p.ModuleProgress, id=id_of(f"{self.name} {name} p{number}"), **self.of(name), module_id=self.module(number), status=status,
                 score=score, started_at=ago(at + 2), done_at=done_at, active_at=ago(at))  # fmt: skip

    def submission(
        self, name: str, number: int, status: str, *, at: float, attempt: int = 1, url: str | None = None
    ) -> Any:
        """Something handed in; its id."""
        made = id_of(f"{self.name} {name} s{number} {attempt}")
        self.add(p.Submission, id=made, **self.of(name), module_id=self.module(number), attempt=attempt, submitted_at=ago(at),
                 status=status, url=url, source="t")  # fmt: skip
        return made

    def clicks(self, name: str, many: int, *, at: float = 1) -> None:
        """So many clicks on one day."""
        self.add(p.UsageEvent, at=ago(at), id=id_of(f"{self.name} {name} c{at}"), **self.of(name), kind="page", item="lesson",
                 clicks=many, source="t")  # fmt: skip

    def add(self, table: type[Any], **values: Any) -> None:
        """Write one row."""
        self.session.execute(insert(table).values(**values))

    def of(self, name: str) -> dict[str, Any]:
        """Whose a row is."""
        return {"enrollment_id": self.enrollment(name), "cohort_id": self.id}

    @property
    def id(self) -> Any:
        return id_of(self.name)

    @property
    def starts_on(self) -> date:
        return NOW.date() - timedelta(days=self.began)

    def enrollment(self, name: str) -> Any:
        return id_of(f"{self.name} {name} enrollment")

    def module(self, number: int) -> Any:
        return id_of(f"{self.name} module {number}")
