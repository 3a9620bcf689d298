"""Who does whose part: a configured processor, or the attested manual way; never nobody."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from core import db
from core.models.labels import Processor as Named
from core.processors import concerned, registry
from core.processors.local import Local
from core.processors.manual import Manual
from core.processors.protocol import Became, Change, Order, Person, Processor
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_requests as requests

LISTED = [str(each) for each in Named]
ORDER = Order(Person("student", id_of("asha"), id_of("asha request")), "erasure-1 MongoDB Atlas")
MONGO = Manual("MongoDB Atlas")


def asked(call: str, *arguments: object):
    with db.transaction("worker") as session:
        return getattr(MONGO, call)(session, *arguments, now=NOW)


def step_id() -> object:
    return requests.rows("select id from privacy.manual_step")[0][0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [("student", ["Cloudinary", "MongoDB Atlas", "SMTP", "Vercel", "payment gateway"]), ("visitor", ["MongoDB Atlas", "SMTP", "Vercel"])],
)  # fmt: skip
def test_whom_the_labels_name_concerns_a_person_and_this_database_comes_last(kind: str, names: list[str]) -> None:
    found = concerned(kind, LISTED)
    assert [each.name for each in found] == [*names, "this database"]
    assert isinstance(found[-1], Local) and all(isinstance(each, Manual | Processor) for each in found)
    assert all(isinstance(each, Manual) for each in found[:-1]), "nobody configured them"


def test_a_processor_that_only_the_policy_names_is_not_skipped() -> None:
    assert "Newsletter Ltd" in [each.name for each in concerned("visitor", [*LISTED, "Newsletter Ltd"])]


def test_a_processor_that_the_policy_forgot_is_not_skipped() -> None:
    assert "Cloudinary" in [each.name for each in concerned("student", [])]


def test_a_configured_processor_takes_the_place_of_the_manual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_makers", {})
    made: list[Processor | None] = [None]
    registry.register("Vercel", lambda: made[0])
    assert isinstance(registry.configured("Vercel"), Manual), "it is known, and not configured"
    made[0] = Local()
    assert isinstance(registry.configured("Vercel"), Local)


def test_it_is_asked_for_once_and_waits(house: str) -> None:
    first, again = asked("erase", ORDER), asked("erase", ORDER)
    assert first == again
    assert (first.became, first.until) == (Became.WAITING, NOW.replace(hour=0) + timedelta(days=14))
    assert requests.rows("select processor, what, state, request_id from privacy.manual_step") == [
        ("MongoDB Atlas", "erase", "open", id_of("asha request"))
    ]
    assert asked("verify", ORDER).absent is None


def test_it_is_done_when_another_person_confirms(house: str) -> None:
    asked("erase", ORDER)
    requests.act("attest_manual_step", "omar", step_id=step_id(), evidence="Deleted in the console, ticket 7.")
    assert asked("erase", ORDER).became is Became.WAITING
    assert asked("verify", ORDER).absent is None
    requests.act("confirm_manual_step", "olga", step_id=step_id())
    assert asked("erase", ORDER).became is Became.DONE
    assert asked("verify", ORDER).absent is True


def test_it_tells_that_it_does_not_know(house: str) -> None:
    assert not asked("preview", ORDER.person).complete
    assert not asked("export", ORDER.person).complete


def test_a_change_is_passed_on_by_hand_too(house: str, owner: Connection) -> None:
    assert asked("propagate", ORDER.person, Change("sign-in off")).became is Became.WAITING
    assert owner.execute(text("select what, processor from privacy.manual_step")).all() == [
        ("pass on", "MongoDB Atlas")
    ]
