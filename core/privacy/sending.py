"""The workers' way from the outbox to the mail server: each letter once, and what is not sure is said.

Danger: a worker dies between "the server took it" and "we wrote that down", and the letter is lost, or leaves again for everybody who
finds it. Principle: letters are claimed, a batch at a time, in a transaction that is over before the first one leaves; what came of
them is written against that claim. Of a batch, at most one letter is on its way at a time: only that one can leave twice, under
the same Message-ID, and its row says so (``unclear``). Mechanism: state "sending" with a ticket; before each letter one small
statement notes in :class:`MailLane` how far the batch has come, and asks whether the claim still stands. That table is not
logged: it outlives every death of a worker, on whatever machine the next one runs, and is empty after a crash of the database:
then the whole batch counts as unclear. The transaction that writes what became of one batch claims the next one. One row,
:class:`MailPace`, counts what all workers send, and closes the line for a while when the server itself is the trouble: that is
no letter's fault, so it costs no attempt.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import db
from core.models.campaigns import QUESTION, Campaign, MailLane, MailPace
from core.models.platform import EmailLog, Enrollment
from core.models.requests import CAMPAIGN, LETTERS, Outbox
from core.privacy import ages_asked
from core.privacy.audit import Action, append
from core.privacy.letters import fill, wording
from core.privacy.mail_kinds import NOTICES
from core.processors import mail
from core.settings import settings

LANES = 4
FOR_A_LANE = 25  # letters that are due before another connection is worth it
BATCH = 100
AT_ONCE = 4 * BATCH
ATTEMPTS = 5
FIRST_PAUSE = timedelta(minutes=5)
WINDOW = timedelta(seconds=10)
FIRST_REST, LONGEST_REST = timedelta(minutes=1), timedelta(minutes=30)
OURS = "dashboard"
CLOSED, DECLINED, GONE = "account closed", "no such mail wanted", "nothing to tell any more"
DIED = mail.Delivery("unclear", "worker died")
TAKEN_BACK = mail.Delivery("taken back", "")  # erased, or taken out of the outbox, after it was claimed


@dataclass(frozen=True)
class Ready:
    """What a lane has claimed: its ticket, and the letters in the order in which they are handed to the server."""

    claim: uuid.UUID
    letters: tuple[mail.Letter, ...]


def lanes_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the lanes that have something to send; none while no server is set, it rests, or the pace is reached."""
    if not mail.configured():
        return []
    pace = session.get(MailPace, 1, populate_existing=True)
    if pace is None or not _room(pace, now):
        return []
    left = session.scalars(select(Outbox.lane).where(Outbox.state == "sending", Outbox.lane.is_not(None)).distinct())
    most = select(Outbox.id).where(*_due(now)).limit(LANES * FOR_A_LANE).subquery()
    due = session.scalar(select(func.count()).select_from(most)) or 0
    lanes = {each for each in left if each is not None} | set(range(1, -(-due // FOR_A_LANE) + 1))
    return [str(lane) for lane in sorted(lanes)]


def send_lane(*, lane: int, now: datetime, most: int = AT_ONCE) -> Counter[str]:
    """Send up to ``most`` letters over one connection, a batch at a time; return what became of them.

    Ends early when the server itself is the trouble, and when another worker has taken the lane over. ``now`` is that of the whole
    turn.
    """
    done: Counter[str] = Counter()
    mail.sender()  # before a letter is claimed
    with db.transaction("worker") as session:
        _open_month(session, now)
        _settle_left(session, lane, now)
        ready = _claim(session, lane, now, most)
    with mail.Line() as line, db.statements("worker") as marks:
        while ready is not None:
            answers = list(_handed(line, marks, lane, ready))
            done.update(each.outcome for each in answers if each is not TAKEN_BACK)
            last = not answers or answers[-1].server
            with db.transaction("worker") as session:
                ready = _settle(session, ready, answers, lane, now, more=0 if last else most - done.total())
    return done


def _handed(line: mail.Line, marks: Connection, lane: int, ready: Ready) -> Iterator[mail.Delivery]:
    """Hand the letters of a batch over, one after the other, each noted before it begins; ends when the server is the trouble, or
    the lane is another worker's."""
    before: list[str] = []
    for letter in ready.letters:
        noted = {"lane": lane, "claim": ready.claim, "letter": letter.id, "answers": before}
        there = marks.exec_driver_sql(BEGINS, noted).scalar()
        if there is None:
            return
        answer = line.send(letter) if there else TAKEN_BACK
        yield answer
        if answer.server:
            return
        before = [_as_text(answer)]


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Outbox.state == "waiting", Outbox.not_before <= now, or_(Outbox.address.is_not(None), Outbox.priority > 0)


def _open_month(session: Session, now: datetime) -> None:
    """The log's partition is there before anything leaves: what was sent can then be written down."""
    made = text("select platform.make_months('email_log', cast(:day as date), cast(:day as date))")
    session.execute(made, {"day": now.astimezone(UTC).date()})


def _claim(session: Session, lane: int, now: datetime, most: int) -> Ready | None:
    """Claim the next batch of a lane, ``most`` letters at most; None: nothing is due, or the pace is reached."""
    pace = session.get(MailPace, 1, populate_existing=True)
    most = min(BATCH, most, _room(pace, now) if pace else 0)
    letters: list[mail.Letter] = []
    while most > 0 and not letters and (rows := _next(session, now, most)):
        letters = _written(session, rows, now)
    pace = session.get(MailPace, 1, with_for_update=True, populate_existing=True) if letters else None
    letters = letters[: _room(pace, now)] if pace else []
    if pace is None or not letters:
        return None
    _take(pace, len(letters), now)
    ready = Ready(uuid.uuid4(), tuple(letters))
    ids = [each.id for each in letters]
    session.execute(text(CLAIM), {"ids": ids, "lane": lane, "claim": ready.claim, "now": now})
    begun = {"claim": ready.claim, "letters": ids, "begun": 0, "answers": []}
    noted = insert(MailLane).values(lane=lane, **begun)
    session.execute(noted.on_conflict_do_update(index_elements=["lane"], set_=begun))
    return ready


def _next(session: Session, now: datetime, most: int) -> list[Row[Any]]:
    """Lock the next letters, those of people first."""
    found: list[Row[Any]] = []
    told = (Outbox.id, Outbox.priority, Outbox.kind, Outbox.campaign_id, Outbox.address, Outbox.subject, Outbox.body)
    for priority in (LETTERS, LETTERS + 1, CAMPAIGN):
        if len(found) < most:
            first = select(*told).where(*_due(now), Outbox.priority == priority).order_by(Outbox.not_before, Outbox.id)
            found += session.execute(first.limit(most - len(found)).with_for_update(skip_locked=True))
    return found


def _written(session: Session, rows: Sequence[Row[Any]], now: datetime) -> list[mail.Letter]:
    """Write the mail of each row, or settle it without one: the reason for it may have gone since it was queued."""
    by_rule = [row.id for row in rows if row.priority != LETTERS]
    quiet = [kind for kind, notice in NOTICES.items() if not notice.important]
    closed = [kind for kind, notice in NOTICES.items() if notice.closed]
    known = session.execute(text(FACTS), {"ids": by_rule, "quiet": quiet, "closed": closed}).mappings()
    facts: dict[uuid.UUID, Mapping[Any, Any]] = {each["id"]: each for each in known}
    said = _wordings(session, [row for row in rows if row.priority != LETTERS])
    letters, without = [], dict[str, list[uuid.UUID]]()
    for row in rows:
        if row.priority == LETTERS:
            letters.append(mail.Letter(row.id, row.address, row.subject, row.body, now))
        elif why := _no_more(facts.get(row.id)):
            without.setdefault(why, []).append(row.id)
        elif mail.reserved(facts[row.id]["email"]):
            without.setdefault(mail.RESERVED, []).append(row.id)
        else:
            letters.append(_filled(row.id, facts[row.id], *said[row.campaign_id or row.kind], now))
    for why, ids in without.items():
        _drop(session, ids, why, state="failed" if why == mail.RESERVED else "canceled")
    return letters


def _no_more(facts: Mapping[Any, Any] | None) -> str:
    """Why a mail is not to be written any more; empty: it is."""
    if facts is None or (facts["about_id"] and facts["program"] is None):
        return GONE
    return CLOSED if facts["out"] else DECLINED if facts["quiet"] else ""


def _filled(letter_id: uuid.UUID, facts: Mapping[Any, Any], subject: str, body: str, now: datetime) -> mail.Letter:
    values = {
        "name": facts["name"],
        "program": facts["program"] or "",
        "cohort": facts["cohort"] or "",
        "starts_on": f"{facts['starts_on']:%-d %B %Y}" if facts["starts_on"] else "",
    }
    one_line = " ".join(fill(subject, values).split())
    return mail.Letter(letter_id, facts["email"], one_line, fill(body, values), now)


def _wordings(session: Session, rows: Sequence[Row[Any]]) -> dict[uuid.UUID | str, tuple[str, str]]:
    """Subject and body by campaign, or by kind of mail by rule, whose version is noted with the letters."""
    said: dict[uuid.UUID | str, tuple[str, str]] = {}
    for campaign_id in {row.campaign_id for row in rows if row.campaign_id}:
        subject, body = session.execute(select(Campaign.subject, Campaign.body).where(Campaign.id == campaign_id)).one()
        said[campaign_id] = subject, body
    for kind in {row.kind for row in rows if not row.campaign_id}:
        kept = wording(session, kind)
        said[kind] = kept.subject, kept.body
        mine = update(Outbox).where(Outbox.id.in_([row.id for row in rows if row.kind == kind and not row.campaign_id]))
        session.execute(mine.values(template_version=kept.version).execution_options(synchronize_session=False))
    return said


def _settle_left(session: Session, lane: int, now: datetime) -> None:
    """Write down what became of a batch whose worker died: what the server said, which letter was on its way, which never left."""
    left = select(Outbox).where(Outbox.state == "sending", Outbox.lane == lane).order_by(Outbox.id).with_for_update()
    rows = list(session.scalars(left.execution_options(populate_existing=True)))
    if not rows:
        return
    known = session.execute(text(ADDRESSES), {"ids": [row.id for row in rows]})
    addresses: dict[uuid.UUID, str] = {each.id: each.address for each in known}
    mark = session.get(MailLane, lane, with_for_update=True, populate_existing=True)
    noted = _noted(mark) if mark else {}
    settled = _Settled(now)
    for row in rows:
        mine = mark is not None and row.claim == mark.claim
        answer = noted.get(row.id) if mine else DIED
        if answer is None:
            _hand_back(row)
        else:
            settled.became(row, answer, addresses.get(row.id, ""), row.tried_at or now)
    settled.write(session)


def _noted(mark: MailLane) -> dict[uuid.UUID, mail.Delivery]:
    """What is known of the letters of a batch that began to leave; the last of them may have been on its way."""
    answers = [_from_text(each) for each in mark.answers]
    answers += [DIED] * (mark.begun - len(answers))
    return dict(zip(mark.letters, answers, strict=False))


def _settle(
    session: Session, ready: Ready, answers: Sequence[mail.Delivery], lane: int, now: datetime, *, more: int
) -> Ready | None:
    """Write down what became of a batch, and claim the next one, of ``more`` letters at most. A stale ticket writes nothing."""
    mark = session.get(MailLane, lane, with_for_update=True, populate_existing=True)
    if mark is None or mark.claim != ready.claim:
        return None
    ids = [each.id for each in ready.letters]
    mine = select(Outbox).where(Outbox.id.in_(ids), Outbox.claim == ready.claim, Outbox.state == "sending")
    rows = session.scalars(mine.order_by(Outbox.id).with_for_update().execution_options(populate_existing=True))
    told = {letter.id: (answer, letter.address) for letter, answer in zip(ready.letters, answers, strict=False)}
    settled = _Settled(now)
    for row in rows:
        if row.id in told:
            settled.became(row, *told[row.id], now)
        else:
            _hand_back(row)
    lines = settled.write(session)
    following = _claim(session, lane, now, more)
    if said := [each for each in answers if each is not TAKEN_BACK and each.outcome != "nobody"]:
        _pace(session, said[-1], now)
    session.flush()
    for action, values in lines:
        append(session, action, now=now, subject_kind="letter", **values)
    return following


def _hand_back(row: Outbox) -> None:
    """A letter that was claimed and never began: nothing is unclear about it."""
    row.state, row.claim, row.lane, row.attempts = "waiting", None, None, max(row.attempts - 1, 0)


@dataclass
class _Settled:
    """What became of a batch, gathered to be written in few statements."""

    now: datetime
    log: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    confirmed: list[uuid.UUID] = field(default_factory=list)
    asked: list[uuid.UUID] = field(default_factory=list)
    lines: list[tuple[Action, dict[str, Any]]] = field(default_factory=list)
    over: list[Outbox] = field(default_factory=list)  # letters of campaigns go when it is known what became of them

    def became(self, row: Outbox, answer: mail.Delivery, address: str, at: datetime) -> None:
        """Change the row of a letter, and note its log and whatever waited for it."""
        row.claim = row.lane = None
        row.unclear = row.unclear or answer.outcome == "unclear"
        if answer.outcome == "taken":
            row.state, row.address, row.sent_at, row.sent_how, row.error = "sent", None, at, "mail", None
            self._over(row, "sent", "sent", "", address, at)
            if row.kind == "enrollment confirmation" and row.about_id:
                self.confirmed.append(row.about_id)
            elif row.kind == QUESTION and row.campaign_id is not None:
                self.asked.append(row.id)
            return
        row.error = answer.code
        if answer.outcome == "nobody":
            row.state, row.attempts = "failed", max(row.attempts - 1, 0)
            self._over(row, "not reached", "", answer.code, address, at)
            return
        if answer.server and answer.outcome != "unclear":
            row.attempts = max(row.attempts - 1, 0)
        if answer.outcome == "refused":
            row.state = "failed"
            self._over(row, "bounced", "bounced", answer.code, address, at)
        elif row.attempts >= ATTEMPTS:
            row.state = "failed"
            self._over(row, "not reached", "failed", answer.code, address, at)
        else:
            row.state = "waiting"
            if answer is not DIED and (answer.outcome == "unclear" or not answer.server):
                row.not_before = self.now + FIRST_PAUSE * 4 ** (row.attempts - 1)

    def _over(self, row: Outbox, state: str, outcome: str, code: str, address: str, at: datetime) -> None:
        # To somebody else than ours there is no log, nor of what never left.
        if outcome and (row.student_id is None) != (row.visitor_id is None):
            self.log.append({"sent_at": at, "id": row.id, "student_id": row.student_id, "visitor_id": row.visitor_id,
                             "kind": row.kind, "address": address, "outcome": outcome, "source": OURS})  # fmt: skip
        if row.campaign_id is not None:
            self.over.append(row)
            told_at = at if state == "sent" else None
            self.told.append({"id": row.id, "state": state, "code": code, "unclear": row.unclear, "at": told_at})
        elif row.priority == LETTERS:
            sent = state == "sent"
            more = {"how": "mail"} if sent else {"code": code}
            action = Action.LETTER_SENT if sent else Action.LETTER_FAILED
            self.lines.append((action, {"subject_id": row.id, "kind": row.kind, **more}))

    def write(self, session: Session) -> list[tuple[Action, dict[str, Any]]]:
        """Write all of it; return the lines of audit, which come last."""
        for row in self.over:
            session.expunge(row)
        session.flush()
        if self.log:
            lines = insert(EmailLog)
            key, outcome = [EmailLog.sent_at, EmailLog.id], {"outcome": lines.excluded.outcome}
            session.execute(lines.on_conflict_do_update(index_elements=key, set_=outcome), self.log)
        if self.confirmed:
            open_ones = update(Enrollment).where(Enrollment.id.in_(self.confirmed), Enrollment.confirmed_at.is_(None))
            session.execute(open_ones.values(confirmed_at=self.now).execution_options(synchronize_session=False))
        _tell_campaigns(session, self.told)
        if self.asked:
            ages_asked.note_asked(session, recipients=self.asked, now=self.now)
        return self.lines


def _tell_campaigns(session: Session, told: Sequence[Mapping[str, Any]]) -> None:
    """What became of each stands with the recipient; the letter itself goes."""
    if told:
        columns = {name: [each[name] for each in told] for name in ("id", "state", "code", "unclear", "at")}
        session.execute(text(TELL), columns)
        session.execute(text("delete from privacy.outbox where id = any(:ids)"), {"ids": columns["id"]})


def _drop(session: Session, ids: Sequence[uuid.UUID], why: str, *, state: str) -> None:
    """Settle mail that is written when it leaves, and will not: nothing is tried again."""
    dropped = session.execute(text(DROP), {"ids": list(ids), "why": why, "state": state}).all()
    of_campaigns = [row for row in dropped if row.campaign_id is not None]
    _tell_campaigns(session, [{"id": row.id, "state": "not reached", "code": why, "unclear": row.unclear, "at": None}
                              for row in of_campaigns])  # fmt: skip


def _as_text(answer: mail.Delivery) -> str:
    return f"{answer.outcome}/{answer.code}"


def _from_text(kept: str) -> mail.Delivery:
    outcome, _, code = kept.partition("/")
    return mail.Delivery(outcome, code)


def _room(pace: MailPace, now: datetime) -> int:
    """How many letters may still leave in this window of ten seconds; 0 while the line is closed."""
    if pace.closed_until and pace.closed_until > now:
        return 0
    return _in_a_window() - (pace.taken if pace.window_at >= _window(now) else 0)


def _take(pace: MailPace, many: int, now: datetime) -> None:
    """Take places in the window of ten seconds."""
    if pace.window_at < _window(now):
        pace.window_at, pace.taken = _window(now), 0
    pace.taken += many


def _pace(session: Session, answer: mail.Delivery, now: datetime) -> None:
    """Close the line for a while when the server is the trouble, longer each time; open it when it took something."""
    pace = session.get(MailPace, 1, with_for_update=True, populate_existing=True)
    assert pace is not None
    if answer.server and not (pace.closed_until and pace.closed_until > now):
        rest = min(FIRST_REST * (1 << min(pace.failures, 10)), LONGEST_REST)
        pace.failures, pace.code, pace.closed_until = pace.failures + 1, answer.code, now + rest
        pace.closed_since = pace.closed_since or now
    elif not answer.server:
        pace.failures, pace.code, pace.closed_until, pace.closed_since = 0, "", None, None
        pace.last_taken_at = now if answer.outcome == "taken" else pace.last_taken_at


def _window(now: datetime) -> datetime:
    return datetime.fromtimestamp(now.timestamp() // WINDOW.total_seconds() * WINDOW.total_seconds(), UTC)


def _in_a_window() -> int:
    return max(settings().mail_rate * int(WINDOW.total_seconds()) // 60, 1)


# Whether a letter is still claimed; notes that it begins, and what became of the one before. No row: the lane is another worker's.
BEGINS = """
    update privacy.mail_lane l set begun = l.begun + 1, answers = l.answers || %(answers)s::text[]
    where l.lane = %(lane)s and l.claim = %(claim)s
    returning exists (select from privacy.outbox o where o.id = %(letter)s and o.claim = %(claim)s)
"""
CLAIM = """
    update privacy.outbox o set state = 'sending', lane = :lane, claim = :claim, tried_at = :now, attempts = o.attempts + 1
    where o.id = any(:ids)
"""
# What is known of mail that is written when it leaves: about an enrollment, a certificate, or for a campaign. "quiet": not
# important, and they opted out or are restricted; "out": their account is closed, and it is not for closed ones.
FACTS = """
    select o.id, o.about_id, s.account_status = 'closed' and not o.kind = any(:closed) as out, s.name, s.email, p.title as program, c.title as cohort, c.starts_on,
        o.kind = any(:quiet) and (privacy.has_opted_out(s.id) or privacy.is_restricted(s.id)) as quiet
    from privacy.outbox o join platform.student s on s.id = o.student_id
    left join platform.certificate k on k.id = o.about_id
    left join platform.enrollment e on e.id = coalesce(k.enrollment_id, o.about_id) and e.student_id = s.id
    left join platform.cohort c on c.id = e.cohort_id left join platform.program p on p.id = c.program_id
    where o.id = any(:ids)
"""
ADDRESSES = """
    select o.id, coalesce(o.address, s.email) as address from privacy.outbox o left join platform.student s on s.id = o.student_id
    where o.id = any(:ids)
"""
TELL = """
    update privacy.campaign_recipient r set state = t.state, code = t.code, unclear = t.unclear, told_at = t.at
    from unnest(cast(:id as uuid[]), cast(:state as text[]), cast(:code as text[]), cast(:unclear as boolean[]),
        cast(:at as timestamptz[])) t (id, state, code, unclear, at)
    where r.id = t.id
"""
DROP = """
    update privacy.outbox o set state = :state, error = :why, claim = null, lane = null, address = null where o.id = any(:ids)
    returning o.id, o.campaign_id, o.unclear
"""
