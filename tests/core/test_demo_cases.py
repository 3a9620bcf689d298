"""The demo's cases: made by the verbs of the pages, in the officers' names, and seen as any other."""

import pytest
from sqlalchemy import text

from core import db, demo, demo_cases, policy
from core.errors import Refused
from core.importers.seed import seed
from core.privacy import audit
from tests.cast import NOW


@pytest.fixture
def demo_house(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The synthetic records, and the demo's people, as a first start leaves them."""
    known = demo.settings()
    monkeypatch.setattr(
        demo, "settings", lambda: type("Trial", (), {"demo": True, "embedded": True, "home": known.home})
    )
    with db.transaction("worker") as session:
        policy.publish_first_version(session, now=NOW)
        seed(session, now=NOW)
        demo.ensure_demo_staff(session, now=NOW)
    return database


def rows(query: str) -> list[tuple[object, ...]]:
    with db.transaction("worker") as session:
        return [tuple(row) for row in session.execute(text(query))]


def test_one_breach_is_handled_and_the_clock_of_another_runs(demo_house: str) -> None:
    assert demo_cases.begin_cases(now=NOW)
    handled, running = rows("select closed_at is not null, authority, people, affected, notified_at < aware_at + interval '72 hours'"
                            " from privacy.incident order by number")  # fmt: skip
    assert handled[:3] == (True, "notify", "tell")
    assert handled[4] is True
    assert running[:3] == (False, "undecided", "undecided")
    assert handled[3]
    assert running[3]
    [(state, channel, people, told)] = rows(
        "select state, channel, recipients, (counts ->> 'sent')::int from privacy.campaign"
    )
    closed = rows(
        "select count(*) from privacy.campaign_recipient where state = 'not reached' and code = 'account closed'"
    )[0][0]
    assert (state, channel, people, told) == ("done", "platform", handled[3], people - closed)
    with db.transaction("worker") as session:
        assert audit.check(session, now=NOW).sound


def test_where_letters_go_by_mail_the_notice_does_and_the_demo_starts_all_the_same(
    demo_house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("RESOCODE_MAIL_FROM", "privacy@resocode.example")
    assert demo_cases.begin_cases(now=NOW)
    assert rows("select channel, state from privacy.campaign") == [("mail", "running")]
    assert rows("select count(*) from privacy.incident where closed_at is null") == [(2,)]


def test_a_version_waits_to_be_put_up(demo_house: str) -> None:
    demo_cases.begin_cases(now=NOW)
    [(significant, simulated, put_up)] = rows(
        "select significant, simulation is not null, put_up_at from privacy.policy_proposal"
    )
    assert (significant, simulated, put_up) == (True, True, None)


def test_it_happens_once_and_nobody_stays_signed_in(demo_house: str) -> None:
    demo_cases.begin_cases(now=NOW)
    assert not demo_cases.begin_cases(now=NOW)
    assert rows("select count(*) from privacy.incident") == [(2,)]
    assert rows("select count(*) from staff.session where ended_at is null") == [(0,)]


def test_nothing_is_made_up_when_the_officers_cannot_sign_in(demo_house: str) -> None:
    with db.transaction("worker") as session:
        session.execute(
            text("update staff.staff_member set disabled_at = :now where email like 'omar@%'"), {"now": NOW}
        )
    with pytest.raises(Refused, match="cannot sign in"):
        demo_cases.begin_cases(now=NOW)
    assert rows("select count(*) from privacy.incident") == [(0,)]
