"""Deletions up to the point of no return."""

import pytest

from tests.core.privacy.house_of_requests import act, approve, closed, lines, on, row

pytestmark = pytest.mark.usefixtures("house")


def test_the_whole_way_and_back() -> None:
    filed = closed()
    assert row(filed.request_id)["state"] == "to approve"
    assert approve(filed).state == "waiting"
    done = act("reactivate_account", "omar", reason="the student changed their mind", **on(filed))
    assert done.state == "reactivated"
    assert lines(filed.request_id) == [
        "request filed", "identity checked", "account closed", "plan opened", "deletion approved", "account reactivated",
    ]  # fmt: skip


def test_read_page() -> None:
    from core import db, queries
    from tests.cast import NOW, id_of

    filed = closed()
    with db.transaction(staff_id=id_of("olga")) as session:
        page = queries.request_page(session, filed.request_id, now=NOW)
        print(page)
        queue = queries.request_queue(session, queries.QueueFilter(), now=NOW)
        print(queue)
        print(queries.desk_counts(session, now=NOW))
        print(queries.year_report(session, 2026, now=NOW))
    with db.transaction(staff_id=id_of("paula")) as session:
        print(queries.handed_on(session))
        assert queries.request_queue(session, queries.QueueFilter(), now=NOW).rows == ()
