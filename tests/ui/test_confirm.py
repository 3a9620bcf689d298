"""The dialog in front of dangerous verbs: what opens it, what keeps it open, what passes."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db
from tests.cast import PASSWORD
from tests.conftest import sign_in

pytestmark = pytest.mark.usefixtures("house")


def script() -> None:
    """A page with one dangerous verb, which writes how it was called to the audit."""
    import streamlit as st

    from core.errors import BadInput, Refused
    from core.privacy.audit import Action, append
    from core.privacy_actions import demand_fresh
    from ui import confirm, guards

    def verb(session, *, by, now, reason, kind):
        demand_fresh(by, now)
        if kind == "bad":
            raise BadInput("The thing is gone.")
        if kind == "refused":
            raise Refused("Another person has to do this.")
        append(session, Action.REFUSED, now=now, what=kind, role=reason)
        return kind

    guards.require(*guards.ROLE_NAMES, what="Test")
    confirm.tell()
    if st.button("Blow up", key="open"):
        confirm.open_danger("blow:1")
    confirm.danger_dialog(
        "blow:1", title="Blow up R-1", consequence="Nothing is left.", word="R-1", button="Blow up", verb=verb,
        arguments={"kind": st.session_state.get("kind", "good")}, reasons=("too old", "asked for"), before="Ada filed it.",
        nothing="Nothing was blown up.", done="Blown up.", then=lambda answer: st.session_state.update(answer=answer),
    )  # fmt: skip


def opened(*, minutes_ago: float = 0, kind: str = "good", name: str = "paula") -> AppTest:
    made, staff = sign_in(name)
    moved = {"id": staff.session_id, "at": staff.started_at - timedelta(minutes=minutes_ago)}
    with db.transaction("worker") as session:
        session.execute(text("update staff.session set confirmed_at = :at where id = :id"), moved)
    app = AppTest.from_function(script, default_timeout=60)
    app.session_state["token"] = made.token
    app.session_state["kind"] = kind
    app.run()
    return app.button(key="open").click().run()


def press(
    app: AppTest, label: str, *, typed: str = "R-1", reason: str | None = "too old", password: str | None = None
) -> AppTest:
    if reason:
        app.selectbox[0].set_value(reason)
    app.text_input[0].set_value(typed)
    if password is not None:
        app.text_input[1].set_value(password)
    next(b for b in app.button if label in b.label).click()
    return app.run()


def lines(owner: Connection) -> list[tuple[str, str]]:
    asked = "select action, details from privacy.audit_event where action not in ('signed in') order by seq"
    return [tuple(row) for row in owner.execute(text(asked))]


def is_open(app: AppTest) -> bool:
    return any("Blow up" in b.label and b.key != "open" for b in app.button)


def test_a_fresh_session_is_not_asked_for_a_password(owner: Connection) -> None:
    app = opened()
    assert [field.label for field in app.text_input] == ["Type **R\\-1** to confirm"]
    assert ":material/group: Ada filed it." in [c.value for c in app.caption]
    labels = [b.label for b in app.button if b.key != "open"]
    assert labels == ["Cancel", ":red[:material/warning: Blow up]"], "the harmless button first"
    app = press(app, "Blow up]")
    assert not app.exception
    assert lines(owner) == [("refused", '{"role":"too old","what":"good"}')]
    assert not is_open(app)
    assert app.session_state["answer"] == "good"
    assert [toast.value for toast in app.toast] == ["Blown up\\."]


@pytest.mark.parametrize(
    ("typed", "reason", "sentence"),
    [("R-2", "too old", 'You typed "R-2"'), ("", "too old", 'it should be "R-1"'), ("R-1", None, "A reason is needed")],
)
def test_a_mistake_keeps_it_open_and_loses_nothing(
    typed: str, reason: str | None, sentence: str, owner: Connection
) -> None:
    app = press(opened(), "Blow up]", typed=typed, reason=reason)
    assert sentence in app.error[0].value.replace("\\", "")
    assert "Nothing was blown up" in app.error[0].value
    assert app.text_input[0].value == typed and app.selectbox[0].value == reason
    assert lines(owner) == []
    press(app, "Blow up]")
    assert len(lines(owner)) == 1


def test_the_harmless_button_changes_nothing(owner: Connection) -> None:
    app = press(opened(), "Cancel")
    assert not is_open(app) and lines(owner) == []


def test_after_five_minutes_the_password_is_asked_for(owner: Connection) -> None:
    assert len(opened(minutes_ago=4.9).text_input) == 1
    app = opened(minutes_ago=5.1)
    assert app.text_input[1].label == "Your password"
    app = press(app, "Blow up]")
    assert "Your password is needed" in app.error[0].value and is_open(app)
    app = press(app, "Blow up]", password="wrong")
    assert "Check the password" in app.error[0].value and is_open(app)
    before = app.session_state["token"]
    app = press(app, "Blow up]", password=PASSWORD)
    assert not app.exception and not is_open(app)
    assert [action for action, _ in lines(owner)] == ["confirmation failed", "identity confirmed", "refused"]
    assert app.session_state["token"] != before, "the secrets are renewed"
    app.run()
    assert not app.exception and app.button, "the tab goes on with the new token"


def test_what_the_verb_refuses_is_told_and_recorded(owner: Connection) -> None:
    app = press(opened(kind="refused"), "Blow up]")
    assert "Another person has to do this" in app.error[0].value and is_open(app)
    assert lines(owner) == [("refused", '{"role":"program_staff","what":"verb"}')]
    app = press(opened(kind="bad"), "Blow up]")
    assert "The thing is gone" in app.error[0].value and is_open(app)
    assert len(lines(owner)) == 1


def test_a_proof_that_grows_old_while_typing_is_asked_for_again(owner: Connection) -> None:
    app = opened()
    with db.transaction("worker") as session:
        session.execute(text("update staff.session set confirmed_at = confirmed_at - interval '6 minutes'"))
    app = press(app, "Blow up]")
    assert "Your password is needed" in app.error[0].value
    assert lines(owner) == []
    press(app, "Blow up]", password=PASSWORD)
    assert lines(owner)[-1][0] == "refused"
