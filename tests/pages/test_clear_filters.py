"""Filters that stand in the address leave nothing: "Clear filters" shows the list again, on every page that offers it."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.test_matrix import opened, words

pytestmark = pytest.mark.usefixtures("house")

# Who, the page, filters that find nothing, and what the page shows without them.
NOTHING = (
    ("paula", "enrollments", {"status": "withdrawn", "level": "advanced"}, "Asha Example"),
    ("ada", "staff", {"role": "Auditor", "state": "disabled"}, "accounts"),
    ("ada", "assignments", {"program": "Cloud", "state": "ended"}, "assignments"),
    ("omar", "audit", {"action": "policy published", "period": "Today"}, "signed in"),
    ("omar", "requests", {"kind": "opt out"}, "R-"),
)


def failed(app: AppTest) -> bool:
    twice = [warning.value for warning in app.warning if "Session State API" in warning.value]
    return bool(app.exception or twice) or "could not be loaded" in words(app)


@pytest.mark.parametrize(("name", "page", "filters", "again"), NOTHING, ids=[row[1] for row in NOTHING])
def test_the_list_is_back(name: str, page: str, filters: dict[str, str], again: str) -> None:
    app = opened(name, page, **filters)
    assert not failed(app)
    app.button(key="clear_filters").click().run()
    assert not failed(app)
    assert again in words(app)
    assert not [each for each in app.button if each.key == "clear_filters"]
