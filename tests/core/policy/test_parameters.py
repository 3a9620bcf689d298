"""Each parameter of the policy: changing it changes what the code does."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, text

from core import db
from core.policy import Parameters, age, in_force, keeping
from core.policy.checks import CHECKS
from core.policy.clock import Tick, fold, grace_end
from core.policy.evidence import State
from core.privacy import lapsing, snapshots
from core.settings import ROOT
from tests.cast import NOW, id_of

pytestmark = pytest.mark.usefixtures("house")
START = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


def rules() -> Parameters:
    with db.transaction("worker") as session:
        return in_force(session, NOW)


def publish(owner: Connection, name: str, value: int) -> None:
    owner.exec_driver_sql("set session_replication_role = replica")
    change = "update privacy.policy_version set document = jsonb_set(document, array['parameters', :name], to_jsonb(cast(:value as int)))"
    owner.execute(text(change), {"name": name, "value": value})
    owner.commit()


def look(promise: str) -> State:
    with db.transaction("worker") as session:
        return CHECKS[promise](session, NOW).state


def born(owner: Connection, day: str, state: str = "missing") -> None:
    owner.exec_driver_sql("set session_replication_role = replica")
    made = "update privacy.consent set adult = null, birth_date = cast(:day as date), state = :state where student_id = :id"
    owner.execute(text(made), {"day": day, "state": state, "id": id_of("ben")})
    owner.commit()


def by_check(promise: str, before: State, after: State) -> Callable[[Connection, str, int], None]:
    def run(owner: Connection, name: str, value: int) -> None:
        assert look(promise) is before
        publish(owner, name, value)
        assert look(promise) is after

    return run


def minimum_age(owner: Connection, name: str, value: int) -> None:
    born(owner, "2009-06-01", "verified")  # 17 years old
    by_check("AGE-16", State.HOLDS, State.BROKEN)(owner, name, value)


def consent_age(owner: Connection, name: str, value: int) -> None:
    born(owner, "2007-06-01")  # 19 years old
    by_check("AGE-PARENT", State.HOLDS, State.BROKEN)(owner, name, value)


def grace_days(owner: Connection, name: str, value: int) -> None:
    known = rules()
    publish(owner, name, value)
    assert grace_end(START, rules()) - grace_end(START, known) == (value - known.grace_days) * timedelta(days=1)


def answer_months(owner: Connection, name: str, value: int) -> None:
    publish(owner, name, value)
    assert fold([Tick(1, "start", START)], rules()).due_at == START.replace(year=2027, month=2)


def extension_months(owner: Connection, name: str, value: int) -> None:
    publish(owner, name, value)
    extended = fold([Tick(1, "start", START), Tick(2, "extend", START, 2)], rules())
    assert extended.due_at == START.replace(year=2027, month=1)


def group_figures(owner: Connection, name: str, value: int) -> None:
    from core.privacy.snapshots import Group, _row

    group = Group(23, 12, NOW)
    before = _row("active", None, group, rules(), NOW)
    publish(owner, name, value)
    after = _row("active", None, group, rules(), NOW)
    assert (before["percent"], before["members_told"]) != (after["percent"], after["members_told"])
    assert (after["members"], after["part"]) == (before["members"], before["part"])


def schedule(owner: Connection, name: str, value: int) -> None:
    """What the page Retention and the certificates say; that the worker keeps to it: test_retention.py, test_suppression.py."""

    def told() -> list[str]:
        return [rule.period(rules()) for rule in keeping.RULES]

    before = told()
    publish(owner, name, value)
    assert sum(one != other for one, other in zip(before, told(), strict=True)) == 1


TRIED: dict[str, tuple[int, Callable[[Connection, str, int], None]]] = {
    "minimum_age": (18, minimum_age),
    "consent_age": (20, consent_age),
    "grace_days": (14, grace_days),
    "email_log_days": (120, by_check("RET-MAIL90", State.BROKEN, State.HOLDS)),
    "answer_months": (3, answer_months),
    "extension_months": (1, extension_months),
    "group_minimum": (25, group_figures),
    "group_rounding": (20, group_figures),
    "suppression_years": (5, schedule),
    "backup_days": (20, schedule),
    "visitor_months": (6, schedule),
    "lapse_notice_days": (14, schedule),
}


def test_every_parameter_is_tried() -> None:
    assert {each.name for each in fields(Parameters)} - {"version"} == set(TRIED)


@pytest.mark.parametrize("name", list(TRIED))
def test_changing_it_changes_what_the_code_does(name: str, owner: Connection) -> None:
    value, tried = TRIED[name]
    known = rules()
    tried(owner, name, value)
    assert rules() == replace(known, **{name: value}), "and nothing else of the policy"


# What follows from the parameters, as the product works it out: each in one place of core, without the database.
MINOR = date(2009, 6, 1)
FOLLOWS: dict[str, Callable[[Parameters], object]] = {
    "who is too young": lambda p: age.days(NOW, p).allowed,
    "who is of age": lambda p: age.days(NOW, p).adult,
    "when a minor comes of age": lambda p: age.of_age_at(MINOR, p),
    "when a closed account may be erased": lambda p: grace_end(START, p),
    "when an answer is due": lambda p: fold([Tick(1, "start", START)], p).due_at,
    "when an extended answer is due": lambda p: fold([Tick(1, "start", START), Tick(2, "extend", START, 2)], p).due_at,
    "which mail logs go": lambda p: keeping.mail_before(p, NOW),
    "which visitors go": lambda p: keeping.visitors_before(p, NOW),
    "until when an account lapses": lambda p: lapsing.notice_ends(NOW, p),
    "which group is told": lambda p: snapshots._row("active", None, snapshots.Group(23, 12, NOW), p, NOW)["members_told"],
    "how a rate is rounded": lambda p: snapshots._row("active", None, snapshots.Group(230, 117, NOW), p, NOW)["percent"],
    **{f"period of {rule.name}": rule.period for rule in keeping.RULES},
    **{f"due of {rule.name}": partial(lambda p, rule: rule.before and rule.before(p, NOW), rule=rule) for rule in keeping.RULES},
}  # fmt: skip
# parameter → what changes with it; everything else stays as it was
CHANGES: dict[str, set[str]] = {
    "minimum_age": {"who is too young"},
    "consent_age": {"who is of age", "when a minor comes of age"},
    "grace_days": {"when a closed account may be erased", "period of closed accounts", "due of closed accounts", "period of lapsed subscriptions"},
    "email_log_days": {"which mail logs go", "period of e-mail logs", "due of e-mail logs", "period of words of unknown people",
                       "due of words of unknown people", "period of notice results", "due of notice results"},
    "answer_months": {"when an answer is due", "when an extended answer is due"},
    "extension_months": {"when an extended answer is due"},
    "group_minimum": {"which group is told"},
    "group_rounding": {"how a rate is rounded"},
    "backup_days": {"period of backups"},
    "suppression_years": {"period of suppression list"},
    "visitor_months": {"which visitors go", "period of visitors", "due of visitors"},
    "lapse_notice_days": {"until when an account lapses", "period of lapsed subscriptions"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(TRIED))
def test_changing_it_changes_this_and_nothing_else(name: str) -> None:
    """Each parameter moves exactly what it is for; a new parameter, or a new effect of one, has to be listed here."""
    known = rules()
    other = replace(known, **{name: TRIED[name][0]})
    changed = {what for what, follows in FOLLOWS.items() if follows(known) != follows(other)}
    assert changed == CHANGES[name]


def test_no_number_of_the_policy_is_written_into_the_code_a_second_time() -> None:
    """Whoever needs one asks for it: there is no constant of the same name anywhere in core."""
    names = "|".join(each.name for each in fields(Parameters) if each.name != "version")
    again = re.compile(rf"^\s*({names}|{names.upper()})\s*(:\s*\w+)?\s*=\s*\d", re.MULTILINE)
    found = [
        str(file)
        for file in (ROOT / "core").rglob("*.py")
        if again.search(file.read_text()) and file.name != "versions.py"
    ]
    assert found == []
