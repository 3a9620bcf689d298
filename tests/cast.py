"""The cast that all tests share, and the one instant at which they play.

Staff: Paula (program staff), Ines (instructor of Python, formerly of Java), Marek (mentor of Cloud), Omar (privacy
officer; Olga and Oskar are officers too, for what needs a second and a third person), Ada (admin), Aiko (auditor), Dora (an instructor whose account is disabled, still assigned to Python).

Students: Asha (Python, active, open request, learning records of every kind), Ben (Cloud, the bystander: whatever a test
does to others, his rows stay), Cleo (Java, whose assignment to Ines has ended). Visitors: Vera (no request), Viktor.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyotp
from sqlalchemy import Connection, insert, text
from sqlalchemy.orm import Session

from core import keys, policy
from core.models import anon as a
from core.models import platform as p
from core.models import privacy as v
from core.models import requests as q
from core.models import staff as s
from core.policy.clock import add_months
from core.privacy import codes, passwords, snapshots

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PASSWORD = "amber-birch-canyon-99"
CODE_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # of the one-time codes of officers and admins
STAFF = {
    "paula": "program_staff",
    "ines": "instructor",
    "marek": "mentor",
    "omar": "privacy_officer",
    "olga": "privacy_officer",
    "oskar": "privacy_officer",
    "ada": "admin",
    "aiko": "auditor",
    "dora": "instructor",
}
ROLES = {name: role for name, role in STAFF.items() if name not in ("dora", "olga", "oskar")}
STUDENTS = ("asha", "ben", "cleo")
COHORT_OF = {"asha": "python", "ben": "cloud", "cleo": "java"}


def id_of(name: str) -> uuid.UUID:
    """The id of anything in the cast, by its name: "asha", "python", "asha enrollment"."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"cast:{name}")


def code_of(name: str, now: datetime) -> str | None:
    """The one-time code of a member of staff at an instant; None for roles that need none."""
    return pyotp.TOTP(CODE_SECRET).at(now) if STAFF[name] in s.CODED_ROLES else None


def email_of(name: str) -> str:
    """The address of a member of staff or a student."""
    return f"{name}@{'staff' if name in STAFF else 'students'}.example"


def play(session: Session) -> None:
    """Write the whole cast as the worker role. Assignments run around the real day, because the database asks its own."""
    policy.publish_first_version(session, now=NOW)
    for table in ("usage_event", "email_log"):
        session.execute(
            text("select platform.make_months(:t, :a, :b)"),
            {"t": table, "a": NOW.date() - timedelta(days=150), "b": NOW.date()},
        )
    _staff(session)
    for number, name in enumerate(("python", "cloud", "java")):
        _program(session, name, number)
    _assignments(session)
    for name in STUDENTS:
        _student(session, name, COHORT_OF[name])
    _visitors(session)
    _requests(session)
    _add(
        session,
        v.AuditCheck,
        checked_at=NOW,
        lines=0,
        head=b"",
        problem="",
        checkpoints=0,
        place="cast",
    )
    _releases(session)
    snapshots.take_group_figures(session, now=NOW)


def _add(session: Session, table: type[Any], **values: Any) -> None:
    session.execute(insert(table).values(**values))


def _staff(session: Session) -> None:
    digest, since = passwords.hashed(PASSWORD, email="cast@staff.example", name="Cast"), NOW - timedelta(days=400)
    for name, role in STAFF.items():
        disabled = NOW - timedelta(days=1) if name == "dora" else None
        coded = role in s.CODED_ROLES
        _add(session, s.StaffMember, id=id_of(name), email=email_of(name), name=name.title(), role=role,
             password_hash=digest, password_since=since, created_at=since, disabled_at=disabled,
             totp_secret=codes.sealed(CODE_SECRET, staff_id=id_of(name)) if coded else None,
             totp_since=since if coded else None)  # fmt: skip


def _program(session: Session, name: str, number: int) -> None:
    _add(session, p.Program, id=id_of(f"{name} program"), code=name.upper(), title=name.title(), source="cast")
    _add(session, p.Cohort, id=id_of(name), program_id=id_of(f"{name} program"), code=f"{name.upper()}-26", title=f"{name.title()} 26",
         starts_on=NOW.date() - timedelta(days=60 + number), ends_on=NOW.date() + timedelta(days=60), seats=20, source="cast")  # fmt: skip
    _add(session, p.HelpLimit, cohort_id=id_of(name), quiet_days=14, behind_modules=2, failed_times=2, waiting_days=3,
         clicks_percent=25, changed_by=id_of("ines"), changed_at=NOW)  # fmt: skip
    _add(session, p.Module, id=id_of(f"{name} module"), program_id=id_of(f"{name} program"), position=1, title="One",
         kind="project", due_day=20, source="cast")  # fmt: skip


def _assignments(session: Session) -> None:
    today = datetime.now(UTC).date()
    rows: list[tuple[str, str, date | None]] = [
        ("ines", "python", None),
        ("ines", "java", today - timedelta(days=1)),
        ("marek", "cloud", today + timedelta(days=30)),
        ("dora", "python", None),
    ]
    for member, cohort, ends_on in rows:
        _add(session, s.Assignment, id=id_of(f"{member} {cohort}"), staff_id=id_of(member), cohort_id=id_of(cohort),
             starts_on=today - timedelta(days=90), ends_on=ends_on, created_at=NOW)  # fmt: skip


def _student(session: Session, name: str, cohort: str) -> None:
    """One student with a row in every table that holds something about students."""
    student, enrollment, submission = id_of(name), id_of(f"{name} enrollment"), id_of(f"{name} submission")
    email_hash, provider_hash = keys.person_hashes()(email_of(name), f"cast:{name}")
    of = {"enrollment_id": enrollment, "cohort_id": id_of(cohort)}
    module = id_of(f"{cohort} module")
    _add(session, p.Student, id=student, name=f"{name.title()} Example", email=email_of(name), experience_level="beginner",
         registered_at=NOW - timedelta(days=100), email_hash=email_hash, provider_hash=provider_hash, source="cast")  # fmt: skip
    _add(session, p.StudentProfile, student_id=student, phone="+49 000", headline="Learns", link=None, avatar_url=None)
    _add(session, p.Enrollment, id=enrollment, student_id=student, cohort_id=id_of(cohort), program_id=id_of(f"{cohort} program"),
         status="active", enrolled_at=NOW - timedelta(days=80), started_at=NOW - timedelta(days=60),
         confirmed_at=NOW - timedelta(days=80), source="cast")  # fmt: skip
    _add(
        session,
        p.ModuleProgress,
        id=id_of(f"{name} progress"),
        **of,
        module_id=module,
        status="done",
        score=77,
        active_at=NOW,
    )
    _add(session, p.Submission, id=submission, **of, module_id=module, submitted_at=NOW - timedelta(days=4),
         status="waiting for review", url="https://example.org/work", source="cast")  # fmt: skip
    _add(session, p.ReviewClaim, submission_id=submission, **of, staff_id=None, taken_at=NOW - timedelta(days=2))
    _add(session, p.HelpNote, id=id_of(f"{name} note"), **of, handled_until=NOW.date() - timedelta(days=10), note="Called.",
         written_by=id_of("ines"), written_at=NOW - timedelta(days=20))  # fmt: skip
    _add(session, p.CodeReview, id=id_of(f"{name} review"), submission_id=submission, **of, reviewer_id=None,
         reviewed_at=NOW, passed=True, comment="Good.")  # fmt: skip
    _add(session, p.Result, **of, kind="pass", decided_at=NOW, source="cast")
    _add(
        session, p.Certificate, id=id_of(f"{name} certificate"), **of, number=f"C-{name}", issued_at=NOW, source="cast"
    )
    _add(
        session,
        p.UsageEvent,
        at=NOW - timedelta(days=3),
        id=id_of(f"{name} usage"),
        **of,
        kind="page",
        item="lesson",
        clicks=3,
        source="cast",
    )
    _add(session, p.EmailLog, sent_at=NOW - timedelta(days=100), id=id_of(f"{name} mail"), student_id=student, kind="confirmation",
         address=email_of(name), outcome="sent", source="cast")  # fmt: skip
    _add(
        session,
        p.Subscription,
        id=id_of(f"{name} subscription"),
        student_id=student,
        starts_on=NOW.date(),
        source="cast",
    )
    _add(session, p.Payment, id=id_of(f"{name} payment"), student_id=student, paid_at=NOW, amount_cents=4900, currency="EUR",
         gateway_ref=f"pay-{name}", source="cast")  # fmt: skip
    _add(
        session,
        v.Guardian,
        id=id_of(f"{name} guardian"),
        student_id=student,
        name="Guardian",
        email="guardian@example.org",
    )
    _add(
        session,
        a.Contribution,
        student_id=student,
        flow="enrollments/program",
        slot=1,
        key=cohort.upper(),
        period="2026-Q3",
    )
    _add(session, v.Consent, student_id=student, adult=True, declared_at=NOW, state="not needed", source="cast",
         guardian_id=id_of(f"{name} guardian"))  # fmt: skip


def _visitors(session: Session) -> None:
    for name in ("vera", "viktor"):
        email_hash, provider_hash = keys.person_hashes()(f"{name}@visitors.example", f"cast:{name}")
        _add(session, p.Visitor, id=id_of(name), name=name.title(), email=f"{name}@visitors.example", program_id=id_of("python program"),
             asked_at=NOW - timedelta(days=9), email_hash=email_hash, provider_hash=provider_hash, source="cast")  # fmt: skip
        _add(session, p.VisitorDevice, visitor_id=id_of(name), user_agent="Browser", address="192.0.2.1")
    _add(session, p.FollowUp, id=id_of("viktor step"), visitor_id=id_of("viktor"), step=1, at=NOW - timedelta(days=8),
         by_id=id_of("paula"), kind="next contact set")  # fmt: skip


def _requests(session: Session) -> None:
    """Asha's access request is open and late, Ben's is answered. Filed long ago, by an import."""
    for name, state, days in (("asha", "received", 40), ("ben", "answered", 90)):
        received = NOW - timedelta(days=days)
        done = received + timedelta(days=20) if state == "answered" else None
        request, version = id_of(f"{name} request"), policy.in_force(session, NOW).version
        _add(session, q.Request, id=request, kind="access", student_id=id_of(name), state=state, policy_version=version,
             received_at=received, due_at=add_months(received, 1), answered_at=done, closed_at=done, moved_at=received,
             source="cast")  # fmt: skip
        _add(session, q.RequestClock, request_id=request, version=1, what="start", at=received)


# Released figures that tests know by heart: (family, period) → marginal → (k1, k2) → value. Java is too small to be shown.
RELEASES: dict[tuple[str, str], dict[str, dict[tuple[str, str], float]]] = {
    ("enrollments", "2025"): {"experience": {
        ("PYTHON", "beginner"): 64.2, ("PYTHON", "intermediate"): 38.4, ("PYTHON", "advanced"): 21.1, ("PYTHON", "not stated"): 3.3,
        ("CLOUD", "beginner"): 30.2, ("CLOUD", "intermediate"): 26.0, ("CLOUD", "advanced"): 6.4, ("CLOUD", "not stated"): -2.1,
        ("JAVA", "beginner"): 5.0, ("JAVA", "intermediate"): 1.2, ("JAVA", "advanced"): 0.4, ("JAVA", "not stated"): -3.0}},
    ("enrollments", "2026-Q2"): {
        "program": {("PYTHON", ""): 60.3, ("CLOUD", ""): 33.0, ("JAVA", ""): 4.2},
        "month": {("PYTHON", "2026-04"): 20.0, ("PYTHON", "2026-05"): 25.3, ("PYTHON", "2026-06"): 15.0, ("CLOUD", "2026-04"): 14.0,
                  ("CLOUD", "2026-05"): 4.0, ("CLOUD", "2026-06"): 15.0, ("JAVA", "2026-04"): 6.2, ("JAVA", "2026-05"): -3.0, ("JAVA", "2026-06"): 1.0},
        "cohort": {("PYTHON-25", ""): 41.0}},
    ("milestones", "2026-Q2"): {
        "program": {("PYTHON", "50"): 52.0, ("PYTHON", "100"): 30.0, ("CLOUD", "50"): 36.0, ("CLOUD", "100"): 11.0, ("JAVA", "50"): 2.0, ("JAVA", "100"): -9.0},
        "cohort": {("PYTHON-25", "50"): 39.0, ("PYTHON-25", "100"): 31.0}},
    ("activity", "2026-Q2"): {"program": {("PYTHON", ""): 101.0, ("CLOUD", ""): 54.0, ("JAVA", ""): 8.0}},
    ("enrollments", "2026-Q3"): {
        "program": {("PYTHON", ""): 92.4, ("CLOUD", ""): 30.1, ("JAVA", ""): 3.1},
        "month": {("PYTHON", "2026-07"): 30.0, ("PYTHON", "2026-08"): 32.4, ("PYTHON", "2026-09"): 30.0, ("CLOUD", "2026-07"): 10.1,
                  ("CLOUD", "2026-08"): 6.0, ("CLOUD", "2026-09"): 14.0, ("JAVA", "2026-07"): 2.0, ("JAVA", "2026-08"): 0.1, ("JAVA", "2026-09"): 1.0}},
    ("milestones", "2026-Q3"): {
        "program": {("PYTHON", "50"): 61.0, ("PYTHON", "100"): 33.0, ("CLOUD", "50"): 40.0, ("CLOUD", "100"): 15.0, ("JAVA", "50"): -4.0, ("JAVA", "100"): 6.0}},
    ("activity", "2026-Q3"): {"program": {("PYTHON", ""): 118.0, ("CLOUD", ""): 51.0, ("JAVA", ""): 1.0}},
}  # fmt: skip
NOISE = {"enrollments": 4.0, "milestones": 8.0, "activity": 6.0}


def _releases(session: Session) -> None:
    """A method and its releases, as if they had been published."""
    from core.anon.content import content_hash
    from core.anon.method import CohortEnd, Domain, Method, _row
    from core.anon.periods import period_named
    from core.anon.workload import cost_so_far, families

    told = families({"enrollments": (4, 2), "milestones": (8, 4), "activity": (6, 8)}, capacity=500)
    domain = Domain({"PYTHON": "Python", "CLOUD": "Cloud", "JAVA": "Java"}, (CohortEnd("PYTHON-25", "Python 25", "PYTHON", "2026-Q2"),),
                    ("beginner", "intermediate", "advanced", "not stated"))  # fmt: skip
    session.add(_row(Method("cast", 1.0, 500, told, domain, date(2025, 1, 1), date(2026, 10, 15), "0" * 64)))
    session.flush()
    so_far = []
    for number, ((family, name), marginals) in enumerate(RELEASES.items(), start=1):
        period, mine = period_named(name), next(each for each in told if each.name == family)
        so_far.append((mine, period.grain))
        spent, total = mine.cost(period.grain), cost_so_far(so_far)
        cells = [
            (marginal, k1, k2, value, NOISE[family] if marginal == "cohort" else NOISE[family] * 0.9)
            for marginal, found in marginals.items()
            for (k1, k2), value in found.items()
        ]
        made = a.Release(id=number, method="cast", family=family, period=name, first_day=period.first_day, last_day=period.last_day,
                         sigma=NOISE[family], mechanism="none: figures of the cast", builder="cast", published=date(2026, 10, 15),
                         cells=len(cells), content_sha256="")  # fmt: skip
        made.content_sha256 = content_hash(made, cells, spent=spent, total=total)
        session.add(made)
        session.flush()
        names = ("marginal", "k1", "k2", "value", "se")
        session.execute(
            insert(a.ReleasedCell),
            [{"release_id": number, **dict(zip(names, cell, strict=True))} for cell in sorted(cells)],
        )
        _add(session, a.LedgerEntry, seq=number, release_id=number, spent=spent, total=total)


def snapshot(connection: Connection, name: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row that belongs to a student, by table: to assert that a bystander's rows are untouched."""
    by_student = ("student_profile", "enrollment", "email_log", "subscription", "payment", "analytics_contribution")
    by_enrollment = (
        "module_progress",
        "submission",
        "code_review",
        "result",
        "certificate",
        "usage_event",
        "help_note",
        "review_claim",
    )
    queries = {"student": "id = :student"} | dict.fromkeys(by_student, "student_id = :student")
    queries |= dict.fromkeys(by_enrollment, "enrollment_id = :enrollment")
    values = {"student": id_of(name), "enrollment": id_of(f"{name} enrollment")}
    return {
        table: [
            tuple(row)
            for row in connection.execute(text(f"select * from platform.{table} where {where} order by 1, 2"), values)
        ]
        for table, where in queries.items()
    }
