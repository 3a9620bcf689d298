"""Legal holds: who may, on what, for how long; and that the database asks the same when the Python is switched off."""

import uuid
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions, queries
from core.errors import BadInput, NotFound, NotFresh, Refused
from core.models.ways import fates
from core.privacy.holds import spared_by
from core.processors.local import ways_json
from core.processors.protocol import Spared
from tests.cast import NOW, ROLES, email_of, id_of
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")
SOON = NOW.date() + timedelta(days=90)


def given(**more: Any) -> dict[str, Any]:
    basic = {
        "student_id": id_of("cleo"),
        "basis": "tax audit",
        "reference": "TA 7",
        "review_on": SOON,
        "form_key": uuid.uuid4(),
    }
    return basic | more


def place(by: str = "omar", **more: Any) -> str:
    return str(requests.act("place_hold", by, **given(**more)))


def hold_id(number: str) -> uuid.UUID:
    found = requests.rows("select id from privacy.legal_hold where number = :n", n=int(number[2:]))
    return uuid.UUID(str(found[0][0]))


def release(number: str, by: str = "omar", **more: Any) -> str:
    return str(
        requests.act(
            "release_hold",
            by,
            **({"hold_id": hold_id(number), "confirmation": number, "reason": "claim settled"} | more),
        )
    )


def standing(name: str = "cleo", by: str | None = None) -> list[str]:
    with db.transaction("app" if by else "worker", staff_id=id_of(by) if by else None) as session:
        whose = {"visitor_id" if name in ("vera", "viktor") else "student_id": id_of(name)}
        return [each.number for each in privacy_actions.holds_on(session, **whose)]


def page(by: str = "omar", *, active: bool = True) -> queries.HoldPage:
    with db.transaction(staff_id=id_of(by)) as session:
        return queries.hold_page(session, standing=active)


def test_a_hold_stands_until_it_is_released_and_is_kept_after() -> None:
    number = place(table="platform.payment", note="Keep the invoice.")
    assert standing() == [number]
    [hold] = page().rows
    assert (hold.number, hold.kind, hold.scope, hold.basis, hold.reference) == (
        number, "student", "all of payments", "tax audit", "TA 7")  # fmt: skip
    assert (hold.owner, hold.placed_by, hold.overdue(SOON), hold.overdue(SOON + timedelta(days=1))) == (
        "Omar",
        "Omar",
        False,
        True,
    )
    release(number)
    assert standing() == []
    assert page().rows == ()
    [hold] = page(active=False).rows
    assert (hold.release_reason, hold.released_by) == ("claim settled", "Omar")
    with pytest.raises(NotFound):  # nobody needs the name now
        requests.act("reveal_held", "omar", hold_id=hold.id)


def test_who_is_held_is_shown_one_by_one_and_recorded() -> None:
    number = place()
    who = requests.staff("omar")
    for _ in range(2):
        found = requests.act("reveal_held", who, hold_id=hold_id(number))
        assert found == requests.act("person_to_hold", who, email=f" {email_of('cleo').upper()} ")
    assert (found.kind, found.id, found.name, found.email) == (
        "student",
        id_of("cleo"),
        "Cleo Example",
        email_of("cleo"),
    )
    assert requests.act("person_to_hold", who, email="cleo@students") is None
    assert requests.lines(id_of("cleo")) == ["hold placed", "person viewed"]


def test_a_repeated_click_is_one_hold_and_one_release() -> None:
    key = uuid.uuid4()
    number = place(form_key=key)
    assert place(form_key=key) == number
    assert release(number) == release(number) == number
    assert requests.rows("select count(*) from privacy.legal_hold") == [(1,)]
    assert requests.lines(id_of("cleo")) == ["hold placed", "hold released"]


def test_one_person_with_two_records_is_held_whichever_was_named(owner: Connection) -> None:
    owner.execute(text("update platform.visitor set email_hash = (select email_hash from platform.student where id = :c) where id = :v"),
                  {"c": id_of("cleo"), "v": id_of("vera")})  # fmt: skip
    owner.commit()
    number = place(student_id=None, visitor_id=id_of("vera"))
    assert standing("cleo") == standing("vera") == [number]
    assert standing("viktor") == standing("ben") == []


def test_what_a_hold_spares_is_what_it_names_and_its_own_row() -> None:
    number = place(table="platform.submission", record_id=id_of("cleo submission"))
    with db.transaction("worker") as session:
        spared = spared_by(privacy_actions.holds_on(session, student_id=id_of("cleo")))
    assert spared == (
        Spared("platform.submission", id_of("cleo submission")),
        Spared("privacy.legal_hold", hold_id(number)),
    )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"student_id": None}, "one student or one visitor"),
        ({"basis": "because"}, "Choose a basis"),
        ({"reference": "  "}, "reference of the case"),
        ({"table": "platform.program"}, "tables that hold something about this person"),
        ({"table": "staff.session"}, "tables that hold something about this person"),
        ({"record_id": id_of("x")}, "tables that hold something"),
        ({"table": "platform.submission", "record_id": id_of("ben submission")}, "no such record of this person"),
        ({"review_on": NOW.date()}, "within a year"),
        ({"review_on": NOW.date() + timedelta(days=367)}, "within a year"),
        ({"note": "x" * 2001}, "2,000 are possible"),
        ({"reference": "a\x00b"}, "cannot be used"),
    ],
)
def test_what_cannot_be_a_hold_is_a_sentence(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        place(**more)
    assert requests.rows("select count(*) from privacy.legal_hold") == [(0,)]


@pytest.mark.parametrize("name", [name for name in ROLES if ROLES[name] != "privacy_officer"])
def test_other_roles_hold_and_see_nothing(name: str) -> None:
    number = place()
    with pytest.raises(Refused):
        place(name)
    with pytest.raises(Refused):
        release(number, name)
    assert standing(by=name) == []
    with pytest.raises(Refused):
        requests.act("person_to_hold", name, email=email_of("cleo"))
    with db.transaction(staff_id=id_of(name)) as session:
        assert session.execute(text("select * from privacy.person_to_hold(:e)"), {"e": email_of("cleo")}).all() == []
        assert session.execute(text("select * from privacy.held_persons()")).all() == []


def test_placing_and_releasing_need_a_fresh_proof_of_who_acts() -> None:
    number = place()
    late = requests.staff("omar", now=NOW - timedelta(minutes=5, seconds=1))
    with pytest.raises(NotFresh):
        requests.act("place_hold", late, **given())
    with pytest.raises(NotFresh):
        requests.act("release_hold", late, hold_id=hold_id(number), confirmation=number, reason="claim settled")
    requests.act("review_hold", late, hold_id=hold_id(number), review_on=SOON + timedelta(days=30))


@pytest.mark.parametrize(
    ("more", "sentence"), [({"confirmation": "yes"}, "Type H-"), ({"reason": "no"}, "Choose a reason")]
)
def test_a_release_is_confirmed_and_reasoned(more: dict[str, Any], sentence: str) -> None:
    number = place()
    with pytest.raises(BadInput, match=sentence):
        release(number, **more)
    assert standing() == [number]


def test_a_released_hold_does_not_change() -> None:
    number = place()
    release(number)
    with pytest.raises(BadInput, match="released already"):
        release(number, "olga")
    with pytest.raises(BadInput, match="released already"):
        requests.act("review_hold", "omar", hold_id=hold_id(number), review_on=SOON)
    with pytest.raises(NotFound):
        requests.act("review_hold", "omar", hold_id=uuid.uuid4(), review_on=SOON)


def test_a_review_takes_a_hold_over() -> None:
    number, later = place(), SOON + timedelta(days=60)
    for _ in range(2):
        requests.act("review_hold", "olga", hold_id=hold_id(number), review_on=later)
    [hold] = page().rows
    assert (hold.review_on, hold.owner) == (later, "Olga")
    assert requests.lines(id_of("cleo")) == ["hold placed", "hold reviewed"]


def test_nobody_holds_or_releases_their_own_record(owner: Connection) -> None:
    number = place()
    owner.execute(
        text("update platform.student set email = :omar where id = :cleo"),
        {"omar": email_of("omar"), "cleo": id_of("cleo")},
    )
    owner.commit()
    for verb in (place, lambda: release(number)):
        with pytest.raises(Refused, match="your own record"):
            verb()
    release(number, "olga")


# The database alone: the same is refused with bare SQL as the app role.

INSERT = text("insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by)"
              " values (gen_random_uuid(), gen_random_uuid(), :who, 'tax audit', :owner, :day, :now, :by)")  # fmt: skip
RELEASE = text("update privacy.legal_hold set released_at = :now, released_by = :by, release_reason = 'claim settled'")


def bare(name: str, statement: Any, *, minutes: int = 0, **values: Any) -> int:
    who = requests.staff(name, now=NOW - timedelta(minutes=minutes))
    asked = {"who": id_of("cleo"), "owner": id_of("omar"), "day": SOON, "now": NOW, "by": who.id} | values
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return int(session.execute(statement, asked).rowcount)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "more"),
    [(name, {}) for name in ROLES if ROLES[name] != "privacy_officer"]
    + [("omar", {"minutes": 6}), ("omar", {"by": id_of("olga")})],
)
def test_bare_sql_places_no_hold_that_a_verb_would_refuse(name: str, more: dict[str, Any]) -> None:
    with pytest.raises(DBAPIError):
        bare(name, INSERT, **more)
    assert bare("omar", INSERT) == 1


def test_bare_sql_releases_nothing_that_a_verb_would_refuse() -> None:
    number = place()
    for name in ("paula", "ines", "ada", "aiko"):
        assert bare(name, RELEASE) == 0
    for more in ({"minutes": 6}, {"by": id_of("olga")}):
        with pytest.raises(DBAPIError):
            bare("omar", RELEASE, **more)
    for column in ("scope_table = 'x'", "basis = 'tax audit'", "student_id = null", "placed_at = now()"):
        with pytest.raises(DBAPIError, match="permission denied"):
            bare("omar", text(f"update privacy.legal_hold set {column}"))
    with pytest.raises(DBAPIError, match="in the name of"):
        bare("omar", text("update privacy.legal_hold set review_on = :day"), day=date(2027, 1, 1))
    assert standing() == [number]
    assert bare("omar", RELEASE) == 1
    with pytest.raises(DBAPIError, match="does not change"):
        bare(
            "omar", text("update privacy.legal_hold set released_at = null, released_by = null, release_reason = null")
        )


def test_the_worker_neither_lifts_a_hold_nor_forgets_a_fresh_one() -> None:
    place()
    for statement in ("update privacy.legal_hold set released_at = now(), released_by = placed_by, release_reason = 'order lifted'",
                      "update privacy.legal_hold set student_id = null", "delete from privacy.legal_hold"):  # fmt: skip
        with pytest.raises(DBAPIError), db.transaction("worker") as session:
            session.execute(text(statement))


def test_holds_are_counted_and_paged(owner: Connection) -> None:
    row = {"who": id_of("cleo"), "by": id_of("omar"), "now": NOW, "day": NOW.date()}
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by)"
                       " select gen_random_uuid(), gen_random_uuid(), :who, 'tax audit', :by, cast(:day as date) + n - 3, :now, :by"
                       " from generate_series(0, 59) n"), row)  # fmt: skip
    owner.commit()
    with db.transaction(staff_id=id_of("omar")) as session:
        counts = queries.hold_counts(session, now=NOW)
        first = queries.hold_page(session, standing=True)
        rest = queries.hold_page(session, standing=True, after=first.after)
    assert (counts.standing, counts.overdue, counts.released) == (60, 3, 0)
    assert (len(first.rows), len(rest.rows), rest.after) == (50, 10, None)
    days = [hold.review_on for hold in (*first.rows, *rest.rows)]
    assert days == sorted(days) and len({hold.id for hold in (*first.rows, *rest.rows)}) == 60


def test_a_guarded_verb_is_closed_while_the_audit_is_broken() -> None:
    assert {verb.__name__ for verb in (privacy_actions.place_hold, privacy_actions.release_hold, privacy_actions.confirm_manual_step)
            if getattr(verb, "guarded", False)} == {"place_hold", "release_hold", "confirm_manual_step"}  # fmt: skip


def records(by: str, table: str, **about: object) -> list[uuid.UUID]:
    about = about or {"student_id": id_of("asha")}
    return [each.id for each in requests.act("records_to_hold", by, table=table, **about)]


def test_records_to_hold_are_those_of_one_person_newest_first_and_the_view_is_recorded() -> None:
    for table, record in (
        ("platform.submission", "asha submission"),
        ("platform.student", "asha"),
        ("privacy.request", "asha request"),
    ):
        assert records("omar", table) == [id_of(record)], table
    assert set(requests.lines(id_of("asha"))) == {"person viewed"}
    assert len(records("omar", "platform.usage_event")) >= 1
    assert records("omar", "platform.visitor", visitor_id=id_of("vera")) == [id_of("vera")]
    for table in ("staff.staff_member", "platform.program", "privacy.audit_event"):
        with pytest.raises(BadInput, match="Choose one of the tables"):
            records("omar", table)


def test_every_table_that_can_be_held_lists_its_records() -> None:
    for kind, about in (("student", {"student_id": id_of("asha")}), ("visitor", {"visitor_id": id_of("vera")})):
        for table in queries.holdable_tables(kind):
            records("omar", table, **about)


@pytest.mark.parametrize("name", [name for name in ROLES if ROLES[name] != "privacy_officer"])
def test_nobody_else_lists_records_not_even_with_bare_sql(name: str) -> None:
    with pytest.raises(Refused):
        records(name, "platform.submission")
    with db.transaction(staff_id=id_of(name)) as session:
        asked = {
            "ways": ways_json([each for each in fates("student") if each.table == "platform.submission"]),
            "who": id_of("asha"),
        }
        found = text("select * from privacy.records_of(cast(:ways as jsonb), :who, null, 10)")
        assert session.execute(found, asked).all() == []
