"""Letters of the outbox that came back: marked once, in the log too; nobody's word marks a letter that was never sent."""

from pathlib import Path

import pytest

from core import db
from core.privacy import bounces
from core.privacy.bounces import BouncesRead
from tests.cast import NOW
from tests.core.privacy.house_of_requests import DAY, lines, rows
from tests.core.privacy.test_campaigns import bounce
from tests.core.privacy.test_letters import send
from tests.core.privacy.test_sending import write
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
STANDS = "select state, bounced_at, error from privacy.outbox where id = :id"


def read(folder: Path, *pile: bytes, days: int = 1) -> BouncesRead:
    """Read a pile of mail as the command does, so many days later."""
    box = folder / "mbox"
    box.write_bytes(
        b"".join(b"From daemon Mon Nov 23 12:00:00 2026\n" + each.replace(b"\r\n", b"\n") + b"\n\n" for each in pile)
    )
    with db.transaction("worker") as session:
        return bounces.record_bounces(session, bounces.reports_in(box), now=NOW + days * DAY)


def test_a_letter_that_came_back_is_marked_once_and_its_log_too(server: Server, tmp_path: Path) -> None:
    write(2)
    assert send() == ["taken", "taken"]
    mine, other = server.ids
    assert read(tmp_path, bounce(mine)) == BouncesRead(bounced=1)
    assert read(tmp_path, bounce(mine, status="4.4.7"), days=2) == BouncesRead(known=1), "the first word counts"
    assert rows(STANDS, id=mine) == [("sent", NOW + DAY, "5.1.1")]
    assert rows(STANDS, id=other) == [("sent", None, None)]
    assert rows("select id::text, outcome from platform.email_log where sent_at = :now order by outcome", now=NOW) == [
        (mine, "bounced"), (other, "sent")
    ]  # fmt: skip
    assert lines().count("bounces read") == 1, "nothing new is no line"


def test_a_letter_that_only_waits_is_not_marked_whatever_a_report_says(tmp_path: Path) -> None:
    write(1)
    [(waiting,)] = rows("select id::text from privacy.outbox")
    assert read(tmp_path, bounce(waiting)) == BouncesRead(unknown=1)
    assert rows(STANDS, id=waiting) == [("waiting", None, None)]


def test_a_delay_is_no_bounce_and_an_envelope_id_names_a_letter_too(server: Server, tmp_path: Path) -> None:
    write(1)
    send()
    [mine] = server.ids
    assert read(tmp_path, bounce(mine, action="delayed", status="4.4.1")) == BouncesRead(delayed=1)
    report = bounce("nonsense").replace(b"Reporting-MTA", f"Original-Envelope-Id: {mine}\r\nReporting-MTA".encode())
    assert read(tmp_path, report) == BouncesRead(bounced=1)


def test_nothing_that_a_report_says_is_kept_but_its_code(server: Server, tmp_path: Path) -> None:
    write(1)
    send()
    [mine] = server.ids
    assert read(tmp_path, bounce(mine, status="5.1.1 x@students.example is nobody")) == BouncesRead(bounced=1)
    assert rows(STANDS, id=mine)[0][2] == "5.1.1"
    assert "x@students.example" not in str(rows("select o::text from privacy.outbox o"))
