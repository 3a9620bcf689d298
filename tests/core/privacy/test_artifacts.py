"""Artifacts come back byte for byte, to those whom they were made for, until they are destroyed; and never half."""

import os
import uuid
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, keys, privacy_actions
from core.errors import NotFound, SettingsError
from core.models.ways import fates
from core.privacy import artifacts, files
from core.privacy_actions import Staff
from core.processors.local import Local
from core.processors.protocol import Order, Person
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import rows, staff

pytestmark = pytest.mark.usefixtures("house")

WEEK = timedelta(days=7)
REQUEST = uuid.uuid5(uuid.NAMESPACE_URL, "request")
SECRET = b"Asha's review comments, all of them. "
BIG = SECRET * (artifacts.PART * 2 // len(SECRET) + 7)


def kept(content: bytes = SECRET, *, chunk: int = 10_000, **more: object) -> uuid.UUID:
    with db.transaction("worker") as session:
        return artifacts.keep(
            session, kind="export", owner_id=REQUEST, name="export.zip", media_type="application/zip",
            chunks=(content[at : at + chunk] for at in range(0, len(content), chunk)), expires_at=NOW + WEEK, now=NOW, **more,  # type: ignore[arg-type]
        )  # fmt: skip


def back(artifact_id: uuid.UUID, *, after: timedelta = timedelta()) -> bytes:
    with db.transaction("worker") as session:
        return b"".join(artifacts.read(session, artifact_id, now=NOW + after))


def link(by: Staff, artifact_id: uuid.UUID) -> str:
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        return files.link_artifact(session, session_id=by.session_id, artifact_id=artifact_id, name="export.zip",
                                   media_type="application/zip", now=NOW)  # fmt: skip


def fetched(by: Staff, secret: str, *, after: timedelta = timedelta()) -> bytes | None:
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        opened = privacy_actions.open_file(session, token=secret, now=NOW + after)
        if opened is None:
            return None
        assert opened.artifact is not None
        return b"".join(
            privacy_actions.file_part(session, opened=opened.artifact, number=number)
            for number in range(opened.artifact.parts)
        )


@pytest.mark.parametrize("size", [0, 1, artifacts.PART - 1, artifacts.PART, artifacts.PART + 1, 3 * artifacts.PART])
def test_what_is_kept_comes_back_byte_for_byte(size: int) -> None:
    content = os.urandom(size)
    made = kept(content, chunk=77_777)
    assert back(made) == content
    parts = max(1, -(-size // artifacts.PART))
    assert rows("select size, parts from privacy.artifact where id = :id", id=made) == [(size, parts)]


def test_nothing_of_it_is_readable_in_the_database(owner: Connection) -> None:
    made = kept(BIG)
    stored = owner.execute(text("select content from privacy.artifact_part where artifact_id = :id"), {"id": made})
    parts = [bytes(row.content) for row in stored]
    assert len(parts) == 3
    assert not any(SECRET[:12] in part for part in parts)
    assert all(first[:64] != second[:64] for first, second in pairwise(parts))


@pytest.mark.parametrize(
    "tampering",
    [
        "update privacy.artifact_part set content = overlay(content placing '\\x00' from 99) where number = 1",
        "delete from privacy.artifact_part where number = 1",
        "update privacy.artifact_part set number = number + 10; update privacy.artifact_part set number = 1 - (number - 10) where number < 12",
        "update privacy.artifact set parts = 2",
        "update privacy.artifact_part a set content = b.content from privacy.artifact_part b where a.number = 0 and b.number = 0 and a.artifact_id <> b.artifact_id",
    ],
    ids=["a byte", "a part is missing", "two are exchanged", "the end is cut off", "of another one"],
)
def test_what_was_tampered_with_is_not_handed_out(tampering: str, owner: Connection) -> None:
    made, _other = kept(BIG), kept(BIG)
    for statement in tampering.split("; "):
        owner.execute(text(statement))
    owner.commit()
    with pytest.raises(NotFound):
        back(made)


def test_a_stream_that_breaks_leaves_nothing() -> None:
    def broken() -> Iterator[bytes]:
        yield BIG
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"), db.transaction("worker") as session:
        artifacts.keep(session, kind="export", owner_id=REQUEST, name="e.zip", media_type="application/zip",
                       chunks=broken(), expires_at=NOW + WEEK, now=NOW)  # fmt: skip
    assert rows("select 1 from privacy.artifact") == rows("select 1 from privacy.artifact_part") == []


def test_after_its_time_it_is_closed_and_due_and_after_that_its_key_is_gone() -> None:
    made, bystander = kept(), kept()
    with pytest.raises(NotFound):
        back(made, after=WEEK)
    assert back(made, after=WEEK - timedelta(microseconds=1)) == SECRET
    with db.transaction("worker") as session:
        assert artifacts.artifacts_due(session, NOW + WEEK - timedelta(microseconds=1)) == []
        assert artifacts.artifacts_due(session, NOW + WEEK) == [str(made), str(bystander)]
        assert artifacts.destroy(session, made, why="expired", now=NOW + WEEK)
        assert not artifacts.destroy(session, made, why="expired", now=NOW + WEEK), "the second time does nothing"
        assert artifacts.artifacts_due(session, NOW + WEEK) == [str(bystander)]
    with pytest.raises(NotFound):
        back(made)
    proof = "select wrapped_key, destroyed_why, length(sha256) from privacy.artifact where id = :id"
    assert rows(proof, id=made) == [(None, "expired", 64)]
    assert rows("select distinct artifact_id from privacy.artifact_part") == [(bystander,)]
    assert back(bystander) == SECRET


def test_the_link_opens_once_for_its_own_session_within_a_day() -> None:
    omar, olga, made = staff("omar"), staff("olga"), kept(BIG)
    secret = link(omar, made)
    assert fetched(olga, secret) is None, "another session"
    assert fetched(omar, secret, after=timedelta(hours=24)) is None, "too old"
    assert fetched(omar, secret) == BIG
    assert fetched(omar, secret, after=timedelta(seconds=59)) == BIG, "browsers repeat a broken download"
    assert fetched(omar, secret, after=timedelta(seconds=61)) is None, "used"


@pytest.mark.parametrize("name", ["paula", "ines", "ada", "aiko"])
def test_only_a_privacy_officer_makes_a_link_to_an_artifact(name: str) -> None:
    made = kept()
    with pytest.raises(DBAPIError, match="row-level security"):
        link(staff(name), made)


def test_an_officer_without_a_link_reads_no_byte_and_keeps_no_export() -> None:
    made, omar = kept(), staff("omar")
    with db.transaction(staff_id=omar.id, session_id=omar.session_id) as session:
        assert session.scalar(text("select count(*) from privacy.artifact_part")) == 0
        with pytest.raises(NotFound):
            list(artifacts.read(session, made, now=NOW))
        with pytest.raises(NotFound):
            artifacts.destroy(session, made, why="expired", now=NOW)
    with pytest.raises(DBAPIError, match="row-level security"):
        uploaded(omar, "export")


def test_an_officer_keeps_evidence_and_destroys_it_and_nobody_else_does() -> None:
    omar = staff("omar")
    made = uploaded(omar, "evidence")
    assert fetched(omar, link(omar, made)) == b"x"
    with db.transaction(staff_id=omar.id, session_id=omar.session_id) as session:
        assert artifacts.destroy(session, made, why="not needed any more", now=NOW)
    with pytest.raises(NotFound):
        back(made)
    ada = staff("ada")
    with pytest.raises(DBAPIError, match="row-level security"):
        uploaded(ada, "evidence")
    with (
        pytest.raises(DBAPIError, match="does not open"),
        db.transaction(staff_id=ada.id, session_id=ada.session_id) as session,
    ):
        artifacts.destroy(session, made, why="expired", now=NOW)


def uploaded(by: Staff, kind: str) -> uuid.UUID:
    with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
        return artifacts.keep(session, kind=kind, owner_id=REQUEST if kind == "export" else None, name="x", media_type="image/png", chunks=[b"x"],
                              expires_at=NOW + WEEK, now=NOW)  # fmt: skip


def test_the_one_who_has_the_database_but_not_our_key_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept()
    monkeypatch.setenv("RESOCODE_KEY_ARTIFACTS", "7:" + "A" * 43 + "=")
    with pytest.raises(SettingsError, match="artifacts"):
        back(made)


def test_a_new_wrapping_key_leaves_old_files_open(monkeypatch: pytest.MonkeyPatch) -> None:
    from base64 import b64encode

    old = keys.current("artifacts")
    made = kept()
    both = f"9:{b64encode(os.urandom(32)).decode()},{old.id}:{b64encode(old.secret).decode()}"
    monkeypatch.setenv("RESOCODE_KEY_ARTIFACTS", both)
    assert back(made) == back(kept()) == SECRET


def test_an_erasure_takes_the_key_and_the_bytes_along() -> None:
    mine, bystander = kept(student_id=id_of("asha")), kept(student_id=id_of("ben"))
    before = kept(student_id=id_of("asha"))
    with db.transaction("worker") as session:
        artifacts.destroy(session, before, why="expired", now=NOW - WEEK)
    places = [fate.table for fate in fates("student")]
    assert places.index("privacy.artifact_part") < places.index("privacy.artifact")
    order = Order(Person("student", id_of("asha")), key="x")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.request set student_id = null"))
        while Local().erase(session, order, now=NOW).counts:
            pass
        assert Local().verify(session, order, now=NOW).absent
    with pytest.raises(NotFound):
        back(mine)
    assert back(bystander) == SECRET
    assert rows("select distinct artifact_id from privacy.artifact_part") == [(bystander,)]
    ends = rows("select id, destroyed_at, destroyed_why from privacy.artifact")
    assert {each[0]: tuple(each[1:]) for each in ends} == {
        mine: (NOW, "erased"), before: (NOW - WEEK, "expired"), bystander: (None, None)
    }  # fmt: skip
    with db.transaction("worker") as session:
        assert artifacts.artifacts_due(session, NOW + 52 * WEEK) == [str(bystander)], "nothing is left to destroy"
