"""Everything about a person in one round trip; what is large streams, and both ways say the same."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from core import db
from core.cells import as_json
from core.privacy import export_page, export_rows, exports
from core.processors import registry
from core.processors.local import known, roots_of
from core.processors.protocol import Exported, Person
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_exports import content, data, export, ready, table, unzipped, work
from tests.core.privacy.house_of_requests import act, on, rows, verified
from tests.core.privacy.test_export_hostile import ADDED

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the worker asks of the database."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        asked.append(statement)

    def note_together(session: Session, *every: db.Asked) -> list[list[Any]]:
        asked.append(
            "; ".join(each.statement.decode() for each in every)
        )  # goes to the driver itself, in one round trip
        return together(session, *every)

    together = db.together
    monkeypatch.setattr(db, "together", note_together)
    event.listen(db.engine("worker"), "before_cursor_execute", note)
    yield asked
    event.remove(db.engine("worker"), "before_cursor_execute", note)


def test_an_ordinary_person_is_read_by_one_statement_whatever_the_number_of_tables(statements: list[str]) -> None:
    filed = verified("export", student_id=id_of("asha"))
    with db.transaction("worker") as session:
        statements.clear()
        exports.go_on(session, request_id=filed.request_id, now=NOW)
        asked = list(statements)
    assert export(filed)["state"] == "ready"
    assert len([each for each in asked if "json_agg" in each and "UNION ALL" in each]) == 1
    assert len(asked) == 4, (
        "it is begun, everything is read, names are looked up, the file is kept: each is a round trip"
    )


def test_what_is_streamed_is_what_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with db.transaction("worker") as session:
        session.execute(text(ADDED), {"names": ["Ann", "Bea", "Cat", "Dan", "Eve"], "asha": id_of("asha")})
    filed = ready("access", student_id=id_of("asha"))
    whole = unzipped(content(filed))
    monkeypatch.setattr(export_rows, "AT_ONCE", 1)
    export_rows._statement.cache_clear()
    try:
        with db.snapshot() as reader:
            person = known(reader, Person("student", id_of("asha")))
            gathered = export_rows.gather(reader, person, roots_of(person))
        assert gathered.large
        assert gathered.counts["platform.visitor"] == 5
        assert all(len(held) == 1 for held in gathered.small.values())
        with db.transaction("worker") as session:
            session.execute(text("update privacy.export set state = 'to build', rows = '{}'"))
        work()
    finally:
        export_rows._statement.cache_clear()
    streamed = unzipped(content(filed))
    assert set(streamed) - {"csv/artifact.csv"} == set(whole), "the first file itself is on record by now"
    for name in whole:
        if name.startswith("csv/"):
            assert streamed[name] == whole[name], name
    told = data(streamed)["data"]
    del told["artifact"]
    assert told == data(whole)["data"]


@pytest.mark.parametrize(
    ("python", "as_written", "value"),
    [
        (datetime, "2026-11-24T12:00:00+00:00", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        (datetime, "2026-11-24T12:00:00.5+00:00", datetime(2026, 11, 24, 12, 0, 0, 500000, tzinfo=UTC)),
        (datetime, "2026-11-24T12:00:00+05:30", datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=5.5)))),
        (Decimal, 85.0, Decimal("85.00")),
        (Decimal, 85.25, Decimal("85.25")),
        (float, 85, 85.0),
        (bytes, "\\x00ff", b"\x00\xff"),
    ],
)
def test_what_the_database_writes_leaves_as_what_its_driver_reads(
    python: type, as_written: object, value: object
) -> None:
    left = export_rows._READERS[python](as_written)
    assert (left, type(left)) == (as_json(value), type(as_json(value)))
    if isinstance(value, datetime):
        assert export_page.told(str(left)) == export_page.moment(value)
        assert export_page.told(str(left)[:10]) == export_page.moment(value.astimezone(UTC).date())


class Payments:
    """A processor that keeps sentences."""

    name, remote, payload, capabilities = "Payments", True, (), frozenset()  # type: ignore[var-annotated]

    def export(self, _session: object, _person: Person, *, now: object) -> Exported:
        """Charges, and a note that nobody mapped."""
        charge = {
            "description": "paid by Jonas for the course",
            "currency": "eur",
            "id": "ch_1",
            "when": "2026-11-24 10:00:00",
        }
        return Exported(
            {"charges": (charge, {"description": None, "notes": [{"by": "mail jonas.k@example.org"}, "fine"]})}
        )


def test_what_a_processor_wrote_is_judged_before_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_makers", {"Payments": Payments})
    monkeypatch.setattr(registry, "third_parties", lambda *_: ("Payments",))
    monkeypatch.setattr("core.privacy.exports.third_parties", lambda *_: ("Payments",))
    filed = verified("export", student_id=id_of("asha"))
    work()
    listed = rows("select id, place, field, found from privacy.export_text where place like 'Payments%' order by field")
    assert [each[1:3] for each in listed] == [("Payments: charges", "description"), ("Payments: charges", "notes by")]
    assert [each[3]["words"] for each in listed] == [["Jonas"], ["jonas.k@example.org"]]
    assert rows("select 1 from privacy.artifact") == [], "nothing is made before somebody has looked"
    for one, decision, words in ((listed[0], "redact", ["Jonas"]), (listed[1], "leave out", [])):
        act("judge_export_text", "omar", text_id=one[0], decision=decision, words=words)
    act("judge_export_texts", "omar", request_id=filed.request_id, decision="hand out")
    work()
    files = unzipped(content(filed))
    [charge, other] = data(files)["processors"]["Payments"]["charges"]
    assert charge == {
        "description": "paid by [name removed] for the course",
        "currency": "eur",
        "id": "ch_1",
        "when": "2026-11-24 10:00:00",
    }
    assert other["notes"] == [{"by": "[left out: it is about somebody else]"}, "fine"]
    assert "[name removed]" in table(files["csv/payments_charges.csv"])[0]["description"]
    assert b"Jonas" not in b"".join(files.values())
    assert b"jonas.k@" not in b"".join(files.values())
    assert on(filed)
