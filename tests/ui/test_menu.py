"""The menu: every page of the folder is in it, for some role or hidden, and no run gets the page objects of another."""

from streamlit.testing.v1 import AppTest

from core.settings import ROOT
from ui import menu


def test_every_page_has_a_line() -> None:
    listed = [name for entries in menu.SECTIONS.values() for name, *_ in entries] + [name for name, *_ in menu.DETAILS]
    assert sorted(listed) == sorted(file.stem for file in (ROOT / "pages").glob("*.py"))


def test_every_run_gets_pages_of_its_own() -> None:
    """Streamlit marks one of them as the page that may run."""

    def page() -> None:
        from ui import menu

        one, other = (menu.pages("auditor")["Proof"][0] for _ in range(2))
        assert one is not other and (one.title, one.icon, one.url_path) == (other.title, other.icon, other.url_path)
        assert menu.pages("mentor")["Proof"][1].visibility == "hidden" != one.visibility

    assert not AppTest.from_function(page, default_timeout=60).run().exception
