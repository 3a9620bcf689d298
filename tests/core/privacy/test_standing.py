"""Restrictions, objections and opt-outs: in force at once, for every record of the person, whatever is imported afterwards."""

import csv
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, keys
from core.errors import BadInput, Refused
from core.importers.spreadsheets import import_sheet
from core.privacy import propagating, standing
from tests.cast import NOW, ROLES, email_of, id_of, snapshot
from tests.core.privacy.house_of_requests import DAY, act, file, lines, on, rows, staff, verified

pytestmark = pytest.mark.usefixtures("house")
VISITORS = ("vera", "viktor")
LATER = NOW + DAY


def whose(name: str) -> dict[str, uuid.UUID]:
    return {"visitor_id" if name in VISITORS else "student_id": id_of(name)}


def restrict(name: str = "cleo", *, basis: str = "asked", by: str | None = "omar", **more: Any) -> uuid.UUID:
    who = staff(by) if by else None
    with db.transaction("app" if by else "worker") as session:
        return standing.restrict(session, **whose(name), basis=basis, by=who, now=NOW, **more)


def lift(name: str = "cleo", *, basis: str = "asked", by: str | None = "omar", **more: Any) -> bool:
    who = staff(by) if by else None
    with db.transaction("app" if by else "worker") as session:
        return standing.lift_restriction(session, **whose(name), basis=basis, by=who, now=LATER, **more)


def says(function: str, name: str) -> bool:
    with db.transaction(staff_id=id_of("paula")) as session:
        return bool(session.scalar(text(f"select privacy.{function}(:id)"), {"id": id_of(name)}))


def history(table: str, name: str) -> list[tuple[str, str | None]]:
    """Basis and how it ended, oldest first."""
    column = next(iter(whose(name)))
    return rows(
        f"select basis, end_reason from privacy.{table} where {column} = :id order by since, id", id=id_of(name)
    )


def planned(request_id: uuid.UUID) -> set[tuple[str, str, str]]:
    return set(rows("select what, processor, state from privacy.propagation where request_id = :id", id=request_id))


def carry_out(request_id: uuid.UUID) -> None:
    """As the worker does it: what no connection can becomes a manual step."""
    with db.transaction("worker") as session:
        for (step,) in rows("select id from privacy.propagation where request_id = :id", id=request_id):
            propagating.pass_on(session, propagation_id=step, now=NOW)


def tell_of_the_end(restriction: uuid.UUID) -> None:
    """As if the letter about the end had been sent."""
    with db.transaction("worker") as session:
        session.execute(text(
            "insert into privacy.outbox (id, dedupe_key, kind, template_version, subject, body, state, not_before, written_at, sent_at)"
            " values (gen_random_uuid(), :key, 'restriction ends', 0, 'x', 'x', 'sent', :now, :now, :now)"),
            {"key": f"{restriction} restriction ends", "now": NOW})  # fmt: skip


def test_a_restriction_holds_at_once_and_twice_is_once() -> None:
    first = restrict()
    assert restrict() == first
    assert says("is_restricted", "cleo")
    assert not says("is_restricted", "ben")
    assert lines(id_of("cleo")) == ["person restricted"]


def test_each_basis_stands_for_itself() -> None:
    restrict(basis="consent missing", by=None)
    asked = restrict()
    assert lift(basis="consent missing", by=None)
    assert says("is_restricted", "cleo")
    tell_of_the_end(asked)
    assert lift()
    assert not says("is_restricted", "cleo")
    assert set(history("restriction", "cleo")) == {
        ("consent missing", "rule does not hold any more"),
        ("asked", "lifted"),
    }
    assert not lift()
    restrict()
    assert says("is_restricted", "cleo")


def test_whoever_asked_is_told_before_their_restriction_ends() -> None:
    made = restrict()
    for by in ("omar", None):
        with pytest.raises(Refused, match="told before"):
            lift(by=by)
    assert says("is_restricted", "cleo")
    tell_of_the_end(made)
    assert lift()


def test_wrong_bases_and_persons_are_refused() -> None:
    with pytest.raises(BadInput, match="no reason"):
        restrict(basis="because")
    for person in ({}, {"student_id": id_of("cleo"), "visitor_id": id_of("vera")}):
        with pytest.raises(BadInput, match="one person"), db.transaction("worker") as session:
            standing.restrict(session, **person, basis="asked", by=None, now=NOW)
    restrict()
    with pytest.raises(BadInput, match="its end"):
        lift(reason="whim")
    with pytest.raises(Refused, match="own refusal or withdrawal"):
        lift(reason="refused")


@pytest.mark.parametrize("name", [name for name in ROLES if name != "omar"])
def test_other_roles_decide_nothing_with_or_without_the_guard(name: str) -> None:
    made = restrict()
    with pytest.raises(Refused, match="Privacy officers decide"):
        restrict("ben", by=name)
    for table in ("restriction", "objection", "opt_out"):
        with db.transaction(staff_id=id_of(name)) as session:
            assert session.execute(text(f"select id from privacy.{table}")).all() == []
            done = session.execute(text(f"update privacy.{table} set until = now(), end_reason = 'lifted'"))
            assert done.rowcount == 0  # type: ignore[attr-defined]
        with pytest.raises(DBAPIError, match="permission denied"), db.transaction(staff_id=id_of(name)) as session:
            session.execute(text(f"delete from privacy.{table}"))
    assert rows("select until from privacy.restriction where id = :id", id=made) == [(None,)]


def test_an_officer_decides_in_their_own_name_never_about_themselves_and_changes_nothing_afterwards(
    owner: Connection,
) -> None:
    made = restrict()
    owner.execute(
        text("update platform.student set email = :e where id = :id"), {"e": email_of("olga"), "id": id_of("ben")}
    )
    owner.commit()
    with pytest.raises(Refused, match="your own record"):
        restrict("ben", by="olga")
    bare = "insert into privacy.restriction (id, student_id, basis, since, made_by) values (gen_random_uuid(), :who, 'asked', now(), :me)"
    with pytest.raises(DBAPIError, match="own name"), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(text(bare), {"who": id_of("cleo"), "me": id_of("olga")})
    for change in ("until = now(), end_reason = 'rule does not hold any more', ended_by = :olga",
                   "until = now(), end_reason = 'withdrawn', ended_by = :omar", "end_reason = 'lifted'"):  # fmt: skip
        with pytest.raises(DBAPIError), db.transaction(staff_id=id_of("omar")) as session:
            session.execute(
                text(f"update privacy.restriction set {change}"), {"olga": id_of("olga"), "omar": id_of("omar")}
            )
    for column in ("since = now()", "basis = 'consent missing'", "student_id = null", "email_hash = 'x'"):
        with pytest.raises(DBAPIError, match="permission denied"), db.transaction(staff_id=id_of("omar")) as session:
            session.execute(text(f"update privacy.restriction set {column}"))
    assert rows("select basis, until from privacy.restriction where id = :id", id=made) == [("asked", None)]


@pytest.mark.parametrize("kind", ["opt_out", "object"])
@pytest.mark.parametrize("name", ["cleo", "vera"])
def test_an_opt_out_and_an_objection_hold_from_their_filing_on(kind: str, name: str) -> None:
    """Whoever files it: they harm nobody, and waiting for an officer would be no right."""
    filed = file(kind, by="paula", **whose(name))
    opted = "has_opted_out" if name == "cleo" else "has_opted_out_visitor"
    assert says(opted, name)
    assert history("opt_out", name) == [("objection" if kind == "object" else "asked", None)]
    assert history("objection", name) == ([("asked", None)] if kind == "object" else [])
    off = {("marketing off", "MongoDB Atlas", "planned"), ("marketing off", "SMTP", "planned")}
    assert planned(filed.request_id) == off | ({("object", "MongoDB Atlas", "planned")} if kind == "object" else set())
    file(kind, by="paula", **whose(name))  # again while it is open
    assert len(history("opt_out", name)) == 1
    assert not says("has_opted_out", "ben")


def test_whoever_is_found_later_is_left_alone_from_then_on() -> None:
    filed = file("opt_out", email="nobody@nowhere.example")
    assert rows("select id from privacy.opt_out") == []
    act("link_subject", "omar", email=email_of("cleo"), **on(filed))
    assert says("has_opted_out", "cleo")


@pytest.mark.parametrize(
    ("reason", "left"),
    [("identity not confirmed", []), ("compelling grounds", [("objection", None)])],
)
def test_a_refused_objection_ends_but_never_for_marketing_on_compelling_grounds(reason: str, left: list[Any]) -> None:
    filed = verified("object")
    with db.transaction("worker") as session:  # the platform was told already
        session.execute(
            text(
                "update privacy.propagation set state = 'done', done_at = :now, proof = 'answered' where what = 'object'"
            ),
            {"now": NOW},
        )
    act("refuse_request", "omar", now=LATER, reason=reason, words="Because.", **on(filed))
    assert not says("has_objected", "cleo")
    assert [each for each in history("opt_out", "cleo") if each[1] is None] == left
    assert says("has_opted_out", "cleo") is bool(left)
    steps = planned(filed.request_id)
    assert ("objection ended", "MongoDB Atlas", "planned") in steps
    assert {state for what, _, state in steps if what == "marketing off"} == ({"planned"} if left else {"canceled"})


def test_a_withdrawn_opt_out_ends_and_an_answered_one_stands() -> None:
    first, second = file("opt_out"), file("opt_out", **whose("vera"))
    carry_out(first.request_id)
    act("withdraw_request", "omar", now=LATER, reason="by the person", **on(first))
    assert history("opt_out", "cleo") == [("asked", "withdrawn")]
    assert {each[2] for each in planned(first.request_id)} == {"canceled"}
    assert {each[0] for each in rows("select state from privacy.manual_step")} == {"canceled"}
    act("answer_request", "omar", outcome="done by hand", evidence="Ticket 7.", **on(second))
    assert says("has_opted_out_visitor", "vera")


def test_what_stands_follows_the_person_to_their_forms_and_their_next_address(owner: Connection) -> None:
    """A form left with the student's address is theirs; with another address it stops being theirs, the wish does not."""
    same = {"hash": keys.person_hashes()(email_of("cleo"), "")[0], "id": id_of("vera")}
    owner.execute(text("update platform.visitor set email_hash = :hash where id = :id"), same)
    owner.commit()
    restrict()
    assert says("is_restricted_visitor", "vera")
    with db.transaction("worker") as session:  # the student changed it on the platform, and a sync brings it
        new = {"e": "cleo@new.example", "hash": keys.person_hashes()("cleo@new.example", "")[0], "id": id_of("cleo")}
        session.execute(text("update platform.student set email = :e, email_hash = :hash where id = :id"), new)
    assert says("is_restricted", "cleo")
    assert not says("is_restricted_visitor", "vera")


def test_everything_survives_a_re_import(tmp_path: Path, owner: Connection) -> None:
    before = snapshot(owner, "ben")
    owner.commit()
    file("opt_out")
    file("object")
    restrict()
    sheet = tmp_path / "students.csv"
    with sheet.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["email", "name", "phone", "level"])
        writer.writerow([email_of("cleo"), "Cleo Changed", "+49 123", "advanced"])
    with db.transaction("worker") as session:
        report = import_sheet(session, sheet, now=LATER)
    assert (report.changed, report.problems) == (1, 0)
    with db.transaction("worker") as session:  # a sync that knows of no opt-out
        session.execute(
            text("update platform.student_profile set opted_out_at = null where student_id = :id"),
            {"id": id_of("cleo")},
        )
        session.execute(text("delete from platform.student_profile where student_id = :id"), {"id": id_of("cleo")})
        session.execute(text("insert into platform.student_profile (student_id) values (:id)"), {"id": id_of("cleo")})
    assert all(says(each, "cleo") for each in ("is_restricted", "has_opted_out", "has_objected"))
    kept = "select opted_out_at is not null from platform.student_profile where student_id = :id"
    assert rows(kept, id=id_of("cleo")) == [(True,)]
    assert snapshot(owner, "ben") == before


LETTER = (
    "insert into privacy.outbox (id, dedupe_key, {column}, kind, template_version, address, subject, body, not_before, written_at)"
    " values (gen_random_uuid(), :key, :id, :kind, 0, 'x@example.org', 's', 'b', :now, :now)"
)


def letter(name: str, kind: str) -> None:
    with db.transaction("worker") as session:
        session.execute(text(LETTER.format(column=next(iter(whose(name))))),
                        {"key": f"{name} {kind}", "id": id_of(name), "kind": kind, "now": NOW})  # fmt: skip


@pytest.mark.parametrize("name", ["cleo", "vera"])
def test_the_outbox_refuses_marketing_and_lets_letters_about_rights_through(name: str) -> None:
    letter(name, "newsletter")
    letter("ben", "newsletter")
    file("opt_out", **whose(name))
    state = "select kind, state, address from privacy.outbox where dedupe_key = :key"
    assert rows(state, key=f"{name} newsletter") == [("newsletter", "canceled", None)]
    assert rows(state, key="ben newsletter") == [("newsletter", "waiting", "x@example.org")]
    for kind in standing.MARKETING:
        with pytest.raises(DBAPIError, match="wants no marketing"):
            letter(name, f"{kind}")
    letter(name, "acknowledgement")
    with pytest.raises(DBAPIError, match="wants no marketing"), db.transaction("worker") as session:
        session.execute(
            text("update privacy.outbox set state = 'waiting' where dedupe_key = :key"), {"key": f"{name} newsletter"}
        )


def test_python_and_database_agree_what_marketing_is() -> None:
    known = [
        *standing.MARKETING,
        "acknowledgement",
        "answer",
        "completion",
        "closing",
        "reminder",
        "restriction ends",
        "policy change",
    ]
    assert [kind for kind in known if rows("select privacy.is_marketing(:k)", k=kind) == [(True,)]] == list(
        standing.MARKETING
    )


def test_what_is_on_its_way_is_told_as_it_went_and_nothing_else_leaves() -> None:
    letter("cleo", "newsletter")
    with db.transaction("worker") as session:
        session.execute(
            text("update privacy.outbox set state = 'sending', claim = gen_random_uuid() where kind = 'newsletter'")
        )
    file("opt_out")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.outbox set state = 'sent', sent_at = :now, address = null, claim = null"
                             " where kind = 'newsletter'"), {"now": LATER})  # fmt: skip
    assert rows("select state from privacy.outbox where kind = 'newsletter'") == [("sent",)]


def test_an_imported_history_stands_and_passes_nothing_on() -> None:
    made = {}
    for kind in ("restrict", "object", "opt_out"):
        made[kind] = uuid.uuid4()
        with db.transaction("worker") as session:
            session.execute(text(
                "insert into privacy.request (id, kind, student_id, state, received_at, due_at, answered_at, closed_at, source)"
                " values (:id, :kind, :who, 'answered', :at, :at, :at, :at, 'seed')"),
                {"id": made[kind], "kind": kind, "who": id_of("cleo"), "at": NOW - timedelta(days=90)})  # fmt: skip
    assert all(says(each, "cleo") for each in ("is_restricted", "has_opted_out", "has_objected"))
    assert not any(planned(each) for each in made.values())


def test_a_restriction_that_was_asked_for_is_passed_on_to_everybody_who_holds_something() -> None:
    filed = file("restrict")
    restrict(request_id=filed.request_id)
    told = {str(each) for each in standing.receivers("student")}
    assert told >= {"MongoDB Atlas", "SMTP", "Cloudinary", "payment gateway"}
    assert planned(filed.request_id) == {("restrict", each, "planned") for each in told}
    assert {str(each) for each in standing.receivers("visitor")} < told
