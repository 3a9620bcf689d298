"""One search, within the rights of whoever asks: straight at the database, with no guard in between."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from core import db, queries
from core.errors import BadInput
from tests.cast import NOW, STAFF, id_of

pytestmark = pytest.mark.usefixtures("house")
ACCOUNTS = {name.title() for name in STAFF}
EVERYTHING = (
    "Asha Example",
    "Ben Example",
    "Cleo Example",
    "Vera",
    "Viktor",
    "Python 26",
    "Cloud 26",
    "Java 26",
    *ACCOUNTS,
)
COHORTS = {"Python 26", "Cloud 26", "Java 26"}
PROGRAMS = {"Python", "Cloud", "Java"}
MAY_FIND: dict[str, set[str]] = {
    "paula": {"Asha Example", "Ben Example", "Cleo Example", "Vera", "Viktor"} | COHORTS | PROGRAMS,
    "ines": {"Asha Example", "Python 26"},  # Java was hers until yesterday: neither Cleo nor the cohort
    "marek": {"Ben Example", "Cloud 26"},
    "omar": {"Asha Example"},  # Ben's request is closed
    "ada": ACCOUNTS | COHORTS | PROGRAMS,
    "aiko": COHORTS | PROGRAMS,
    "dora": set(),
}


def found_by(name: str | None, typed: str) -> list[queries.Hit]:
    with db.transaction(staff_id=id_of(name) if name else None) as session:
        found = queries.search(session, typed)
    return list(found.hits) if found else []


@pytest.mark.parametrize("name", [*MAY_FIND, None])
def test_each_role_finds_its_own_and_nothing_else(name: str | None) -> None:
    texts = {word[:4].strip() for word in EVERYTHING} | {"example", "visitors.example", "students", "@staff", "26"} - {
        "26"
    }
    found = {hit.title for typed in texts for hit in found_by(name, typed)}
    assert found == MAY_FIND.get(name or "", set())


@pytest.mark.parametrize("name", [*MAY_FIND, None])
def test_the_function_itself_proposes_no_more(name: str | None, owner: Connection) -> None:
    """What the function proposes is as narrow as what row-level security then shows."""
    for typed in ("exa", "stu", "sta", "vis", "pyt", "jav", "clo", "e", ""):
        with db.transaction(staff_id=id_of(name) if name else None) as session:
            proposed = session.execute(text("select kind, id from platform.search(:t, 50)"), {"t": typed}).all()
            hits = queries.search(session, typed)
        titles = {
            owner.execute(text(f"select {'title' if row.kind in ('cohort', 'program') else 'name'} from"
                               f" {'staff.staff_member' if row.kind == 'staff' else 'platform.' + row.kind} where id = :id"), {"id": row.id}).scalar_one()
            for row in proposed
        }  # fmt: skip
        assert titles <= MAY_FIND.get(name or "", set()), (name, typed)
        if hits is not None:
            assert {hit.title for hit in hits.hits} <= titles


def test_an_assignment_opens_and_closes_the_search() -> None:
    today = datetime.now(UTC).date()
    for first, last, finds in ((-1, 1, True), (0, 0, True), (-9, -1, False), (1, 9, False)):
        with db.transaction("worker") as session:
            session.execute(text("update staff.assignment set starts_on = :a, ends_on = :b where id = :id"),
                            {"a": today + timedelta(days=first), "b": today + timedelta(days=last), "id": id_of("ines java")})  # fmt: skip
        assert bool(found_by("ines", "cleo")) is finds, (first, last)
        assert bool(found_by("ines", "java")) is finds, (first, last)


def test_a_request_opens_a_visitor_to_officers_and_its_end_closes_them() -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.request (id, kind, visitor_id, state, received_at, due_at, source)"
                             " values (:id, 'access', :v, 'received', :now, :now, 'test')"),
                        {"id": id_of("vera request"), "v": id_of("vera"), "now": NOW})  # fmt: skip
    assert [(hit.title, hit.request_id) for hit in found_by("omar", "ver")] == [("Vera", id_of("vera request"))]
    assert [(hit.title, hit.request_id) for hit in found_by("omar", "ash")] == [("Asha Example", id_of("asha request"))]
    assert [(hit.title, hit.request_id) for hit in found_by("paula", "ver")] == [("Vera", None)]


def test_students_and_visitors_are_told_apart_by_a_masked_contact_or_the_cohort() -> None:
    def details(name: str, typed: str) -> Any:
        return [(hit.kind, hit.title, hit.detail) for hit in found_by(name, typed)]

    assert details("paula", "asha") == [("student", "Asha Example", "a•••••ha@students.example")]
    assert details("paula", "vera") == [("visitor", "Vera", "v•••••ra@visitors.example")]
    assert details("ines", "asha") == [("student", "Asha Example", "Python 26")]
    assert details("paula", "python") == [("cohort", "Python 26", "PYTHON-26"), ("program", "Python", "PYTHON")]
    assert details("ada", "paula") == [("staff", "Paula", "paula@staff.example")]


def test_names_that_begin_with_the_text_come_first_and_the_rest_is_capped() -> None:
    with db.transaction("worker") as session:
        for number, name in enumerate(["Joanna", "Anna B", "Hanna", "anna A", "Susanna", "Annabel", "Dianna"]):
            session.execute(text("insert into platform.visitor (id, name, email, asked_at, email_hash, provider_hash, source)"
                                 " values (:id, :name, :mail, :now, :hash, :hash, 'test')"),
                            {"id": id_of(name), "name": name, "mail": f"v{number}@x.example", "now": NOW, "hash": bytes([number])})  # fmt: skip
    with db.transaction(staff_id=id_of("paula")) as session:
        found = queries.search(session, "ANNA")
    assert found is not None
    assert [hit.title for hit in found.hits] == ["anna A", "Anna B", "Annabel", "Dianna", "Hanna"]
    assert found.more == {"visitor"}


@pytest.mark.parametrize(
    "typed", ["%%%", "___", "a%e", "\\\\\\", "'); drop table platform.student;--", "$1 or", "asha'--"]
)
def test_signs_of_sql_and_like_are_ordinary_characters(typed: str) -> None:
    assert found_by("paula", typed) == []
    assert found_by("paula", "asha")


def test_a_short_text_searches_nothing_and_a_broken_one_is_refused() -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        assert queries.search(session, "as") is None
        assert queries.search(session, "  a ") is None
        for typed in ("as\x00ha", "ash\ud800", "x" * 201):
            with pytest.raises(BadInput):
                queries.search(session, typed)


def test_cohorts_are_found_however_many_there_are() -> None:
    """A common text finds the latest; a rare one is found among old ones, too, by title or by code."""
    many = """insert into platform.cohort (id, program_id, code, title, starts_on, ends_on, source)
        select gen_random_uuid(), :program, :code || n, :title || n, date '2020-01-01' + cast(:days as int) + n, date '2024-01-01' + cast(:days as int) + n, 'test'
        from generate_series(1, :many) n"""
    with db.transaction("worker") as session:
        known = {"program": id_of("java program")}
        session.execute(text(many), known | {"code": "NEW-", "title": "Python evening ", "days": 100, "many": 1_100})
        session.execute(text(many), known | {"code": "OLD-", "title": "Cobol morning ", "days": 0, "many": 20})
    for name in ("paula", "ada", "aiko"):
        found = [hit.title for hit in found_by(name, "python evening")]
        assert found == [f"Python evening {n}" for n in (1_100, 1_099, 1_098, 1_097, 1_096)], name
        assert [hit.title for hit in found_by(name, "morning")] == [f"Cobol morning {n}" for n in (20, 19, 18, 17, 16)]
        assert [hit.title for hit in found_by(name, "old-7")] == ["Cobol morning 7"]
    assert found_by("ines", "cobol") == found_by("ines", "evening") == found_by("dora", "cobol") == []
