"""What a screen says when its read failed: whether the database is away, or took too long, and that it never asks again at once."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from streamlit.testing.v1 import AppTest

from core import db
from ui import states

pytestmark = pytest.mark.usefixtures("house")
CANCELED = "set local statement_timeout = '20ms'; select pg_sleep(5)"
BROKEN = "select pg_terminate_backend(pg_backend_pid())"
DEADLOCK = "do $$ begin raise exception 'deadlock' using errcode = '40P01'; end $$"


def error_of(statement: str) -> DBAPIError:
    """What the database says to a statement."""
    with pytest.raises(DBAPIError) as raised, db.transaction("app") as session:
        session.execute(text(statement))
    return raised.value


def page(error: BaseException, runs: list[int]) -> AppTest:
    """A page whose read fails like that each time."""

    def script(error: BaseException, runs: list[int]) -> None:
        from ui import states

        runs.append(1)
        states.failed(error)

    return AppTest.from_function(script, args=(error, runs), default_timeout=20).run()


@pytest.mark.parametrize(
    ("statement", "sentence"), [(CANCELED, "took too long"), (BROKEN, "did not answer"), (DEADLOCK, "on our side")]
)
def test_a_page_that_fails_says_how_and_is_not_asked_for_again_at_once(statement: str, sentence: str) -> None:
    runs: list[int] = []
    shown = page(error_of(statement), runs)
    assert sentence in "\n".join(str(each.value) for each in shown.markdown)
    assert not shown.exception and len(runs) == 1, "the database answers, and yet nothing may ask it in a circle"


def test_a_page_comes_back_once_the_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "LOOK_AGAIN", 0.0)  # the next look is now
    answers = iter([True, False])
    monkeypatch.setattr(db, "reachable", lambda: next(answers))
    runs: list[int] = []
    assert "did not answer" in "\n".join(str(each.value) for each in page(error_of(BROKEN), runs).markdown)
    assert len(runs) == 2
