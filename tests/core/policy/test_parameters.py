"""Each parameter of the policy: changing it changes what the code does."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from core import db
from core.policy import Parameters, in_force, keeping
from core.policy.checks import CHECKS
from core.policy.clock import Tick, fold, grace_end
from core.policy.evidence import State
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
