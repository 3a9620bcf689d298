"""The search box in the sidebar: what it shows, where hits lead, what is recorded, and that what is typed stays there."""

import json

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core.settings import ROOT
from tests.cast import STAFF, id_of
from tests.pages.test_matrix import opened, words
from ui.search import LEADS_TO, finds, label, place

pytestmark = pytest.mark.usefixtures("house")


def searched(name: str, typed: str, page: str = "overview") -> AppTest:
    app = opened(name, page)
    app.text_input(key="find").set_value(typed).run()
    assert not app.exception
    return app


def hits(app: AppTest) -> list[str]:
    return [b.label.split(" :gray")[0] for b in app.button if (b.key or "").startswith("hit_")]


def recorded(owner: Connection) -> list[dict[str, int]]:
    owner.rollback()
    lines = owner.scalars(text("select details from privacy.audit_event where action = 'people searched' order by seq"))
    return [json.loads(line) for line in lines]


def test_program_staff_find_people_and_places_and_that_is_one_line(owner: Connection) -> None:
    app = searched("paula", "example")
    assert hits(app) == ["Asha Example", "Ben Example", "Cleo Example", "Vera", "Viktor"]
    app.run()
    assert recorded(owner) == [{"students": 3, "visitors": 2}], "a rerun with the same text is no new search"
    app.text_input(key="find").set_value("vera").run()
    assert recorded(owner)[1:] == [{"students": 0, "visitors": 1}]
    assert not owner.execute(text("select 1 from privacy.audit_event where action = 'person viewed'")).all()


@pytest.mark.parametrize(
    ("typed", "says"), [("as", "at least 3"), ("nobody at all", "matches"), ("a\x00bc", "cannot be used")]
)
def test_nothing_found_is_said_and_not_recorded(typed: str, says: str, owner: Connection) -> None:
    app = searched("paula", typed)
    assert says in words(app) and hits(app) == []
    assert recorded(owner) == []


def test_places_alone_are_not_recorded_and_lead_to_their_enrollments(owner: Connection) -> None:
    app = searched("ada", "cloud 26")
    assert hits(app) == ["Cloud 26"]
    assert recorded(owner) == []
    app.button(key=f"hit_cohort_{id_of('cloud')}").click().run()
    app.switch_page(str(ROOT / "pages" / "enrollments.py")).run()
    assert (app.selectbox(key="cohort").value, app.segmented_control(key="period").value) == ("Cloud 26", "All time")


@pytest.mark.parametrize(
    ("typed", "key", "name"),
    [("asha", f"hit_student_{id_of('asha')}", "asha"), ("vera", f"hit_visitor_{id_of('vera')}", "vera")],
)
@pytest.mark.parametrize("page", ["overview", "enrollments", "visitors"])
def test_a_person_is_reached_by_the_id_and_the_box_is_emptied(typed: str, key: str, name: str, page: str) -> None:
    app = searched("paula", typed, page)
    app.button(key=key).click().run()
    assert not app.exception
    assert app.query_params == {"id": str(id_of(name))}
    assert app.text_input(key="find").value == ""


def test_a_program_sets_the_filters_of_the_page_one_is_on_and_clears_the_others() -> None:
    app = opened("paula", "enrollments", level="advanced", status="withdrawn", period="30 days")
    assert "No enrollment matches" in words(app)
    app.text_input(key="find").set_value("java").run()
    app.button(key=f"hit_program_{id_of('java program')}").click().run()
    assert not app.exception
    assert list(app.dataframe[0].value["Student"]) == ["Cleo Example"]
    assert app.selectbox(key="program").value == "Java"


def test_what_is_typed_stays_out_of_address_and_audit(owner: Connection, caplog: pytest.LogCaptureFixture) -> None:
    app = searched("paula", "asha example")
    assert "asha" not in str(app.query_params).lower()
    lines = owner.scalars(text("select details || coalesce(subject_kind, '') from privacy.audit_event")).all()
    assert lines and not [line for line in lines if "asha" in line.lower()]
    assert "asha" not in caplog.text.lower()


def test_titles_are_shown_to_the_letter() -> None:
    from uuid import UUID

    from core.queries import Hit

    nasty = Hit("student", UUID(int=1), "**B** [x](y) :red[z] $a$ `c`", "a@b")
    assert label(nasty, ambiguous=False) == r"\*\*B\*\* \[x\]\(y\) \:red\[z\] \$a\$ \`c\`"
    assert (
        label(Hit("student", UUID(int=1), "Ann", "a@b.example"), ambiguous=True) == r"Ann :gray[:small[a\@b\.example]]"
    )
    assert len(label(Hit("student", UUID(int=1), "x" * 500, "d"), ambiguous=False)) < 40
    assert label(Hit("student", UUID(int=1), "\u202eevil", "d" * 40), ambiguous=False) == "\u2068\u202eevil\u2069"


@pytest.mark.parametrize("role", sorted(LEADS_TO))
def test_every_kind_leads_to_a_page_that_is_open_to_the_role(role: str) -> None:
    from uuid import UUID

    from core.queries import Hit
    from tests.pages.test_matrix import PAGES as OPEN_TO

    for kind in finds(role):
        page, address, filters = place(role, Hit(kind, UUID(int=1), "Title", "CODE-1", UUID(int=2)))
        assert role in OPEN_TO[page], (role, kind)
        assert all(value != "None" for value in (address | filters).values())


@pytest.mark.parametrize("name", ["ines", "marek", "omar", "ada", "aiko"])
def test_nobody_is_shown_more_than_they_may_open(name: str) -> None:
    role = STAFF[name]
    app = opened(name, "overview")
    boxes = [box for box in app.text_input if box.key == "find"]
    assert bool(boxes) is bool(finds(role))
    for typed in ("example", "python", "cloud 26", "vera") if boxes else ():
        app.text_input(key="find").set_value(typed).run()
        assert not app.exception
        assert {(b.key or "").split("_")[1] for b in app.button if (b.key or "").startswith("hit_")} <= set(finds(role))
