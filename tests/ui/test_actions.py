"""The one runner of actions: an effect or none, and a refusal is one line of the audit, whoever runs into it."""

import json

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from core import cli, db, privacy_actions
from core.errors import BadInput, NotFound, NotFresh, Refused, Stale
from tests.cast import id_of
from tests.conftest import sign_in

pytestmark = pytest.mark.usefixtures("house")
ERRORS = {error.__name__: error for error in (Refused, NotFresh, BadInput, NotFound, Stale)}


def run(error: str, by: str = "paula") -> AppTest:
    """One action that fails in the middle of its effect, as a page runs it."""

    def page(error: str) -> None:
        from datetime import datetime

        import streamlit as st
        from sqlalchemy import text
        from sqlalchemy.orm import Session

        from core.errors import AdminError
        from core.privacy.audit import Action, append
        from core.privacy_actions import Staff
        from tests.ui.test_actions import ERRORS
        from ui.actions import act

        def break_the_rules(session: Session, *, by: Staff, now: datetime) -> None:
            append(session, Action.SIGNED_OUT, now=now)
            session.execute(text("select 1"))
            raise ERRORS[error]("No.")

        try:
            act(break_the_rules)
        except AdminError as found:
            st.error(found.sentence)

    app = AppTest.from_function(page, args=(error,), default_timeout=60)
    made, _ = sign_in(by)
    app.session_state["token"] = made.token
    return app.run()


def refusals(owner: Connection) -> list[tuple[object, ...]]:
    rows = owner.execute(
        text("select actor, actor_id, details from privacy.audit_event where action = 'refused' order by seq")
    )
    return [(actor, who, json.loads(details)) for actor, who, details in rows]


@pytest.mark.parametrize("error", ERRORS)
def test_a_refusal_is_written_once_by_name_and_nothing_else_is(error: str, owner: Connection) -> None:
    app = run(error)
    assert [each.value for each in app.error] == ["No."]
    expected = [("staff", id_of("paula"), {"what": "break_the_rules", "role": "program_staff"})]
    assert refusals(owner) == (expected if error == "Refused" else [])
    left = "select count(*) from privacy.audit_event where action = 'signed out'"
    assert owner.scalar(text(left)) == 0, "what was done before the refusal is rolled back"


def test_nobody_is_written_down_once_the_session_is_over(owner: Connection) -> None:
    owner.execute(text("update staff.session set ended_at = now()"))
    owner.commit()
    app = AppTest.from_function(_with_a_dead_session, default_timeout=60)
    app.session_state["token"] = "dead"
    app.run()
    assert [each.value for each in app.error] == ["Your session has ended. Sign in again."]
    assert refusals(owner) == []


def _with_a_dead_session() -> None:
    import streamlit as st

    from core import privacy_actions
    from core.errors import Refused
    from ui.actions import act

    try:
        act(privacy_actions.sign_out)
    except Refused as found:
        st.error(found.sentence)


def test_a_command_that_is_refused_is_a_line_too_without_what_was_typed(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.audit_check (checked_at, lines, head, problem, checkpoints, place, broken_at)"
                             " values (now(), 0, '', 'line 1 was changed', 0, 'x', 1)"))  # fmt: skip
    words = ["core", "staff", "enable", "dora@staff.example"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(db, "release", lambda: None)
    with pytest.raises(SystemExit, match="audit does not verify"):
        cli.main()
    assert refusals(owner) == [("system", None, {"what": "command line: staff enable", "role": "system"})]
    assert CliRunner().invoke(cli.app, ["audit", "events"]).exit_code == 0
    assert privacy_actions.Action.REFUSED == "refused"
