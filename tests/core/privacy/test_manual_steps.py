"""Manual steps: one attests, another confirms; the database asks the same."""

import hashlib
import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db, queries
from core.errors import BadInput, NotFound, Refused
from core.processors.manual import Manual
from core.processors.protocol import Order, Person
from tests.cast import NOW, ROLES, id_of
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")
WORDS = "Deleted in the console at 10:15.\nTicket 7."


@pytest.fixture
def step() -> uuid.UUID:
    """An open step at a processor."""
    with db.transaction("worker") as session:
        order = Order(Person("student", id_of("asha"), id_of("asha request")), "k")
        return uuid.UUID(Manual("Vercel").erase(session, order, now=NOW).reference)


def act(verb: str, by: str, step: uuid.UUID, **more: Any) -> None:
    requests.act(f"{verb}_manual_step", by, step_id=step, **more)


def state() -> tuple[Any, ...]:
    return requests.rows("select state, attested_by, confirmed_by, evidence from privacy.manual_step")[0]


def test_one_attests_and_another_confirms(step: uuid.UUID) -> None:
    for _ in range(2):
        act("take", "omar", step)
        act("attest", "omar", step, evidence=WORDS)
    assert state() == ("attested", id_of("omar"), None, WORDS)
    for _ in range(2):
        act("confirm", "olga", step)
    assert state() == ("confirmed", id_of("omar"), id_of("olga"), WORDS)
    assert requests.lines(step) == ["manual step taken", "manual step attested", "manual step confirmed"]
    assert requests.rows("select evidence_sha256 from privacy.manual_step") == [
        (hashlib.sha256(WORDS.encode()).digest(),)
    ]


def test_who_attests_does_not_confirm(step: uuid.UUID) -> None:
    act("attest", "omar", step, evidence=WORDS)
    with pytest.raises(Refused, match="Another privacy officer"):
        act("confirm", "omar", step)


def test_what_is_not_attested_is_not_confirmed(step: uuid.UUID) -> None:
    with pytest.raises(BadInput, match="attested and not confirmed"):
        act("confirm", "olga", step)
    with pytest.raises(BadInput, match="Write what was done"):
        act("attest", "omar", step, evidence="  ")
    with pytest.raises(NotFound):
        act("confirm", "olga", uuid.uuid4())


def test_weak_evidence_goes_back_and_is_forgotten(step: uuid.UUID) -> None:
    act("attest", "omar", step, evidence="Done.")
    act("return", "olga", step, reason="evidence missing")
    assert state() == ("open", None, None, None)
    act("attest", "omar", step, evidence=WORDS)
    with pytest.raises(BadInput, match="already"):
        act("attest", "olga", step, evidence="Other.")


@pytest.mark.parametrize("name", [name for name in ROLES if ROLES[name] != "privacy_officer"])
def test_other_roles_do_not_see_or_do_it(step: uuid.UUID, name: str) -> None:
    with pytest.raises(Refused):
        act("attest", name, step, evidence=WORDS)
    with db.transaction(staff_id=id_of(name)) as session:
        assert session.execute(text("select id from privacy.manual_step")).all() == []


def test_the_page_lists_what_waits(step: uuid.UUID) -> None:
    act("attest", "omar", step, evidence=WORDS)
    with db.transaction(staff_id=id_of("olga")) as session:
        [found] = queries.manual_steps(session)
        assert (found.processor, found.state, found.attested_by, found.owner) == ("Vercel", "attested", "Omar", "Omar")
    act("confirm", "olga", step)
    with db.transaction(staff_id=id_of("olga")) as session:
        assert queries.manual_steps(session) == ()
        assert len(queries.manual_steps(session, request_id=id_of("asha request"), waiting=False)) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("omar", "state = 'confirmed', confirmed_by = '{omar}', confirmed_at = '{now}'"),
        ("olga", "state = 'confirmed', confirmed_by = '{omar}', confirmed_at = '{now}'"),
        ("olga", "state = 'confirmed', confirmed_by = '{olga}', confirmed_at = '{now}', evidence = 'better'"),
        ("olga", "evidence = 'better'"),
        ("olga", "processor = 'SMTP'"),
        ("olga", "state = 'open'"),
    ],
)
def test_bare_sql_confirms_nothing_that_a_verb_would_refuse(step: uuid.UUID, name: str, change: str) -> None:
    act("attest", "omar", step, evidence=WORDS)
    who = requests.staff(name)
    statement = change.format(omar=id_of("omar"), olga=id_of("olga"), now=NOW.isoformat())
    with pytest.raises(DBAPIError), db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        session.execute(text(f"update privacy.manual_step set {statement}"))
    assert state()[0] == "attested"


def test_the_worker_does_not_confirm_what_people_have_to(step: uuid.UUID) -> None:
    for statement in (
        "update privacy.manual_step set state = 'attested', attested_at = now(), evidence = 'x'",
        "delete from privacy.manual_step",
    ):
        with pytest.raises(DBAPIError), db.transaction("worker") as session:
            session.execute(text(statement))
