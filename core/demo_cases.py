"""What happened in the demo's house: a breach that was handled, one whose 72 hours run, and a version of the policy to decide about.

Everything goes through the verbs of the pages and of the worker, in the names of the two demo officers, who sign in for it
and out again.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from sqlalchemy import func, select

from core import db, demo, privacy_actions
from core.errors import Refused
from core.models.incidents import Incident
from core.models.labels import Category
from core.models.platform import Cohort
from core.policy.versions import FIRST_VERSION
from core.privacy import campaigns, incidents, proposals
from core.privacy.sessions import Staff
from core.processors import mail

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
OLD_LINKS = """Certificate links that were withdrawn still opened the picture for anybody who had kept the link: name, program
and date of completion. Found by a student; no sign that anybody else opened one."""
WORDS = """A link to a withdrawn certificate could still be opened by anybody who had kept it. It showed your name, your program and
the date of completion. We found no sign that anybody did. The links are closed now; you need not do anything."""
ROSTER = """The attendance list of a cohort (names, e-mail addresses, progress of four weeks) was attached to a mail to a former mentor.
The recipient was asked to delete it and has not answered yet."""


def begin_cases(*, now: datetime) -> bool:
    """Make up two incidents with a notice, and a proposed version; once: False where there is an incident already.

    Opens transactions of its own. Raises SettingsError outside demo mode.
    """
    with db.transaction("worker") as session:
        if session.scalar(select(func.count(Incident.id))):
            return False
        cohorts = dict(session.execute(select(Cohort.code, Cohort.id)).all())
    with _signed_in("omar", now) as omar, _signed_in("olga", now) as olga:
        _handled(omar, olga, [cohorts["WEB-5"], cohorts["PY-12"]], now - 41 * DAY)
        _running(omar, [cohorts["PY-13"]], now - 20 * HOUR)
    _proposed(now)
    return True


@contextmanager
def _signed_in(local: str, now: datetime) -> Iterator[Staff]:
    sign_in = next(each for each in demo.sign_ins() if each.email.startswith(f"{local}@"))
    with db.transaction() as session:
        opened = privacy_actions.sign_in(session, email=sign_in.email, password=sign_in.password, now=now)
        by = opened and privacy_actions.live_session(session, secret=opened.token, now=now)
    if not by:
        raise Refused("The demo's officers cannot sign in, so nothing is made up in their names.")
    yield by
    _act(privacy_actions.sign_out, by, now)


def _act(verb: Callable[..., Any], by: Staff, at: datetime, **arguments: Any) -> Any:
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        return verb(session, by=by, now=at, **arguments)


def _handled(omar: Staff, olga: Staff, cohorts: list[uuid.UUID], aware: datetime) -> None:
    """Counted, the authority notified on the next day, people told on the platform, closed by two.

    Where letters go by mail, the notice does, too: the incident is open until they have left.
    """
    at = aware + HOUR
    incident = _opened(omar, at, aware, cohorts, "Withdrawn certificates stayed open", "the platform", OLD_LINKS)
    why = "Names and results could be seen by people who had no right to."
    _act(privacy_actions.decide_authority, omar, at, incident_id=incident, decision="notify", reason=why)
    _act(privacy_actions.decide_people, omar, at, incident_id=incident, decision="tell", reason=why)
    told = {"told_at": aware + DAY, "reference": "DPA-2026-0417"}
    _act(privacy_actions.record_notification, olga, aware + DAY, incident_id=incident, **told)
    notice = _act(privacy_actions.tell_people, olga, aware + DAY, incident_id=incident, words=WORDS).campaign_id
    if not mail.configured():
        _act(privacy_actions.attest_shown, olga, aware + 2 * DAY, campaign_id=notice, where="banner after sign-in")
    with db.transaction("worker") as session:
        while campaigns.go_on(session, campaign_id=notice, now=aware + 2 * DAY):
            session.expire_all()
    for by in () if mail.configured() else (omar, olga):
        _act(privacy_actions.close_incident, by, aware + 3 * DAY, incident_id=incident)


def _running(omar: Staff, cohorts: list[uuid.UUID], aware: datetime) -> None:
    """Its clock runs: it is counted, and nothing is decided yet."""
    incident = _opened(omar, aware + HOUR, aware, cohorts, "Attendance list to a former mentor", "SMTP", ROSTER)
    note = {"kind": "note", "body": "Asked the recipient by phone to delete the mail.", "form_key": uuid.uuid4()}
    _act(privacy_actions.file_note, omar, aware + 2 * HOUR, incident_id=incident, **note)


def _opened(
    by: Staff, at: datetime, aware: datetime, cohorts: list[uuid.UUID], title: str, place: str, summary: str
) -> uuid.UUID:
    form = {"title": title, "nature": "confidentiality", "place": place, "summary": summary, "aware_at": aware}
    made = uuid.UUID(str(_act(privacy_actions.open_incident, by, at, form_key=uuid.uuid4(), **form)))
    scope = {"categories": [str(Category.LEARNING)], "processors": [], "cohorts": cohorts}
    _act(privacy_actions.set_scope, by, at, incident_id=made, **scope)
    with db.transaction("worker") as session:
        incidents.count_people(session, incident_id=made, now=at)
    return made


def _proposed(now: datetime) -> None:
    """Shorter times for closed accounts and mail logs, from the first of the month after next: somebody has to put it up."""
    first = (now.astimezone(UTC) + 62 * DAY).date().replace(day=1)
    known = yaml.safe_load(FIRST_VERSION.read_text(encoding="utf-8"))
    shorter = known["parameters"] | {"grace_days": 14, "email_log_days": 60}
    document = known | {"version": f"{first}", "effective_at": first, "parameters": shorter}
    with db.transaction("worker") as session:
        made = proposals.propose_policy(session, content=yaml.safe_dump(document), now=now)
        proposals.run_simulation(session, proposal_id=made.proposal_id, now=now)
