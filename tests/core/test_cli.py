"""The command line, as a person runs it."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from typer.testing import CliRunner

from core import cli, db, privacy_actions
from core.errors import AdminError
from core.privacy import ledger, restore
from tests.admins import add_bea
from tests.cast import NOW, email_of, id_of
from tests.conftest import sign_in
from tests.core.privacy.house_of_requests import waiting
from ui.clock import now


def run(*words: str, typed: str = "") -> str:
    done = CliRunner().invoke(cli.app, list(words), input=typed)
    if isinstance(done.exception, AdminError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_status_ends_with_1_when_retention_is_silent(house: str) -> None:
    with db.transaction("worker") as session:
        run_id = text("insert into privacy.retention_run (id, rule, begun_at, tried_at, ended_at) values"
                      " (gen_random_uuid(), 'visitors', :at, :at, :at)")  # fmt: skip
        session.execute(run_id, {"at": datetime.now(UTC) - timedelta(hours=27)})
    for words in (("status",), ("status", "--json")):
        done = CliRunner().invoke(cli.app, list(words))
        assert done.exit_code == 1 and ("ALARM" in done.output or json.loads(done.output)["retention"]["silent_since"])


@pytest.fixture
def retention_ran(house: str) -> None:
    """A run ended a moment ago: nothing to be alarmed about."""
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.retention_run (id, rule, begun_at, tried_at, ended_at) values"
                             " (gen_random_uuid(), 'visitors', :at, :at, :at)"), {"at": datetime.now(UTC)})  # fmt: skip


@pytest.mark.usefixtures("retention_ran")
def test_status_counts_in_all_and_by_source(house: str) -> None:
    found = json.loads(run("status", "--json"))
    assert found["embedded"] is False
    assert found["total"]["students"] == found["by_source"]["cast"]["students"] == 3
    assert found["total"]["enrollments_by_status"] == {"active": 3}
    assert found["total"]["results_by_kind"] == {"pass": 3}
    assert (found["total"]["submissions"], found["total"]["open_requests"], found["worker_seen"]) == (3, 1, None)
    assert "students" in run("status")


def test_an_account_is_made_with_a_password_from_standard_input(house: str) -> None:
    assert "can sign in as mentor" in run(
        "staff", "add", "new@staff.example", "--role", "mentor", "--name", "New One", typed="seven green kettles sing\n"
    )
    listed = run("staff", "list")
    assert "new@staff.example" in listed and "kettles" not in listed


@pytest.mark.parametrize(
    ("words", "typed", "sentence"),
    [
        (
            ("staff", "add", "x@staff.example", "--role", "boss", "--name", "X Y"),
            "seven green kettles sing\n",
            "is not a role",
        ),
        (("staff", "add", "x@staff.example", "--role", "admin", "--name", "X Y"), "short\n", "15 to 128 characters"),
        (
            ("staff", "add", email_of("ada"), "--role", "admin", "--name", "X Y"),
            "seven green kettles sing\n",
            "already",
        ),
        (
            ("staff", "add", "no-address", "--role", "admin", "--name", "X Y"),
            "seven green kettles sing\n",
            "e-mail address",
        ),
        (("staff", "disable", "nobody@staff.example"), "", "no account"),
        (("staff", "assign", email_of("ada"), "PYTHON-26"), "", "instructors and mentors only"),
        (("staff", "assign", email_of("ines"), "NOPE"), "", "no cohort"),
        (
            ("staff", "assign", email_of("ines"), "CLOUD-26", "--start", "2026-02-01", "--end", "2026-01-01"),
            "",
            "before it starts",
        ),
        (("import", "oulad", ".", "--shift-to", "yesterday"), "", "2026-11-24"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(house: str, words: tuple[str, ...], typed: str, sentence: str) -> None:
    with pytest.raises(AdminError, match=sentence):
        run(*words, typed=typed)


def test_disable_enable_role_and_assign_write_their_lines(house: str, owner: Connection) -> None:
    ines = email_of("ines")
    run("staff", "disable", ines)
    run("staff", "enable", ines)
    run("staff", "role", ines, "mentor")
    run("staff", "assign", ines, "CLOUD-26", "--end", "2099-01-01")
    rows = owner.execute(text("select action, actor, subject_id from privacy.audit_event order by seq")).all()
    assert [tuple(row) for row in rows] == [
        (action, "system", id_of("ines"))
        for action in ("staff disabled", "staff enabled", "role changed", "cohort assigned")
    ]


def test_the_audit_is_verified_and_signed(house: str, owner: Connection) -> None:
    run("staff", "disable", email_of("ines"))
    assert "Signed: 1 lines" in run("audit", "checkpoint")
    assert "sound: 1 lines, 1 signed" in run("audit", "verify")
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    owner.execute(text("delete from privacy.audit_event"))
    owner.commit()
    with pytest.raises(AdminError, match="The audit is broken"):
        run("audit", "verify")


def test_an_empty_database_is_migrated_and_never_seeded(cluster, monkeypatch: pytest.MonkeyPatch, folder) -> None:
    import psycopg

    from core.roles import LOGIN_ROLES, create_roles
    from tests.conftest import PASSWORD, point_at

    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("create database bare")
    with psycopg.connect(cluster.conninfo("bare")) as admin:
        create_roles(admin, passwords=dict.fromkeys(LOGIN_ROLES, PASSWORD))
    point_at(monkeypatch, cluster, "bare", folder)
    try:
        assert json.loads(run("status", "--json"))["total"]["programs"] == 0
        assert run("policy", "load").startswith("Policy 2026-04-20")
        assert "New keys: passwords, persons, files, audit" in run("keys", "create")
        assert f"at migration {db.migrations().newest}" in run("migrate")
    finally:
        db.release()
        with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
            admin.execute("drop database bare with (force)")


def test_init_prepares_a_server_twice_and_makes_the_first_admin(
    cluster, monkeypatch: pytest.MonkeyPatch, folder
) -> None:
    import psycopg

    from tests.conftest import point_at

    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("create database fresh")
    point_at(monkeypatch, cluster, "fresh", folder)
    monkeypatch.setenv(
        "ADMIN_DATABASE_URL",
        f"postgresql://postgres:{cluster.password}@/fresh?host={cluster.socket_directory}&port={cluster.port}",
    )
    try:
        first = run(
            "init",
            "--admin-email",
            "chief@staff.example",
            "--admin-name",
            "The Chief",
            typed="seven green kettles sing\n",
        )
        assert "Policy 2026-04-20; new keys: passwords, persons, files, audit" in first
        assert "new keys: none" in run("init")
        assert "chief@staff.example" in run("staff", "list")
        monkeypatch.delenv("ADMIN_DATABASE_URL")
        with pytest.raises(AdminError, match="ADMIN_DATABASE_URL"):
            run("init")
    finally:
        db.release()
        with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
            admin.execute("drop database fresh with (force)")


def test_demo_mode_refuses_a_server(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdminError, match="embedded database only"):
        run("serve", "--demo", "--port", "1")
    monkeypatch.delenv("RESOCODE_DEMO")


def test_group_figures_are_written_once_a_week(house: str) -> None:
    assert "0 figures" in run("snapshot") or "figures written" in run("snapshot")
    assert run("snapshot").startswith("0 figures")


def redeemed(printed: str, name: str) -> bool:
    """Whether the code in what was printed lets its owner choose a password."""
    code = re.findall(r"\w{5}(?:-\w{5}){4}", printed)[0]
    with db.transaction() as session:
        done = privacy_actions.redeem_invitation(
            session, email=name, code=code, password="seven green kettles sing", now=now()
        )
    return not isinstance(done, str)


def rescue_lines(owner: Connection) -> list[str]:
    owner.rollback()
    found = "select action from privacy.audit_event where actor = 'system' order by seq"
    return [str(action) for action in owner.scalars(text(found))]


def test_a_sole_admin_who_lost_the_phone_comes_back_by_the_machine(house: str, owner: Connection) -> None:
    signed_in, _ = sign_in("ada")
    printed = run("staff", "reset", email_of("ada"), "--reason", "device lost", "--yes")
    with db.transaction() as session:
        assert privacy_actions.live_session(session, secret=signed_in.token, now=now()) is None
    assert rescue_lines(owner)[-2:] == ["sign-in reset", "rescue used"]
    assert redeemed(printed, email_of("ada")) and not redeemed(printed, email_of("ada"))
    with db.transaction() as session:
        made = privacy_actions.sign_in(session, email=email_of("ada"), password="seven green kettles sing", now=now())
        assert made
        back = privacy_actions.live_session(session, secret=made.token, now=now())
    assert back and back.must_set_up_codes, "new one-time codes first"
    paula = owner.execute(text("select password_hash is not null from staff.staff_member where name = 'Paula'"))
    assert paula.scalar_one()


def test_a_second_admin_is_invited_by_the_machine_and_needs_nobody(house: str, owner: Connection) -> None:
    words = (
        "staff",
        "invite",
        "new@staff.example",
        "--role",
        "admin",
        "--name",
        "New",
        "--reason",
        "locked out",
        "--yes",
    )
    printed = run(*words)
    assert rescue_lines(owner)[-2:] == ["staff invited", "rescue used"]
    assert redeemed(printed, "new@staff.example")
    assert owner.execute(text("select decision, alone, proposed_by from staff.proposal")).one() == (
        "approved",
        True,
        None,
    )


def test_the_single_admin_mode_is_for_a_company_with_one(house: str, owner: Connection) -> None:
    add_bea()
    declare = ("staff", "single-admin", "on", "--reason", "two of us", "--yes")
    with pytest.raises(AdminError, match="There are 2 admins"):
        run(*declare)
    run("staff", "disable", "bea@staff.example")
    assert "is on" in run(*declare)
    assert owner.scalar(text("select staff.single_admin()"))
    assert "is off" in run("staff", "single-admin", "off", "--yes")
    assert rescue_lines(owner).count("rescue used") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("add", "new@staff.example", "--role", "admin", "--name", "New"),
        ("enable", email_of("dora")),
        ("role", email_of("ines"), "admin"),
        ("assign", email_of("ines"), "CLOUD-26"),
        ("single-officer", "on"),
    ],
)
def test_no_right_is_given_without_the_owner_of_the_database(
    house: str, owner: Connection, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OWNER_DATABASE_URL")
    with pytest.raises(AdminError, match="Set OWNER_DATABASE_URL"):
        run("staff", *words, typed="seven green kettles sing\n")
    assert owner.execute(text("select count(*) from privacy.audit_event")).scalar_one() == 0


@pytest.mark.parametrize(
    "words",
    [
        ("reset", email_of("ada"), "--reason", "device lost"),
        ("invite", "new@staff.example", "--role", "admin", "--name", "New", "--reason", "locked out"),
        ("single-admin", "on", "--reason", "alone"),
    ],
)
def test_a_rescue_needs_a_yes_and_the_owner_of_the_database(
    house: str, owner: Connection, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdminError, match="add --yes"):
        run("staff", *words)
    monkeypatch.delenv("OWNER_DATABASE_URL")
    with pytest.raises(AdminError, match="Set OWNER_DATABASE_URL"):
        run("staff", *words, "--yes")
    assert rescue_lines(owner) == []
    assert owner.execute(text("select count(*) from staff.invitation")).scalar_one() == 0


@pytest.mark.parametrize("words", [("seed",), ("generate", "--students", "10", "--beside-real-records")])
def test_nobody_is_brought_in_while_the_database_is_behind_its_ledger(house: str, words: tuple[str, ...]) -> None:
    ledger.cancel(request_id=waiting().request_id, now=NOW)
    with pytest.raises(restore.Behind, match="restore-check"):
        run(*words)
    with db.transaction("worker") as session:
        assert session.scalar(text("select count(*) from platform.student")) == 3
