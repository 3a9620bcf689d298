"""Access and export: the worker makes the file, an officer judges what may name others, hands it out, and then answers.

Danger: an answer that was never given; a file that opens to the wrong person, or that holds somebody else's data; learning
content on the screen of an officer who has no need of it. Principle: nothing is handed out before every text in question is
judged, nothing is answered before the file was fetched, nothing half is ever kept. Mechanism: :func:`go_on` is one job per
request; it makes the file in one transaction and keeps it for seven days under a key of its own (core.privacy.artifacts). The
officer sees counts, and of texts the sentences in question; each link works once, for one session, within 24 hours.

States of ``privacy.export``: "to build" → ("to judge" →) "ready" → "handed out"; "failed" is tried again with growing pauses.
"""

import errno
import json
import logging
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import errors as postgres
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db
from core.errors import AdminError, BadInput, NotFound
from core.models.artifacts import Artifact
from core.models.consent import Guardian
from core.models.exports import DELIVERIES, TEXT_DECISIONS, Export, ExportText
from core.models.requests import Request
from core.models.ways import PERSONS
from core.policy.machine import number
from core.policy.processing_record import processing_record
from core.privacy import (
    artifacts,
    export_build,
    export_page,
    export_rows,
    export_screening,
    export_wanted,
    guardians,
    letters,
)
from core.privacy.acting import (
    MISSING,
    Receipt,
    begin,
    change,
    demand_move,
    hold_officer,
    stop_clock,
    write_text,
)
from core.privacy.audit import Action, Line, append, appending, guarded
from core.privacy.export_build import Answer, Decision
from core.privacy.export_rows import Gathered
from core.privacy.export_wanted import Wanted
from core.privacy.files import link_artifact
from core.privacy.rules import ask
from core.privacy.sessions import Staff
from core.processors.local import roots_of
from core.processors.protocol import Exported, Person, Processor
from core.processors.registry import configured, third_parties
from core.words import clean

KINDS = ("access", "export")
KEPT = timedelta(days=7)
MORE = "more"
ZIP = "application/zip"
LONGEST_PAUSE = timedelta(hours=1)
NO_SPACE = "no space"
MOST_WORDS = 200
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as something else on the telephone
TOLD = {
    "handed over in person": "we give it to you in person",
    "put into their account": "it is in your account",
    "sent encrypted": "we send it to you encrypted, and tell you the password on another way",
}

log = logging.getLogger("resocode")


class NoSpace(AdminError):
    """The disk of the database is full: nothing is kept of what was begun."""


@dataclass(frozen=True)
class HandedOut:
    """What an officer gets: the secret of the one-time link and, where the file travels, its password: shown once, kept nowhere
    else in clear."""

    secret: str
    name: str
    how: str
    password: str | None


def exports_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the requests whose file is to be made, or to be destroyed because nobody wants it any more; oldest first."""
    return list(map(str, session.scalars(text(DUE), {"now": now})))


def go_on(session: Session, *, request_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Do the next part: make the file, or list the texts that somebody has to judge first; where it is much, count and say so before.

    Counts with "more" ask for the next part. Raises NoSpace when the disk is full; nothing is kept then.
    """
    wanted = export_wanted.begin(session, request_id, now)
    if wanted is None:
        return {}
    if wanted.closed:
        return _drop(session, wanted, now)
    if wanted.stage is None:
        return {}
    try:
        if wanted.person is None:
            return _build_of_guardian(session, wanted, now)
        return _build(session, wanted, wanted.person, now)
    except (DBAPIError, postgres.Error, OSError) as error:
        if _is_full(error):
            raise NoSpace("The disk of the database is full; nothing was kept.") from error
        raise


def note_failure(session: Session, key: str, code: str, now: datetime) -> None:
    """Write down that the file of a request could not be made, and when it is tried again: 1, 2, 4 … 60 minutes."""
    found = _begun(session, uuid.UUID(key), now)
    if found.state not in ("to build", "to judge", "failed"):
        return
    pause = min(LONGEST_PAUSE, timedelta(minutes=2 ** min(found.attempts, 6)))
    found.state, found.error = "failed", NO_SPACE if code.endswith(NoSpace.__name__) else code
    found.attempts, found.next_at = found.attempts + 1, now + pause
    session.flush()


def judge_export_text(
    session: Session, *, text_id: uuid.UUID, decision: str, by: Staff, now: datetime, words: Sequence[str] = ()
) -> None:
    """Decide about one text: "hand out" as it is, "redact" the ``words``, or "leave out" the whole of it.

    Raises BadInput for another decision or nothing to redact, Refused, NotFound.
    """
    hold_officer(session, by)
    if decision not in TEXT_DECISIONS:
        raise BadInput(f"{decision!r} is not a decision that exists. Choose one of: {', '.join(TEXT_DECISIONS)}.")
    wanted = _words(words) if decision == "redact" else []
    if decision == "redact" and not wanted:
        raise BadInput("Say which words to take out, or leave the whole text out.")
    kept = session.get(ExportText, text_id)
    if _judged(session, text_id, decision, wanted, now) and kept is not None:
        append(session, Action.EXPORT_TEXTS_JUDGED, now=now, subject_kind="request", subject_id=kept.request_id,
               decision=decision, texts=1)  # fmt: skip


def judge_export_texts(session: Session, *, request_id: uuid.UUID, decision: str, by: Staff, now: datetime) -> int:
    """Decide the same about every text of a request that waits; return about how many.

    "redact" takes out the words that were found; texts in which none can be told apart (they are shown whole) are left out then.
    Raises BadInput, Refused, NotFound.
    """
    hold_officer(session, by)
    if decision not in TEXT_DECISIONS:
        raise BadInput(f"{decision!r} is not a decision that exists. Choose one of: {', '.join(TEXT_DECISIONS)}.")
    waiting = select(ExportText).where(ExportText.request_id == request_id, ExportText.decision.is_(None))
    many = 0
    for each in session.scalars(waiting.order_by(ExportText.id)).all():
        found = [str(word) for word in (each.found or {}).get("words", [])]
        own = "leave out" if decision == "redact" and not found else decision
        many += _judged(session, each.id, own, found if own == "redact" else [], now)
    if many:
        append(session, Action.EXPORT_TEXTS_JUDGED, now=now, subject_kind="request", subject_id=request_id,
               decision=decision, texts=many)  # fmt: skip
    return many


def remake_export(session: Session, *, request_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Let the worker make the file anew: it failed, has expired, was lost on its way, or holds a decision that was wrong.

    The old file is destroyed when the new one is made. Raises Refused (also for one's own record), NotFound, BadInput (closed).
    """
    hold_officer(session, by)
    if ask(session, "privacy.remake_export(:request, :now)", request=request_id, now=now):
        append(session, Action.EXPORT_REMADE, now=now, subject_kind="request", subject_id=request_id)


@guarded
def hand_out_export(session: Session, *, request_id: uuid.UUID, how: str, by: Staff, now: datetime) -> HandedOut:
    """Let the file out through a one-time link of this session; ``how`` it then reaches the person is one of DELIVERIES.

    "sent encrypted": it leaves as a ZIP that only the password opens, which is told once and on another way than the file.
    Raises NotFresh, Refused, NotFound when no file is kept (any more), BadInput.
    """
    hold_officer(session, by)
    if how not in DELIVERIES:
        raise BadInput(f"{how!r} is not a way that exists. Choose one of: {', '.join(DELIVERIES)}.")
    kept = ask(session, "privacy.hand_out_export(:request, :how, :now)", request=request_id, how=how, now=now)
    if kept is None:
        raise NotFound("No file is kept any more. Make it anew.", request_id=request_id)
    label = session.scalar(select(Request.number).where(Request.id == request_id))
    password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(5)) if how == "sent encrypted" else None  # fmt: skip
    name = f"{number(int(label or 0)).lower()}-{'encrypted' if password else 'data'}.zip"
    secret = link_artifact(session, session_id=by.session_id, artifact_id=kept, name=name, media_type=ZIP, now=now,
                           password=password)  # fmt: skip
    append(session, Action.EXPORT_HANDED_OUT, now=now, subject_kind="request", subject_id=request_id, how=how)
    return HandedOut(secret, name, how, password)


def answer_export(
    session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime, note: str = ""
) -> Receipt:
    """Close a request whose file was handed out; the letter "your data are ready" waits in the outbox.

    Raises BadInput when the file was not fetched yet, and like every verb on a request.
    """
    case = begin(session, verb="answer_export", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_move(session, case, "answered", now, start=("verified",))
    found = session.get(Export, request_id)
    if case.request.kind not in KINDS or found is None or found.state != "handed out" or found.handed_how is None:
        raise BadInput("Hand the file out and fetch it first; that is the answer.")
    write_text(session, case, "note", note, now=now)
    letters.queue(session, case, "export", now=now, reason=TOLD[found.handed_how])
    values = stop_clock(session, case, now=now, reason="answered")
    receipt = change(session, case, to="answered", now=now, outcome=found.handed_how, sentence="Answered. The letter waits in the outbox.",
                     **values)  # fmt: skip
    append(session, Action.REQUEST_ANSWERED, now=now, subject_kind="request", subject_id=request_id,
           outcome=found.handed_how)  # fmt: skip
    return receipt


def demand_by_hand(session: Session, request: Request) -> None:
    """Raise BadInput when a request is answered by its file and not by hand: only one that could not be made is."""
    if request.kind in KINDS and (request.student_id or request.visitor_id or request.guardian_id):
        found = session.get(Export, request.id)
        if found is None or found.state != "failed":
            raise BadInput(
                "The worker makes the file; hand it out, and that is the answer. By hand only if it cannot be made."
            )


def _build(session: Session, wanted: Wanted, person: Person, now: datetime) -> dict[str, int]:
    """Make the file from one look at the database where everything is at hand then, else from a snapshot that holds as long as it takes.

    What takes long is counted and told in a part of its own, so that nobody waits for its lock.
    """
    processors, roots = _processors(wanted, person), roots_of(person)
    remote = any(each.remote for each in processors)
    if not wanted.rows or not (remote or max(wanted.rows.values()) > export_rows.AT_ONCE):
        gathered = export_rows.gather(session, person, roots)
        if not (remote or gathered.large):
            return _made(session, session, wanted, person, gathered, processors, now)
        if not wanted.rows and wanted.stage == "to build" and gathered.counts:
            _note(session, wanted, "to build", gathered)
            return {"counted": 1, MORE: 1}
    with db.snapshot() as reader:
        whole = export_rows.gather(reader, person, roots)
        return _made(session, reader, wanted, person, whole, processors, now)


def _made(
    session: Session, reader: Session, wanted: Wanted, person: Person, gathered: Gathered, processors: Sequence[Processor],
    now: datetime,
) -> dict[str, int]:  # fmt: skip
    answers = tuple(_answer(session, each, person, now) for each in processors)
    screened = export_screening.screen(session, reader, wanted, person, roots_of(person), gathered, answers)
    if screened.wait:
        _note(session, wanted, "to judge", gathered)
        append(
            session,
            Action.EXPORT_WAITS,
            now=now,
            subject_kind="request",
            subject_id=wanted.request_id,
            texts=screened.wait,
        )
        return {"texts": screened.wait}
    order = _order(wanted, person, gathered, answers, screened.decisions, now)
    chunks = export_build.chunks(reader, order, gathered, lambda _: None)
    told = [
        {"name": a.name, "asked": a.asked, "complete": a.complete, "problem": a.problem, "rows": a.rows}
        for a in answers
    ]
    return _keep(session, wanted, chunks, gathered.counts, told, now)


def _build_of_guardian(session: Session, wanted: Wanted, now: datetime) -> dict[str, int]:
    """The file of a parent or guardian: small, nothing in it that others wrote, and no processor holds any of it."""
    assert wanted.guardian_id is not None
    rows = guardians.held(session, wanted.guardian_id)
    name = str(rows[0].get("guardian's name", "")) if rows else ""
    file = guardians.GuardianFile(number(wanted.number), wanted.kind, wanted.rules.version, name, now, now + KEPT, rows)
    guardian = session.get(Guardian, wanted.guardian_id)
    about = replace(wanted, student_id=guardian.student_id if guardian else None)
    return _keep(session, about, guardians.chunks(file), {"privacy.guardian": len(rows)}, [], now)


def _keep(
    session: Session, wanted: Wanted, chunks: Iterator[bytes], counts: Mapping[str, int], told: list[dict[str, Any]], now: datetime
) -> dict[str, int]:  # fmt: skip
    """Keep the file in the place of an older one, and say so: one round trip. Raises NotFound when the request was closed meanwhile."""
    if wanted.round:
        _destroy(session, wanted.request_id, "made anew", now)
    kept = artifacts.keeping(
        session, kind="export", owner_id=wanted.request_id, name=f"{number(wanted.number).lower()}-data.zip", media_type=ZIP,
        chunks=chunks, expires_at=now + KEPT, now=now, student_id=wanted.student_id, visitor_id=wanted.visitor_id,
    )  # fmt: skip
    line = Line(Action.EXPORT_BUILT, "request", wanted.request_id, {
        "rows": sum(counts.values()), "asked": len(told), "answered": sum(each["complete"] for each in told)})  # fmt: skip
    [state], *_ = db.together(
        session,
        db.asked(STILL_WANTED, request=wanted.request_id),
        kept.last,
        db.asked(READY, request=wanted.request_id, artifact=kept.id, size=kept.size, now=now, rows=json.dumps(dict(counts)),
                 processors=json.dumps(told)),
        appending(line, now=now),
    )  # fmt: skip
    if state != ("verified",):
        raise NotFound(MISSING, request_id=wanted.request_id)
    return {"rows": sum(counts.values())}


def _note(session: Session, wanted: Wanted, stage: str, gathered: Gathered) -> None:
    values = {"state": stage, "error": None, "rows": dict(gathered.counts)}
    session.execute(update(Export).where(Export.request_id == wanted.request_id).values(values))


def _order(
    wanted: Wanted, person: Person, gathered: Gathered, answers: tuple[Answer, ...], decisions: Mapping[str, Decision],
    now: datetime,
) -> export_build.Order:  # fmt: skip
    return export_build.Order(
        person=person,
        roots=roots_of(person),
        name=next((str(row["name"] or "") for row in gathered.small.get(PERSONS[person.kind], ())), ""),
        number=number(wanted.number),
        kind=wanted.kind,
        policy_version=wanted.rules.version,
        made_at=now,
        kept_until=now + KEPT,
        decisions=decisions,
        answers=export_screening.judged(answers, decisions),
        context=export_page.lines(processing_record(wanted.rules, person=person.kind))
        if wanted.kind == "access"
        else (),
    )


def _processors(wanted: Wanted, person: Person) -> tuple[Processor, ...]:
    """Every processor that concerns the person."""
    return tuple(configured(name) for name in third_parties(person.kind, wanted.listed))


def _answer(session: Session, processor: Processor, person: Person, now: datetime) -> Answer:
    """Ask a processor. One that does not answer is named with the reason, never left out."""
    name = processor.name
    if not processor.remote:  # nothing can break that would break the transaction
        given = processor.export(session, person, now=now)
        return _told(name, given)
    try:
        with session.begin_nested():
            given = processor.export(session, person, now=now)
    except Exception as error:  # noqa: BLE001 - whatever went wrong there, the person gets the rest, and is told
        log.error("%s did not answer an export: %s", name, type(error).__name__)
        return Answer(name, asked=True, complete=False, problem="error")
    return _told(name, given)


def _told(name: str, given: Exported) -> Answer:
    asked = given.problem != "manual"
    return Answer(name, asked, given.complete, given.problem, {str(k): tuple(v) for k, v in given.records.items()})


def _begun(session: Session, request_id: uuid.UUID, now: datetime) -> Export:
    """The export of a request, made when it is first due; held until the end of the transaction."""
    new = insert(Export).values(request_id=request_id, next_at=now)
    held = new.on_conflict_do_update(index_elements=["request_id"], set_={"next_at": Export.next_at}).returning(Export)
    return session.scalars(held, execution_options={"populate_existing": True}).one()


def _drop(session: Session, wanted: Wanted, now: datetime) -> dict[str, int]:
    if wanted.state == "answered":
        return {}
    return {"destroyed": _destroy(session, wanted.request_id, "not needed any more", now)}


def _destroy(session: Session, request_id: uuid.UUID, why: str, now: datetime) -> int:
    kept = select(Artifact.id).where(
        Artifact.kind == "export", Artifact.owner_id == request_id, Artifact.destroyed_at.is_(None)
    )
    return sum(artifacts.destroy(session, each, why=why, now=now) for each in session.scalars(kept).all())


def _judged(session: Session, text_id: uuid.UUID, decision: str, words: list[str], now: datetime) -> bool:
    given = {"id": text_id, "what": decision, "words": json.dumps(words) if decision == "redact" else None, "now": now}
    return bool(ask(session, "privacy.judge_export_text(:id, :what, cast(:words as jsonb), :now)", **given))


def _words(words: Sequence[str]) -> list[str]:
    cleaned = [clean(word, what="A word", longest=200) for word in words]
    if len(cleaned) > MOST_WORDS:
        raise BadInput(f"{MOST_WORDS} words are possible in one text. Leave the whole text out.")
    return list(dict.fromkeys(word for word in cleaned if word))


def _is_full(error: DBAPIError | postgres.Error | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error.orig if isinstance(error, DBAPIError) else error, postgres.DiskFull)


STILL_WANTED = "select state from privacy.request where id = :request for update"
READY = """
    update privacy.export set state = 'ready', error = null, attempts = 0, built_at = :now, artifact_id = :artifact, size = :size,
        rows = cast(:rows as jsonb), processors = cast(:processors as jsonb), round = round + 1
    where request_id = :request
"""
DUE = """
    select r.id from privacy.request r left join privacy.export e on e.request_id = r.id
    where r.kind in ('access', 'export') and r.closed_at is null and r.state = 'verified'
      and num_nonnulls(r.student_id, r.visitor_id, r.guardian_id) = 1
      and (e.request_id is null or e.state in ('to build', 'failed') and e.next_at <= :now
           or e.state = 'to judge' and not exists (
               select from privacy.export_text t where t.request_id = r.id and t.decision is null))
    union all
    select r.id from privacy.artifact a join privacy.request r on r.id = a.owner_id
    where a.kind = 'export' and a.destroyed_at is null and r.state in ('refused', 'withdrawn')
    order by 1
"""
