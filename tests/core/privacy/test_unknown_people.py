"""What people wrote whom nobody found goes by the calendar; everybody else's words stay with them."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from core import db, jobs
from core.privacy import unknown_people
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_requests import act, file, lines, on, rows

pytestmark = pytest.mark.usefixtures("house")
PERIOD = timedelta(days=90)


def closed_request(**whom: object) -> uuid.UUID:
    """A request that was answered, with words, a note and a letter."""
    filed = file("access", words="I am Zoe, zoe@else.example.", **whom)
    act("add_note", "omar", request_id=filed.request_id, form_key=uuid.uuid4(), note="Called Zoe back.")
    act(
        "write_letter",
        "omar",
        request_id=filed.request_id,
        kind="acknowledgement",
        subject="Zoe",
        body="Dear Zoe",
        form_key=uuid.uuid4(),
    )
    if not whom.get("student_id"):
        act("answer_request", "omar", outcome="nothing is held", evidence="Searched.", **on(filed))
    else:
        act("withdraw_request", "omar", reason="by the person", **on(filed))
    return filed.request_id


def left(request: uuid.UUID) -> tuple[int, list[str]]:
    texts = rows("select count(*) from privacy.request_text where request_id = :id", id=request)[0][0]
    return texts, [
        each for (each,) in rows("select state from privacy.outbox where request_id = :id order by kind", id=request)
    ]


def run(days: timedelta) -> int:
    with db.transaction("worker") as session:
        due = unknown_people.words_due(session, NOW + days)
        gone = unknown_people.erase_words(session, now=NOW + days)
        assert bool(due) == bool(gone)
    return gone


def test_words_of_nobody_go_after_their_period_and_all_others_stay(owner: Connection) -> None:
    unknown, known = closed_request(name="Zoe"), closed_request(student_id=id_of("cleo"))
    still_open = file("access", words="Hello?", name="Zoe").request_id
    before, bystander = left(known), cast.snapshot(owner, "ben")
    [letter] = rows("select id from privacy.outbox where request_id = :id and kind = 'acknowledgement'", id=unknown)
    act("mark_sent_by_hand", "omar", letter_id=letter[0])
    assert left(unknown)[0] == 4
    assert run(PERIOD - timedelta(seconds=1)) == 0
    assert run(PERIOD) == 5
    assert left(unknown) == (0, ["waiting"]), "the answer was never sent: somebody still has to"
    assert left(known) == before and left(still_open)[0] == 2
    assert run(PERIOD) == 0
    assert lines().count("words of unknown people erased") == 1
    assert requests.row(unknown)["outcome"] == "nothing is held", "that it was asked and answered stays known"
    owner.rollback()
    assert cast.snapshot(owner, "ben") == bystander


def test_the_worker_does_it() -> None:
    assert "words of unknown people" in {job.kind for job in jobs.JOBS}
