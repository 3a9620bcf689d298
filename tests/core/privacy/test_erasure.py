"""The eraser: what is due is begun once, goes step by step, and is over when it is proven; and what it waits for."""

import pytest
from sqlalchemy import Connection, text

from tests.cast import id_of
from tests.core.privacy.house_of_erasures import (
    DUE,
    PROCESSORS,
    Store,
    bystander,
    erased,
    steps,
    stores,
)
from tests.core.privacy.house_of_requests import row, waiting

__all__ = ["bystander", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander")


def test_a_student_past_grace_is_erased_and_proven(stores: dict[str, Store], owner: Connection) -> None:
    filed = waiting()
    assert erased(filed.request_id)
    assert steps(filed.request_id) == dict.fromkeys((*PROCESSORS, "last letter", "this database"), "proven")
    assert owner.scalar(text("select count(*) from platform.student where id = :id"), {"id": id_of("cleo")}) == 0
    assert not any(id_of("cleo") in store.holds or id_of("ben") not in store.holds for store in stores.values())
    found = row(filed.request_id)
    assert (found["state"], found["outcome"], found["student_id"], found["closed_at"] >= DUE) == (
        "erased",
        "erased",
        None,
        True,
    )
