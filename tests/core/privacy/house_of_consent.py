"""What the tests of consent share: a minor, and short ways along their case."""

import io
from datetime import date, datetime, timedelta
from typing import Any

from PIL import Image
from sqlalchemy import text

from core import db, queries
from core.models.consent import Consent
from core.privacy_actions import ConsentReceipt, Staff
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_requests as requests

BORN = date(2009, 3, 1)  # 17 at NOW
TOO_YOUNG = date(2011, 3, 1)  # 15 at NOW
BIRTHDAY = datetime(2027, 3, 1, 12, tzinfo=NOW.tzinfo)  # 18 everywhere
GUARDIAN = {"guardian_name": "Greta Guardian", "guardian_email": "greta@guardians.example"}


def picture() -> bytes:
    """A small picture, as somebody would upload it."""
    out = io.BytesIO()
    Image.effect_noise((80, 60), 50).save(out, "PNG")
    return out.getvalue()


def case(name: str = "cleo") -> Consent:
    """A consent record as it stands."""
    with db.transaction("worker") as session:
        found = session.get_one(Consent, id_of(name))
        session.expunge(found)
        return found


def seen(by: str = "omar", name: str = "cleo", now: datetime = NOW) -> Any:
    """A case as an officer sees it."""
    who = requests.staff(by, now=now)
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return queries.consent_case(session, id_of(name), now=now)


def needs(by: str | None = "omar", now: datetime = NOW) -> dict[str, int]:
    """How many cases there are of each need."""
    who = requests.staff(by, now=now) if by else None
    with db.transaction(staff_id=who.id if who else None, session_id=who.session_id if who else None) as session:
        return queries.consent_counts(session, now=now).by_need


def on(verb: str, by: Staff | str = "omar", name: str = "cleo", *, now: datetime = NOW, **more: Any) -> Any:
    """Run a verb on a case at its present version."""
    given = {"student_id": id_of(name), "version": case(name).version} | more
    return requests.act(verb, by, now=now, **given)


def minor(name: str = "cleo", born: date = BORN, by: str = "omar", now: datetime = NOW) -> ConsentReceipt:
    """A student who said when they were born."""
    return on("declare_age", by, name, now=now, adult=False, birth_date=born, how="told by the student")  # type: ignore[no-any-return]


def requested(name: str = "cleo", by: str = "omar", now: datetime = NOW) -> ConsentReceipt:
    """A minor whose guardian was asked."""
    minor(name, by=by, now=now)
    return on("request_consent", by, name, now=now, **GUARDIAN)  # type: ignore[no-any-return]


def given(
    name: str = "cleo", by: Staff | str = "omar", now: datetime = NOW, evidence: bytes | None = None
) -> ConsentReceipt:
    """A minor whose guardian's consent was entered."""
    requested(name, now=now)
    return on("enter_consent", by, name, now=now, given=True, method="signed form", evidence=evidence)  # type: ignore[no-any-return]


def verified(name: str = "cleo", now: datetime = NOW, evidence: bytes | None = None) -> ConsentReceipt:
    """A minor whose guardian's consent was verified by a second officer."""
    given(name, now=now, evidence=evidence)
    return on("verify_consent", "olga", name, now=now)  # type: ignore[no-any-return]


def restricted(name: str = "cleo") -> list[str]:
    """The bases on which somebody is restricted, as the database answers."""
    bases = requests.rows(
        "select basis from privacy.restriction where student_id = :id and until is null order by 1", id=id_of(name)
    )
    with db.transaction("worker") as session:
        answer = session.scalar(text("select privacy.is_restricted(:id)"), {"id": id_of(name)})
    assert bool(answer) == bool(bases)
    return [each[0] for each in bases]


def letters(name: str = "cleo") -> list[tuple[str, str]]:
    """The letters about somebody's age and consent: kind and address, sorted."""
    return [tuple(each) for each in requests.rows(
        "select kind, address from privacy.outbox where student_id = :id and state = 'waiting' order by kind, address", id=id_of(name))]  # fmt: skip


def history(name: str = "cleo") -> list[tuple[str, str]]:
    """The steps of a case, oldest first: what, and the state then."""
    return [tuple(each) for each in requests.rows(
        "select what, to_state from privacy.consent_step where student_id = :id order by version", id=id_of(name))]  # fmt: skip


def later(**much: int) -> datetime:
    """An instant after NOW."""
    return NOW + timedelta(**much)
