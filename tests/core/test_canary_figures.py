"""Canaries count nowhere: every figure, list, queue and quota is the same with them and without them."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, queries
from core.anon.people import COUNTED
from core.policy import in_force
from core.privacy import brakes, campaigns, lapsing, mail_by_rule, retention, simulation, snapshots
from core.queries import CONSENT_VIEWS, EnrollmentFilter, QueueFilter, VisitorFilter
from core.reads.manual_steps import STEP_VIEWS
from core.reads.requests import VIEWS as QUEUES
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import DAY
from tests.core.test_canary import live, loud

__all__ = ["loud"]
pytestmark = pytest.mark.usefixtures("house")
AGE = re.compile(r"RollupAge\(as_of=.*?stale=\w+\)")  # of the roll-up: it is counted again when anything changes
Read = Callable[[Session, datetime], object]


def needing_help(session: Session, now: datetime) -> object:
    return queries.who_needs_help(session, queries.taught_cohorts(session, now=now), now=now)


# What the worker did and what proves it has canaries in it, too: lines and rows about nobody.
OF_PROOF = ("jobs", "audit", "certificates of erasure", "closed requests")
EVERYBODY: dict[str, Read] = {
    "search by word": lambda s, now: queries.search(s, "canary"),
    "catalog": lambda s, now: queries.catalog(s),
    "group figures": lambda s, now: sorted(repr((each.title, figure)) for each in queries.group_figures(s) for figure in each.figures),
    "left out": lambda s, now: queries.left_out(s),
    "overview": lambda s, now: queries.program_day(s, now=now),
    "enrollments": lambda s, now: queries.enrollment_page(s, EnrollmentFilter()),
    "number of enrollments": lambda s, now: queries.enrollment_total(s, EnrollmentFilter()),
    "funnel": lambda s, now: queries.funnel(s),
    "trend": lambda s, now: queries.monthly_trend(s),
    "visitors": lambda s, now: queries.visitor_page(s, VisitorFilter(), now=now),
    "number of visitors": lambda s, now: queries.visitor_total(s, VisitorFilter(), now=now),
    "visitor figures": lambda s, now: queries.visitor_figures(s, now=now),
    "conversion": lambda s, now: queries.visitor_conversion(s, now=now),
    "promise counts": lambda s, now: queries.promise_counts(s, now=now, parameters=in_force(s, now)),
    "house": lambda s, now: queries.house(s, now=now),
    "desk": lambda s, now: queries.desk_counts(s, now=now),
    "answer days": lambda s, now: queries.answer_days(s, now=now),
    "year": lambda s, now: queries.year_report(s, now.year, now=now),
    "letters": lambda s, now: queries.outbox_page(s, now=now),
    "mail": lambda s, now: queries.mail_figures(s, now=now, days=30),
    "letters back": lambda s, now: queries.letters_back(s),
    "consent": lambda s, now: queries.consent_counts(s, now=now),
    "holds": lambda s, now: queries.hold_counts(s, now=now),
    "by hand": lambda s, now: queries.step_counts(s, now=now),
    "stuck": lambda s, now: queries.stuck_erasures(s, now=now),
    "proof": lambda s, now: queries.proof_counts(s),
    "retention": lambda s, now: [each for each in queries.retention(s, now=now).rules if each.rule.name not in OF_PROOF],
    "set aside": lambda s, now: queries.set_aside_page(s, "waiting"),
    "sync": lambda s, now: queries.sync_state(s),
    "register": lambda s, now: queries.processor_register(s, now=now),
    **{f"queue {view}": partial(lambda s, now, view: queries.request_queue(s, QueueFilter(view=view), now=now), view=view) for view in QUEUES},
    **{f"consent {view}": partial(lambda s, now, view: queries.consent_page(s, view, now=now), view=view) for view in CONSENT_VIEWS},
    **{f"steps {view}": partial(lambda s, now, view: queries.step_page(s, view), view=view) for view in STEP_VIEWS},
}  # fmt: skip
TEACHING: dict[str, Read] = {
    "my cohorts": lambda s, now: queries.taught_cohorts(s, now=now),
    "who needs help": needing_help,
    "reviews": lambda s, now: queries.review_page(s, now=now),
    "number of reviews": lambda s, now: queries.review_counts(s, now=now),
}


def counted(session: Session, _now: datetime) -> object:
    return session.execute(text(f"select count(*) from platform.student s where {COUNTED}")).all()


def notice(session: Session, now: datetime) -> object:
    """Whom a notice to everybody would reach."""
    rule = {"rule": "true"}
    asked = text(
        campaigns.GATHER.replace("{rule}", rule["rule"])
        .replace("insert into", "--")
        .split("written as")[0]
        .rstrip()
        .rstrip(",")
        + " select count(*) from part"
    )
    return session.execute(asked, {"after": "00000000-0000-0000-0000-000000000000", "until": now, "part": 1000}).all()


WORKER: dict[str, Read] = {
    "status": lambda s, now: queries.status(s, now=now).total,
    "releases": counted,
    "notices": notice,
    "mail by rule": lambda s, now: mail_by_rule.mail_due(s, now),
    "retention rules": lambda s, now: list(retention.rules_due(s, now)),
    "lapses": lambda s, now: (lapsing.oldest(s, now), lapsing.is_due(s, in_force(s, now), now)),
    "group figures taken": lambda s, now: sorted(
        (row["kind"], str(row["program_id"]), row["members"], row["part"]) for row in taken(s, now)
    ),
    **{f"simulation of {name}": partial(lambda s, now, name: s.execute(text(simulation.SIMULATIONS[name][1]), {"now": now, "low": 1, "high": 400}).all(), name=name)
       for name in simulation.SIMULATIONS},
    "brake": lambda s, now: s.execute(text(brakes.DUE_IN_ONE_RUN), {"now": now, "day": now - DAY}).all(),
}  # fmt: skip


def taken(session: Session, now: datetime) -> list[dict[str, Any]]:
    """The weekly figures as they would be taken, and not kept."""
    nested = session.begin_nested()
    session.execute(text("delete from platform.group_figure"))
    snapshots.take_group_figures(session, now=now)
    rows = [
        dict(row._mapping)
        for row in session.execute(text("select kind, program_id, members, part from platform.group_figure"))
    ]
    nested.rollback()
    return rows


def figures(now: datetime) -> dict[str, str]:
    """Everything, as everybody sees it."""
    found: dict[str, str] = {}
    reads = {
        "paula": EVERYBODY,
        "omar": EVERYBODY,
        "ada": EVERYBODY,
        "aiko": EVERYBODY,
        "ines": EVERYBODY | TEACHING,
        "": WORKER,
    }
    for who, mine in reads.items():
        for name, read in mine.items():
            with db.transaction("app" if who else "worker", staff_id=id_of(who) if who else None) as session:
                try:
                    found[f"{name} as {who or 'the worker'}"] = AGE.sub("", repr(read(session, now)))
                except Exception as error:  # noqa: BLE001 - a refusal is the same with and without them
                    found[f"{name} as {who or 'the worker'}"] = type(error).__name__
                session.rollback()
    return found


def test_every_figure_is_the_same_with_canaries_and_without() -> None:
    instants = [NOW + day * DAY for day in (0, 9, 40, 41)]
    before = {now: figures(now) for now in instants}
    assert sum(told.endswith("Error") for told in before[NOW].values()) < len(before[NOW]) / 4
    different = []
    for day, lived in ((0, (0,)), (9, (7, 8, 9)), (40, (38, 39, 40)), (41, (41,))):
        live(*lived)
        now = NOW + day * DAY
        different += [
            f"day {day}, {name}: {before[now][name]} → {found}"
            for name, found in figures(now).items()
            if found != before[now][name]
        ]
    assert not different, "\n".join(different)
