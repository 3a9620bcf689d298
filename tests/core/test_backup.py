"""A real backup, written and read by PostgreSQL's own programs: encrypted, whole, gone in time, and back through the gate."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pyrage
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import backup, db, embedded, jobs, policy
from core.errors import AdminError, SettingsError
from core.models.proof import Backup as Row
from core.privacy import restore
from tests.cast import NOW, email_of
from tests.conftest import PASSWORD
from tests.core.privacy.house_of_requests import rows

pytestmark = pytest.mark.usefixtures("house")
DAYS = policy.Parameters.backup_days


@pytest.fixture(autouse=True)
def place(house: str, cluster: embedded.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own, a key, and a role that reads everything."""
    monkeypatch.setenv("ADMIN_DATABASE_URL", cluster.conninfo())  # libpq takes it like an address
    monkeypatch.setenv("RESOCODE_BACKUPS", str(tmp_path / "backups"))
    monkeypatch.setenv("RESOCODE_BACKUP_IDENTITY", str(tmp_path / "backups.age"))
    backup.create_identity()
    yield tmp_path / "backups"
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        left = admin.execute("select datname from pg_database where datname like %s", [f"{house}\\_%"]).fetchall()
        for (name,) in left:
            admin.execute(f"drop database {name} with (force)")


def databases(cluster: embedded.Cluster, house: str) -> list[str]:
    with psycopg.connect(cluster.conninfo()) as admin:
        return [
            name for (name,) in admin.execute("select datname from pg_database where datname like %s", [f"{house}%"])
        ]


def rename_cleo(name: str) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set name = :name where email = :mail"),
                        {"name": name, "mail": email_of("cleo")})  # fmt: skip


def cleo() -> str:
    return str(rows("select name from platform.student where email = :mail", mail=email_of("cleo"))[0][0])


def test_it_comes_back_whole_with_rights_and_rules(house: str, cluster: embedded.Cluster, place: Path) -> None:
    before = cleo()
    made = backup.make(now=NOW)
    rename_cleo("Somebody else")
    old = backup.restore(place / made.name, now=NOW + timedelta(days=1))
    assert cleo() == before
    with db.transaction() as session:  # nobody is signed in: row-level security came back, too
        assert session.scalar(text("select count(*) from platform.student")) == 0
        assert not restore.compare(session, now=NOW).is_behind
    db.check_role()
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction() as session:
        session.execute(text("delete from platform.student"))
    assert old in databases(cluster, house), "with everybody in it, until somebody drops it"
    backup.drop_before(old)
    assert databases(cluster, house) == [house]


def test_nothing_readable_touches_the_disk(place: Path) -> None:
    made = backup.make(now=NOW)
    content = (place / made.name).read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    assert not [word for word in (b"PGDMP", email_of("cleo").encode(), b"platform") if word in content]
    assert {(file.stat().st_mode & 0o777) for file in place.iterdir()} == {0o600}
    assert {file.name for file in place.iterdir()} == {made.name, f"{made.name}.json"}


def test_it_opens_without_this_program(place: Path, tmp_path: Path) -> None:
    made = backup.make(now=NOW)
    key = pyrage.x25519.Identity.from_str((tmp_path / "backups.age").read_text().strip())
    pyrage.decrypt_file(str(place / made.name), str(tmp_path / "dump"), [key])
    tool = next(
        folder / "pg_restore" for folder in embedded.binaries.all_binaries() if (folder / "pg_restore").exists()
    )
    listed = subprocess.run([tool, "--list", tmp_path / "dump"], capture_output=True, text=True, check=True).stdout
    assert "TABLE DATA platform student" in listed


def test_a_machine_with_the_public_key_makes_backups_that_it_cannot_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "backups.age"
    monkeypatch.setenv(
        "RESOCODE_BACKUP_RECIPIENT", str(pyrage.x25519.Identity.from_str(secret.read_text().strip()).to_public())
    )
    elsewhere = secret.rename(tmp_path / "elsewhere.age")
    assert backup.create_identity() is None, "no second key is made"
    made = backup.make(now=NOW)
    with pytest.raises(SettingsError, match="key of backups is missing"):
        backup.restore(place / made.name, now=NOW)
    monkeypatch.setenv("RESOCODE_BACKUP_IDENTITY", str(elsewhere))
    backup.drop_before(backup.restore(place / made.name, now=NOW))
    monkeypatch.setenv("RESOCODE_BACKUP_RECIPIENT", "age1nonsense")
    with pytest.raises(SettingsError, match="public key of age"):
        backup.make(now=NOW)


def test_the_last_day_is_the_one_that_certificates_name(place: Path) -> None:
    made = backup.make(now=NOW)
    assert made.expires_at == NOW + timedelta(days=DAYS)
    backup.check(place / made.name, now=made.expires_at - timedelta(seconds=1))
    with pytest.raises(AdminError, match="was to be gone by"):
        backup.restore(place / made.name, now=made.expires_at)
    assert cleo()


def spoiled_content(file: Path, note: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def spoiled_day(file: Path, note: Path) -> None:
    note.write_text(note.read_text().replace(str(NOW.year), str(NOW.year + 1)))


def without_note(file: Path, note: Path) -> None:
    note.unlink()


def of_another(file: Path, note: Path) -> None:
    file.rename(file.with_name("resocode-x.dump.age"))
    note.rename(note.with_name("resocode-x.dump.age.json"))


@pytest.mark.parametrize("spoil", [spoiled_content, spoiled_day, without_note, of_another])
def test_what_is_not_as_it_was_written_is_refused(spoil, place: Path) -> None:  # type: ignore[no-untyped-def]
    made = backup.make(now=NOW)
    spoil(place / made.name, place / f"{made.name}.json")
    file = next(place.glob("*.age"))
    with pytest.raises(AdminError, match=r"not signed by us|not as it was written"):
        backup.check(file, now=NOW)
    if spoil is not spoiled_content:
        assert backup.found().unreadable == (file.name,)


def test_a_newer_program_a_wrong_key_and_somebody_at_work_are_sentences(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: str, cluster: embedded.Cluster
) -> None:
    made = backup.make(now=NOW)
    file = place / made.name
    with monkeypatch.context() as patch:
        patch.setattr(db, "known_migrations", lambda: frozenset({"0001"}))
        with pytest.raises(AdminError, match="newer program"):
            backup.restore(file, now=NOW)
    with psycopg.connect(cluster.conninfo(house)), pytest.raises(AdminError, match="1 connections"):
        backup.restore(file, now=NOW)
    (tmp_path / "backups.age").unlink()
    with pytest.raises(SettingsError, match="key of backups is missing"):
        backup.restore(file, now=NOW)
    backup.create_identity()
    with pytest.raises(AdminError, match="does not open"):
        backup.restore(file, now=NOW)
    assert databases(cluster, house) == [house], "what was begun is gone"
    assert cleo()


def test_a_restore_that_fails_half_way_changes_nothing(place: Path, house: str, cluster: embedded.Cluster) -> None:
    made = backup.make(now=NOW)
    key, _ = backup._identity(), backup._recipient()
    dump = pyrage.decrypt((place / made.name).read_bytes(), [key])
    half = pyrage.encrypt(dump[: len(dump) // 2], [key.to_public()])
    (place / made.name).write_bytes(half)
    backup._write_note(replace(made, size=len(half), sha256=backup._sha256(place / made.name)))
    with pytest.raises(AdminError, match="pg_restore failed"):
        backup.restore(place / made.name, now=NOW)
    assert databases(cluster, house) == [house]
    assert cleo()


def test_a_role_that_does_not_see_every_row_makes_no_backup(
    place: Path, house: str, cluster: embedded.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = psycopg.conninfo.make_conninfo(
        cluster.conninfo(), user="resocode_worker", password=PASSWORD, dbname=house
    )
    monkeypatch.setenv("ADMIN_DATABASE_URL", limited)
    with pytest.raises((AdminError, psycopg.Error)):
        backup.make(now=NOW)
    assert list(place.iterdir()) == []
    monkeypatch.delenv("ADMIN_DATABASE_URL")
    with pytest.raises(SettingsError, match="ADMIN_DATABASE_URL"):
        backup.make(now=NOW)


def due(now: object) -> bool:
    job = next(each for each in jobs.JOBS if each.kind == "backups")
    with db.transaction("worker") as session:
        return bool(job.due(session, now))  # type: ignore[arg-type]


def work(now: object) -> dict[str, int]:
    job = next(each for each in jobs.JOBS if each.kind == "backups")
    with db.transaction("worker") as session:
        return dict(job.run(session, "", now))  # type: ignore[arg-type]


def test_workers_remove_what_is_over_and_only_that(place: Path) -> None:
    assert not due(NOW)
    first, second = backup.make(now=NOW), backup.make(now=NOW + timedelta(days=1))
    assert due(NOW)
    assert work(NOW) == {"removed": 0, "recorded": 2}
    assert not due(first.expires_at - timedelta(seconds=1))
    assert due(first.expires_at)
    assert work(first.expires_at)["removed"] == 1
    assert [each.name for each in backup.found().backups] == [second.name]
    assert {file.name for file in place.iterdir()} == {second.name, f"{second.name}.json"}
    with Session(db.engine("worker")) as session:
        assert session.scalars(select(Row.name).where(Row.removed_at.is_not(None))).all() == [first.name]
        assert session.scalar(select(func.count(Row.id))) == 2
    assert not due(first.expires_at)


def test_status_knows_a_backup_that_is_too_old(place: Path) -> None:
    assert backup.found().is_stale(NOW)
    made = backup.make(now=NOW)
    assert not backup.found().is_stale(NOW + timedelta(hours=26) - timedelta(seconds=1))
    assert backup.found().is_stale(NOW + timedelta(hours=26))
    assert json.loads((place / f"{made.name}.json").read_text())["backup"]["name"] == made.name
    assert os.access(place / made.name, os.R_OK)
