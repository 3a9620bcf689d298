"""Access and export from the identity check to the answer: whole, once, to the right hands, and never half."""

import hashlib
import io
import json
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
import pyzipper  # type: ignore[import-untyped]
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions, queries
from core.cells import as_json
from core.errors import BadInput, NotFound, NotFresh, Refused
from core.models.base import Base
from core.models.data_map import data_map
from core.models.labels import Category, ColumnLabel, Erasure
from core.models.shown import shown_tables
from core.models.ways import fates
from core.policy.processing_record import processing_record
from core.policy.versions import in_force
from core.privacy import export_build, export_rows, exports
from core.privacy_actions import HandedOut, Staff
from core.processors import registry
from core.processors.local import NAME, condition, known, roots_of
from core.processors.protocol import Capability, Exported, Person
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_exports import content, data, export, ready, table, unzipped, work
from tests.core.privacy.house_of_requests import act, file, lines, no_file, on, row, rows, staff, verified

pytestmark = pytest.mark.usefixtures("house")

DAY = timedelta(days=1)


def hand_out(by: Staff, filed: Any, how: str = "handed over in person", *, now: Any = NOW) -> HandedOut:
    made: HandedOut = act("hand_out_export", by, now=now, request_id=filed.request_id, how=how)
    return made


def fetched(by: Staff, made: HandedOut, *, now: Any = NOW) -> bytes | None:
    """What the one-time route sends to this session."""
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        opened = privacy_actions.open_file(session, token=made.secret, now=now)
        if opened is None:
            return None
        assert opened.artifact is not None
        kept = opened.artifact
        parts = [privacy_actions.file_part(session, opened=kept, number=n) for n in range(kept.parts)]
    return b"".join(privacy_actions.sealed(parts, password=opened.password) if opened.password else parts)


def read(name: str, filed: Any, *, now: Any = NOW) -> Any:
    with db.transaction(staff_id=id_of(name)) as session:
        return queries.request_page(session, filed.request_id, now=now)


# The way


def test_from_the_identity_check_to_the_answer() -> None:
    filed, omar = file("access"), staff("omar")
    assert work() == [], "nothing is made before the identity is confirmed"
    act("record_identity", omar, method="known in person", confirmed=True, **on(filed))
    assert read("omar", filed).row.next.code == "wait for the file"
    work()
    page = read("omar", filed)
    assert (page.export.stage, page.row.next.code, page.row.next.mine) == ("ready", "hand_out_export", True)
    assert page.export.total == sum(export(filed)["rows"].values()) > 5
    with pytest.raises(BadInput, match="fetch it first"):
        act("answer_export", omar, **on(filed))
    made = hand_out(omar, filed)
    assert read("omar", filed).export.stage == "linked"
    with pytest.raises(BadInput, match="fetch it first"):
        act("answer_export", omar, **on(filed))
    assert fetched(omar, made) == content(filed)
    assert read("omar", filed).row.next.code == "answer_export"
    where = on(filed)
    assert act("answer_export", omar, note="At the desk.", **where).state == "answered"
    assert act("answer_export", omar, note="At the desk.", **where).again
    request = row(filed.request_id)
    assert (request["outcome"], request["answered_at"]) == ("handed over in person", NOW)
    [letter] = rows(
        "select kind, body from privacy.outbox where request_id = :id and kind = 'export'", id=filed.request_id
    )
    assert "we give it to you in person" in letter[1]
    assert lines(filed.request_id)[-3:] == ["export built", "export handed out", "request answered"]
    assert work(now=NOW + DAY) == [], "there is nothing left to do"


@pytest.mark.parametrize("kind", ["access", "export"])
def test_the_database_refuses_an_answer_without_a_file(kind: str) -> None:
    filed, omar = ready(kind), staff("omar")
    move = "update privacy.request set state = 'answered', moved_at = :now, closed_at = :now where id = :id"
    for role, who in (("app", omar), ("worker", None)):
        with (
            pytest.raises(DBAPIError, match=r"handed out before|does not go from"),
            db.transaction(
                role, staff_id=who.id if who else None, session_id=who.session_id if who else None
            ) as session,
        ):
            session.execute(text(move), {"now": NOW, "id": filed.request_id})
    with pytest.raises(BadInput, match="hand it out"):
        act("answer_request", omar, outcome="sent by hand", evidence="x", **on(filed))


def test_nobody_else_sees_or_hands_out_a_file() -> None:
    filed = ready()
    for name in ("paula", "ines", "ada", "aiko"):
        with pytest.raises(Refused):
            hand_out(staff(name), filed)
        with db.transaction(staff_id=id_of(name)) as session:
            for function in ("hand_out_export(:id, 'sent encrypted', :now)", "remake_export(:id, :now)"):
                with pytest.raises(DBAPIError, match="does not open"), session.begin_nested():
                    session.execute(text(f"select privacy.{function}"), {"id": filed.request_id, "now": NOW})
    old = staff("omar", now=NOW - timedelta(minutes=6))
    with pytest.raises(NotFresh):
        hand_out(old, filed)
    assert export(filed)["handed_at"] is None


def test_an_officer_does_not_hand_out_their_own_record(owner: Connection) -> None:
    owner.execute(
        text("update platform.student set email = :mine where id = :cleo"),
        {"mine": email_of("omar"), "cleo": id_of("cleo")},
    )
    owner.commit()
    filed = file()
    filed = verified("export", by="olga")
    work()
    for verb, more in (("hand_out_export", {"how": "sent encrypted"}), ("remake_export", {})):
        with pytest.raises(Refused, match="own record"):
            act(verb, "omar", request_id=filed.request_id, **more)


# What leaves, and how


def test_a_file_that_travels_opens_with_its_password_only_and_tells_nothing_by_its_names() -> None:
    filed, omar = ready(), staff("omar")
    made = hand_out(omar, filed, "sent encrypted")
    assert made.password is not None
    assert len(made.password.replace("-", "")) == 25
    zipped = fetched(omar, made)
    assert zipped is not None
    with pyzipper.AESZipFile(io.BytesIO(zipped)) as archive:
        assert archive.namelist() == ["export.zip"]
        assert archive.getinfo("export.zip").wz_aes_strength == 3, "256 bits"
        with pytest.raises(RuntimeError, match="password"):
            archive.read("export.zip")
        archive.setpassword(b"another one")
        with pytest.raises(RuntimeError, match="password"):
            archive.read("export.zip")
        archive.setpassword(made.password.encode())
        assert archive.read("export.zip") == content(filed)
    stored = rows("select password from staff.file_link")
    assert made.password.encode() not in bytes(stored[0][0])
    assert made.password not in json.dumps(rows("select details from privacy.audit_event"), default=str)


def test_a_link_opens_once_in_its_own_session_and_a_new_one_can_be_made() -> None:
    filed, omar, olga = ready(), staff("omar"), staff("olga")
    made = hand_out(omar, filed)
    assert fetched(olga, made) is None, "another session"
    assert export(filed)["state"] == "ready"
    assert fetched(omar, made, now=NOW + DAY) is None, "after its time"
    assert fetched(omar, made)
    assert fetched(omar, made, now=NOW + timedelta(minutes=2)) is None, "used twice"
    assert fetched(olga, hand_out(olga, filed)), "lost on its way: handed out again"


def test_after_seven_days_the_file_is_gone_and_is_made_anew() -> None:
    filed, omar = ready(), staff("omar")
    made = hand_out(omar, filed)
    late = NOW + timedelta(days=7)
    with pytest.raises(NotFound):
        content(filed, now=late)
    assert read("omar", filed, now=late).export.stage == "expired"
    with pytest.raises(NotFound, match="Make it anew"):
        hand_out(staff("omar", now=late), filed, now=late)
    assert fetched(omar, made, now=late) is None
    old = export(filed)["artifact_id"]
    act("remake_export", "omar", now=late, request_id=filed.request_id)
    work(now=late)
    assert (export(filed)["state"], export(filed)["artifact_id"] != old) == ("ready", True)
    assert rows("select wrapped_key, destroyed_why from privacy.artifact where id = :id", id=old) == [
        (None, "made anew")
    ]


@pytest.mark.parametrize("end", ["refuse_request", "withdraw_request"])
def test_a_file_that_nobody_wants_any_more_is_destroyed(end: str) -> None:
    filed = ready()
    more = {"reason": "manifestly unfounded", "words": "x"} if end == "refuse_request" else {"reason": "by the person"}
    act(end, "omar", **more, **on(filed))
    work()
    assert rows("select destroyed_why from privacy.artifact") == [("not needed any more",)]
    assert rows("select 1 from privacy.artifact_part") == []
    assert work() == []


# What is in it


def held(person: Person) -> dict[str, list[dict[str, Any]]]:
    """What the database holds of the labeled columns, read without the exporter."""
    found: dict[str, list[dict[str, Any]]] = {}
    with db.transaction("worker") as session:
        roots = roots_of(known(session, person))
        for fate in fates(person.kind):
            columns = Base.metadata.tables[fate.table]
            labeled = {c.name: c.info["privacy"] for c in columns.c if c.info["privacy"].export}
            if not labeled:
                continue
            for each in session.execute(columns.select().where(condition(fate, roots))):
                found.setdefault(fate.table, []).append(
                    {labeled[name].export: as_json(each._mapping[name]) for name in labeled}
                )
        of_requests = "select m.* from privacy.{} m join privacy.request r on r.id = m.request_id where {}"
        theirs = " or ".join(f"r.{kind}_id = any(:{kind})" for kind in roots)
        for place in ("request_move", "request_clock"):
            columns = Base.metadata.tables[f"privacy.{place}"].c
            for each in session.execute(text(of_requests.format(place, theirs)), roots):
                told = {c.info["privacy"].export: as_json(each._mapping[c.name]) for c in columns}
                found.setdefault(f"privacy.{place}", []).append({n: v for n, v in told.items() if n})
    return found


STANDS_FOR = {label.export: label.stands_for for t in Base.metadata.tables.values() for c in t.c
              if isinstance(label := c.info.get("privacy"), ColumnLabel) and label.stands_for}  # fmt: skip


@pytest.mark.parametrize(("whom", "person"), [("asha", "student"), ("ben", "student"), ("vera", "visitor")])
def test_the_file_parsed_back_is_the_database_column_by_column(whom: str, person: str) -> None:
    filed = ready("access", **{f"{person}_id": id_of(whom)})
    files = unzipped(content(filed))
    told, expected = data(files)["data"], held(Person(person, id_of(whom)))
    shown = {each.place: each for each in shown_tables(person)}
    expected.pop("privacy.artifact", None)
    assert {shown[place].name for place in expected} == set(told)
    for place, want in expected.items():
        for rows_told, exact in (
            (told[shown[place].name], True),
            (table(files[export_build.csv_name(shown[place].name)]), False),
        ):
            assert len(rows_told) == len(want), place
            for field in want[0]:
                kind = next(each.kind for each in shown[place].fields if each.name == field)
                got = sorted(str(each[field]) for each in rows_told)
                if kind == "value" and exact:
                    assert got == sorted(str(each[field]) for each in want), (place, field)
                elif kind == "somebody":
                    assert set(got) <= {STANDS_FOR[field], "None", ""}, "what they are, never who"
    manifest = json.loads(files["manifest.json"])
    assert {each["what"]: each["rows"] for each in manifest["records"]} == {n: len(r) for n, r in told.items()}
    assert {each["name"] for each in manifest["files"]} == set(files) - {"manifest.json"}
    for each in manifest["files"]:
        assert each["sha256"] == hashlib.sha256(files[each["name"]]).hexdigest()
        assert each["bytes"] == len(files[each["name"]])
    jsonschema.Draft202012Validator.check_schema(json.loads(files["schema.json"]))
    jsonschema.validate(data(files), json.loads(files["schema.json"]))


def test_nobody_elses_data_and_no_name_of_staff_is_in_it() -> None:
    whole = b"\n".join(unzipped(content(ready("access", student_id=id_of("asha")))).values()).decode()
    for stranger in (
        "Ben",
        "Cleo",
        "Ines",
        "Marek",
        "Omar",
        "Olga",
        "ben@",
        "cleo@",
        "ines@",
        str(id_of("ines")),
        str(id_of("ben")),
    ):
        assert stranger not in whole, stranger
    assert "Asha" in whole


def test_a_new_labeled_column_is_in_the_export_the_plan_and_the_record(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import Column, Text

    from core.models.labels import label

    owner.execute(text("alter table platform.student_profile add nickname text"))
    owner.execute(text("update platform.student_profile set nickname = 'Ash'"))
    owner.commit()
    profile = Base.metadata.tables["platform.student_profile"]
    column = Column("nickname", Text, info=label(Category.PROFILE, "nickname"))
    profile.append_column(column)
    try:
        files = unzipped(content(ready("export", student_id=id_of("asha"))))
        [mine] = data(files)["data"]["student profile"]
        assert mine["nickname"] == "Ash"
        assert table(files["csv/student_profile.csv"])[0]["nickname"] == "Ash"
        assert b"nickname" in files["index.html"]
        assert (
            "nickname"
            in json.loads(files["schema.json"])["properties"]["data"]["properties"]["student profile"]["items"][
                "properties"
            ]
        )
        [fate] = [each for each in fates("student") if each.table == "platform.student_profile"]
        assert fate.action is Erasure.ROW, "the plan erases its row"
        with db.transaction("worker") as session:
            record = processing_record(in_force(session, NOW))
        [entry] = [each for each in record if each.category == "profile"]
        assert "nickname" in entry.fields
    finally:
        profile._columns.remove(column)  # type: ignore[attr-defined]


def test_the_record_of_processing_has_every_column_about_people() -> None:
    with db.transaction("worker") as session:
        record = processing_record(in_force(session, NOW))
    fields = {field for entry in record for field in entry.fields}
    for each in data_map():
        if each.category not in (Category.NOBODY, Category.STAFF):
            assert (each.export or each.column.replace("_", " ")) in fields, each
    assert all(entry.purposes and entry.periods for entry in record)
    [learning] = [entry for entry in record if entry.category == "learning"]
    assert "MongoDB Atlas" in learning.recipients
    assert any("30 days" in period for period in learning.periods)
    assert any("90 days" in period for entry in record for period in entry.periods)


def test_access_says_what_for_who_and_how_long_and_export_does_not_need_to() -> None:
    pages = {kind: unzipped(content(ready(kind)))["index.html"].decode() for kind in ("access", "export")}
    assert "Who receives it" in pages["access"]
    assert "to manage your account and enrollments" in pages["access"]
    assert "complain to a data protection authority" in pages["access"]
    assert "Who receives it" not in pages["export"]


def test_somebody_of_whom_nothing_is_left_gets_a_friendly_empty_file(owner: Connection) -> None:
    filed = verified("access", visitor_id=id_of("viktor"))
    owner.execute(text("set session_replication_role = replica"))
    for statement in ("delete from platform.visitor_device", "delete from platform.follow_up", "delete from platform.email_log",
                      "delete from platform.visitor where id = :id", "update privacy.request_text set visitor_id = null",):  # fmt: skip
        owner.execute(text(statement), {"id": id_of("viktor")})
    owner.commit()
    with db.snapshot() as reader, db.transaction("worker") as session:
        person = Person("visitor", uuid.uuid4())
        roots = roots_of(known(session, person))
        gathered = export_rows.gather(reader, person, roots)
        assert gathered.counts == {}
        order = export_build.Order(person, roots, "", "R-1", "access", "2026-04-20", NOW, NOW + DAY, {}, ())
        files = unzipped(b"".join(export_build.chunks(reader, order, gathered, lambda _: None)))
    assert set(files) == {"index.html", "data.json", "schema.json", "manifest.json"}
    assert "nothing about you" in files["index.html"].decode()
    assert data(files)["data"] == {}
    jsonschema.validate(data(files), json.loads(files["schema.json"]))
    assert filed


class Answers:
    """A processor that answers, or does not."""

    capabilities = frozenset(Capability)
    payload: tuple[str, ...] = ()
    remote = True

    def __init__(self, name: str, *, fails: bool) -> None:
        self.name, self.fails = name, fails

    def export(self, _session: object, _person: Person, *, now: object) -> Exported:
        if self.fails:
            raise TimeoutError("a secret stands in this text")
        return Exported({"pictures": ({"file": "=a.png", "bytes": 5},)})


def test_processors_are_asked_and_one_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    makers = {"Cloudinary": lambda: Answers("Cloudinary", fails=False), "SMTP": lambda: Answers("SMTP", fails=True)}
    monkeypatch.setattr(registry, "_makers", makers)
    filed = ready(student_id=id_of("asha"))
    files = unzipped(content(filed))
    told = {each["name"]: each for each in json.loads(files["manifest.json"])["processors"]}
    assert (told["Cloudinary"]["complete"], told["Cloudinary"]["records"]) == (True, 1)
    assert (told["SMTP"]["asked"], told["SMTP"]["complete"], told["SMTP"]["problem"]) == (True, False, "error")
    assert told["MongoDB Atlas"]["asked"] is False
    assert NAME not in told
    assert data(files)["processors"] == {"Cloudinary": {"pictures": [{"file": "=a.png", "bytes": 5}]}}
    assert table(files["csv/cloudinary_pictures.csv"]) == [{"file": "'=a.png", "bytes": "5"}]
    page = files["index.html"].decode()
    assert "It did not answer." in page
    assert "1 record, in this file." in page
    assert "secret stands" not in caplog.text
    assert [each["name"] for each in export(filed)["processors"]] == sorted(told)


# Faults


def test_a_full_disk_keeps_nothing_says_so_and_is_taken_up_again(owner: Connection) -> None:
    owner.execute(
        text("""
        create function privacy.no_space() returns trigger language plpgsql as $$
        begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$""")
    )
    owner.execute(
        text(
            "create trigger no_space before insert on privacy.artifact for each row execute function privacy.no_space()"
        )
    )
    owner.commit()
    filed = verified("export")
    work()
    assert (export(filed)["state"], export(filed)["error"]) == ("failed", "no space")
    assert rows("select 1 from privacy.artifact") == rows("select 1 from privacy.artifact_part") == []
    page = read("omar", filed)
    assert (page.export.stage, page.row.next.code) == ("failed", "remake_export")
    assert work(now=NOW + timedelta(seconds=30)) == [], "not at once again"
    work(now=NOW + timedelta(minutes=2))
    assert export(filed)["attempts"] == 2
    owner.execute(text("drop trigger no_space on privacy.artifact"))
    owner.commit()
    act("remake_export", "omar", now=NOW + timedelta(minutes=3), request_id=filed.request_id)
    work(now=NOW + timedelta(minutes=3))
    assert export(filed)["state"] == "ready"
    assert unzipped(content(filed))


def test_what_could_not_be_made_may_be_answered_by_hand_with_evidence() -> None:
    filed = no_file(verified("access"))
    assert act("answer_request", "omar", outcome="sent by hand", evidence="Letter 5", **on(filed)).state == "answered"


def test_a_request_that_is_closed_while_the_file_is_made_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    filed = verified("export")
    monkeypatch.setattr(registry, "_makers", {"Cloudinary": lambda: Answers("Cloudinary", fails=False)})
    whole = exports.artifacts.keeping

    def closed_meanwhile(session: Any, **more: Any) -> exports.artifacts.Keeping:
        made = whole(session, **more)
        act("withdraw_request", "omar", reason="by the person", **on(filed))
        return made

    monkeypatch.setattr(exports.artifacts, "keeping", closed_meanwhile)
    work()
    assert row(filed.request_id)["state"] == "withdrawn"
    assert rows("select 1 from privacy.artifact") == []


def test_what_is_written_is_compared_with_what_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    filed = verified("export")
    whole = export_rows.gather

    def one_more(*a: Any) -> export_rows.Gathered:
        found = whole(*a)
        return replace(found, counts={place: number + 1 for place, number in found.counts.items()})

    monkeypatch.setattr(export_rows, "gather", one_more)
    work()
    assert export(filed)["state"] == "failed"
    assert rows("select 1 from privacy.artifact") == []
