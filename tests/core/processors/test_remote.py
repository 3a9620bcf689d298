"""The guard around calls that leave the machine: codes without words, one attempt, and a circuit that all workers share."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import requests.exceptions as theirs
import urllib3.exceptions as lib3
from sqlalchemy import text

from core import db
from core.processors import remote
from core.processors.protocol import Became, Proof
from core.processors.remote import Answered, Trouble, guarded_call, trouble_of, wait_until
from tests.cast import NOW
from tests.core.privacy.house_of_requests import rows

SECRET = "sk_live_abc cleo@example.org"
MINUTE = timedelta(minutes=1)


def call(function: Any, now: datetime = NOW, **more: Any) -> Any:
    with db.transaction("worker") as session:
        return guarded_call(session, "Cloudinary", function, now=now, **more)


def trouble(function: Any, now: datetime = NOW, **more: Any) -> Trouble:
    with pytest.raises(Trouble) as caught:
        call(function, now, **more)
    return caught.value


def failing(error: Exception) -> Any:
    def function() -> None:
        raise error

    return function


def nested(outer: Exception, inner: Exception) -> Exception:
    """As libraries do: an error raised while another one was handled, with its words."""
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:  # noqa: BLE001 - it is built, not handled
        return error


HTTP = lib3.HTTPError(SECRET)
WRONG: list[tuple[Exception, str, bool]] = [
    (ConnectionRefusedError(SECRET), "no connection", False),
    (nested(Exception(SECRET), lib3.NewConnectionError(None, SECRET)), "no connection", False),  # type: ignore[arg-type]
    (theirs.ConnectionError(lib3.MaxRetryError(None, "/" + SECRET, lib3.NewConnectionError(None, SECRET))), "no connection", False),  # type: ignore[arg-type]
    (theirs.ConnectTimeout(SECRET), "no connection", False),
    (nested(Exception(SECRET), lib3.ReadTimeoutError(None, "/" + SECRET, SECRET)), "no answer", True),  # type: ignore[arg-type]
    (TimeoutError(SECRET), "no answer", True),
    (ConnectionResetError(SECRET), "answer lost", True),
    (nested(Exception(SECRET), lib3.ProtocolError(SECRET)), "answer lost", True),
    (nested(Exception(SECRET), json.JSONDecodeError(SECRET, SECRET, 0)), "not understood", True),
    (nested(Exception(SECRET), theirs.SSLError(SECRET)), "not secure", False),
    (Answered(500), "server error 500", True),
    (Answered(401), "not allowed", False),
    (Answered(400), "refused 400", False),
    (KeyError(SECRET), "unexpected KeyError", True),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "unclear"), WRONG, ids=[f"{each[1]} {at}" for at, each in enumerate(WRONG)])
def test_every_error_becomes_a_code_without_anybodys_words(error: Exception, code: str, unclear: bool) -> None:
    found = trouble_of(error, NOW, changes=True)
    assert (found.code, found.unclear) == (code, unclear)
    assert trouble_of(error, NOW, changes=False).unclear is False, "a lost answer to a question is no matter"
    assert found.outcome().became is (Became.UNCLEAR if unclear else Became.FAILED)
    assert "cleo" not in str(found) and found.proof().absent is None


def test_nothing_of_the_librarys_words_hangs_on_what_is_raised(house: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    found = trouble(failing(nested(ValueError(SECRET), KeyError(SECRET))), changes=True)
    assert found.__cause__ is None and found.__suppress_context__
    assert "cleo" not in caplog.text and "sk_live" not in caplog.text
    assert rows("select error from privacy.processor_health") == [("unexpected ValueError",)]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("30", 30, 33), ("0", 1, 2), ("Thu, 01 Oct 2026 00:10:00 GMT", None, None), ("9999999", 86400, 95040)],
)
def test_a_retry_after_is_honored_in_both_its_forms_and_never_longer_than_a_day(
    header: str, least: int | None, most: int | None
) -> None:
    now = datetime.fromisoformat("2026-10-01T00:00:00+00:00")
    until = wait_until(header, now)
    assert until is not None
    waits = (until - now).total_seconds()
    assert (least or 600) <= waits <= (most or 660)


def test_many_who_were_asked_to_wait_do_not_come_back_at_the_same_moment() -> None:
    waits = [wait_until("600", NOW) for _ in range(40)]
    assert len(set(waits)) > 5 and all(each and each >= NOW + 10 * MINUTE for each in waits)


def test_nonsense_in_retry_after_is_no_time(house: str) -> None:
    assert [wait_until(each, NOW) for each in (None, "", "soon", "-5", "12.5", "1e9")] == [None] * 6
    found = trouble(failing(Answered(429, "soon")))
    assert found.until == NOW + MINUTE and found.outcome().became is Became.WAITING


def test_after_five_failures_nothing_leaves_until_one_call_has_tried(house: str) -> None:
    tried: list[datetime] = []

    def down(now: datetime) -> Any:
        def function() -> None:
            tried.append(now)
            raise ConnectionRefusedError

        return function

    for _ in range(5):
        assert trouble(down(NOW)).code == "no connection"
    found = trouble(down(NOW), NOW + MINUTE)
    assert (found.code, found.until, len(tried)) == ("circuit open", NOW + 2 * MINUTE, 5)
    assert found.outcome().became is Became.WAITING
    assert trouble(down(NOW), NOW + 2 * MINUTE).code == "no connection", "one call may try"
    assert trouble(down(NOW), NOW + 3 * MINUTE).code == "circuit open"
    assert call(lambda: 7, NOW + 4 * MINUTE) == 7
    assert rows("select circuit, failures, opens_at, error from privacy.processor_health") == [
        ("closed", 0, None, "no connection")
    ]
    assert trouble(down(NOW), NOW + 5 * MINUTE).code == "no connection", "and it is closed again"


def down() -> None:
    raise ConnectionRefusedError


def opened(at: datetime = NOW) -> None:
    """Five failures in a row."""
    for _ in range(5):
        assert trouble(down, at).code == "no connection"


def circuit() -> tuple[Any, ...]:
    [found] = rows("select circuit, failures, opens_at from privacy.processor_health")
    return tuple(found)


def test_half_open_one_call_of_all_workers_tries_while_the_others_wait(house: str) -> None:
    opened()
    later, told = NOW + 2 * MINUTE, []

    def trying() -> int:
        told.append(circuit())
        found = trouble(lambda: told.append("a second call"), later)  # another worker, while this call is on its way
        assert (found.code, found.until) == ("circuit open", later + 2 * MINUTE)
        return 7

    assert call(trying, later) == 7
    assert told == [("half-open", 5, later + 2 * MINUTE)], (
        "it is on record before anything leaves, and nobody else called"
    )
    assert circuit() == ("closed", 0, None)


def test_two_workers_who_both_read_that_it_is_time_do_not_both_try(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened()
    later, real, tried = NOW + 2 * MINUTE, remote._health, list[int]()

    def read_then_overtaken(session: Any, name: str) -> Any:
        found = real(session, name)
        monkeypatch.setattr(remote, "_health", real)
        with pytest.raises(Trouble):
            call(lambda: tried.append(1) or down(), later)  # the other worker's call, and it fails
        return found

    monkeypatch.setattr(remote, "_health", read_then_overtaken)
    assert trouble(lambda: tried.append(2), later).code == "circuit open"
    assert tried == [1] and circuit() == ("open", 6, later + 2 * MINUTE)


@pytest.mark.parametrize("error", [ConnectionRefusedError(), Answered(500), TimeoutError()], ids=repr)
def test_half_open_one_failure_opens_it_again_for_as_long(house: str, error: Exception) -> None:
    opened()
    later = NOW + 2 * MINUTE
    trouble(failing(error), later)
    assert circuit() == ("open", 6, later + 2 * MINUTE)
    assert trouble(lambda: 7, later + MINUTE).until == later + 2 * MINUTE


def test_half_open_a_refusal_of_what_we_asked_shows_that_it_works(house: str) -> None:
    opened()
    assert trouble(failing(Answered(404)), NOW + 2 * MINUTE).code == "refused 404"
    assert circuit() == ("closed", 0, None)


def test_half_open_too_many_requests_keep_it_open_for_as_long_as_was_asked(house: str) -> None:
    opened()
    found = trouble(failing(Answered(429, "3600")), NOW + 2 * MINUTE)
    assert circuit()[::2] == ("open", found.until)


def test_half_open_a_worker_that_dies_while_it_tries_leaves_the_turn_to_another_one(house: str) -> None:
    opened()
    later = NOW + 2 * MINUTE
    with pytest.raises(KeyboardInterrupt):
        call(failing(KeyboardInterrupt()), later)  # type: ignore[arg-type]
    assert circuit() == ("half-open", 5, later + 2 * MINUTE)
    assert trouble(lambda: 7, later + MINUTE).until == later + 2 * MINUTE
    assert call(lambda: 7, later + 2 * MINUTE) == 7 and circuit() == ("closed", 0, None)


@pytest.mark.parametrize("works", [True, False])
def test_a_call_that_began_before_the_circuit_opened_does_not_close_it(house: str, works: bool) -> None:
    def slow() -> None:
        trouble(failing(Answered(429, "600")))  # meanwhile, another worker's
        if not works:
            down()

    call(slow) if works else trouble(slow)
    state, _, until = circuit()
    assert state == "open" and until >= NOW + 10 * MINUTE


def test_the_longest_wait_that_was_asked_for_counts(house: str) -> None:
    def slow() -> None:
        trouble(failing(Answered(429, "600")))
        raise Answered(429, "30")

    trouble(slow)
    assert circuit()[2] >= NOW + 10 * MINUTE


def test_an_unclear_answer_to_a_question_is_a_failure_and_never_a_proof(house: str) -> None:
    """Also where the library itself says that it may have happened: nothing can, of what nobody asked to be done."""

    def told(_error: BaseException) -> Trouble:
        return Trouble("error in the answer", unclear=True)

    for asked in (failing(Trouble("error in the answer", unclear=True)), failing(ValueError())):
        for changes in (True, False):
            found = trouble(asked, read=told, changes=changes)
            assert found.outcome().became is (Became.UNCLEAR if changes else Became.FAILED)
            assert found.proof() == Proof(None, error="error in the answer")


def test_too_many_requests_stop_everybody_for_as_long_as_was_asked(house: str) -> None:
    found = trouble(failing(Answered(429, "600")))
    assert found.until is not None and found.until >= NOW + 10 * MINUTE
    assert trouble(lambda: 7, NOW + 9 * MINUTE).until == found.until
    assert call(lambda: 7, NOW + 12 * MINUTE) == 7


def test_what_is_wrong_with_our_request_says_nothing_about_their_health(house: str) -> None:
    for _ in range(9):
        assert trouble(failing(Answered(400))).code == "refused 400"
    assert rows("select circuit, worked_at, error from privacy.processor_health") == [("closed", NOW, "refused 400")]


def test_health_is_written_whatever_becomes_of_the_callers_transaction(house: str) -> None:
    with pytest.raises(RuntimeError), db.transaction("worker") as session:
        with pytest.raises(Trouble):
            guarded_call(session, "Vercel", failing(ConnectionRefusedError()), now=NOW)
        raise RuntimeError
    assert rows("select name, failures from privacy.processor_health") == [("Vercel", 1)]


def test_nobody_writes_health_but_the_worker(house: str) -> None:
    with pytest.raises(Exception, match="permission denied"), db.transaction() as session:
        session.execute(text("update privacy.processor_health set circuit = 'closed'"))
