"""The queue of reviews: oldest first and every page behind the last; who withdrew and what is foretold waits for nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from core import db, queries
from core.models import platform as p
from core.queries import ReviewCounts, ReviewCursor
from tests.cast import NOW, id_of
from tests.classroom import Classroom, ago

pytestmark = pytest.mark.usefixtures("house")
ROOM = id_of("rust")


@pytest.fixture(autouse=True)
def room(house: str) -> None:
    """Four wait, two of them since the same moment; one is Ines' to review."""
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        for name, at in {"una": 9, "vera": 7, "wim": 7, "xenia": 2}.items():
            work = room.submission(room.student(name), 1, "waiting for review", at=at)
            if name == "una":
                room.add(p.ReviewClaim, submission_id=work, **room.of(name), staff_id=id_of("ines"), taken_at=ago(1))
        room.submission(room.student("yves", withdrawn=3), 1, "waiting for review", at=5)
        room.submission(room.student("zoe"), 1, "waiting for review", at=-1)
        for number, at in enumerate((-1, 0, 7, 13.9, 14)):
            work = room.submission("zoe", 2, "passed", at=20, attempt=number + 1)
            room.add(p.CodeReview, id=id_of(f"review {number}"), submission_id=work, **room.of("zoe"), reviewer_id=id_of("ines"),
                     reviewed_at=ago(at), passed=True, comment="")  # fmt: skip


def ask(function: Callable[..., Any], **named: Any) -> Any:
    with db.transaction(staff_id=id_of("ines")) as session:
        return function(session, now=NOW, cohort_id=ROOM, **named)


def pages(limit: int, **named: Any) -> list[list[str]]:
    """The names of every page, one behind the other."""
    found: list[list[str]] = []
    after: ReviewCursor | None = None
    while after or not found:
        page = ask(queries.review_page, after=after, limit=limit, **named)
        found.append([row.student.split()[0].lower() for row in page.rows])
        after = page.next
    return found


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1, 1, 1, 1]), (2, [2, 2]), (3, [3, 1]), (4, [4]), (5, [4])])
def test_every_page_begins_behind_the_last_and_the_last_says_so(limit: int, sizes: list[int]) -> None:
    found = pages(limit)
    assert [len(page) for page in found] == sizes
    listed = [name for page in found for name in page]
    assert (listed[0], set(listed[1:3]), listed[3]) == ("una", {"vera", "wim"}, "xenia")


def test_whose_they_are() -> None:
    assert pages(9, whose="mine") == [["una"]]
    assert {*pages(9, whose="free")[0]} == {"vera", "wim", "xenia"}


def test_counts_are_of_the_same_list_and_of_the_reviews_of_two_weeks() -> None:
    assert ask(queries.review_counts) == ReviewCounts(4, 1, 3, ago(9), reviewed=1, reviewed_before=2)
