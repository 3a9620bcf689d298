"""A campaign whose worker is killed between any two steps: everybody is told, and only what was on its way arrives twice.

Every state in which something is committed is met before its commit and after it, and so is every place of a letter in its batch: the
first time the worker dies there, the second time it passes. Each turn is another worker.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from core import db
from core.privacy import campaigns, sending
from core.processors.mail import Delivery, Letter, Line
from core.worker import Worker
from tests.cast import NOW
from tests.core.privacy.house_of_requests import act, lines, rows
from tests.core.privacy.sender_process import SENDERS
from tests.core.privacy.test_campaigns import begin, people
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
PEOPLE, GATHERED, FED, BATCH = 7, 5, 4, 3
STATE = """
    select concat_ws(' | ',
        (select string_agg(state || recipients, ' ') from privacy.campaign),
        (select string_agg(state || many, ' ' order by state) from (select state, count(*) as many from privacy.campaign_recipient group by 1) r),
        (select string_agg(state || many, ' ' order by state) from (select state, count(*) as many from privacy.outbox group by 1) o),
        (select string_agg(kind, ' ' order by kind) from staff.job where state = 'running'))"""


class Killed(BaseException):
    """The process is gone: nothing below may catch it."""


@dataclass
class Deaths:
    """Where the worker died so far, and the letters of which nobody had noted then what became of them (``unsure``), or that the
    server had taken (``taken``): those may leave again, and nothing else."""

    met: set[tuple[str, str]] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    letters: int = 0
    last: str = ""  # was handed over; its answer is noted with the next one, or with the batch
    next: str = ""

    def at(self, boundary: str, where: str) -> None:
        if (boundary, where) not in self.met:
            self.met.add((boundary, where))
            last, self.last = self.last, ""
            self.unsure |= {last} - {""}
            self.taken |= {last} - {""} if boundary != "before a letter" else set()
            raise Killed

    def before_commit(self, session: Session) -> None:
        self.next = str(session.scalar(text(STATE)))
        self.at("before a commit", self.next)

    def after_commit(self, _session: Session) -> None:
        self.last = ""
        self.at("after a commit", self.next)

    def send(self, line: Line, letter: Letter) -> Delivery:
        """Hand a letter over, with a death on either side of it."""
        self.letters, self.last = self.letters + 1, str(letter.id)
        place = str(self.letters % BATCH)
        self.at("before a letter", place)
        answer = REAL(line, letter)
        self.at("after a letter", place)
        return answer


REAL = Line.send


@contextmanager
def deaths(patch: pytest.MonkeyPatch) -> Iterator[Deaths]:
    """Parts so small that 15 people are many, and a death at each boundary, until the end of the block."""
    for module, name, value in ((campaigns, "GATHERED", GATHERED), (campaigns, "FED", FED), (campaigns, "LOW", 3), (sending, "BATCH", BATCH)):  # fmt: skip
        patch.setattr(module, name, value)
    fate = Deaths()
    patch.setattr(Line, "send", lambda line, letter: fate.send(line, letter))
    event.listen(Session, "before_commit", fate.before_commit)
    event.listen(Session, "after_commit", fate.after_commit)
    try:
        yield fate
    finally:
        event.remove(Session, "before_commit", fate.before_commit)
        event.remove(Session, "after_commit", fate.after_commit)
        patch.setattr(Line, "send", REAL)


def turn(now: datetime, name: str) -> bool:
    """One worker's life; True when it came to its end without dying, and nothing was left."""
    try:
        done = Worker(lambda: now, SENDERS, name=name).catch_up()
    except Killed:
        return False
    return not done


def play(now: datetime = NOW, *, turns: int = 400) -> datetime:
    """Workers by turns, each past the lease of whoever died before it; an hour later when nobody finds anything to do."""
    for number in range(turns):
        quiet = turn(now, "AB"[number % 2])
        if quiet and db_says("select count(*) from privacy.campaign where counts is null") == 0:
            return now
        now += timedelta(hours=1) if quiet else timedelta(minutes=2)
    raise AssertionError("it does not end without a human")


def db_says(query: str) -> Any:
    with db.engine("worker").connect() as connection:
        return connection.execute(text(query)).scalar()


def test_killed_between_any_two_steps_nobody_is_missed_and_who_may_have_got_it_twice_is_known(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(PEOPLE - 3)
    begin()
    with deaths(monkeypatch) as fate:
        ended = play()
    places = Counter(boundary for boundary, _ in fate.met)
    assert places["before a letter"] == places["after a letter"] == BATCH
    assert places["before a commit"] >= 20 and places["after a commit"] >= 20, "the game has to meet every boundary"
    arrived = Counter(server.ids)
    assert len(arrived) == PEOPLE, "nobody is missed"
    assert {each for each, times in arrived.items() if times > 1} == fate.taken, "nothing else twice"
    told = rows("select id, state, code, unclear from privacy.campaign_recipient")
    assert {str(each) for each, _, _, unclear in told if unclear} == fate.unsure, "and that is said"
    given_up = [(code, unclear) for _, state, code, unclear in told if state != "sent"]
    assert set(given_up) <= {("worker died", True)}, "a letter that cost five workers is not tried again, and says why"
    assert rows("select state, counts from privacy.campaign") == [
        ("done", {"people": PEOPLE, "sent": PEOPLE - len(given_up), "bounced": 0, "not_reached": len(given_up),
                  "unclear": len(fate.unsure)})]  # fmt: skip
    assert [line for line in lines() if line.startswith("notices")] == ["notices begun", "notices ended"]
    assert ended - NOW < timedelta(days=2), "a job that cost five workers comes back within the hour"


def test_killed_while_it_is_taken_back_nobody_is_told_after_it_was_canceled(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(PEOPLE - 3)
    campaign = begin()
    with db.transaction("worker") as session:
        monkeypatch.setattr(campaigns, "FED", FED)
        for _ in range(3):
            campaigns.go_on(session, campaign_id=campaign, now=NOW)
    act("cancel_campaign", "omar", campaign_id=campaign)
    with deaths(monkeypatch) as fate:
        play()
    assert server.ids == [] and len(fate.met) >= 8
    assert rows("select distinct state, code from privacy.campaign_recipient") == [("not reached", campaigns.CANCELED)]
    assert rows("select count(*) from privacy.outbox") == [(0,)]
    [(counts,)] = rows("select counts from privacy.campaign where id = :id", id=uuid.UUID(str(campaign)))
    assert counts == {"people": PEOPLE, "sent": 0, "bounced": 0, "not_reached": PEOPLE, "unclear": 0}
