"""The drill: a synthetic person goes through everything that erasing means, on the real database, and only the proof remains.

Danger: an erasure that works in tests fails in production, and nobody knows before a real person asks; or a drill erases somebody
else. Principle: the same verbs, the same database, the same ledger; the drill makes its own person and goes on with their
erasure only. Mechanism: the clock is handed in and begins as long ago as the grace period lasts, so that nothing is dated in the
future; letters to the person are canceled, and steps by hand are exempt, because nothing of the person ever left this database.
Every step is told as it happens; the first one that is not as it should be ends the drill.
"""

import io
import json
import secrets
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from PIL import Image
from sqlalchemy import Text, cast, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from core import db, keys, privacy_actions
from core.certified import is_genuine, told_of
from core.errors import AdminError, NotFound
from core.models.base import uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.platform import Cohort, EmailLog, Enrollment, Student, StudentProfile, Submission, UsageEvent, Visitor
from core.models.privacy import Consent
from core.models.proof import ErasureCertificate, Suppression
from core.models.requests import Outbox, Request
from core.policy import in_force
from core.policy.age import latest_birth, of_age_at
from core.privacy import artifacts, consent, consent_watch, erasure, export_build, export_rows, grace, ledger
from core.privacy.evidence import harmless
from core.processors import local
from core.processors.protocol import Person

SOURCE, BY_HAND = "drill", "drill: nothing of this person ever left this database"
MOST_PARTS = 200
MOMENT = timedelta(microseconds=1)
Clock = Callable[[], datetime]


class Failed(AdminError):
    """A step of the drill did not turn out as it should."""


@dataclass(frozen=True)
class Told:
    """One step of the drill, done: what, and what was seen."""

    what: str
    seen: str


@dataclass
class _Drill:
    """The synthetic person, and when what happens to them happens."""

    id: uuid.UUID
    form: uuid.UUID
    email: str
    closed_at: datetime
    due_at: datetime
    request: uuid.UUID | None = None
    erasure: uuid.UUID | None = None


def drill(*, clock: Clock) -> Iterator[Told]:
    """Run the drill as the worker, each step in its own transaction; yield what was done. Raises Failed at the first fault."""
    now = clock()
    with db.transaction("worker") as session:
        behind = privacy_actions.compare_with_ledger(session, now=now)
        _demand(not behind.is_behind, "the database is behind the erasure ledger: " + " ".join(behind.lines))
        days = in_force(session, now).grace_days
    closed = now - timedelta(hours=24 * days)
    mine = _Drill(
        uuid7(), uuid7(), f"drill-{secrets.token_hex(6)}@drill.invalid", closed, closed + timedelta(hours=24 * days)
    )
    for step in (_enroll, _come_of_age, _export, _ask, _wait, _erase, _verify, _certify, _come_back):
        yield step(mine, now)
    yield _remains(mine)


def _enroll(mine: _Drill, now: datetime) -> Told:
    """A student with a profile, work and mail, and a form left with the same address."""
    with db.transaction("worker") as session:
        rows = _person(session, mine)
    return Told("enrolled", f"a synthetic student with {rows} records")


def _person(session: Session, mine: _Drill) -> int:
    hashes = keys.person_hashes()(mine.email, f"{SOURCE}:{mine.id}")
    since, same = (
        mine.closed_at - timedelta(days=9),
        {"email_hash": hashes[0], "provider_hash": hashes[1], "source": SOURCE},
    )
    name = f"Drill {mine.email[6:18]}"
    session.add(Student(id=mine.id, name=name, email=mine.email, registered_at=since, source_key=str(mine.id), **same))
    session.flush()
    session.add_all([
        StudentProfile(student_id=mine.id, phone=f"+49 171 {secrets.randbelow(10**7):07}", headline=name),
        Consent(student_id=mine.id, adult=True, declared_at=since, state="not needed", source=SOURCE),
        Visitor(id=mine.form, name=name, email=mine.email, asked_at=since, message=f"Please call {name}.", status="lost", **same),
    ])  # fmt: skip
    cohort = session.scalars(select(Cohort).order_by(Cohort.starts_on.desc()).limit(1)).first()
    for table in ("email_log", "usage_event"):
        session.execute(
            text("select platform.make_months(:t, cast(:d as date), cast(:d as date))"), {"t": table, "d": since.date()}
        )
    session.add(
        EmailLog(
            sent_at=since,
            id=uuid7(),
            student_id=mine.id,
            kind="confirmation",
            address=mine.email,
            outcome="sent",
            source=SOURCE,
        )
    )
    session.flush()
    if cohort is not None:
        _learning(session, mine, cohort, since)
    session.flush()
    return sum(local.counts(session, Person("student", mine.id)).values())


def _learning(session: Session, mine: _Drill, cohort: Cohort, since: datetime) -> None:
    enrolled = Enrollment(id=uuid7(), student_id=mine.id, cohort_id=cohort.id, program_id=cohort.program_id, status="registered",
                          enrolled_at=since, source=SOURCE)  # fmt: skip
    session.add(enrolled)
    session.flush()
    of = {"enrollment_id": enrolled.id, "cohort_id": cohort.id, "source": SOURCE}
    session.add(UsageEvent(at=since, id=uuid7(), kind="page", item=mine.email, clicks=1, **of))
    module = session.scalar(
        text("select id from platform.module where program_id = :p limit 1"), {"p": cohort.program_id}
    )
    if module is not None:
        session.add(Submission(id=uuid7(), module_id=module, submitted_at=since, status="passed", score=80, **of))


def _come_of_age(mine: _Drill, now: datetime) -> Told:
    """A minor is restricted, nobody verifies alone, evidence goes with the decision, and consent ends on the 18th birthday."""
    with db.transaction("worker") as session:
        rules = in_force(session, now)
        born = latest_birth((mine.closed_at - timedelta(days=3)).date(), rules.consent_age, leap_waits=True)
        of_age = of_age_at(born, rules)
        imported = {"adult": None, "birth_date": born, "state": "missing"}
        session.execute(update(Consent).where(Consent.student_id == mine.id).values(imported))
        consent_watch.settle(session, student_id=mine.id, now=of_age - MOMENT)
        _demand(_restricted(session, mine), "a minor without consent is not restricted")
    _demand_not_verifiable(mine)
    _keep_and_destroy(mine, now)
    with db.transaction("worker") as session:
        _demand(consent_watch.lapse(session, student_id=mine.id, now=of_age) == 1, "consent does not lapse at 18")
        _demand(not _restricted(session, mine), "somebody of age is still restricted as a minor")
        case = session.get_one(Consent, mine.id, populate_existing=True)
        consent.settle_as_adult(session, case, reason=SOURCE, by=None, now=of_age)
        _demand(case.birth_date is None, "a birth date of somebody of age is kept")
        theirs = Outbox.student_id == mine.id, Outbox.state == "waiting"
        session.execute(update(Outbox).where(*theirs).values(state="canceled", address=None))
    return Told(
        "came of age",
        "restricted as a minor, verified by nobody alone, evidence destroyed, consent ended at 18, no birth date kept",
    )


def _restricted(session: Session, mine: _Drill) -> bool:
    return bool(session.scalar(text("select privacy.is_restricted(:id)"), {"id": mine.id}))


def _demand_not_verifiable(mine: _Drill) -> None:
    """The database lets no one but a second officer verify, not even the worker."""
    try:
        with db.transaction("worker") as session:
            session.execute(update(Consent).where(Consent.student_id == mine.id).values(state="verified"))
            raise Failed("The drill failed: a consent was verified without a second officer.")
    except DBAPIError:
        return


def _keep_and_destroy(mine: _Drill, now: datetime) -> None:
    """A picture is kept encrypted, read back, and nothing once it is destroyed."""
    drawn = io.BytesIO()
    Image.new("RGB", (64, 48), "white").save(drawn, "PNG")
    with db.transaction("worker") as session:
        made = harmless(drawn.getvalue())
        kept = artifacts.keep(session, kind="evidence", student_id=mine.id, name="evidence", media_type=made.media_type,
                              chunks=[made.content], expires_at=now + timedelta(days=1), now=now)  # fmt: skip
        _demand(b"".join(artifacts.read(session, kept, now=now)) == made.content, "evidence is not what was kept")
        artifacts.destroy(session, kept, why="not needed any more", now=now)
        try:
            artifacts.read(session, kept, now=now)
        except NotFound:
            return
    raise Failed("The drill failed: destroyed evidence can still be read.")


def _export(mine: _Drill, now: datetime) -> Told:
    """What the person would get: made, kept encrypted, read back and compared, and destroyed."""
    person = Person("student", mine.id)
    with db.snapshot() as reader, db.transaction("worker") as session:
        found = local.known(reader, person)
        roots = local.roots_of(found)
        gathered = export_rows.gather(reader, found, roots)
        order = export_build.Order(found, roots, mine.email, "R-0", "export", in_force(session, now).version, now,
                                   now + timedelta(minutes=5), {}, ())  # fmt: skip
        kept = artifacts.keep(session, kind="export", owner_id=uuid7(), name="drill.zip", media_type="application/zip",
                              chunks=export_build.chunks(reader, order, gathered, lambda _: None), expires_at=order.kept_until,
                              now=now, student_id=mine.id)  # fmt: skip
        content = b"".join(artifacts.read(session, kept, now=now))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            told = json.loads(archive.read("data.json"))["data"]
            page = archive.read("index.html").decode()
        artifacts.destroy(session, kept, why="not needed any more", now=now)
        gone = (
            session.scalar(text("select count(*) from privacy.artifact_part where artifact_id = :id"), {"id": kept})
            == 0
        )
    rows = sum(map(len, told.values()))
    counted = sum(gathered.counts.values())
    _demand(rows == counted > 0, f"the export holds {rows} of {counted} records")
    _demand(
        mine.email in page and told["student"][0]["e-mail"] == mine.email,
        "the export does not tell the person's e-mail",
    )
    _demand(gone, "the bytes of a destroyed file are still there")
    return Told("exported", f"{rows} records of {len(told)} kinds, read back and compared; the file is destroyed")


def _ask(mine: _Drill, now: datetime) -> Told:
    """The student closes the account; that is a deletion which a rule of the policy approves."""
    with db.transaction("worker") as session:
        closed = update(Student).where(Student.id == mine.id).values(account_status="closed", closed_at=mine.closed_at)
        session.execute(closed)
        grace.adopt_closing(session, student_id=mine.id, now=mine.closed_at)
        request = session.scalars(select(Request).where(Request.student_id == mine.id)).one()
        mine.request = request.id
        _cancel_letters(session, mine)
        _demand(
            request.state == "waiting" and request.grace_ends_at == mine.due_at,
            "the deletion does not wait for its grace period",
        )
        return Told("closed", f"R-{request.number} waits until {mine.due_at:%F %H:%M} UTC")


def _wait(mine: _Drill, now: datetime) -> Told:
    """One instant before the grace period is over, nothing goes."""
    assert mine.request is not None
    with db.transaction("worker") as session:
        did = erasure.go_on(session, request_id=mine.request, now=mine.due_at - MOMENT)
        _demand(
            not did and session.get_one(Request, mine.request).state == "waiting",
            "something happened before the grace period was over",
        )
    return Told("waited", f"{(mine.due_at - mine.closed_at).days} days; a microsecond before, nothing goes")


def _erase(mine: _Drill, now: datetime) -> Told:
    """Part by part, each in its own transaction, as a worker does; a worker beside may help."""
    assert mine.request is not None
    moment = max(now, mine.due_at)
    for _ in range(MOST_PARTS):
        with db.transaction("worker") as session:
            request = session.get_one(Request, mine.request)
            if request.state == "erased":
                break
            _settle_outside(session, mine)
            erasure.go_on(session, request_id=mine.request, now=moment)
            moment += timedelta(seconds=1)
            _demand_no_brake(session, mine)
    with db.transaction("worker") as session:
        found = session.scalars(select(PersonErasure).where(PersonErasure.request_id == mine.request)).one()
        mine.erasure = found.id
        steps = session.scalars(select(ErasureStep).where(ErasureStep.erasure_id == found.id)).all()
        open_ones = [
            f"{step.place} ({step.waits_for or step.state})" for step in steps if step.state not in ("proven", "exempt")
        ]
        _demand(found.finished_at is not None, f"the erasure did not end; open: {', '.join(open_ones) or 'its end'}")
        proven = [step.place for step in steps if step.state == "proven"]
        return Told(
            "erased",
            f"{len(proven)} of {len(steps)} steps proven ({', '.join(proven)}); the others are not part of a drill",
        )


def _settle_outside(session: Session, mine: _Drill) -> None:
    """Letters and steps by hand: nobody is to be written to, and no person is to go looking."""
    found = session.scalars(select(PersonErasure).where(PersonErasure.request_id == mine.request)).first()
    if found is not None:
        waits = ErasureStep.erasure_id == found.id, ErasureStep.waits_for.in_(("by hand", "letter"))
        exempt = {"state": "exempt", "error": BY_HAND, "waits_for": None, "waits_about": ""}
        session.execute(update(ErasureStep).where(*waits, ErasureStep.state == "waiting").values(exempt))
        session.execute(update(PersonErasure).where(PersonErasure.id == found.id).values(next_at=mine.due_at))
    _cancel_letters(session, mine)
    session.expire_all()


def _cancel_letters(session: Session, mine: _Drill) -> None:
    waiting = Outbox.request_id == mine.request, Outbox.state == "waiting"
    session.execute(update(Outbox).where(*waiting).values(state="canceled", address=None))


def _demand_no_brake(session: Session, mine: _Drill) -> None:
    found = session.scalars(select(PersonErasure).where(PersonErasure.request_id == mine.request)).first()
    stopped = found is not None and found.waits_for in ("many", "clock", "audit")
    _demand(not stopped, f"erasures are stopped: {found.waits_for if found else ''}; an officer has to answer first")


def _verify(mine: _Drill, now: datetime) -> Told:
    """Look for the person everywhere, once more and by other means than the eraser."""
    with db.transaction("worker") as session:
        left = sum(local.counts(session, Person("student", mine.id)).values())
        left += session.scalar(select(func.count()).select_from(Visitor).where(Visitor.id == mine.form)) or 0
        left += session.scalar(select(func.count()).select_from(UsageEvent).where(UsageEvent.item == mine.email)) or 0
        left += (
            session.scalar(select(func.count()).select_from(Student).where(cast(Student.email, Text) == mine.email))
            or 0
        )
    _demand(not left, f"{left} records are left")
    return Told("verified", "no record is left, by any key or by the address")


def _certify(mine: _Drill, now: datetime) -> Told:
    """The certificate is genuine, names nobody, and the ledger knows it."""
    with db.transaction("worker") as session:
        rows = session.scalars(select(ErasureCertificate).where(ErasureCertificate.erasure_id == mine.erasure)).all()
        _demand(len(rows) == 1, "there is no certificate")
        made, known = told_of(rows[0]), ledger.read(thoroughly=True)
    _demand(is_genuine(made), "the certificate is not genuine")
    _demand(mine.email not in made.text and str(mine.id) not in made.text, "the certificate names the person")
    _demand(
        not known.problems and known.erased.get(made.erasure_id) is not None, "the ledger does not know the erasure"
    )
    _demand(known.erased[made.erasure_id].certificate == made.sha256, "the ledger knows another certificate")
    return Told("certified", f"{made.number}, SHA-256 {made.sha256[:16]}…")


def _come_back(mine: _Drill, now: datetime) -> Told:
    """The old record does not come back."""
    try:
        with db.transaction("worker") as session:
            hashes = keys.person_hashes()(mine.email, f"{SOURCE}:{mine.id}")
            session.add(Student(id=uuid7(), name="Drill", email=mine.email, registered_at=mine.closed_at, email_hash=hashes[0],
                                provider_hash=hashes[1], source=SOURCE))  # fmt: skip
            session.flush()
            raise Failed("The drill failed: an old record of the erased person came in. Nothing of it was kept.")
    except IntegrityError:
        return Told("kept out", "an old record of the same person is refused")


def _remains(mine: _Drill) -> Told:
    """What is left: proof, and nothing about a person."""
    with db.transaction("worker") as session:
        lines = session.scalar(
            text("select count(*) from privacy.audit_event where subject_id = :id"), {"id": mine.request}
        )
        entries = session.scalar(
            select(func.count()).select_from(Suppression).where(Suppression.erasure_id == mine.erasure)
        )
    return Told(
        "remains",
        f"{lines} lines of the audit, the request without a person, 2 lines of the ledger, the certificate, {entries} suppression entries",
    )


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(f"The drill failed: {otherwise}.")
