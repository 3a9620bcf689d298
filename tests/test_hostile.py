"""The list of hostile names is what it says: two hundred, all different, all storable."""

from sqlalchemy import text

from core import db
from tests.hostile import NAMES, UNSTORABLE


def test_two_hundred_names_and_each_comes_back_byte_for_byte(database: str) -> None:
    assert len(set(NAMES)) == 200
    assert all("\x00" in name or any("\ud800" <= char <= "\udfff" for char in name) for name in UNSTORABLE)
    with db.transaction("worker") as session:
        assert list(session.scalars(text("select unnest(cast(:names as text[]))"), {"names": list(NAMES)})) == list(
            NAMES
        )
