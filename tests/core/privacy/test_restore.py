"""A real backup from before an erasure, a cancellation and lines of the audit: closed until the ledger is replayed."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from core import backup as backups
from core import db, embedded, privacy_actions
from core.errors import AdminError
from core.privacy import audit, brakes, ledger, restore
from core.privacy.restore import Comparison
from core.worker import Worker
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_erasures import DUE, Clock, Store, bystander, crowd, erased, send_letters, stores, work
from tests.core.privacy.house_of_requests import act, on, row, rows, waiting

__all__ = ["bystander", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander")
AFTER = DUE + timedelta(days=5)
FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"


def compared() -> Comparison:
    with db.transaction() as session:  # nobody is signed in
        return restore.compare(session, now=AFTER)


def replayed() -> restore.Replayed:
    with db.transaction("worker") as session:
        return restore.replay(session, now=AFTER)


@pytest.fixture
def backup(
    house: str, cluster: embedded.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Make an encrypted backup ("take"), and put it in the place of the database ("restore"), as an operator does."""
    monkeypatch.setenv("ADMIN_DATABASE_URL", cluster.conninfo())
    monkeypatch.setenv("RESOCODE_BACKUPS", str(tmp_path / "backups"))
    monkeypatch.setenv("RESOCODE_BACKUP_IDENTITY", str(tmp_path / "backups.age"))
    backups.create_identity()
    moments = (AFTER + timedelta(seconds=n) for n in count())  # two made at one moment: neither is the newest

    def call(what: str) -> None:
        db.release_pools()
        if what == "take":
            backups.make(now=next(moments))
        else:
            newest = backups.found().newest()
            assert newest
            backups.drop_before(backups.restore(backups.folder() / newest.name, now=AFTER))

    yield call


def cleo_is_there() -> bool:
    return bool(rows("select 1 from platform.student where email = :mail", mail=email_of("cleo")))


def sign() -> None:
    with db.transaction("worker") as session:
        privacy_actions.sign_audit(session, now=AFTER)


def check() -> audit.Verification:
    with db.transaction("worker") as session:
        return privacy_actions.check_audit(session, now=AFTER)


def test_an_erased_person_who_came_back_with_a_backup_is_erased_again(
    stores: dict[str, Store], backup: Callable[[str], None]
) -> None:
    filed = waiting()
    sign()
    backup("take")
    assert erased(filed.request_id)
    sign()
    assert compared() == Comparison()
    backup("restore")
    assert cleo_is_there()
    found = compared()
    assert (len(found.came_back), found.is_behind, found.lost_lines > 5) == (1, True, True)
    with db.transaction() as session:
        late = restore.compare(session, now=AFTER + timedelta(days=1200))
    assert late.came_back == (), "what may be forgotten closes nothing"
    assert work(AFTER) == [], "no worker touches a database that is behind"
    done = replayed()
    assert (done.known, done.erased, done.open, done.sent_back) == (1, 1, (), 1)
    assert done.rows["platform.student"] == 1
    assert not cleo_is_there()
    assert compared() == Comparison()
    assert replayed() == restore.Replayed(), "once"
    assert rows("select count(*) from privacy.suppression")[0][0] >= 2, "old records are kept out again"
    assert check().sound
    assert rows("select state, student_id from privacy.request where id = :id", id=filed.request_id) == [
        ("to approve", None)
    ]


def test_a_deletion_that_was_canceled_is_canceled_again_and_nobody_erased(
    backup: Callable[[str], None], stores: dict[str, Store]
) -> None:
    filed = waiting()
    backup("take")
    act("reactivate_account", "omar", reason="the student changed their mind", now=NOW + timedelta(days=2), **on(filed))
    with db.transaction("worker") as session:
        assert restore.unwritten_cancellations(session, AFTER) == [str(filed.request_id)]
        ledger.cancel(request_id=filed.request_id, now=NOW + timedelta(days=2))
        assert restore.unwritten_cancellations(session, AFTER) == []
    assert compared() == Comparison()
    backup("restore")
    assert compared().uncanceled == (filed.request_id,)
    assert work(AFTER) == []
    assert (replayed().canceled, compared()) == (1, Comparison())
    assert row(filed.request_id)["state"] == "reactivated"
    assert rows("select account_status from platform.student where id = :id", id=id_of("cleo")) == [("open",)]
    work(AFTER)
    assert cleo_is_there()


def test_lost_lines_of_the_audit_close_the_house_and_what_was_approved_is_approved_anew(
    backup: Callable[[str], None],
) -> None:
    sign()
    backup("take")
    filed = waiting()
    backup("take")
    act("file_request", "paula", kind="access", student_id=id_of("ben"), received_at=NOW, form_key=filed.request_id)
    sign()
    backup("restore")
    found = compared()
    assert (found.came_back, found.lost_lines) == ((), 1)
    done = replayed()
    assert (done.lost_lines, done.sent_back, done.known) == (1, 1, 0)
    assert row(filed.request_id)["state"] == "to approve"
    assert (check().sound, compared()) == (True, Comparison())


def test_an_erasure_that_had_only_begun_is_told_to_a_person(
    backup: Callable[[str], None], stores: dict[str, Store]
) -> None:
    filed = waiting()
    backup("take")
    work()
    [(erasure, state)] = rows(
        "select e.id, s.state from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id and s.what = 'ledger'"
    )
    assert (state, row(filed.request_id)["state"]) == ("proven", "erasing")
    backup("restore")
    assert replayed().open == (erasure,)


def test_somebody_new_with_the_same_address_stays(backup: Callable[[str], None], stores: dict[str, Store]) -> None:
    filed = waiting()
    backup("take")
    assert erased(filed.request_id)
    backup("restore")
    began = next(iter(ledger.read().begun.values())).at
    with db.transaction("worker") as session:  # it is the backup's own visitor form, dated after the erasure
        session.execute(text("update platform.visitor set email_hash = (select email_hash from platform.student where id = :id), asked_at = :at"
                             " where id = :visitor"), {"id": id_of("cleo"), "at": began + timedelta(seconds=1), "visitor": id_of("vera")})  # fmt: skip
        session.execute(text("update platform.visitor set email_hash = (select email_hash from platform.student where id = :id), asked_at = :at"
                             " where id = :visitor"), {"id": id_of("cleo"), "at": began, "visitor": id_of("viktor")})  # fmt: skip
    replayed()
    assert [name for (name,) in rows("select name from platform.visitor")] == ["Vera"]


def test_a_ledger_that_is_gone_or_forged_closes_the_house_until_a_person_decides(stores: dict[str, Store]) -> None:
    filed = waiting()
    assert erased(filed.request_id)
    (file,) = ledger.folder().glob("*.jsonl")
    whole = file.read_bytes()
    file.unlink()
    assert (len(compared().unwritten), compared().is_behind) == (1, True)
    with pytest.raises(AdminError, match="not whole"):
        replayed()
    with db.transaction("worker") as session:
        assert restore.rebuild(session, now=AFTER) == 1
    assert compared() == Comparison()
    file.write_bytes(whole.replace(b'"student"', b'"visitor"'))
    assert compared().problems
    with pytest.raises(AdminError, match="not whole"):
        replayed()


def test_a_worker_rests_while_the_database_is_behind(stores: dict[str, Store]) -> None:
    ledger.cancel(request_id=waiting().request_id, now=NOW)
    assert Worker(Clock(AFTER)).catch_up() == []
    assert rows("select count(*) from staff.job") == [(0,)]


def test_everybody_who_was_erased_since_the_backup_goes_again(
    stores: dict[str, Store], backup: Callable[[str], None], owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 100 if FULL else 3
    monkeypatch.setattr(brakes, "FEW", 2000)
    crowd(owner, many)
    owner.close()
    owner.engine.dispose()
    backup("take")
    for minute in (0, 1, 2, 4, 8, 16, 32):
        work(DUE + timedelta(minutes=minute))
        send_letters(DUE + timedelta(minutes=minute))
        if rows("select count(*) from privacy.request where state = 'erased'") == [(many,)]:
            break
    assert len(ledger.read().erased) == many
    backup("restore")
    assert rows("select count(*) from platform.student where source = 'crowd'") == [(many,)]
    began = time.monotonic()
    done = replayed()
    assert time.monotonic() - began < 600
    assert (done.known, done.erased, done.open, compared()) == (many, many, (), Comparison())
    assert rows("select count(*) from platform.student where source = 'crowd'") == [(0,)]
