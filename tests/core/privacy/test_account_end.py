"""An account with an end: from then on it is worth what a disabled one is. An auditor's always has one."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from core import db, privacy_actions
from core.errors import BadInput, NotFresh, Refused
from tests import cast
from tests.admins import act, call, inside, row
from tests.cast import id_of
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def end(owner: Connection, name: str, at: datetime) -> None:
    owner.execute(text("update staff.staff_member set ends_at = :at where id = :id"), {"at": at, "id": id_of(name)})
    owner.commit()


def test_an_auditor_always_has_an_end_and_others_none() -> None:
    ends = row("select ends_at from staff.staff_member where id = :id", id=id_of("aiko")).ends_at
    assert timedelta(days=88) < ends - datetime.now(UTC) < timedelta(days=91)
    for name in ("omar", "paula"):
        assert row("select ends_at from staff.staff_member where id = :id", id=id_of(name)).ends_at is None


def test_the_end_comes_and_goes_with_the_role(owner: Connection) -> None:
    change = text("update staff.staff_member set role = :role where id = :id returning ends_at")
    assert owner.scalar(change, {"role": "auditor", "id": id_of("paula")}) is not None
    assert owner.scalar(change, {"role": "program_staff", "id": id_of("paula")}) is None


@pytest.mark.parametrize("name", ["aiko", "ines"])
def test_after_its_end_an_account_signs_in_no_more_and_sees_nothing(name: str, owner: Connection) -> None:
    made, who = inside(name)
    moment = now()
    seen = "select count(*) from platform.cohort"
    assert call(seen, who)
    end(owner, name, moment - timedelta(seconds=1))
    assert call(seen, who) == 0
    assert call("select staff.my_role()", who) is None
    with db.transaction() as session:
        assert privacy_actions.live_session(session, secret=made.token, now=moment) is None
    assert row("select end_reason from staff.session where id = :id", id=who.session_id).end_reason == "account ended"
    for ends, lets_in in ((moment - timedelta(seconds=1), False), (moment + timedelta(days=1), True)):
        end(owner, name, ends)
        with db.transaction() as session:
            signed = privacy_actions.sign_in(session, email=cast.email_of(name), password=cast.PASSWORD, now=now())
        assert (signed is not None) is lets_in


def test_an_admin_sets_another_end_within_a_year_and_never_about_themselves() -> None:
    today = now().date()
    act(privacy_actions.set_account_end, "ada", staff_id=id_of("aiko"), last_day=today + timedelta(days=10))
    ends = row("select ends_at from staff.staff_member where id = :id", id=id_of("aiko")).ends_at
    assert ends == datetime.combine(today + timedelta(days=11), datetime.min.time(), UTC)
    act(privacy_actions.set_account_end, "ada", staff_id=id_of("paula"), last_day=today + timedelta(days=10))
    act(privacy_actions.set_account_end, "ada", staff_id=id_of("paula"), last_day=None)
    assert row("select ends_at from staff.staff_member where id = :id", id=id_of("paula")).ends_at is None
    for staff_id, day in (("aiko", None), ("aiko", today - timedelta(days=2)), ("aiko", today + timedelta(days=400))):
        with pytest.raises(BadInput):
            act(privacy_actions.set_account_end, "ada", staff_id=id_of(staff_id), last_day=day)
    for who, about in (("ada", "ada"), ("omar", "aiko"), ("aiko", "aiko")):
        with pytest.raises(Refused):
            act(privacy_actions.set_account_end, who, staff_id=id_of(about), last_day=today + timedelta(days=5))
    with pytest.raises(NotFresh):
        _, ada = inside("ada")
        act(privacy_actions.set_account_end, ada, now() + timedelta(minutes=6), staff_id=id_of("aiko"), last_day=today)
    lines = row("select count(*) as many from privacy.audit_event where action = 'account end set'").many
    assert lines == 3
