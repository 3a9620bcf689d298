"""Role × page through AppTest: who gets in, who is refused (and recorded), and what is left when the guard is off."""

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core.settings import ROOT
from tests.admins import inside
from tests.cast import ROLES, STAFF, email_of, id_of
from ui import menu

pytestmark = pytest.mark.usefixtures("house")

PAGES = {
    "overview": set(STAFF.values()),
    "enrollments": {"program_staff", "admin"},
    "holds": {"privacy_officer"},
    "consent": {"privacy_officer"},
    "student": {"program_staff", "instructor", "mentor", "privacy_officer"},
    "progress": {"instructor", "mentor"},
    "reviews": {"instructor", "mentor"},
    "programs": {"program_staff", "privacy_officer", "admin", "auditor"},
    "policy": set(STAFF.values()),
    "processing_record": {"privacy_officer", "admin", "auditor"},
    "samples": {"auditor", "privacy_officer"},
    "audit": {"privacy_officer", "auditor", "admin"},
    "account": set(STAFF.values()),
    "visitors": {"program_staff"},
    "hand_on": set(STAFF.values()),
    "requests": {"privacy_officer"},
    "request": {"privacy_officer"},
    "letters": {"privacy_officer"},
    "manual_steps": {"privacy_officer"},
    "incidents": {"privacy_officer", "admin", "auditor"},
    "policy_versions": {"privacy_officer", "admin", "auditor"},
    "processors": {"admin", "privacy_officer", "auditor"},
    "notices": {"privacy_officer", "admin", "auditor"},
    "report": {"privacy_officer", "auditor", "admin"},
    "certificates": {"privacy_officer", "auditor"},
    "quarantine": {"privacy_officer"},
    "retention": {"privacy_officer", "admin", "auditor"},
    "analytics": set(STAFF.values()),
    "staff": {"admin"},
    "staff_member": {"admin"},
    "assignments": {"admin"},
    "access_review": {"admin", "privacy_officer"},
    "platform_sync": {"admin", "privacy_officer", "auditor"},
}
OPEN = {"marek": "ben"}  # whose record a member of the cast may open, if not Asha's
# Pages about what is kept and promised, in words of the labels; and whatever of the cast's own values must never stand there.
ABOUT_RULES = ("certificates", "policy", "processors", "processing_record", "retention")
VALUES = ("asha", "ben example", "cleo", "vera", "viktor", ".example", "guardian@", "+49 000", "c-asha", "c-ben", "pay-", "77.0", "called.", "good.",
          "learns", "/work", "192.0.2.1", "beginner")  # fmt: skip
STUDENT_WORDS = ("Asha", "Ben", "Cleo", "students.example")


def opened(name: str | None, page: str, **query: str) -> AppTest:
    """The shell with one page open, as a member of the cast (None: nobody)."""
    app = AppTest.from_file(str(ROOT / "ui" / "shell.py"), default_timeout=60)
    if name:
        app.session_state["token"] = inside(name)[0].token
    return at(app, page, **query)


def at(app: AppTest, page: str, **query: str) -> AppTest:
    """The same tab, on another page."""
    app.query_params.clear()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(str(ROOT / "pages" / f"{page}.py")).run()


def words(app: AppTest) -> str:
    """Everything that a run shows, as one text."""
    shown: list[Any] = [
        app.title,
        app.header,
        app.subheader,
        app.markdown,
        app.text,
        app.caption,
        app.metric,
        app.error,
        app.info,
        app.warning,
    ]
    plain = [
        str(getattr(element, "value", "")) + str(getattr(element, "label", "")) for kind in shown for element in kind
    ]
    return "\n".join(plain + [frame.value.to_csv() for frame in app.dataframe])


def refusals(owner: Connection) -> list[tuple[Any, ...]]:
    rows = owner.execute(
        text("select actor_id, details from privacy.audit_event where action = 'refused' order by seq")
    )
    return [(actor, json.loads(details)["what"]) for actor, details in rows]


def test_every_page_has_its_row_in_the_matrix() -> None:
    assert set(PAGES) == {file.stem for file in (ROOT / "pages").glob("*.py")}


def test_every_page_begins_with_its_guard() -> None:
    import ast

    for file in (ROOT / "pages").glob("*.py"):
        body = [node for node in ast.parse(file.read_text()).body if not isinstance(node, ast.Import | ast.ImportFrom)]
        first = body[1] if isinstance(body[0], ast.Expr) else body[0]
        assert isinstance(first, ast.Assign), file
        assert ast.unparse(first.value).startswith("guards.require("), file


@pytest.mark.parametrize("name", [*ROLES, None])
def test_role_by_page(name: str | None, owner: Connection) -> None:
    """One tab walks through all pages: each lets in or refuses, and each refusal is one line."""
    app, refused = opened(name, "overview"), 0
    for page in PAGES:
        shown = words(at(app, page, id=str(id_of(OPEN.get(name or "", "asha")))))
        assert not app.exception, page
        if name is None:
            assert "Sign in to Resocode Admin" in shown, page
        elif STAFF[name] in PAGES[page]:
            assert "This attempt was logged" not in shown, page
            files = [button for button in app.button if str(button.key).startswith("make_file")]
            assert len([frame for frame in app.dataframe if len(frame.value)]) <= len(files), (
                f"{page}: a table without CSV"
            )
        else:
            assert "This attempt was logged" in shown, page
            refused += 1
        if name is None or STAFF[name] not in PAGES[page]:
            assert not any(word in shown for word in STUDENT_WORDS), page
        told = refusals(owner)
        assert len(told) == refused, page
        assert not refused or told[-1][0] == id_of(str(name)), page
        owner.rollback()
    expected = [page.replace("_", " ").capitalize() for page in PAGES if name and STAFF[name] not in PAGES[page]]
    assert [what for _, what in refusals(owner)] == expected


@pytest.fixture
def no_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The guard in Python switched off: everybody who is signed in passes."""
    from ui import guards

    monkeypatch.setattr(guards, "require", lambda *_roles, what: guards.signed_in())
    yield


@pytest.mark.parametrize(
    ("name", "may_see"), [("ines", {"Asha"}), ("marek", {"Ben"}), ("omar", {"Asha"}), ("ada", set()), ("aiko", set())]
)
@pytest.mark.usefixtures("no_guard")
def test_without_the_guard_the_database_still_hides(name: str, may_see: set[str]) -> None:
    app = opened(name, "overview")
    for page, student in product(PAGES, ("asha", "ben", "cleo")):
        shown = words(at(app, page, id=str(id_of(student))))
        seen = {word for word in ("Asha", "Ben", "Cleo") if f"{word} Example" in shown}
        assert seen <= may_see, f"{name} sees {seen} on {page}"
        assert email_of(student) not in shown or (student.title() in may_see and name in ("ines", "marek"))


def test_a_signed_out_visitor_of_a_cold_page_gets_nothing_from_the_file_itself() -> None:
    for page in PAGES:
        app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=60).run()
        assert not app.exception
        assert words(app).strip() == ""


@pytest.mark.parametrize("name", list(ROLES))
def test_no_page_shows_an_outcome_to_those_without_assignment(name: str) -> None:
    if STAFF[name] in ("instructor", "mentor"):
        return
    app = opened(name, "overview")
    for page in PAGES:
        shown = words(at(app, page, id=str(id_of("asha")))).lower()
        if page not in ABOUT_RULES:
            for word in ("score", "77", "distinction", "certificate", "failed"):
                assert word not in shown, f"{name} {page} {word}"
        else:  # they speak of outcomes in general, and show nobody's
            for value in (*VALUES, *(each.lower() for each in STUDENT_WORDS)):
                assert value not in shown, f"{name} {page} {value}"


def test_the_menu_unfolds_for_a_page_below_the_fold_and_stays_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes by a link from outside sees where they are."""
    asked: list[bool | int] = []
    real = st.navigation
    monkeypatch.setattr(
        st, "navigation", lambda *given, **more: (asked.append(more["expanded"]), real(*given, **more))[1]
    )
    assert menu.names("privacy_officer").index("retention") >= shell_shows()
    app = opened("omar", "requests")
    assert asked and set(asked) == {shell_shows()}
    app = at(app, "retention")
    assert asked[-2:] == [shell_shows(), True]
    at(app, "requests")
    assert asked[-1] is True, "it does not fold by itself"


def shell_shows() -> int:
    """How many entries the shell shows before the fold."""
    found = re.search(r"^SHOWN = (\d+)", (ROOT / "ui" / "shell.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return int(found[1])
