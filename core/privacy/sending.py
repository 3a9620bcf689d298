"""The workers' way from the outbox to the mail server: each letter once, and what is not sure is said.

Danger: a worker dies between "the server took it" and "we wrote that down", and the letter is lost, or leaves again for everybody who
finds it. Principle: a letter is claimed in a transaction that is over before it leaves; what came of it is written against that
claim. At most one letter of a lane is on its way at a time: only that one can leave twice, under the same Message-ID, and its row
says so (``unclear``). Mechanism: state "sending" with a ticket that only this process knows; the transaction that writes what
became of one letter claims the next one. One row, :class:`MailPace`, counts what all workers send, and closes the
line for a while when the server itself is the trouble: that is no letter's fault, so it costs no attempt.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import db
from core.models.campaigns import Campaign, CampaignRecipient, MailPace
from core.models.platform import EmailLog, Enrollment
from core.models.requests import CAMPAIGN, LETTERS, Outbox
from core.privacy.audit import Action, append
from core.privacy.letters import fill, wording
from core.privacy.mail_kinds import NOTICES
from core.processors import mail
from core.settings import settings

LANES = 4
FOR_A_LANE = 25  # letters that are due before another connection is worth it
AT_ONCE = 100
ATTEMPTS = 5
FIRST_PAUSE = timedelta(minutes=5)
WINDOW = timedelta(seconds=10)
FIRST_REST, LONGEST_REST = timedelta(minutes=1), timedelta(minutes=30)
OURS = "dashboard"
CLOSED, DECLINED, GONE = "account closed", "no such mail wanted", "nothing to tell any more"

_unbegun: set[uuid.UUID] = set()  # tickets of this process whose letter has not left yet


@dataclass(frozen=True)
class Ready:
    """A claimed letter: its ticket, and what is handed to the server."""

    claim: uuid.UUID
    letter: mail.Letter


def lanes_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the lanes that have something to send; none while no server is set, it rests, or the pace is reached."""
    if not mail.configured():
        return []
    pace = session.get(MailPace, 1, populate_existing=True)
    if pace is None or (pace.closed_until and pace.closed_until > now) or _is_full(pace, now):
        return []
    left = session.scalars(select(Outbox.lane).where(Outbox.state == "sending", Outbox.lane.is_not(None)).distinct())
    most = select(Outbox.id).where(*_due(now)).limit(LANES * FOR_A_LANE).subquery()
    due = session.scalar(select(func.count()).select_from(most)) or 0
    lanes = {each for each in left if each is not None} | set(range(1, -(-due // FOR_A_LANE) + 1))
    return [str(lane) for lane in sorted(lanes)]


def send_lane(*, lane: int, now: datetime, most: int = AT_ONCE) -> Counter[str]:
    """Send up to ``most`` letters over one connection, each in transactions of its own; return what became of them.

    Ends early when the server itself is the trouble. ``now`` is that of the whole turn.
    """
    done: Counter[str] = Counter()
    mail.sender()  # before a letter is claimed
    with db.transaction("worker") as session:
        _open_month(session, now)
        ready = _claim(session, lane, now)
    with mail.Line() as line:
        while ready is not None:
            _unbegun.discard(ready.claim)
            answer = line.send(ready.letter)
            done[answer.outcome] += 1
            with db.transaction("worker") as session:
                last = answer.server or done.total() >= most
                ready = _settle(session, ready, answer, lane, now, last=last)
    return done


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Outbox.state == "waiting", Outbox.not_before <= now, or_(Outbox.address.is_not(None), Outbox.priority > 0)


def _open_month(session: Session, now: datetime) -> None:
    """The log's partition is there before anything leaves: what was sent can then be written down."""
    made = text("select platform.make_months('email_log', cast(:day as date), cast(:day as date))")
    session.execute(made, {"day": now.astimezone(UTC).date()})


def _claim(session: Session, lane: int, now: datetime) -> Ready | None:
    """Claim the next letter of a lane, first one that was left on its way; None: nothing is due, or the pace is reached."""
    while row := _next(session, lane, now):
        letter = _written(session, row, now)
        if letter is None:
            continue
        pace = session.get(MailPace, 1, with_for_update=True, populate_existing=True)
        if pace is None or not _take(pace, now):
            return None
        row.unclear = row.unclear or row.state == "sending"
        row.state, row.lane, row.claim, row.tried_at = "sending", lane, uuid.uuid4(), now
        row.attempts += 1
        session.flush()
        _unbegun.add(row.claim)
        return Ready(row.claim, letter)
    return None


def _next(session: Session, lane: int, now: datetime) -> Outbox | None:
    left = select(Outbox).where(Outbox.state == "sending", Outbox.lane == lane)
    for mine in session.scalars(left.with_for_update(skip_locked=True).execution_options(populate_existing=True)):
        if mine.claim in _unbegun:  # claimed by this process and never begun: nothing is unclear about it
            _unbegun.discard(mine.claim)
            mine.state, mine.attempts = "waiting", max(mine.attempts - 1, 0)
        return mine
    for priority in (LETTERS, LETTERS + 1, CAMPAIGN):
        first = select(Outbox).where(*_due(now), Outbox.priority == priority)
        first = first.order_by(Outbox.not_before, Outbox.id).limit(1).with_for_update(skip_locked=True)
        if row := session.scalars(first.execution_options(populate_existing=True)).first():
            return row
    return None


def _written(session: Session, row: Outbox, now: datetime) -> mail.Letter | None:
    """Write the mail of a row, or settle it without one: the reason for it may have gone since it was queued."""
    if row.priority == LETTERS:
        assert row.address is not None
        return mail.Letter(row.id, row.address, row.subject, row.body, now)
    facts = session.execute(text(FACTS), {"student": row.student_id, "about": row.about_id}).mappings().first()
    notice = NOTICES.get(row.kind)
    why = ""
    if facts is None or (row.about_id and facts["program"] is None):
        why = GONE
    elif facts["account_status"] == "closed":
        why = CLOSED
    elif notice is not None and not notice.important and facts["quiet"]:
        why = DECLINED
    if why or facts is None:
        _drop(session, row, why or GONE, now)
        return None
    if row.campaign_id is not None:
        said = session.execute(select(Campaign.subject, Campaign.body).where(Campaign.id == row.campaign_id)).one()
        subject, body = said.subject, said.body
    else:
        kept = wording(session, row.kind)
        subject, body, row.template_version = kept.subject, kept.body, kept.version
    values = {
        "name": facts["name"],
        "program": facts["program"] or "",
        "cohort": facts["cohort"] or "",
        "starts_on": f"{facts['starts_on']:%-d %B %Y}" if facts["starts_on"] else "",
    }
    one_line = " ".join(fill(subject, values).split())
    return mail.Letter(row.id, facts["email"], one_line, fill(body, values), now)


def _settle(
    session: Session, ready: Ready, answer: mail.Delivery, lane: int, now: datetime, *, last: bool
) -> Ready | None:
    """Write down what became of a letter, and claim the next one unless this was the ``last``."""
    mine = select(Outbox).where(Outbox.id == ready.letter.id, Outbox.claim == ready.claim, Outbox.state == "sending")
    row = session.scalars(mine.with_for_update().execution_options(populate_existing=True)).first()
    told: Action | None = None
    kind = row.kind if row is not None else ""
    if row is not None:
        told = _became(session, row, answer, ready.letter.address, now)
    _pace(session, answer, now)
    session.flush()
    following = None if last else _claim(session, lane, now)
    if told is not None:
        more = {"how": "mail"} if told is Action.LETTER_SENT else {"code": answer.code}
        append(session, told, now=now, subject_kind="letter", subject_id=ready.letter.id, kind=kind, **more)
    return following


def _became(session: Session, row: Outbox, answer: mail.Delivery, address: str, now: datetime) -> Action | None:
    """Change the row of a letter, its log, and whatever waited for it; return the audit line of a letter that somebody wrote."""
    row.claim = row.lane = None
    row.unclear = row.unclear or answer.outcome == "unclear"
    if answer.outcome == "taken":
        row.state, row.address, row.sent_at, row.sent_how, row.error = "sent", None, now, "mail", None
        _log(session, row, address, "sent", now)
        _after(session, row, now)
        _tell_campaign(session, row, "sent", "", now)
        return Action.LETTER_SENT if row.priority == LETTERS else None
    row.error = answer.code
    if answer.server and answer.outcome != "unclear":
        row.attempts = max(row.attempts - 1, 0)
    if answer.outcome == "refused" or row.attempts >= ATTEMPTS:
        row.state = "failed"
        _log(session, row, address, "bounced" if answer.outcome == "refused" else "failed", now)
        _tell_campaign(session, row, "bounced" if answer.outcome == "refused" else "not reached", answer.code, now)
        return Action.LETTER_FAILED if row.priority == LETTERS else None
    row.state = "waiting"
    if answer.outcome == "unclear" or not answer.server:
        row.not_before = now + FIRST_PAUSE * 4 ** (row.attempts - 1)
    return None


def _after(session: Session, row: Outbox, now: datetime) -> None:
    """What a mail by rule was for: the enrollment is confirmed."""
    if row.kind == "enrollment confirmation":
        open_one = update(Enrollment).where(Enrollment.id == row.about_id, Enrollment.confirmed_at.is_(None))
        session.execute(open_one.values(confirmed_at=now).execution_options(synchronize_session=False))


def _tell_campaign(session: Session, row: Outbox, state: str, code: str, now: datetime) -> None:
    """What became of it stands with the recipient; the letter itself goes."""
    if row.campaign_id is None:
        return
    mine = update(CampaignRecipient).where(CampaignRecipient.id == row.id)
    told = {"state": state, "code": code, "unclear": row.unclear, "told_at": now if state == "sent" else None}
    session.execute(mine.values(**told).execution_options(synchronize_session=False))
    session.flush()
    session.execute(delete(Outbox).where(Outbox.id == row.id).execution_options(synchronize_session=False))
    session.expunge(row)


def _drop(session: Session, row: Outbox, why: str, now: datetime) -> None:
    row.state, row.error, row.claim, row.lane, row.address = "canceled", why, None, None, None
    session.flush()
    _tell_campaign(session, row, "not reached", why, now)


def _log(session: Session, row: Outbox, address: str, outcome: str, now: datetime) -> None:
    """One line of the mail log; a letter to somebody who is no student or visitor of ours has none."""
    if (row.student_id is None) == (row.visitor_id is None):
        return
    line = {"sent_at": now, "id": row.id, "student_id": row.student_id, "visitor_id": row.visitor_id, "kind": row.kind,
            "address": address, "outcome": outcome, "source": OURS}  # fmt: skip
    key = [EmailLog.sent_at, EmailLog.id]
    session.execute(insert(EmailLog).values(line).on_conflict_do_update(index_elements=key, set_={"outcome": outcome}))


def _is_full(pace: MailPace, now: datetime) -> bool:
    return pace.window_at >= _window(now) and pace.taken >= _in_a_window()


def _take(pace: MailPace, now: datetime) -> bool:
    """Take one place in the window of ten seconds; False when the line is closed or the window full."""
    if (pace.closed_until and pace.closed_until > now) or _is_full(pace, now):
        return False
    if pace.window_at < _window(now):
        pace.window_at, pace.taken = _window(now), 0
    pace.taken += 1
    return True


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


# What a mail by rule is about: an enrollment or a certificate. "quiet": opted out, or restricted.
FACTS = """
    select s.name, s.email, s.account_status, p.title as program, c.title as cohort, c.starts_on,
        privacy.has_opted_out(s.id) or privacy.is_restricted(s.id) as quiet
    from platform.student s
    left join (select e.id as about, e.student_id, e.cohort_id from platform.enrollment e where e.id = :about
               union all
               select k.id, e.student_id, e.cohort_id from platform.certificate k join platform.enrollment e on e.id = k.enrollment_id
               where k.id = :about) a on a.student_id = s.id
    left join platform.cohort c on c.id = a.cohort_id left join platform.program p on p.id = c.program_id
    where s.id = :student
"""
