"""Cloudinary beyond the contract: pages, parts, copies that live on, and whose a file is that a record names."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from core import db
from core.errors import SettingsError
from core.processors import cloudinary
from core.processors.cloudinary import File, named_by
from core.processors.protocol import Became, Change, Order, Outcome, Person, Proof
from core.settings import settings
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import rows
from tests.core.processors.rigs import CloudinaryRig, cloudinary_rig, on_the_platform
from tests.doubles.cloudinary_server import CLOUD

CLEO = Order(Person("student", id_of("cleo"), id_of("asha request")), "erasure cleo")


@pytest.fixture
def rig(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudinaryRig]:
    on_the_platform("cleo", "ben")
    with cloudinary_rig(monkeypatch) as made:
        made.put("cleo")
        made.put("ben")
        yield made


def erase(rig: CloudinaryRig) -> Outcome:
    with db.transaction("worker") as session:
        return rig.processor().erase(session, CLEO, now=NOW)


def verify(rig: CloudinaryRig) -> Proof:
    with db.transaction("worker") as session:
        return rig.processor().verify(session, CLEO, now=NOW)


def picture(whose: str, address: str) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.student_profile set avatar_url = :url where student_id = :id"),
                        {"id": id_of(whose), "url": address})  # fmt: skip


def test_a_listing_is_read_to_its_last_page_and_a_deletion_in_parts(rig: CloudinaryRig) -> None:
    for number in range(7):
        rig.library.put(f"students/p-12/{number}")
    rig.library.page, rig.library.most = 2, 3
    assert verify(rig) == Proof(False, {"files": 13})
    assert erase(rig).became is Became.MORE, "three at a time"
    left = {name for name in rig.library.names() if name.startswith("students/p-12/")}
    assert 0 < len(left) < 13 and verify(rig).absent is False
    while erase(rig).became is Became.MORE:
        pass
    assert verify(rig) == Proof(True) and rig.holds("ben")


def test_what_a_backup_could_restore_goes_first(rig: CloudinaryRig) -> None:
    ben = {file: kept for file, kept in rig.library.backups.items() if "p-123/" in file[2]}
    assert len(rig.library.backups) == 4
    assert erase(rig).counts == {"files": 6, "versions in backups": 4}
    assert rig.library.backups == ben
    methods = [each.method + each.path.partition("/resources/")[2].partition("/")[0] for each in rig.wire.seen]
    assert methods.index("DELETEbackup") < methods.index("DELETEimage"), "while the file leads to them"


def test_a_backup_that_stays_keeps_the_file_and_the_step_open(
    rig: CloudinaryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.library, "_forget", lambda _asset, versions: (200, {}, b'{"deleted_version_ids": []}'))
    outcome = erase(rig)
    assert (outcome.became, outcome.error) == (Became.FAILED, "still in the backup")
    assert verify(rig).absent is False, "nothing that leads to the backup is deleted before it"


def test_a_copy_that_is_still_delivered_is_no_proof_and_looked_at_again(rig: CloudinaryRig) -> None:
    rig.library.lag = 2
    assert erase(rig).became is Became.DONE
    proof = verify(rig)
    assert proof.found == {"copies in the delivery network": 2}
    assert proof.again_at == NOW + timedelta(minutes=15)
    verify(rig)
    assert verify(rig) == Proof(True)


def test_what_was_derived_is_asked_for_too(rig: CloudinaryRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_CLOUDINARY_DERIVED", "w_100,h_100 c_fill,w_400")
    assert erase(rig).became is Became.DONE
    left = f"/{CLOUD}/image/upload/w_100,h_100/v1/students/p-12/portrait.jpg"
    rig.library.copies[left] = 2  # the network still has this one
    proof = verify(rig)
    assert proof.found == {"copies in the delivery network": 1} and proof.again_at
    verify(rig)
    assert verify(rig) == Proof(True)
    asked = {each.path for each in rig.wire.seen if each.path.startswith(f"/{CLOUD}/")}
    assert len(asked) == 6, "portrait and certificate, each in three ways"


def test_without_invalidate_it_would_never_be_proven(rig: CloudinaryRig, monkeypatch: pytest.MonkeyPatch) -> None:
    options = cloudinary.Pictures._options
    monkeypatch.setattr(
        cloudinary.Pictures, "_options", lambda self, **more: options(self, **more) | {"invalidate": None}
    )
    assert erase(rig).became is Became.DONE
    assert verify(rig).again_at is not None and rig.holds("cleo")


def test_a_picture_outside_the_folders_goes_when_it_is_theirs_alone(rig: CloudinaryRig) -> None:
    path = rig.library.put("portraits/abc 1")
    picture("cleo", rig.wire.address + path.replace(" ", "%20"))
    assert erase(rig).counts["files"] == 7
    assert "portraits/abc 1" not in rig.library.names() and verify(rig) == Proof(True)


def test_more_files_than_one_call_may_name_are_all_looked_for(
    rig: CloudinaryRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudinary, "AT_ONCE", 1)
    picture("cleo", rig.wire.address + rig.library.put("portraits/cleo"))
    with db.transaction("worker") as session:
        session.execute(text("update platform.certificate c set url = :url from platform.enrollment e where e.id = c.enrollment_id and e.student_id = :id"),
                        {"id": id_of("cleo"), "url": rig.wire.address + rig.library.put("papers/cleo")})  # fmt: skip
    outside = {"portraits/cleo", "papers/cleo"}
    before = verify(rig).found["files"]
    assert erase(rig).counts["files"] == before == 8
    assert not outside & rig.library.names() and verify(rig) == Proof(True)
    rig.library.put("portraits/cleo")
    rig.library.put("papers/cleo")
    assert verify(rig).found == {"files": 2}, "the second one is looked for, too"


@pytest.mark.parametrize(
    "row", [{}, {"public_id": None}, {"public_id": ["students/p-12/a"]}, "students/p-12/a"], ids=repr
)
def test_a_row_of_a_listing_that_cannot_be_read_is_no_proof(rig: CloudinaryRig, row: object) -> None:
    real = rig.wire.backend
    told = 200, {"content-type": "application/json"}, json.dumps({"resources": [row]}).encode()
    rig.wire.backend = lambda *request: told if "/resources/image/upload" in request[1] else real(*request)
    assert verify(rig) == Proof(None, error="not understood")
    rig.wire.backend = real
    assert verify(rig).absent is False


@pytest.mark.parametrize("whose", ["of another student's folder", "that another record names"])
def test_an_address_that_somebody_typed_takes_nobody_elses_picture(rig: CloudinaryRig, whose: str) -> None:
    path = (
        rig.library.put("defaults/owl")
        if "record" in whose
        else f"/{CLOUD}/image/upload/v1/students/p-123/portrait.jpg"
    )
    for name in ("cleo", "ben"):
        picture(name, rig.wire.address + path)
    before = {each for each in rig.library.names() if "p-12/" not in each}
    counts = erase(rig).counts
    assert (counts["files"], counts["shared, left alone"]) == (6, 1)
    assert rig.library.names() == before and verify(rig) == Proof(True)


def test_an_address_elsewhere_is_never_asked(rig: CloudinaryRig) -> None:
    picture("cleo", "http://169.254.169.254/latest/meta-data")
    erase(rig)
    verify(rig)
    assert all("169.254" not in each.raw for each in rig.wire.seen)
    account = settings().cloudinary
    assert account
    assert named_by(account, f"{account.delivery}/image/upload/../../v1/x.jpg") is None


@pytest.mark.parametrize(
    ("path", "file"),
    [("image/upload/v123/a/b.jpg", File("image", "upload", "a/b")), ("raw/upload/v1/a/b.zip", File("raw", "upload", "a/b.zip")),
     ("image/private/s--Ab_c1--/w_100,h_9/v1/a%20b.png?x=1", File("image", "private", "a b")),
     ("video/upload/c_fill,w_10/e_x/a/b.mp4", File("video", "upload", "a/b")), ("image/upload/plain", File("image", "upload", "plain")),
     ("image/fetch/v1/a.jpg", None), ("other/upload/a", None), ("image/upload/", None)],
)  # fmt: skip
def test_public_ids_are_read_from_addresses(rig: CloudinaryRig, path: str, file: File | None) -> None:
    account = settings().cloudinary
    assert account and named_by(account, f"{account.delivery}/{path}") == file


def test_a_student_of_whom_nothing_leads_there_is_looked_for_by_a_person(rig: CloudinaryRig) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set source = 'office' where id = :id"), {"id": id_of("cleo")})
    picture("cleo", "https://elsewhere.example/me.jpg")
    with db.transaction("worker") as session:
        session.execute(text("update platform.certificate set url = null"))
    assert erase(rig).error == "manual" and verify(rig).absent is None
    assert rows("select processor, what, state from privacy.manual_step") == [("Cloudinary", "erase", "open")]
    assert rig.holds("ben")


def test_a_platform_id_that_is_no_name_of_a_folder_reaches_nothing(rig: CloudinaryRig) -> None:
    for key in ("", "..", "p-12/../p-123", "%", "p 12"):
        with db.transaction("worker") as session:
            session.execute(text("update platform.student set source_key = :key where id = :id"), {"key": key, "id": id_of("cleo")})  # fmt: skip
            assert rig.processor()._theirs(session, CLEO.person).folders == ()  # type: ignore[attr-defined]


def test_a_change_is_made_there_by_a_person(rig: CloudinaryRig) -> None:
    with db.transaction("worker") as session:
        outcome = rig.processor().propagate(session, CLEO.person, Change("correct", key="propagation 1"), now=NOW)
    assert (outcome.became, outcome.error) == (Became.WAITING, "manual")


def test_too_many_requests_are_not_waited_for_in_a_transaction(rig: CloudinaryRig) -> None:
    rig.wire.retry_after = "20"
    rig.breaks("429")
    begun = time.monotonic()
    assert erase(rig).became is Became.WAITING
    assert time.monotonic() - begun < 5, "the library below sleeps as long as it is asked to, unless it is told not to"


@pytest.mark.parametrize(
    ("name", "value"),
    [("RESOCODE_CLOUDINARY_URL", "https://key:s3cret@cloud"), ("RESOCODE_CLOUDINARY_URL", "cloudinary://key@cloud"),
     ("RESOCODE_CLOUDINARY_URL", "cloudinary://key:s3cret@cloud?upload_prefix=http://api.example"),
     ("RESOCODE_CLOUDINARY_FOLDERS", "students/{id}"), ("RESOCODE_CLOUDINARY_FOLDERS", "students/"),
     ("RESOCODE_CLOUDINARY_FOLDERS", "students/{id}/,x-{id}/"), ("RESOCODE_CLOUDINARY_DELIVERY", "http://cdn.example"),
     ("RESOCODE_CLOUDINARY_URL_FILE", "/nowhere"), ("RESOCODE_CLOUDINARY_DERIVED", "../../x"), ("RESOCODE_CLOUDINARY_DERIVED", "w_1/../..")],
)  # fmt: skip
def test_settings_that_would_reach_too_far_are_refused_and_tell_no_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("RESOCODE_CLOUDINARY_URL", "cloudinary://key:s3cret@cloud")
    if name.endswith("_FILE"):
        monkeypatch.delenv("RESOCODE_CLOUDINARY_URL")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        settings()
    assert "s3cret" not in error.value.sentence and "RESOCODE_CLOUDINARY" in error.value.sentence
    assert "s3cret" not in repr(error.value.facts)


def test_a_secret_may_stand_in_a_file_that_nobody_else_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cloudinary"
    file.write_text("cloudinary://key:s3cret@Cloud\n")
    monkeypatch.setenv("RESOCODE_CLOUDINARY_URL_FILE", str(file))
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        settings()
    file.chmod(0o600)
    known = settings().cloudinary
    assert known and (known.cloud, known.secret) == ("Cloud", "s3cret")
    assert "s3cret" not in repr(settings())
    file.write_text("cloudinary://key:rotated@Cloud\n")
    known = settings().cloudinary
    assert known and known.secret == "rotated", "a new key in the file counts at once"
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        settings()
