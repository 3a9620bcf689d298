"""The page Policy: text for everybody, states and proof for those who oversee, as of any day; attesting; printing."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from core.models.canaries import CanaryLook
from core.policy.evidence import State
from core.policy.promises import LEDGER, OPEN_POINTS
from tests.core.privacy.house_of_requests import rows
from tests.core.privacy.test_promises import standing
from tests.pages.test_matrix import at, opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def check(state: State, hours_ago: float = 0, promise: str = "RET-MAIL90") -> None:
    checks = {each.id: standing(State.HOLDS) for each in LEDGER} | {promise: standing(state)}
    with db.transaction("worker") as session:
        privacy_actions.check_promises(session, now=now() - timedelta(hours=hours_ago), checks=checks)


def click(app: AppTest, key: str) -> AppTest:
    return next(button for button in app.button if button.key == key).click().run()


def test_everybody_reads_the_text_and_others_no_state() -> None:
    check(State.BROKEN)
    shown = words(opened("paula", "policy"))
    assert all(promise.text in shown.replace("\\", "") for promise in LEDGER)
    assert "broken" not in shown and "It is" not in shown


def test_the_board_says_what_is_broken_and_leads_to_its_proof() -> None:
    check(State.BROKEN)
    app = opened("aiko", "policy")
    shown = words(app).replace("\\", "")
    assert "RET-MAIL90 is broken since" in shown and "It is broken." in shown
    assert f"{len(LEDGER)} promises" in shown
    assert not [button for button in app.button if button.key == "check_now"], "an auditor changes nothing"
    assert len([button for button in app.button if str(button.key).startswith("proof_")]) == len(LEDGER)
    app = click(app, "first_broken")
    shown = words(app).replace("\\", "")
    assert (
        "E-mail logs are gone after 90 days" in shown and "clause" not in shown and "8 · How long we keep it" in shown
    )
    assert "Smtp" in shown or "SMTP" in shown
    assert not [button for button in app.button if str(button.key).startswith("attest_")]
    app = click(app, "back")
    assert "What the text leaves open" in words(app)
    assert len(OPEN_POINTS) >= 9


def test_the_filter_by_state_and_an_older_day() -> None:
    check(State.HOLDS, hours_ago=49)
    check(State.BROKEN)
    app = opened("omar", "policy", state="broken")
    assert [button.key for button in app.button if str(button.key).startswith("proof_")] == ["proof_RET-MAIL90"]
    day = (now() - timedelta(days=2)).date().isoformat()
    app = opened("omar", "policy", at=day)
    shown = words(app)
    assert "as of" in shown and "is broken" not in shown
    assert not [button for button in app.button if button.key == "check_now"], "the past is not checked again"


def test_before_the_first_check_nothing_is_green() -> None:
    app = opened("omar", "policy")
    assert "not checked yet" in words(app)
    assert click(app, "check_now")
    assert rows("select count(*) from privacy.check_run where finished_at is null") == [(1,)]
    assert rows("select count(*) from privacy.audit_event where action = 'check of promises asked for'") == [(1,)]


def test_an_officer_attests_and_withdraws() -> None:
    check(State.HOLDS)
    app = opened("omar", "policy", promise="SEC-ENCRYPT")
    app = click(app, "attest_host")
    next(area for area in app.text_area if "looked at" in area.label).set_value(
        "Looked at LUKS on every disk of the host today."
    )
    app = submit(app, "Attest it")
    assert rows("select promise, place from privacy.attestation") == [("SEC-ENCRYPT", "host")]
    app = at(app, "policy", promise="SEC-ENCRYPT")
    shown = words(app)
    assert "Omar answers for it until" in shown and "LUKS" in shown
    app = submit(click(app, "withdraw_host"), "Withdraw it")
    assert rows("select withdrawn_at is not null from privacy.attestation") == [(True,)]


def submit(app: AppTest, label: str) -> AppTest:
    found: Any = next(button for button in app.button if label in button.label)
    return found.click().run()


@pytest.mark.parametrize("name", ["omar", "ada", "aiko"])
def test_today_shows_the_worst_state(name: str) -> None:
    check(State.BROKEN)
    shown = words(opened(name, "overview"))
    assert "1 promise of the policy is broken" in shown


def test_the_report_is_printed_once_and_recorded() -> None:
    check(State.BROKEN)
    app = click(opened("aiko", "policy"), "make_page")
    assert rows("select count(*) from staff.file_link") == [(1,)]
    assert "policy-" in str(rows("select details from privacy.audit_event where action = 'list exported'"))
    assert not app.exception


def test_an_auditor_draws_a_sample_and_sees_nobody() -> None:
    app = opened("aiko", "samples")
    assert "No sample was drawn yet" in words(app)
    app = submit(app, "Draw a sample")
    shown = words(app)
    assert "1 of 1 requests" in shown and "R-2042" in str([each.label for each in app.expander])
    for secret in ("Ben", "Asha", "example.org", "students.example"):
        assert secret not in shown
    assert rows("select size, population from privacy.sample_draw") == [(10, 1)]
    app = click(app, "make_page")
    assert not app.exception
    assert rows("select count(*) from staff.file_link") == [(1,)]


def test_the_processing_record_names_every_kind_of_data_and_every_processor() -> None:
    from core.models.data_map import data_map
    from core.models.labels import Processor

    app = opened("aiko", "processing_record")
    shown = str([table.value.to_csv() for table in app.table])
    assert all(str(each) in shown for each in Processor)
    assert all(
        label.because.replace(",", "") in shown.replace("\\", "").replace(",", "")
        for label in data_map()
        if label.because
    )
    app = click(app, "make_page")
    assert not app.exception and rows("select count(*) from staff.file_link") == [(1,)]


def canaries_seen(found: dict[str, int]) -> None:
    """A canary that was erased and looked for, and one that lives."""
    with db.transaction("worker") as session:
        planted = now() - timedelta(days=60)
        for place, at in (("old", planted), ("new", now() - timedelta(days=1))):
            row = {
                "at": at,
                "monday": (at - timedelta(days=at.weekday())).date(),
                "gone": at + timedelta(days=40) if place == "old" else None,
            }
            made = session.scalar(text(
                "insert into privacy.canary (id, week, student_id, visitor_id, planted_at, closed_at, gone_at) values (gen_random_uuid(), :monday,"
                " gen_random_uuid(), gen_random_uuid(), :at, case when cast(:gone as timestamptz) is null then null else cast(:at as timestamptz) end, :gone)"
                " returning id"), row)  # fmt: skip
            session.execute(
                text("insert into privacy.canary_place values (:id, 'this database', 24, :at)"), {"id": made, "at": at}
            )
            look = {
                "canary_id": made,
                "place": "this database",
                "stage": "planted",
                "at": at,
                "seen": "found",
                "found": {"platform.student.name": 1},
            }
            session.add(CanaryLook(**look))
            if place == "old":
                seen = {"seen": "found" if found else "absent", "found": found, "looked": {"tables": 103}}
                session.add(CanaryLook(**{**look, "stage": "erased", "at": at + timedelta(days=41), **seen}))


def test_canaries_are_shown_as_what_they_are_and_a_trace_stands_out() -> None:
    assert "none yet" in words(opened("aiko", "policy"))
    canaries_seen({})
    shown = words(opened("aiko", "policy"))
    assert "1 on their way, 1 erased, nothing left of any" in shown
    day = (now() - timedelta(days=59)).date().isoformat()
    assert "1 on their way, none was due to be erased yet" in words(opened("aiko", "policy", at=day)), "as of any day"
    assert "Canaries" in words(opened("ada", "overview"))
    assert "Canaries" not in words(opened("paula", "policy"))


def test_a_canary_that_is_still_there_is_an_alarm_on_the_board() -> None:
    canaries_seen({"platform.cohort.title": 1})
    app = opened("omar", "policy")
    shown = words(app).replace("\\", "")
    assert "1 erased and still found" in shown
    assert "platform.cohort.title (1)" in shown
    table = next(frame.value for frame in app.dataframe if "Stage" in frame.value)
    assert list(table["Stage"]) == ["lives, in every store", "erased, and still found"]
    assert all("Synthetic" in each for each in table["Canary"])
    app = click(app, "make_page")
    assert not app.exception
