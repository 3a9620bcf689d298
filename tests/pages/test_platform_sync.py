"""The page Platform sync: what an admin, an officer and an auditor see of it; empty, stopped, failed and with things set aside."""

from collections.abc import Iterator

import pytest

from tests.doubles.mongo_server import UNAUTHORIZED
from tests.doubles.platform import oid, school, user
from tests.doubles.syncing import Platform, later, on_server, sync
from tests.hostile import NAMES
from tests.pages.test_matrix import opened, words

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def platform(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    for found in on_server("double", monkeypatch):
        school(found.db, "mia", "noah")
        yield found


def test_without_a_database_it_says_what_to_do() -> None:
    app = opened("ada", "platform_sync")
    assert not app.exception and "RESOCODE_MONGODB_URI" in words(app)


def test_collections_set_aside_documents_and_gaps(platform: Platform) -> None:
    platform.db["users"].insert_one(user("zoe", email="kanarienvogel"))
    platform.db["progress"].update_one({"_id": oid("mia progress")}, {"$set": {"score": 1000}})
    platform.db["newsletter"].insert_one({"email": "mia@platform.example"})
    platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {"nickname": "kanarienvogel"}})
    sync()
    app = opened("ada", "platform_sync")
    assert not app.exception
    shown = words(app)
    assert "1 collection is in no mapping" in shown and "newsletter" in shown
    assert {metric.label: metric.value for metric in app.metric}["Set aside"] == "2"
    table = app.dataframe[0].value
    assert (
        list(table["State"].map(tuple)) == [("up to date",)] * 13
        and int(table.set_index("Collection").loc["users", "Documents"]) == 3
    )
    aside = opened("omar", "platform_sync", view="aside")
    assert set(aside.dataframe[0].value["Why"]) == {"no e-mail address", "out of range"}
    assert str(oid("zoe")) in set(aside.dataframe[0].value["Document"])
    aside.selectbox(key="collection").select("progress").run()
    assert list(aside.dataframe[0].value["Why"]) == ["out of range"]
    aside.selectbox(key="code").select("no e-mail address").run()
    assert "No document matches" in words(aside)
    gaps = opened("aiko", "platform_sync", view="gaps")
    assert "nickname" in set(gaps.dataframe[0].value["Field"])
    for seen in (app, aside, gaps):
        assert "kanarienvogel" not in words(seen) and "mia@" not in words(seen)


def test_an_auditor_sees_no_documents(platform: Platform) -> None:
    platform.db["users"].insert_one(user("zoe", email="broken"))
    sync()
    app = opened("aiko", "platform_sync", view="aside")
    assert not app.exception and str(oid("zoe")) not in words(app)
    assert "Set aside" not in [str(option) for option in app.dataframe[0].value.columns]


def test_a_stopped_comparison_and_a_failure_come_first(platform: Platform) -> None:
    sync()
    platform.db["users"].delete_many({})
    assert platform.server
    platform.server.fail("find", UNAUTHORIZED, collection="enrollments", times=9)
    sync(later(10), sweep=True)
    app = opened("ada", "platform_sync")
    assert "not allowed" in app.error[0].value and "enrollments" in app.error[0].value
    assert any("2 rows are gone there" in each.value and "--accept-deletions" in each.value for each in app.warning)


def test_names_of_fields_are_text(platform: Platform) -> None:
    """Whatever somebody calls a field or a collection, it stays what it is."""
    platform.db["**bold** [x](http://evil.example)"].insert_one({"a": 1})
    for number, name in enumerate(NAMES[:40]):
        if name and "\x00" not in name and "$" not in name and "." not in name:
            platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {f"n{number}": {name: 1}}})
    sync()
    app = opened("ada", "platform_sync", view="gaps")
    assert not app.exception and "evil.example" not in words(app)
